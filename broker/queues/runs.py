"""The run map: the delivery state of a queue, run-length encoded.

A run is a maximal interval [lo, hi) of sequence numbers with one history: visible, delayed until, or in flight until,
with its receive count. Sequence numbers in no run are gone (deleted, expired or purged). Ten million waiting messages
are one run; receiving and deleting a thousand of them is a few operations. Never: I/O, a clock, or a step per message.

What a message may go through::

    delayed --delay over--> visible --receive--> in flight --visibility timeout--> visible
    any of them --delete, expiry, purge--> gone

Invariants: runs are disjoint and ordered, neighbours with equal history are one run, and ``counts`` equals the sum of
their lengths by state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import Final, Protocol

from sortedcontainers import SortedDict

from broker.queues.lazy_heap import LazyHeap


class State(IntEnum):
    VISIBLE = 0
    DELAYED = 1
    IN_FLIGHT = 2


@dataclass(slots=True)
class Run:
    """Messages [lo, hi). ``until_ms`` is 0 for visible ones, and for delayed ones ``RunMap.delay_shift_ms`` is to be
    added; ``delivery_id`` is that of the last receive, 0 before."""

    lo: int
    hi: int
    state: State
    until_ms: int
    receive_count: int
    first_received_ms: int
    received_ms: int
    delivery_id: int

    def __len__(self) -> int:
        return self.hi - self.lo

    def history(self) -> tuple[int, int, int, int, int, int]:
        """Everything but the place: runs with equal histories that touch are one."""
        return (
            self.state,
            self.until_ms,
            self.receive_count,
            self.first_received_ms,
            self.received_ms,
            self.delivery_id,
        )


@dataclass(frozen=True, slots=True)
class Received:
    """Messages [lo, hi) taken by one receive, with their history, this receive included."""

    lo: int
    hi: int
    receive_count: int
    first_received_ms: int


NEVER_MS: Final = 2**63 - 1
_WATCHED_A_RUN: Final = 32  # messages that take a watcher as long as a run takes here, 20 to 40 µs


class Watcher(Protocol):
    """Follows what becomes of messages, by ranges: the order of groups rests on it."""

    def visible(self, lo: int, hi: int) -> None:
        """[lo, hi), all of it delayed or in flight until now, is visible."""

    def hidden(self, lo: int, hi: int) -> None:
        """[lo, hi), visible until now, is in flight again without a receive: its last receiver asked for more time."""

    def gone(self, lo: int, hi: int) -> None:
        """[lo, hi) was removed, whatever its state was."""


class RunMap:
    def __init__(self, runs: list[Run]) -> None:
        self.watcher: Watcher | None = None
        self._runs: SortedDict = SortedDict((run.lo, run) for run in runs)
        self.counts = [0, 0, 0]
        """Messages by ``State``."""
        self.changed: set[int] = set()
        """The ``lo`` of every run that was written, moved or removed since the owner last cleared this."""
        self.delay_shift_ms = 0
        """By how much all delays end later than their runs say: a changed delay holds for 20,000 delayed runs at once,
        and none is written."""
        # An item counts if the run that it names still has that state and time.
        self._visible: LazyHeap[int] = LazyHeap(self._is_visible)
        self._timeouts: LazyHeap[tuple[int, int]] = LazyHeap(self._is_in_flight)
        self._delays: LazyHeap[tuple[int, int]] = LazyHeap(self._is_delayed)
        for run in runs:
            self.counts[run.state] += len(run)
            self._announce(run)

    # --- looking

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def visible(self) -> int:
        return self.counts[State.VISIBLE]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def at_start(self, lo: int) -> Run | None:
        run: Run | None = self._runs.get(lo)
        return run

    def find(self, sequence: int) -> Run | None:
        """The run that holds ``sequence``; None when the message is gone."""
        position = self._runs.bisect_right(sequence) - 1
        if position < 0:
            return None
        run: Run = self._runs.peekitem(position)[1]
        return run if sequence < run.hi else None

    def overlapping(self, lo: int, hi: int, limit: int | None = None) -> list[Run]:
        """The runs that share a message with [lo, hi), in order; the first ``limit`` of them."""
        if lo >= hi:
            return []
        holder = self.find(lo)
        if holder is not None and hi <= holder.hi:  # mostly
            return [holder]
        found = [holder] if holder is not None else []
        keys = self._runs.irange(lo, hi, inclusive=(holder is None, False))
        found.extend(map(self._runs.__getitem__, islice(keys, None if limit is None else limit - len(found))))
        return found

    def starting_at(self, sequence: int) -> Iterator[Run]:
        """The runs from the one that holds ``sequence`` or, when none does, the next one on."""
        run = self._at_or_after(sequence)
        if run is not None:
            yield from (self._runs[key] for key in self._runs.irange(run.lo))

    def gap(self, lo: int, hi: int) -> tuple[int, int]:
        """The largest interval around [lo, hi) in which no message is left; [lo, hi) itself must be empty."""
        position = self._runs.bisect_left(hi)
        end = self._runs.peekitem(position)[0] if position < len(self._runs) else 2**64 - 1
        start = self._runs.peekitem(position - 1)[1].hi if position > 0 else 0
        return min(start, lo), max(end, hi)

    def first_visible(self) -> Run | None:
        """The run that is received first."""
        lo = self._visible.first()
        return None if lo is None else self.at_start(lo)

    def next_due_ms(self) -> int:
        """When the next delay or visibility timeout ends; ``NEVER_MS`` when there is none."""
        due_ms, _ = self._next_due()
        return due_ms

    def until_ms(self, run: Run) -> int:
        """When a run is visible by itself; 0 when it is."""
        return run.until_ms + self.delay_shift_ms if run.state is State.DELAYED else run.until_ms

    def last_delay_ms(self) -> int:
        """When the delay of the last messages of all ends; 0 when they are not delayed."""
        if not self.counts[State.DELAYED]:
            return 0
        last: Run = self._runs.peekitem(-1)[1]
        return self.until_ms(last) if last.state is State.DELAYED else 0

    def _next_due(self) -> tuple[int, Run | None]:
        delayed, in_flight = self._first_due(self._delays), self._first_due(self._timeouts)
        if delayed is None or (in_flight is not None and in_flight.until_ms <= self.until_ms(delayed)):
            delayed = in_flight
        return (NEVER_MS if delayed is None else self.until_ms(delayed)), delayed

    def _first_due(self, heap: LazyHeap[tuple[int, int]]) -> Run | None:
        item = heap.first()
        return None if item is None else self.at_start(item[1])

    def _is_visible(self, lo: int) -> bool:
        run: Run | None = self._runs.get(lo)
        return run is not None and run.state is State.VISIBLE

    def _is_delayed(self, item: tuple[int, int]) -> bool:
        run: Run | None = self._runs.get(item[1])
        return run is not None and run.until_ms == item[0] and run.state is State.DELAYED

    def _is_in_flight(self, item: tuple[int, int]) -> bool:
        run: Run | None = self._runs.get(item[1])
        return run is not None and run.until_ms == item[0] and run.state is State.IN_FLIGHT

    # --- changing

    def append(self, lo: int, hi: int, until_ms: int) -> None:
        """New messages at the end: delayed until ``until_ms``, or visible when that is 0."""
        state = State.DELAYED if until_ms else State.VISIBLE
        if not self.counts[State.DELAYED]:
            self.delay_shift_ms = 0
        if until_ms:
            until_ms -= self.delay_shift_ms
        self.counts[state] += hi - lo
        if self._runs:
            last: Run = self._runs.peekitem(-1)[1]
            if last.hi == lo and last.state == state and last.until_ms == until_ms and not last.receive_count:
                last.hi = hi
                self.changed.add(last.lo)
                return
        self._insert(Run(lo, hi, state, until_ms, 0, 0, 0, 0))

    def advance(self, now_ms: int, limit: int) -> bool:
        """Makes visible what is due at ``now_ms``, at most ``limit`` runs, and fewer where a watcher takes its time for
        each of their messages. True when more is due."""
        while True:
            due_ms, run = self._next_due()
            if run is None or due_ms > now_ms:
                return False
            if limit <= 0:
                return True
            lo, hi = run.lo, run.hi
            if self.watcher is not None:
                hi = min(hi, lo + limit * _WATCHED_A_RUN)
            self._transform(run, lo, hi, State.VISIBLE, 0)
            limit -= 1 + (hi - lo) // _WATCHED_A_RUN if self.watcher is not None else 1

    def take(self, lo: int, hi: int, now_ms: int, until_ms: int, delivery_id: int) -> list[Received]:
        """Puts the messages of [lo, hi), all of them visible, in flight. With ``until_ms`` at ``now_ms`` they are due
        at once: the caller makes them visible again."""
        taken: list[Received] = []
        for run in self.overlapping(lo, hi):
            assert run.state == State.VISIBLE, run
            start, end = max(lo, run.lo), min(hi, run.hi)
            first_ms = run.first_received_ms or now_ms
            receive_count = run.receive_count + 1
            taken.append(Received(start, end, receive_count, first_ms))
            self._cut(run, start, end)
            self.counts[State.IN_FLIGHT] += end - start
            self._insert(Run(start, end, State.IN_FLIGHT, until_ms, receive_count, first_ms, now_ms, delivery_id))
        return taken

    def set_state(self, lo: int, hi: int, state: State, until_ms: int) -> int:
        """Gives all messages left in [lo, hi) this state and time, the rest of their history kept. Returns how many."""
        changed = 0
        while lo < hi:
            run = self._at_or_after(lo)
            if run is None or run.lo >= hi:
                break
            start, lo = max(lo, run.lo), min(hi, run.hi)
            changed += lo - start
            # This may join the next run to this one: hence a search each time, not a list of runs made before.
            self._transform(run, start, lo, state, until_ms)
        return changed

    def uncount(self, lo: int, hi: int, *, least: int) -> None:
        """The last receive of the messages in flight in [lo, hi) does not count, since nobody has looked at them, and
        its delivery holds them no longer. The count does not fall below ``least``: 0 for messages that are about to be
        visible again."""
        for run in self.overlapping(lo, hi):
            if run.state is not State.IN_FLIGHT:
                continue
            start, end, count = max(lo, run.lo), min(hi, run.hi), max(least, run.receive_count - 1)
            first_ms, received_ms = (run.first_received_ms, run.received_ms) if count else (0, 0)
            self._cut(run, start, end)
            self.counts[run.state] += end - start
            self._insert(Run(start, end, run.state, run.until_ms, count, first_ms, received_ms, 0))

    def delete(self, lo: int, hi: int) -> int:
        """Removes all messages left in [lo, hi), whatever their state. Returns how many there were."""
        deleted = 0
        for run in self.overlapping(lo, hi):
            start, end = max(lo, run.lo), min(hi, run.hi)
            deleted += end - start
            self.remove(run, start, end)
        return deleted

    def remove(self, run: Run, lo: int, hi: int) -> None:
        """Removes the part [lo, hi) of a run."""
        self._cut(run, lo, hi)
        if self.watcher is not None:
            self.watcher.gone(lo, hi)

    def clear(self) -> None:
        self.changed.update(self._runs)
        self._runs.clear()
        self._visible.clear()
        self._timeouts.clear()
        self._delays.clear()
        self.delay_shift_ms = 0
        self.counts[:] = [0, 0, 0]

    # --- the moves that everything is made of

    def _at_or_after(self, sequence: int) -> Run | None:
        position = self._runs.bisect_right(sequence) - 1
        if position >= 0:
            run: Run = self._runs.peekitem(position)[1]
            if sequence < run.hi:
                return run
        return self._runs.peekitem(position + 1)[1] if position + 1 < len(self._runs) else None

    def _transform(self, run: Run, lo: int, hi: int, state: State, until_ms: int) -> None:
        """Gives the part [lo, hi) of a run another state and time."""
        was = run.state
        self._cut(run, lo, hi)
        self.counts[state] += hi - lo
        self._insert(
            Run(lo, hi, state, until_ms, run.receive_count, run.first_received_ms, run.received_ms, run.delivery_id)
        )
        if self.watcher is not None and (state is State.VISIBLE) != (was is State.VISIBLE):
            if state is State.VISIBLE:
                self.watcher.visible(lo, hi)
            else:
                self.watcher.hidden(lo, hi)

    def _cut(self, run: Run, lo: int, hi: int) -> None:
        """Takes [lo, hi) out of a run, which may leave a part before and a part after."""
        assert run.lo <= lo < hi <= run.hi, (run, lo, hi)
        self.counts[run.state] -= hi - lo
        self.changed.add(run.lo)
        if hi < run.hi:
            rest = Run(
                hi,
                run.hi,
                run.state,
                run.until_ms,
                run.receive_count,
                run.first_received_ms,
                run.received_ms,
                run.delivery_id,
            )
            self._runs[hi] = rest
            self.changed.add(hi)
            self._announce(rest)
        if lo > run.lo:
            run.hi = lo
        else:
            del self._runs[run.lo]

    def _insert(self, run: Run) -> None:
        """Adds a run, joined with the neighbours that have the same history."""
        position = self._runs.bisect_left(run.lo)
        if position > 0:
            before: Run = self._runs.peekitem(position - 1)[1]
            if before.hi == run.lo and before.history() == run.history():
                del self._runs[before.lo]
                run.lo = before.lo
                position -= 1
        if position < len(self._runs):
            after: Run = self._runs.peekitem(position)[1]
            if after.lo == run.hi and after.history() == run.history():
                del self._runs[after.lo]
                self.changed.add(after.lo)
                run.hi = after.hi
        self._runs[run.lo] = run
        self.changed.add(run.lo)
        self._announce(run)

    def _announce(self, run: Run) -> None:
        if run.state is State.VISIBLE:
            self._visible.push(run.lo, len(self._runs))
        elif run.state is State.DELAYED:
            self._delays.push((run.until_ms, run.lo), len(self._runs))
        else:
            self._timeouts.push((run.until_ms, run.lo), len(self._runs))
