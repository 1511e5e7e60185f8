"""What a consumer holds, beside a dict from sequence number to delivery."""

from hypothesis import given
from hypothesis import strategies as st

from broker.api.grpc.held import Held

_sequences = st.integers(0, 30)
_spans = st.tuples(_sequences, _sequences).map(lambda pair: (min(pair), max(pair) + 1))
_steps = st.lists(st.tuples(st.sampled_from(["add", "drop", "within"]), _spans), max_size=30)


def _by_sequence(parts: list[tuple[int, int, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for lo, hi, delivery_id in parts:
        for sequence in range(lo, hi):
            assert sequence not in found, "held twice"
            found[sequence] = delivery_id
    return found


@given(_steps)
def test_held_is_a_map_from_sequence_numbers_to_deliveries(steps: list[tuple[str, tuple[int, int]]]) -> None:
    held, model = Held(), dict[int, int]()
    for delivery_id, (step, (lo, hi)) in enumerate(steps, 1):
        if step == "add":
            held.add(lo, hi, delivery_id)
            model.update(dict.fromkeys(range(lo, hi), delivery_id))
        elif step == "drop":
            held.drop(lo, hi)
            model = {sequence: held_by for sequence, held_by in model.items() if not lo <= sequence < hi}
        else:
            parts = held.within(lo, hi)
            assert parts == sorted(parts)
            for limit in (1, 2, 5):
                assert held.within(lo, hi, limit) == parts[:limit]
                assert held.last_within(lo, hi, limit) == parts[-limit:]
            assert held.within(hi, lo) == held.within(lo, lo) == []
            assert held.last_within(hi, lo, 1) == held.last_within(lo, lo, 1) == []
            assert _by_sequence(parts) == {s: held_by for s, held_by in model.items() if lo <= s < hi}
        assert _by_sequence(list(held)) == model
        assert bool(held) == bool(model)
