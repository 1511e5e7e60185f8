"""The deduplication history of a FIFO queue: the ids that it accepted within the last five minutes, and as which
messages (queue reference, section 5.2).

An id that was accepted less than the window ago is a duplicate; exactly at the window's end it is new again, and a
duplicate does not extend the window. What becomes of the message (received, deleted, moved) plays no part. The history
is asked by id alone or by message group and id, whatever the scope was when an id came in.

At rest it is rows of up to 512 ids with consecutive sequence numbers: one row a commit for small sends, written with
the commit that accepts the messages. Ids are kept in full, so nothing is decided by a hash. In memory, tables say at
which sequence numbers an id may be (see ``dedup_tables.py``), and the row there says whether it is. So ids whose hashes
meet cost a look at the store, never a message, and tables that name what a failed commit took back do no harm.

Ids in full take more room than digests would, but a keyed digest of each costs more than finding it: blake2b 725 ns,
md5 400 ns. Measured, CPU time of the thread, with Python 3.11, new ids in batches of 500, on two cores under a load
average of 8 to 10, so a hint only:

- ``find`` and ``add`` together, where tables are in bytes (the first 65,536 ids of half a window are in a dict, which
  takes half of it): 0.9 µs an id with 0.1 million ids in the window, 0.8 to 1.2 with 10 million that came
  within a minute, 1.8 to 2.1 with 10 million spread over the window, when there are three tables to look into. While an
  index grows, which is for one id in six or fewer before traffic is steady: 5. In batches of ten: about 1.5 µs.
- A duplicate: 4 µs beside other duplicates, 50 alone, which is the decoding of its row.
- Loading: 1.3 million ids a second, in slices of 3 to 6 ms, after a start and after a change of scope, before the next
  send. A lookup of one id that 100,000 groups had before the change: 0.01 ms.
- Tables for 10 million ids: 160 MB when they came within a minute, up to 260 MB in steady traffic. At rest: 48 bytes an
  id, with groups of 8 characters.

Never: a clock, an await, a step for each id of the history but when it is loaded.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import msgpack

from broker.queues.dedup_tables import HashKey, IdTables
from broker.queues.runs import NEVER_MS
from broker.store import Commit, Store, Table
from broker.store.keys import SEQUENCE_END, pair, pair_sequence

_ROW_IDS_MAX: Final = 512  # a duplicate costs the decoding of a row, about 40 µs
_ROWS_DECODED_MAX: Final = 4  # kept until the next commit: who repeats one message repeats its neighbours
_LOAD_ROWS_MAX: Final = 8  # one slice of loading: 3 to 6 ms, if the rows are full
_EXPIRE_ROWS_MAX: Final = 64  # one slice of deleting
_HEADER_SEQUENCE: Final = 0  # no message has it. Its row holds the sequence number below which rows are cleared.


@dataclass(frozen=True, slots=True)
class Original:
    """The accepted message that a duplicate repeats: number ``index`` of its batch. It may be long gone."""

    sequence: int
    batch_id: int
    index: int


class Dedup:
    """The history of one log, loaded at first use.

    ``now_ms`` may be earlier than it was in a process before. Ids accepted in what is now the future count as accepted
    within the window, if that future is nearer than the window is long, and else as expired.
    """

    __slots__ = (
        "_cleared_by",
        "_due_ms",
        "_first",
        "_floor",
        "_last_ms",
        "_last_sequence",
        "_log_id",
        "_open",
        "_per_group",
        "_rows",
        "_store",
        "_tables",
        "_unread",
        "_window_ms",
    )

    def __init__(self, store: Store, log_id: int, *, window_ms: int = 300_000, hash_key: HashKey = hash) -> None:
        self._store, self._log_id, self._window_ms = store, log_id, window_ms
        self._per_group = False
        self._tables = IdTables(window_ms, hash_key)
        self._unread: int | None = None  # rows from here on are not in the tables yet; None: the store was not asked
        self._open: _Row | None = None  # the newest row while ids may still join it
        self._rows: deque[_Row] = deque(maxlen=_ROWS_DECODED_MAX)
        self._first = _HEADER_SEQUENCE + 1  # no row is below
        self._floor: int | None = None  # rows below are cleared and wait to be deleted; None: the store was not asked
        self._cleared_by: Commit | None = None
        self._due_ms: int | None = None  # None: the store was not asked
        self._last_ms = 0  # when the newest message was accepted
        self._last_sequence = 0  # of the newest message to be loaded

    # --- asking and adding

    def find(
        self, ids: Sequence[str], groups: Sequence[str], now_ms: int, *, per_group: bool
    ) -> dict[int, Original | int]:
        """Which of the ids are duplicates: index -> the accepted message that it repeats (the newest, if a change of
        scope left several), or else the index of the first message of this call with the same id."""
        self._load_rest(now_ms, per_group=per_group)
        keys = self._keys(ids, groups)
        repeats: dict[int, Original | int] = {}
        first_of: dict[Hashable, int] = {}
        for index, key in enumerate(keys) if len(set(keys)) < len(keys) else ():
            first_of.setdefault(key, index)
        places: Sequence[int] = list(first_of.values()) or range(len(keys))
        for place, sequences in self._tables.find(list(first_of) or keys):
            index = places[place]
            if index not in repeats:
                group = groups[index] if per_group else None
                original = self._original(sequences, ids[index], group, now_ms)
                if original is not None:
                    repeats[index] = original
        for index, key in enumerate(keys) if first_of else ():
            earlier = first_of[key]
            if earlier != index:
                repeats[index] = repeats.get(earlier, earlier)
        return repeats

    def add(  # noqa: PLR0917
        self, base: int, batch_id: int, first_index: int, ids: Sequence[str], groups: Sequence[str], now_ms: int
    ) -> None:
        """Messages from sequence number ``base`` on were accepted just now: those of a batch from ``first_index`` on.
        Durable with the open write batch."""
        if not ids:
            return
        self._load_rest(now_ms, per_group=self._per_group)
        # Rows are in the order of their times, or neither expiry nor loading could stop at the first that is young
        # enough. But when the clock was set back by more than the window, it is believed.
        accepted_ms = self._last_ms if now_ms < self._last_ms < now_ms + self._window_ms else now_ms
        if accepted_ms < self._last_ms:
            self.flush()
        self._last_ms = accepted_ms
        if len(ids) <= _ROW_IDS_MAX:
            self._row_for(base, len(ids)).append(accepted_ms, batch_id, first_index, ids, groups)
        else:
            for start in range(0, len(ids), _ROW_IDS_MAX):
                part = ids[start : start + _ROW_IDS_MAX]
                row = self._row_for(base + start, len(part))
                row.append(accepted_ms, batch_id, first_index + start, part, groups[start : start + len(part)])
        self._tables.add(self._keys(ids, groups), base, accepted_ms)
        if self._due_ms == NEVER_MS:
            self._due_ms = self._due_after(accepted_ms)
        self._store.touch(self)

    def flush(self) -> None:
        """Writes the newest row: later ids start another."""
        row, self._open = self._open, None
        if row is not None:
            self._store.put(Table.DEDUP, pair(self._log_id, row.base), row.encode())
        self._rows.clear()

    def _keys(self, ids: Sequence[str], groups: Sequence[str]) -> Sequence[Hashable]:
        return list(zip(groups, ids, strict=True)) if self._per_group else ids

    # --- clearing

    def clear(self) -> None:
        """Forgets all ids for good. ``expire`` deletes the rows; if the log is deleted, its sweeper must do so."""
        self._open = None
        self._rows.clear()
        self._tables.clear()
        self._unread = SEQUENCE_END
        self._last_ms = 0
        self._due_ms = NEVER_MS
        newest = self._scan(self._first, limit=1, reverse=True)
        if newest:
            self._floor = pair_sequence(newest[0][0]) + 1
            self._store.put(Table.DEDUP, pair(self._log_id, _HEADER_SEQUENCE), msgpack.packb(self._floor))
            self._cleared_by = self._store.last_commit()
            self._due_ms = 0

    def forget(self) -> None:
        """After a failed commit. The tables stay: what they name that is not there is not found in the store. But if a
        clearing was taken back they are loaded again."""
        self._open = None
        self._rows.clear()
        self._first, self._floor, self._due_ms = _HEADER_SEQUENCE + 1, None, None
        cleared_by, self._cleared_by = self._cleared_by, None
        if cleared_by is not None and not (cleared_by.done and cleared_by.error is None):
            self._tables.clear()
            self._unread = None

    # --- time

    def next_due_ms(self) -> int:
        """When ``expire`` has something to do; ``NEVER_MS`` while the history is empty."""
        if self._due_ms is None:
            oldest = self._scan(self._first, limit=1)
            self._due_ms = NEVER_MS
            if oldest:
                self._first = pair_sequence(oldest[0][0])
                self._due_ms = self._due_after(_accepted_ms(oldest[0][1]))
        return self._due_ms

    def expire(self, now_ms: int) -> bool:
        """Deletes a slice of what is expired or cleared. True when there may be more."""
        self.flush()  # the row that is still open would not be found, and never be looked for again
        floor = self._cleared_below()
        rows = self._scan(self._first, limit=_EXPIRE_ROWS_MAX)
        self._due_ms = NEVER_MS
        for key, record in rows:
            sequence = pair_sequence(key)
            if sequence >= floor and self._in_window(_accepted_ms(record), now_ms):
                self._due_ms = self._due_after(_accepted_ms(record))
                break
            self._store.delete(Table.DEDUP, key)
            self._first = sequence + 1
        if len(rows) == _EXPIRE_ROWS_MAX and self._due_ms == NEVER_MS:
            self._due_ms = 0
            return True
        if floor:
            self._store.delete(Table.DEDUP, pair(self._log_id, _HEADER_SEQUENCE))
            self._floor = 0
        self._tables.drop(now_ms)
        if self._tables.oldest_ms is not None:  # its rows may be gone, with a failed commit
            self._due_ms = min(self._due_ms, self._due_after(self._tables.oldest_ms))
        return False

    def _in_window(self, accepted_ms: int, now_ms: int) -> bool:
        return abs(now_ms - accepted_ms) < self._window_ms

    def _due_after(self, accepted_ms: int) -> int:
        # A little late, so that there is one wake-up for the rows of some seconds and not one for each.
        return accepted_ms + self._window_ms + self._window_ms // 60

    # --- loading

    def load(self, now_ms: int, *, per_group: bool) -> bool:
        """Reads a slice of the history into memory, to be searched the one way or the other. True while there is more;
        ``find`` and ``add`` read all that is left."""
        if per_group != self._per_group:
            self.flush()
            self._per_group = per_group
            self._tables.clear()
            self._unread = None
        if self._unread is None:
            self._unread = self._first_in_window(now_ms)
        if self._unread == SEQUENCE_END:
            return False
        rows = [_Row.decode(key, record) for key, record in self._scan(self._unread, limit=_LOAD_ROWS_MAX)]
        for row in rows:
            expected = self._last_sequence - row.base + 1
            self._tables.add(self._keys(row.ids, row.groups), row.base, row.accepted_ms, expected=expected)
        self._unread = rows[-1].base + 1 if len(rows) == _LOAD_ROWS_MAX else SEQUENCE_END
        return self._unread != SEQUENCE_END

    @property
    def table_bytes(self) -> int:
        """The memory that the tables take."""
        return self._tables.nbytes

    def _load_rest(self, now_ms: int, *, per_group: bool) -> None:
        while self.load(now_ms, per_group=per_group):
            pass

    def _first_in_window(self, now_ms: int) -> int:
        """The sequence number from which on all rows are in the window. After a long stop there may be as many below,
        which are not read."""
        first = max(self._first, self._cleared_below())
        newest = self._scan(first, limit=1, reverse=True)
        if not newest:
            return SEQUENCE_END
        self._due_ms = 0  # if the clock was set back, rows may wait to be deleted whose time would never come
        row = _Row.decode(*newest[0])
        self._last_ms, self._last_sequence = max(self._last_ms, row.accepted_ms), row.end - 1
        if not self._in_window(row.accepted_ms, now_ms):
            return SEQUENCE_END
        last = row.base
        while first < last:
            middle = (first + last) // 2
            key, record = self._scan(middle, limit=1)[0]
            if self._in_window(_accepted_ms(record), now_ms):
                last = middle
            else:
                first = pair_sequence(key) + 1
        return first

    # --- rows

    def _row_for(self, base: int, count: int) -> "_Row":
        """The row that ``count`` ids join, from sequence number ``base`` on."""
        row = self._open
        if row is None or base != row.end or len(row.ids) + count > _ROW_IDS_MAX:
            self.flush()
            row = self._open = _Row(base, [], [], [])
        return row

    def _original(self, sequences: Iterable[int], message_id: str, group: str | None, now_ms: int) -> Original | None:
        """The first of the places that has a message of this id (and group) accepted within the window. They come
        newest first, and no more are looked at than must be: a change of scope may leave a long line under one id."""
        for sequence in sequences:
            if sequence < self._first:
                break
            row = self._row_with(sequence)
            if row is None:
                continue
            position = sequence - row.base
            if row.ids[position] != message_id or (group is not None and row.groups[position] != group):
                continue
            span = row.span_of(position)
            if self._in_window(span.accepted_ms, now_ms):
                return Original(sequence, span.batch_id, span.first_index + position - span.position)
            if span.accepted_ms < now_ms:
                break  # and those before it expired before it
        return None

    def _row_with(self, sequence: int) -> "_Row | None":
        for row in (self._open, *self._rows):
            if row is not None and row.base <= sequence < row.end:
                return row
        lowest = max(self._first, sequence - _ROW_IDS_MAX + 1)
        found = self._scan(lowest, sequence + 1, limit=1, reverse=True)
        if not found:
            return None
        row = _Row.decode(*found[0])
        self._rows.appendleft(row)
        return row if sequence < row.end else None

    def _cleared_below(self) -> int:
        if self._floor is None:
            stored = self._store.get(Table.DEDUP, pair(self._log_id, _HEADER_SEQUENCE))
            self._floor = 0 if stored is None else int(msgpack.unpackb(stored))
        return self._floor

    def _scan(
        self, first: int, end: int = SEQUENCE_END, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        start, stop = pair(self._log_id, first), pair(self._log_id, end)
        return self._store.scan(Table.DEDUP, start, stop, limit=limit, reverse=reverse)


class _Span(NamedTuple):
    """Messages of a row from ``position`` on: accepted together, those of a batch from ``first_index`` on."""

    position: int
    accepted_ms: int
    batch_id: int
    first_index: int


@dataclass(slots=True)
class _Row:
    """The ids and groups of the messages with sequence numbers from ``base`` on."""

    base: int
    spans: list[_Span]
    ids: list[str]
    groups: list[str]

    @property
    def end(self) -> int:
        return self.base + len(self.ids)

    @property
    def accepted_ms(self) -> int:
        """When the newest was accepted."""
        return self.spans[-1].accepted_ms

    def append(
        self, accepted_ms: int, batch_id: int, first_index: int, ids: Sequence[str], groups: Sequence[str]
    ) -> None:
        position = len(self.ids)
        last = self.spans[-1] if self.spans else None
        if last is None or last[1:] != (accepted_ms, batch_id, first_index - position + last.position):
            self.spans.append(_Span(position, accepted_ms, batch_id, first_index))
        self.ids.extend(ids)
        self.groups.extend(groups)

    def span_of(self, position: int) -> _Span:
        return self.spans[bisect_right(self.spans, position, key=_position) - 1]

    def encode(self) -> bytes:
        # The names are packed by themselves: who asks for times only need not unpack them.
        record: bytes = msgpack.packb((self.spans, msgpack.packb((self.ids, self.groups))))
        return record

    @classmethod
    def decode(cls, key: bytes, record: bytes) -> Self:
        spans, names = msgpack.unpackb(record)
        ids, groups = msgpack.unpackb(names)
        return cls(pair_sequence(key), [_Span(*span) for span in spans], ids, groups)


def _position(span: _Span) -> int:
    return span.position


def _accepted_ms(record: bytes) -> int:
    """When the newest message of a row was accepted."""
    accepted_ms: int = msgpack.unpackb(record)[0][-1][1]
    return accepted_ms
