"""``heddle check``: verifies the invariants of a data directory, offline, from its bytes alone.

Every message of a queue is in exactly one state; runs are disjoint, ordered, maximal and within the log; every message
has an entry and every entry a batch that holds it; a batch's reference count equals the entries that name it; counters
equal the runs. No message is in two queues, though queues share batches. What a FIFO queue accepted is in its
deduplication history, for as far back as that goes. A message move task belongs to a queue and moved no more than it
may; of each queue at most the newest is active. Never: a write, or trust in what a plane would say.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import lmdb
import msgpack
from google.protobuf.message import DecodeError
from heddle.v1.message_pb2 import MessageBatch

from broker.log import Entry, generation_of
from broker.store import Table
from broker.store.keys import (
    META_GENERATION,
    META_SCHEMA,
    META_STORE_ID,
    SCHEMA_VERSION,
    pair_sequence,
    resource_prefix,
    triple_parts,
    u64,
    u64_value,
)
from broker.store.lmdb_engine import open_read_only

_STATES: Final = ("visible", "delayed", "in flight")
_TASK_STATUSES: Final = frozenset({"RUNNING", "COMPLETED", "CANCELLING", "CANCELLED", "FAILED"})
_TASKS_ACTIVE: Final = frozenset({"RUNNING", "CANCELLING"})


@dataclass(slots=True)
class Report:
    """``problems``: one sentence each, empty when the directory is whole. ``counts``: what there is."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def check(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Reads everything once. ``progress`` is told the records read, and how many there are.

    Raises DataFileForeign or StartupError for a directory that cannot be opened at all.
    """
    env = open_read_only(data_dir)
    try:
        with env.begin() as txn:
            return _Check(env, txn, progress).run()
    finally:
        env.close()


class _Accepted(NamedTuple):
    """Messages [lo, hi) of a FIFO queue in its deduplication history: those of a batch from ``first_index`` on."""

    lo: int
    hi: int
    batch_id: int
    first_index: int


@dataclass(slots=True)
class _Log:
    """What the records say of one log. ``cleared_end``: the deduplication history below is cleared."""

    name: str
    fifo: bool = False
    counters: list[int] = field(default_factory=lambda: [1, 0, 0, 0])
    runs: list[tuple[int, int, int, tuple[int, ...]]] = field(default_factory=list)  # lo, hi, state, history
    entries: list[Entry] = field(default_factory=list)
    garbage_end: int = 0
    history: list[_Accepted] = field(default_factory=list)
    cleared_end: int = 0

    def parts(self, entry: Entry) -> Iterator[tuple[int, int]]:
        """The sequence numbers of an entry whose messages are there."""
        position = max(0, bisect_right(self.runs, entry.base, key=lambda run: run[0]) - 1)
        for lo, hi, _, _ in self.runs[position:]:
            if lo >= entry.end:
                return
            if hi > entry.base:
                yield max(lo, entry.base), min(hi, entry.end)


class _Check:
    def __init__(self, env: lmdb.Environment, txn: lmdb.Transaction, progress: Callable[[int, int], None]) -> None:
        self._txn, self._progress = txn, progress
        self._dbs = {table: _open(env, txn, table) for table in Table}
        self._records = sum(txn.stat(db)["entries"] for db in self._dbs.values() if db is not None)
        self._read = 0
        self._report = Report()

    def run(self) -> Report:
        if not self._meta():
            return self._report
        logs = self._logs()
        references = self._references(logs)
        self._batches(references)
        for log in logs.values():
            self._runs(log)
        self._histories(logs)
        self._shared(logs)
        self._ages(logs)
        queues = [log for log in logs.values() if log.name]
        self._report.counts.update(
            queues=len(queues),
            entries=sum(len(log.entries) for log in logs.values()),
            **{
                f"messages {name}": sum(hi - lo for log in queues for lo, hi, state, _ in log.runs if state == index)
                for index, name in enumerate(_STATES)
            },
        )
        return self._report

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)

    def _rows(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        db = self._dbs[table]
        if db is None:
            return
        with self._txn.cursor(db=db) as cursor:
            for key, value in cursor:
                self._read += 1
                if self._read % 1000 == 0:
                    self._progress(self._read, self._records)
                yield bytes(key), bytes(value)
        self._progress(self._read, self._records)

    def _meta(self) -> bool:
        meta = dict(self._rows(Table.META))
        if META_SCHEMA not in meta or len(meta.get(META_STORE_ID, b"")) != 16:
            self._problem("there is no schema version or no store id: not a data directory of Heddle")
            return False
        version = u64_value(meta[META_SCHEMA])
        if version != SCHEMA_VERSION:
            self._problem(f"the schema version is {version}, this Heddle checks {SCHEMA_VERSION}")
            return False
        self._generation = u64_value(meta.get(META_GENERATION, u64(0)))
        return True

    def _logs(self) -> dict[int, _Log]:
        logs: dict[int, _Log] = {}
        queues, tasks = resource_prefix("queue"), resource_prefix("queue.move_task")
        tasks_of: dict[str, list[dict[str, Any]]] = {}
        for key, record in self._rows(Table.RESOURCES):
            name = "/".join(key.decode().split("\0")[1:])
            if queues[0] <= key < queues[1]:
                fields = msgpack.unpackb(record)
                log_id = fields["log_id"]
                if log_id in logs:
                    self._problem(f"queues {logs[log_id].name} and {name} share log {log_id}")
                logs[log_id] = _Log(name, fifo=fields["attributes"].get("FifoQueue") == "true")
            elif tasks[0] <= key < tasks[1]:
                tasks_of.setdefault(name.rpartition("/")[0], []).append(msgpack.unpackb(record))
        self._move_tasks(tasks_of, {log.name for log in logs.values()})

        def log_of(log_id: int) -> _Log:
            return logs.setdefault(log_id, _Log(""))

        for key, record in self._rows(Table.GARBAGE):
            log_of(u64_value(key)).garbage_end = msgpack.unpackb(record)[0]
        for key, record in self._rows(Table.COUNTERS):
            log_of(u64_value(key)).counters = msgpack.unpackb(record)
        for key, record in self._rows(Table.RUNS):
            hi, state, *history = msgpack.unpackb(record)
            log_of(u64_value(key[:8])).runs.append((pair_sequence(key), hi, state, (state, *history)))
        for key, record in self._rows(Table.ENTRIES):
            log_of(u64_value(key[:8])).entries.append(Entry.decode(key, record))
        for key, record in self._rows(Table.DEDUP):
            self._history_row(log_of(u64_value(key[:8])), pair_sequence(key), msgpack.unpackb(record))
        for log_id, log in logs.items():
            if not log.name and not log.garbage_end:
                self._problem(f"log {log_id} belongs to no queue and is not garbage")
        return logs

    def _move_tasks(self, tasks_of: dict[str, list[dict[str, Any]]], queues: set[str]) -> None:
        """``tasks_of``: by queue, oldest first."""
        for name, tasks in tasks_of.items():
            if name not in queues:
                self._problem(f"{name}: it has message move tasks, but there is no such queue")
            for number, task in enumerate(tasks, 1):
                source_arn, destination_arn, status = task["source_arn"], task["destination_arn"], task["status"]
                if source_arn != _arn(name) or destination_arn == source_arn or status not in _TASK_STATUSES:
                    self._problem(f"{name}: a message move task from {source_arn} to {destination_arn} is {status}")
                if not 0 <= task["moved"] <= task["to_move"]:
                    self._problem(f"{name}: a message move task moved {task['moved']} of {task['to_move']} messages")
                if status in _TASKS_ACTIVE and number < len(tasks):
                    self._problem(f"{name}: a message move task that is not the newest is {status}")

    def _history_row(self, log: _Log, base: int, record: Any) -> None:
        """Row 0 says up to where the history is cleared, the others are the ids of messages from ``base`` on."""
        if base == 0:
            log.cleared_end = record
            return
        spans, names = record
        ids, groups = msgpack.unpackb(names)
        starts = [span[0] for span in spans]
        if len(ids) != len(groups) or starts[:1] != [0] or starts != sorted(set(starts)) or starts[-1] >= len(ids):
            self._problem(f"{log.name}: the deduplication ids at {base} are not a row of them")
            return
        if any(before[1] > after[1] for before, after in pairwise(spans)):
            self._problem(f"{log.name}: the deduplication ids at {base} are not in the order of their times")
        for (start, _, batch_id, first_index), stop in zip(spans, [*starts[1:], len(ids)], strict=True):
            log.history.append(_Accepted(base + start, base + stop, batch_id, first_index))

    def _histories(self, logs: dict[int, _Log]) -> None:
        """What was accepted after the oldest row is in a row, as the message that it is."""
        for log in logs.values():
            if not log.name or (not log.history and not log.cleared_end):
                continue
            if not log.fifo:
                self._problem(f"{log.name}: it has deduplication ids, but is no FIFO queue")
            for before, after in pairwise(log.history):
                if before.hi > after.lo:
                    self._problem(f"{log.name}: deduplication ids at {before.lo} and {after.lo} overlap")
            if log.history and log.history[-1].hi > log.counters[0]:
                self._problem(f"{log.name}: there are deduplication ids of messages beyond the end, {log.counters[0]}")
            self._accepted(log)

    def _accepted(self, log: _Log) -> None:
        history = [part for part in log.history if part.lo >= max(log.cleared_end, log.garbage_end)]
        for entry in log.entries:
            if not history or entry.base < history[0].lo or entry.origin_arn or entry.identity_id:
                continue  # older, or moved here
            position = bisect_right(history, entry.base, key=lambda part: part.lo) - 1
            at = entry.base
            while at < entry.end and position < len(history):
                lo, hi, batch_id, first_index = history[position]
                index = entry.first_index + at - entry.base
                if not lo <= at < hi or batch_id != entry.batch_id or first_index + at - lo != index:
                    break
                at, position = hi, position + 1
            if at < entry.end:
                self._problem(f"{log.name}: the deduplication id of message {at} is missing, or another message's")

    def _ages(self, logs: dict[int, _Log]) -> None:
        """The index by age names every entry that was moved to its log, and nothing else."""
        moved = {
            (log_id, entry.appended_at_ms, entry.base)
            for log_id, log in logs.items()
            for entry in log.entries
            if entry.origin_arn
        }
        found = {triple_parts(key) for key, _ in self._rows(Table.AGES)}
        for log_id, _, base in sorted(moved - found):
            self._problem(f"log {log_id}: the dead letter at {base} is missing in the index by age")
        for log_id, _, base in sorted(found - moved):
            self._problem(f"log {log_id}: the index by age names a dead letter at {base} that is not there")

    def _shared(self, logs: dict[int, _Log]) -> None:
        """Messages that share a batch are different ones, or have different names."""
        references: Counter[int] = Counter(entry.batch_id for log in logs.values() for entry in log.entries)
        places: dict[tuple[int, int], list[tuple[int, int, str]]] = {}
        for log in logs.values():
            for entry in log.entries:
                if entry.identity_id and generation_of(entry.identity_id) > self._generation:
                    self._problem(f"{log.name}: the entry at {entry.base} has an identity of a generation to come")
                if bool(entry.origin_arn) != (entry.receives_before > 0):
                    self._problem(
                        f"{log.name}: the entry at {entry.base} comes from {entry.origin_arn or 'nowhere'} "
                        f"after {entry.receives_before} receives"
                    )
                if references[entry.batch_id] > 1 and log.name and entry.base >= log.garbage_end:
                    shift = entry.first_index - entry.base
                    places.setdefault((entry.batch_id, entry.identity_id), []).extend(
                        (lo + shift, hi + shift, log.name) for lo, hi in log.parts(entry)
                    )
        for (batch_id, _), parts in places.items():
            for (_, before_hi, before_name), (lo, _, name) in pairwise(sorted(parts)):
                if lo < before_hi:
                    self._problem(f"message {lo} of batch {batch_id} is in {before_name} and in {name}")

    def _references(self, logs: dict[int, _Log]) -> dict[int, list[Entry]]:
        references: dict[int, list[Entry]] = {}
        for log in logs.values():
            for entry in log.entries:
                references.setdefault(entry.batch_id, []).append(entry)
        stored = {u64_value(key): msgpack.unpackb(record) for key, record in self._rows(Table.BATCH_REFS)}
        expected = {batch_id: len(entries) for batch_id, entries in references.items() if len(entries) > 1}
        for batch_id in sorted(stored.keys() | expected.keys()):
            if stored.get(batch_id, 1) != expected.get(batch_id, 1):
                self._problem(
                    f"batch {batch_id}: reference count {stored.get(batch_id, 1)}, "
                    f"{expected.get(batch_id, 1)} entries name it"
                )
        return references

    def _batches(self, references: dict[int, list[Entry]]) -> None:
        seen: Counter[str] = Counter()
        missing = set(references)
        for key, packed in self._rows(Table.BATCHES):
            batch_id = u64_value(key)
            seen["batches"] += 1
            seen["batch bytes"] += len(packed)
            missing.discard(batch_id)
            if generation_of(batch_id) > self._generation:
                self._problem(f"batch {batch_id} is of a generation above the store's, {self._generation}")
            if batch_id not in references:
                self._problem(f"batch {batch_id}: no entry names it")
                continue
            try:
                count = len(MessageBatch.FromString(packed).messages)
            except DecodeError:
                self._problem(f"batch {batch_id} is not a serialized MessageBatch")
                continue
            needed = max(entry.first_index + entry.count for entry in references[batch_id])
            if needed > count:
                self._problem(f"batch {batch_id} has {count} messages, an entry names message {needed - 1}")
        for batch_id in sorted(missing):
            self._problem(f"batch {batch_id} is missing, an entry names it")
        self._report.counts.update(seen)

    def _runs(self, log: _Log) -> None:
        name = log.name
        if not name:  # a deleted queue on its way out: the sweeper may be anywhere in it
            return
        next_sequence, *counts = log.counters
        counts = counts[: len(_STATES)]
        totals = [0, 0, 0]
        before_hi, before_history = 0, None
        for lo, hi, state, history in log.runs:
            if not before_hi <= lo < hi <= next_sequence:
                self._problem(f"{name}: run [{lo}, {hi}) overlaps its neighbour or the end at {next_sequence}")
            if lo == before_hi and history == before_history:
                self._problem(f"{name}: run [{lo}, {hi}) has the same history as the one before it")
            if state not in {0, 1, 2}:
                self._problem(f"{name}: run [{lo}, {hi}) is in the unknown state {state}")
                continue
            totals[state] += hi - lo
            before_hi, before_history = hi, history
        if totals != counts:
            self._problem(f"{name}: counters {counts} (visible, delayed, in flight), the runs say {totals}")
        self._entries(log)

    def _entries(self, log: _Log) -> None:
        """Every message has an entry, entries do not overlap, and none is left without a message."""
        live = [entry for entry in log.entries if entry.base >= log.garbage_end]
        for before, after in pairwise(live):
            if before.end > after.base:
                self._problem(f"{log.name}: entries at {before.base} and {after.base} overlap")
        position = 0
        needed = [False] * len(live)
        for lo, hi, _, _ in log.runs:
            at = lo
            while position < len(live) and live[position].end <= at:
                position += 1
            index = position
            while at < hi and index < len(live) and live[index].base <= at:
                needed[index] = True
                at = live[index].end
                index += 1
            if at < hi:
                self._problem(f"{log.name}: message {at} has no entry")
        for entry, is_needed in zip(live, needed, strict=True):
            if not is_needed:
                self._problem(f"{log.name}: no message of the entry at {entry.base} is left")


def _arn(name: str) -> str:
    """Of a queue by account, region and name."""
    account, region, queue = name.split("/")
    return f"arn:aws:sqs:{region}:{account}:{queue}"


def _open(env: lmdb.Environment, txn: lmdb.Transaction, table: Table) -> "lmdb._Database | None":
    try:
        return env.open_db(table.name.lower().encode(), txn=txn, create=False)
    except lmdb.NotFoundError:
        return None
