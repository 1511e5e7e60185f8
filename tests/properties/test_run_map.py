"""The run map beside a dict from sequence number to history."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.queues import lazy_heap
from broker.queues.runs import NEVER_MS, Received, Run, RunMap, State

History = tuple[int, int, int, int, int, int]
_LIMIT = 60

sequences = st.integers(0, _LIMIT)
ranges = st.tuples(sequences, sequences).map(lambda pair: (min(pair), max(pair) + 1))


@pytest.fixture(autouse=True, scope="module")
def small_heaps() -> Iterator[None]:
    """What no longer counts is left out of them often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_heap, "_STALE_MAX", 0)
        yield


class RunMapMachine(RuleBasedStateMachine):
    """``model``: the history of every message that is left."""

    @initialize()
    def start(self) -> None:
        self.runs = RunMap([])
        self.model: dict[int, History] = {}
        self.stored: dict[int, Run] = {}
        self.next_sequence = 1
        self.now_ms = 1_000
        self.deliveries = 0

    @rule(count=st.integers(1, 8), delay_ms=st.sampled_from([0, 0, 5, 9]))
    def append(self, count: int, delay_ms: int) -> None:
        lo, self.next_sequence = self.next_sequence, self.next_sequence + count
        until_ms = self.now_ms + delay_ms if delay_ms else 0
        self.runs.append(lo, lo + count, until_ms)
        state = State.DELAYED if delay_ms else State.VISIBLE
        self.model.update(dict.fromkeys(range(lo, lo + count), (state, until_ms, 0, 0, 0, 0)))

    @rule(count=st.integers(1, 9), timeout_ms=st.sampled_from([0, 5, 20]))
    def receive(self, count: int, timeout_ms: int) -> None:
        self.deliveries += 1
        taken: list[Received] = []
        left = count
        while left and (run := self.runs.first_visible()) is not None:
            part = self.runs.take(
                run.lo, min(run.hi, run.lo + left), self.now_ms, self.now_ms + timeout_ms, self.deliveries
            )
            taken.extend(part)
            left -= sum(each.hi - each.lo for each in part)
        for each in taken if timeout_ms == 0 else ():
            self.runs.set_state(each.lo, each.hi, State.VISIBLE, 0)
        expected = [s for s, history in sorted(self.model.items()) if history[0] == State.VISIBLE][:count]
        assert [s for part in taken for s in range(part.lo, part.hi)] == expected
        for part in taken:
            for sequence in range(part.lo, part.hi):
                _, _, receive_count, first_ms, _, _ = self.model[sequence]
                assert part.receive_count == receive_count + 1
                assert part.first_received_ms == (first_ms or self.now_ms)
                state = State.IN_FLIGHT if timeout_ms else State.VISIBLE
                until_ms = self.now_ms + timeout_ms if timeout_ms else 0
                history = (state, until_ms, part.receive_count, part.first_received_ms, self.now_ms, self.deliveries)
                self.model[sequence] = history

    @rule(span=ranges, timeout_ms=st.sampled_from([0, 5, 20]))
    def set_state(self, span: tuple[int, int], timeout_ms: int) -> None:
        state = State.IN_FLIGHT if timeout_ms else State.VISIBLE
        until_ms = self.now_ms + timeout_ms if timeout_ms else 0
        changed = self.runs.set_state(*span, state, until_ms)
        touched = [sequence for sequence in self.model if span[0] <= sequence < span[1]]
        assert changed == len(touched)
        for sequence in touched:
            self.model[sequence] = (state, until_ms, *self.model[sequence][2:])

    @rule(ms=st.integers(-12, 12))
    def change_the_delay(self, ms: int) -> None:
        """As a FIFO queue does."""
        if self.runs.counts[State.DELAYED]:
            self.runs.delay_shift_ms += ms
        for sequence, (state, until_ms, *rest) in self.model.items():
            if state == State.DELAYED:
                self.model[sequence] = (state, until_ms + ms, *rest)  # type: ignore[assignment]

    @rule(span=ranges)
    def delete(self, span: tuple[int, int]) -> None:
        gone = [sequence for sequence in self.model if span[0] <= sequence < span[1]]
        assert self.runs.delete(*span) == len(gone)
        for sequence in gone:
            del self.model[sequence]

    @rule(ms=st.integers(1, 12), limit=st.integers(1, 100))
    def advance(self, ms: int, limit: int) -> None:
        self.now_ms += ms
        due = [h for h in self.model.values() if h[0] != State.VISIBLE and h[1] <= self.now_ms]
        while self.runs.advance(self.now_ms, limit):
            assert due
        for sequence, history in self.model.items():
            if history[0] != State.VISIBLE and history[1] <= self.now_ms:
                self.model[sequence] = (State.VISIBLE, 0, *history[2:])

    @rule()
    def clear(self) -> None:
        if self.next_sequence > _LIMIT:
            self.runs.clear()
            self.model.clear()

    @rule()
    def write_and_load(self) -> None:
        """What ``changed`` names is enough to keep the records at rest."""
        for lo in self.runs.changed:
            run = self.runs.at_start(lo)
            if run is None:
                self.stored.pop(lo, None)
            else:
                self.stored[lo] = Run(run.lo, run.hi, run.state, *run.history()[1:])
        self.runs.changed.clear()
        shift_ms = self.runs.delay_shift_ms
        self.runs = RunMap([Run(r.lo, r.hi, r.state, *r.history()[1:]) for _, r in sorted(self.stored.items())])
        self.runs.delay_shift_ms = shift_ms

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        runs = list(self.runs)
        histories = [(run, (run.state, self.runs.until_ms(run), *run.history()[2:])) for run in runs]
        assert {s: history for run, history in histories for s in range(run.lo, run.hi)} == self.model
        assert all(run.lo < run.hi for run in runs)
        for before, after in pairwise(runs):
            assert before.hi <= after.lo
            assert before.hi < after.lo or before.history() != after.history(), "not maximal"
        states = [history[0] for history in self.model.values()]
        assert self.runs.counts == [states.count(state) for state in State]
        assert self.runs.total == len(self.model)
        assert len(self.runs) == len(runs)

    @invariant()
    def knows_what_is_next(self) -> None:
        visible = [sequence for sequence, history in self.model.items() if history[0] == State.VISIBLE]
        first = self.runs.first_visible()
        assert (None if first is None else first.lo) == min(visible, default=None)
        due = [history[1] for history in self.model.values() if history[0] != State.VISIBLE]
        assert self.runs.next_due_ms() == min(due, default=NEVER_MS)
        last = self.model[max(self.model)] if self.model else (State.VISIBLE, 0)
        assert self.runs.last_delay_ms() == (last[1] if last[0] == State.DELAYED else 0)

    @rule(span=ranges)
    def look(self, span: tuple[int, int]) -> None:
        lo, hi = span
        everything = list(self.runs)
        assert self.runs.overlapping(lo, hi) == [run for run in everything if run.lo < hi and lo < run.hi]
        assert list(self.runs.starting_at(lo)) == [run for run in everything if run.hi > lo]
        holder = self.runs.find(lo)
        assert holder == next((run for run in everything if run.lo <= lo < run.hi), None)
        if not self.model.keys() & set(range(lo, hi)):
            below = [sequence + 1 for sequence in self.model if sequence < lo]
            above = [sequence for sequence in self.model if sequence >= hi]
            assert self.runs.gap(lo, hi) == (max(below, default=0), min(above, default=2**64 - 1))


RunMapMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRunMap = RunMapMachine.TestCase


@given(st.lists(st.integers(1, 5), max_size=10))
def test_a_run_map_counts_what_it_is_made_of(lengths: list[int]) -> None:
    runs, lo = [], 1
    for length in lengths:
        runs.append(Run(lo, lo + length, State(length % 3), 7 if length % 3 else 0, 0, 0, 0, 0))
        lo += length + 1
    made = RunMap(runs)
    assert made.total == sum(lengths)
    assert not made.changed
