"""A log: an append-only sequence of entries, each naming messages of one batch.

Queues, shards and archives are logs. A log knows where a message is and when it came, not what state it is in. Never:
a step per message.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgpack
from sortedcontainers import SortedDict

from broker.limits import COALESCED_BATCH_BYTES_MAX, COALESCED_BATCH_MS_MAX, ENTRY_INDEX_MAX, ENTRY_READ_AHEAD
from broker.log.batches import Batches
from broker.store import Store, Table
from broker.store.keys import SEQUENCE_END, pair, pair_sequence, triple, triple_parts


@dataclass(slots=True)
class Entry:
    """Messages [base, base + count) of a log: those of the batch from ``first_index`` on.

    Entries of several logs may name one batch: a message that was moved is there once. ``origin_arn`` is where it was
    moved from, for as long as it stays a dead letter, and ``receives_before`` how often it had been received until
    then. ``identity_id``, where it is not 0, stands for the batch id in the names of messages that are new messages
    although their bytes are not.
    """

    base: int
    count: int
    batch_id: int
    first_index: int
    appended_at_ms: int
    sender_id: str
    nbytes: int
    """Size of these messages in the batch, packed."""
    origin_arn: str = ""
    receives_before: int = 0
    identity_id: int = 0

    @property
    def end(self) -> int:
        return self.base + self.count

    @property
    def name_id(self) -> int:
        """What message ids and receipt handles derive from."""
        return self.identity_id or self.batch_id

    def encode(self) -> bytes:
        fields = (self.batch_id, self.count, self.first_index, self.appended_at_ms, self.sender_id, self.nbytes)
        if self.origin_arn or self.receives_before or self.identity_id:
            fields += (self.origin_arn, self.receives_before, self.identity_id)  # type: ignore[assignment]
        record: bytes = msgpack.packb(fields)
        return record

    @classmethod
    def decode(cls, key: bytes, record: bytes) -> "Entry":
        batch_id, count, *rest = msgpack.unpackb(record)
        return cls(pair_sequence(key), count, batch_id, *rest)


class Log:
    """The entries of one log from sequence number ``start`` on; what is below is being swept. The log's owner keeps
    ``next_sequence``, that of the next message, at rest.

    Small appends of one commit and sender share one entry and one batch: concatenated batches are a batch. Their time
    is that of the last of them, which is between each one's call and its answer (with relaxed durability, where answers
    do not wait, up to 20 ms behind it).
    """

    __slots__ = (
        "_batches",
        "_index",
        "_open",
        "_open_parts",
        "_opened_at_ms",
        "_store",
        "log_id",
        "next_sequence",
        "start",
    )

    def __init__(self, store: Store, batches: Batches, log_id: int, *, start: int, next_sequence: int) -> None:
        self._store, self._batches = store, batches
        self.log_id = log_id
        self.start = start
        self.next_sequence = next_sequence
        self._index: SortedDict = SortedDict()  # base -> Entry; some of the entries, never stale
        self._open: Entry | None = None  # the newest entry while appends may still join it
        self._open_parts: list[bytes] = []
        self._opened_at_ms = 0

    def append(self, packed: bytes, count: int, now_ms: int, sender_id: str) -> tuple[int, int, int]:
        """Appends the messages of a packed batch. Returns (base sequence, batch id, index of the first message)."""
        entry = self._open
        if (
            entry is None
            or not entry.appended_at_ms <= now_ms <= self._opened_at_ms + COALESCED_BATCH_MS_MAX
            or entry.sender_id != sender_id
            or entry.nbytes + len(packed) > COALESCED_BATCH_BYTES_MAX
        ):
            self._close_open()
            entry = Entry(self.next_sequence, 0, self._batches.ids.new(), 0, now_ms, sender_id, 0)
            self._open = self._index[entry.base] = entry
            self._opened_at_ms = now_ms
            self._store.touch(self)
        entry.appended_at_ms = now_ms
        index = entry.count
        self._open_parts.append(packed)
        entry.nbytes += len(packed)
        self._store.appended_bytes += len(packed)
        entry.count += count
        base = self.next_sequence
        self.next_sequence += count
        return base, entry.batch_id, index

    def append_shared(self, entry: Entry) -> None:
        """Appends an entry that names messages of a batch which is there already; ``entry.base`` is the next sequence
        number. The batch has one reference more."""
        assert entry.base == self.next_sequence, (entry, self.next_sequence)
        self._close_open()
        self.next_sequence = entry.end
        self._index[entry.base] = entry
        self._batches.add_reference(entry.batch_id)
        self._store.put(Table.ENTRIES, pair(self.log_id, entry.base), entry.encode())
        if entry.origin_arn:
            self._store.put(Table.AGES, triple(self.log_id, entry.appended_at_ms, entry.base), b"")
        self._store.touch(self)

    def moved_until(self, time_ms: int, limit: int) -> list[Entry]:
        """Entries that were moved here, appended at ``time_ms`` or before: the oldest, at most ``limit``. They kept
        their time, so they may be older than what is before them in the log."""
        start, stop = triple(self.log_id, 0, 0), triple(self.log_id, time_ms + 1, 0)
        found = [
            self.entry_at(triple_parts(key)[2]) for key, _ in self._store.scan(Table.AGES, start, stop, limit=limit)
        ]
        return [entry for entry in found if entry is not None]

    def flush(self) -> None:
        self._close_open()
        self._bound_index()

    def entry_at(self, sequence: int) -> Entry | None:
        """The entry that holds ``sequence``; None when there is none (never appended, or trimmed)."""
        entry = self._indexed(sequence)
        if entry is not None:
            return entry
        found = self._store.scan(
            Table.ENTRIES, pair(self.log_id, 0), pair(self.log_id, sequence + 1), limit=1, reverse=True
        )
        start = found[0][0] if found else pair(self.log_id, sequence)
        self._load(start, ENTRY_READ_AHEAD)
        return self._indexed(sequence)

    def slices(self, first: int, end: int) -> Iterator[tuple[Entry, int, int]]:
        """The entries that hold [first, end), each with the part of the range that it holds; gaps are left out."""
        while first < end:
            entry = self.entry_at(first)
            if entry is None:
                entry = self.first_entry(first)
                if entry is None or entry.base >= end:
                    return
                first = entry.base
            if entry is self._open:  # whoever asks will want its batch
                self._close_open()
            stop = min(end, entry.end)
            yield entry, first, stop
            first = stop

    def first_entry(self, sequence: int = 0) -> Entry | None:
        """The first entry with base at or above ``sequence``."""
        sequence = max(sequence, self.start)
        rows = self._load(pair(self.log_id, sequence), 1)
        position = self._index.bisect_left(sequence)
        in_memory = self._index.peekitem(position)[1] if position < len(self._index) else None
        if rows and (in_memory is None or rows[0].base < in_memory.base):
            return rows[0]
        return in_memory

    def first_entries(self, limit: int) -> list[Entry]:
        """The oldest entries, in order, at most ``limit``."""
        entries = self._load(pair(self.log_id, self.start), limit)
        if self._open is not None and len(entries) < limit:
            entries.append(self._open)
        return entries

    def trim(self, entry: Entry) -> None:
        """Deletes an entry and gives up its batch."""
        if entry is self._open:
            self._close_open()
        self._index.pop(entry.base, None)
        discard(self._store, self._batches, self.log_id, entry)

    def forget(self) -> int:
        """Lets go of all entries. Returns the new start, below which the sweeper is to delete them."""
        self._close_open()
        self._index.clear()
        self.start = self.next_sequence
        return self.start

    def _close_open(self) -> None:
        """Writes the newest entry: later appends start another."""
        entry = self._open
        if entry is None:
            return
        packed = self._open_parts[0] if len(self._open_parts) == 1 else b"".join(self._open_parts)
        self._store.appended_bytes -= entry.nbytes
        self._open, self._open_parts = None, []
        self._batches.write(entry.batch_id, packed)
        self._store.put(Table.ENTRIES, pair(self.log_id, entry.base), entry.encode())

    def _indexed(self, sequence: int) -> Entry | None:
        position = self._index.bisect_right(sequence) - 1
        if position >= 0:
            entry: Entry = self._index.peekitem(position)[1]
            if sequence < entry.end:
                return entry
        return None

    def _load(self, start: bytes, limit: int) -> list[Entry]:
        rows = self._store.scan(Table.ENTRIES, start, pair(self.log_id, SEQUENCE_END), limit=limit)
        entries = []
        for key, record in rows:
            known = self._index.get(pair_sequence(key))
            entry = known if known is not None else Entry.decode(key, record)
            entries.append(entry)
        if len(self._index) + len(entries) > 2 * ENTRY_INDEX_MAX:
            self._index.clear()
            if self._open is not None:
                self._index[self._open.base] = self._open
        self._index.update((entry.base, entry) for entry in entries[-ENTRY_INDEX_MAX:])
        return entries

    def _bound_index(self) -> None:
        # Those nearest to the tail go first: a consumer behind needs the head, and one at the tail keeps it short.
        while len(self._index) > ENTRY_INDEX_MAX:
            self._index.popitem(-1)


def discard(store: Store, batches: Batches, log_id: int, entry: Entry) -> None:
    """Deletes an entry's records and gives up its batch."""
    store.delete(Table.ENTRIES, pair(log_id, entry.base))
    if entry.origin_arn:
        store.delete(Table.AGES, triple(log_id, entry.appended_at_ms, entry.base))
    batches.release(entry.batch_id)
