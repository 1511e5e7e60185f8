"""What a queue remembers of its messages: its log, its run map, and how both are kept at rest.

Loaded at first use, from two range scans; written once a commit, and only what changed. Never: semantics (those are
``queue.py``'s).
"""

import msgpack

from broker.log import Batches, Log, garbage_end
from broker.queues.runs import Run, RunMap, State
from broker.store import Store, Table
from broker.store.keys import SEQUENCE_END, pair, pair_sequence, u64

_SCAN_RECORDS = 10_000
FIRST_SEQUENCE = 1
"""Sequence numbers start here: 0 stands for none."""


class QueueState:
    """``runs`` and ``log`` in memory. After changing either, call ``changed``."""

    __slots__ = ("_counters", "_store", "grouped", "log", "runs")

    def __init__(self, store: Store, batches: Batches, log_id: int, *, sequence_floor: int) -> None:
        self._store = store
        stored = store.get(Table.COUNTERS, u64(log_id))
        counters: list[int] = [FIRST_SEQUENCE, 0, 0, 0] if stored is None else msgpack.unpackb(stored)
        next_sequence, *counts = counters
        counts, extras = counts[: len(State)], counts[len(State) :]
        self.grouped = any(extras[:1])
        """Standard queues: whether any message ever had a group."""
        next_sequence = max(next_sequence, sequence_floor)
        self._counters = stored
        self.runs = RunMap(_load_runs(store, log_id))
        self.runs.delay_shift_ms = sum(extras[1:])
        if self.runs.counts != counts:
            raise AssertionError(f"log {log_id}: counters {counts} are not those of its runs, {self.runs.counts}")
        self.log = Log(store, batches, log_id, start=garbage_end(store, log_id), next_sequence=next_sequence)

    def write(self) -> None:
        """Puts the changed records into the open write batch."""
        log_id, runs = self.log.log_id, self.runs
        for lo in runs.changed:
            run = runs.at_start(lo)
            if run is None:
                self._store.delete(Table.RUNS, pair(log_id, lo))
            else:
                self._store.put(Table.RUNS, pair(log_id, lo), _encode_run(run))
        runs.changed.clear()
        extras = [int(self.grouped), runs.delay_shift_ms]
        while extras and not extras[-1]:  # as most queues have neither
            extras.pop()
        counters = msgpack.packb((self.log.next_sequence, *runs.counts, *extras))
        if counters != self._counters:
            self._counters = counters
            self._store.put(Table.COUNTERS, u64(log_id), counters)

    def trim(self, lo: int, hi: int) -> None:
        """Deletes the entries of which a part of [lo, hi) was the last that was left."""
        gap_lo, gap_hi = self.runs.gap(lo, hi)
        if gap_hi - gap_lo < hi - lo:
            raise AssertionError(f"[{lo}, {hi}) is not empty")
        for entry, _, _ in list(self.log.slices(lo, hi)):
            if gap_lo <= entry.base and entry.end <= gap_hi:
                self.log.trim(entry)


def _encode_run(run: Run) -> bytes:
    record: bytes = msgpack.packb((run.hi, *run.history()))
    return record


def _load_runs(store: Store, log_id: int) -> list[Run]:
    runs: list[Run] = []
    start, stop = pair(log_id, 0), pair(log_id, SEQUENCE_END)
    while rows := store.scan(Table.RUNS, start, stop, limit=_SCAN_RECORDS):
        for key, record in rows:
            hi, state, *rest = msgpack.unpackb(record)
            runs.append(Run(pair_sequence(key), hi, State(state), *rest))
        if len(rows) < _SCAN_RECORDS:
            break
        start = rows[-1][0] + b"\0"
    return runs
