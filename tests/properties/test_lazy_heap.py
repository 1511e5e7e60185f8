"""A heap whose items cease to count, beside a set of those that do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.queues import lazy_heap
from broker.queues.lazy_heap import LazyHeap

_steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "cease", "cease", "first"]), st.integers(0, 30)), max_size=80
)


@given(steps=_steps)
def test_the_first_is_the_lowest_that_counts(steps: list[tuple[str, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_heap, "_STALE_MAX", 0)
        counts: set[int] = set()
        heap: LazyHeap[int] = LazyHeap(counts.__contains__)
        for step, item in steps:
            if step == "add":
                counts.add(item)
                heap.push(item, len(counts))
            elif step == "cease":
                counts.discard(item)
            else:
                assert heap.first() == min(counts, default=None)
        assert heap.first() == min(counts, default=None)


def test_what_ceased_to_count_is_left_out_in_small_steps() -> None:
    """10,000 items, each of which is replaced 20 times."""
    until = dict.fromkeys(range(10_000), 0)
    looks = 0

    def counts(item: tuple[int, int]) -> bool:
        nonlocal looks
        looks += 1
        return until[item[1]] == item[0]

    heap: LazyHeap[tuple[int, int]] = LazyHeap(counts)
    longest = 0
    for turn in range(1, 21):
        for place in until:
            until[place], looks = turn, 0
            heap.push((turn, place), len(until))
            longest = max(longest, looks)
            assert len(heap) <= 4 * len(until) + 2_000
    assert 0 < longest <= 4
    assert heap.first() == (20, 0)
