"""The sweeper: deletes the entries of purged and deleted logs, a slice at a time.

Purging ten million messages is one small record; the work that it leaves is done here, in steps that do not stall the
writer, and goes on after a restart. Never: anything that a reader could still see.
"""

from collections.abc import Callable

import msgpack

from broker import limits
from broker.log.batches import Batches
from broker.log.log import Entry, discard
from broker.store import Store, Table
from broker.store.keys import SEQUENCE_END, pair, u64, u64_value


class Sweeper:
    def __init__(self, store: Store, batches: Batches) -> None:
        self._store, self._batches = store, batches
        self.on_garbage: Callable[[], None] = lambda: None
        """Told whenever there is something to sweep."""

    def discard(self, log_id: int, end: int) -> None:
        """Entries of a log below sequence number ``end`` are garbage from now on."""
        self._store.put(Table.GARBAGE, u64(log_id), msgpack.packb((end, False)))
        self.on_garbage()

    def discard_log(self, log_id: int) -> None:
        """Everything of a log is garbage from now on: its entries, its runs, its counters."""
        self._store.delete(Table.COUNTERS, u64(log_id))
        self._store.put(Table.GARBAGE, u64(log_id), msgpack.packb((SEQUENCE_END, True)))
        self.on_garbage()

    def sweep(self) -> bool:
        """Deletes one slice. True when there may be more."""
        found = self._store.scan(Table.GARBAGE, u64(0), u64(SEQUENCE_END), limit=1)
        if not found:
            return False
        log_id = u64_value(found[0][0])
        end, whole = msgpack.unpackb(found[0][1])
        start, stop = pair(log_id, 0), pair(log_id, end)
        entries = self._store.scan(Table.ENTRIES, start, stop, limit=limits.SWEEP_ENTRIES_MAX)
        for key, record in entries:
            discard(self._store, self._batches, log_id, Entry.decode(key, record))
        runs = self._store.scan(Table.RUNS, start, stop, limit=limits.SWEEP_ENTRIES_MAX) if whole else []
        for key, _ in runs:
            self._store.delete(Table.RUNS, key)
        accepted = self._store.scan(Table.DEDUP, start, stop, limit=limits.SWEEP_ID_ROWS_MAX) if whole else []
        for key, _ in accepted:
            self._store.delete(Table.DEDUP, key)
        if not entries and not runs and not accepted:
            self._store.delete(Table.GARBAGE, u64(log_id))
        return True


def garbage_end(store: Store, log_id: int) -> int:
    """The sequence number below which the entries of a log wait to be swept; 0 when none do."""
    stored = store.get(Table.GARBAGE, u64(log_id))
    return 0 if stored is None else int(msgpack.unpackb(stored)[0])
