"""A RangeSet is a set."""

from itertools import pairwise

from heddle._ranges import RangeSet
from hypothesis import given
from hypothesis import strategies as st

SPAN = st.tuples(st.integers(0, 40), st.integers(0, 40))


def members(pieces: list[tuple[int, int]]) -> set[int]:
    return {number for first, end in pieces for number in range(first, end)}


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "overlap", "clear"]), SPAN), max_size=40))
def test_against_a_set(steps: list[tuple[str, tuple[int, int]]]) -> None:
    ranges, model = RangeSet(), set[int]()
    for step, (first, end) in steps:
        span = set(range(first, end))
        match step:
            case "add":
                ranges.add(first, end)
                model |= span
            case "remove":
                assert members(ranges.remove(first, end)) == model & span
                model -= span
            case "overlap":
                assert members(ranges.overlap(first, end)) == model & span
            case _:
                ranges.clear()
                model.clear()
        pieces = list(ranges)
        assert members(pieces) == model
        assert len(ranges) == len(model)
        assert all(a < b for a, b in pieces)
        assert all(left[1] < right[0] for left, right in pairwise(pieces))  # ordered, none touching
