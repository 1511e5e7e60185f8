"""Where ids may be: tables in memory from the hash of an id to sequence numbers, for the deduplication history.

They answer with candidates: every place where an id is, and now and then one where it is not, which the history finds
out from its rows. A table takes the ids of half a window at most, and goes as a whole. There are two kinds: for the
first ids a dict of their hashes, 120 to 140 bytes an id; for more of them memory that is mapped and not allocated, so
that a large one costs nothing until it is filled, and that is bytes: no Python object stands for an id.

Ten new ids, found absent and added, are 46,000 instructions with a dict and 120,000 in bytes, of 900,000 that a
SendMessageBatch takes in all.

The hash is Python's own of a string, SipHash with a key made at random for each process (unless PYTHONHASHSEED fixes
it): a client cannot choose ids that collide. It never reaches the disk.

Never: a look into the store, a clock, an id.
"""

import mmap
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import compress
from operator import itemgetter
from sys import getsizeof
from typing import ClassVar, Final, Self

HashKey = Callable[[Hashable], int]
"""Returns 64 bits, signed."""

_HOMES_MIN: Final = 1 << 12  # of an index; 16 KB
_HOMES_MAX: Final = 1 << 25
_HOMES_GROWN_MAX: Final = 1 << 24  # no index is rebuilt as a larger one than that
_GROWTH: Final = 4
_HUGE_BYTES_MIN: Final = 1 << 22
_MOVED: Final = 6  # entries for each that is added, while the larger index is built
_MOVED_AT_ONCE: Final = 512  # at the least; 0.1 to 0.2 ms

# Of a table that is a dict: 9 MB. Growing and dropping it are steps of 2 ms, or 4 on a slow machine.
_QUICK_IDS_MAX: Final = 1 << 16
_QUICK_IDS_IN_ALL_MAX: Final = 1 << 19  # of the dicts of all histories: 70 MB
_QUICK_IDS_LEFT_MIN: Final = 1 << 12  # no dict is begun for fewer

_FEW: Final = 16  # keys, that take less time one by one: 0.2 µs each, where a batch takes 4 at the least

_HOME: Final = (1 << 32) - 1  # the part of a hash that says where a key is

# The parts of a head.
_OLDER: Final = 1 << 31
_MARK: Final = 31 << 26
_ENTRY: Final = (1 << 26) - 1

_MARKS: Final = bytes((1 + octet % 31) << 2 for octet in range(256))  # octets of a hash as marks, none of them 0
# Of the exclusive or of a head's first octet and a key's mark: whether it leaves open if the key is there.
_UNDECIDED: Final = bytes(octet >= 0x80 or octet < 4 for octet in range(256))


class IdTables:
    """The tables of one history: of the ids of one window, and up to a half.

    Memory of those in bytes is 9 bytes an id and 4 a home, of which there are up to 16 for three ids, and a third more
    for a moment while an index grows. In steady traffic that comes to 22 to 32 bytes an id in the window.
    """

    __slots__ = ("_hash_key", "_hashed", "_hashes_of", "_tables", "_window_ms")

    def __init__(self, window_ms: int, hash_key: HashKey) -> None:
        self._window_ms, self._hash_key = window_ms, hash_key
        self._tables: list[_Table | _QuickTable] = []  # oldest first
        self._hashed: list[Hashable] = []
        self._hashes_of = _Keys([])

    def add(self, keys: Sequence[Hashable], sequence: int, accepted_ms: int, *, expected: int = 0) -> None:
        """Adds keys with sequence numbers from ``sequence`` on. ``expected``: how many are known to come, these
        included."""
        hashes = self._hashes(keys)
        start = 0
        while start < len(keys):
            table = self._with_room(accepted_ms, expected)
            stop = min(len(keys), start + table.room)
            table.add(hashes[start:stop] if stop - start < len(keys) else hashes, sequence + start)
            table.newest_ms = accepted_ms
            start = stop

    def find(self, keys: Sequence[Hashable]) -> list[tuple[int, Iterator[int]]]:
        """Where the keys may be: (index of the key, sequence numbers), for each key the newest first. A key may come
        several times."""
        if not keys or not self._tables:
            return []
        hashes = self._hashes(keys)
        return [found for table in reversed(self._tables) for found in table.find(hashes)]

    def drop(self, now_ms: int) -> None:
        """Lets go of the tables all of whose ids are out of the window."""
        while self._tables and abs(now_ms - self._tables[0].newest_ms) >= self._window_ms:
            del self._tables[0]

    def clear(self) -> None:
        self._tables.clear()

    def _hashes(self, keys: Sequence[Hashable]) -> "_Keys":
        """What is looked up is mostly added next."""
        if self._hashed != keys:
            self._hashed, self._hashes_of = [*keys], _Keys([*map(self._hash_key, keys)])
        return self._hashes_of

    @property
    def oldest_ms(self) -> int | None:
        """When the newest id of the oldest table was accepted."""
        return self._tables[0].newest_ms if self._tables else None

    @property
    def nbytes(self) -> int:
        """The memory taken: of what is filled at random, all of it; of what is filled in order, the filled part."""
        return sum(table.nbytes for table in self._tables)

    def _with_room(self, accepted_ms: int, expected: int) -> "_Table | _QuickTable":
        """The table that new ids go into: one for half a window, as large as the last half suggests. What that cannot
        hold, nor as large as it may grow, goes into another: each table costs every lookup the time of a cache miss."""
        since_ms = accepted_ms
        if self._tables:
            last = self._tables[-1]
            age_ms = accepted_ms - last.since_ms
            if accepted_ms < last.newest_ms:
                pass  # the clock was set back: in one table, what is found later is older
            elif age_ms < self._window_ms // 2:
                if last.room > 0:
                    return last
                since_ms = last.since_ms
                expected = max(expected, last.count * (4 if isinstance(last, _QuickTable) else 2))
            elif age_ms < self._window_ms:
                same_half = sum(table.count for table in self._tables if table.since_ms == last.since_ms)
                expected = max(expected, same_half * 9 // 8)
            self.drop(accepted_ms)
        table: _Table | _QuickTable
        if expected < _QUICK_IDS_MAX and _QuickTable.ids_left() >= _QUICK_IDS_LEFT_MIN:
            table = _QuickTable(since_ms)
        else:
            homes = min(max(_HOMES_MIN, 1 << (expected * 4 // 3 - 1).bit_length()), _HOMES_MAX)
            table = _Table(homes, since_ms)
        self._tables.append(table)
        return table


class _Keys:
    """The hashes of some keys."""

    __slots__ = ("_cut", "whole")

    def __init__(self, whole: list[int]) -> None:
        self.whole = whole
        self._cut: _Hashes | None = None

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, part: slice) -> "_Keys":
        return _Keys(self.whole[part])

    def cut(self) -> "_Hashes":
        if self._cut is None:
            self._cut = _Hashes.of(self.whole)
        return self._cut


class _Hashes:
    """The hashes of many keys, cut into parts that say nothing of each other.

    ``homes``: 32 bits each, for the place of a key in an index. ``octets``: 8 more bits, to tell it from others there.
    """

    __slots__ = ("_cells", "_mask", "homes", "marks", "octets")

    def __init__(self, homes: "array[int]", octets: bytes) -> None:
        self.homes, self.octets = homes, octets
        self.marks = octets.translate(_MARKS)
        self._mask, self._cells = 0, [0] * len(octets)

    @classmethod
    def of(cls, hashes: Sequence[int]) -> Self:
        packed = struct.pack(f"{len(hashes)}q", *hashes)
        return cls(array("I", packed)[::2], packed[4::8])

    def __len__(self) -> int:
        return len(self.octets)

    def __getitem__(self, part: slice) -> "_Hashes":
        return _Hashes(self.homes[part], self.octets[part])

    def cells(self, mask: int) -> list[int]:
        """The homes of the keys, masked: as one long number, a third of the time that one by one takes."""
        if mask != self._mask:
            masks = int.from_bytes(mask.to_bytes(4, "little") * len(self), "little")
            masked = (int.from_bytes(self.homes, "little") & masks).to_bytes(4 * len(self), "little")
            self._mask, self._cells = mask, array("I", masked).tolist()
        return self._cells


class _QuickTable:
    """Sequence numbers by the hashes of their keys, in a dict."""

    __slots__ = ("_newest", "_older", "count", "newest_ms", "since_ms")

    _ids_in_all: ClassVar = 0

    def __init__(self, since_ms: int) -> None:
        self._newest: dict[int, int] = {}
        self._older: dict[int, int] = {}  # of two with one hash, the sequence number before another
        self.count = 0
        self.since_ms = self.newest_ms = since_ms

    def __del__(self) -> None:
        _QuickTable._ids_in_all -= self.count

    @classmethod
    def ids_left(cls) -> int:
        """How many more there may be in the dicts of all histories."""
        return _QUICK_IDS_IN_ALL_MAX - cls._ids_in_all

    @property
    def room(self) -> int:
        return min(_QUICK_IDS_MAX - self.count, _QUICK_IDS_IN_ALL_MAX - _QuickTable._ids_in_all)

    @property
    def nbytes(self) -> int:
        newest, older = self._newest, self._older
        # A hash takes 48 bytes, a sequence number 32; the values of the one dict are the keys of the other.
        return getsizeof(newest) + 80 * len(newest) + getsizeof(older) + 32 * len(older)

    def add(self, keys: _Keys, sequence: int) -> None:
        """As ``_Table.add``."""
        newest, hashes = self._newest, keys.whole
        for place, value in enumerate(hashes, sequence):
            if value in newest:
                self._older[place] = newest[value]
            newest[value] = place
        self.count += len(hashes)
        _QuickTable._ids_in_all += len(hashes)

    def find(self, keys: _Keys) -> list[tuple[int, Iterator[int]]]:
        """As ``_Table.find``."""
        newest, hashes = self._newest, keys.whole
        if newest.keys().isdisjoint(hashes):
            return []
        return [(place, self._sequences(newest[value])) for place, value in enumerate(hashes) if value in newest]

    def _sequences(self, sequence: int | None) -> Iterator[int]:
        while sequence is not None:
            yield sequence
            sequence = self._older.get(sequence)


class _Table:
    """Entries with consecutive sequence numbers but for gaps, numbered from 1, and the index where they are found.

    When the index is three quarters full, one of four times the size is built beside it, in step with the entries that
    are added, and then takes its place: a lookup has one place to look, and no step takes long.
    """

    __slots__ = ("_index", "_larger", "_run_entries", "_run_sequences", "newest_ms", "since_ms")

    def __init__(self, homes: int, since_ms: int) -> None:
        self._index = _Index(homes)
        self._larger: _Index | None = None
        self.since_ms = self.newest_ms = since_ms
        # The first entry after each gap, and its sequence number.
        self._run_entries, self._run_sequences = array("I"), array("Q")

    @property
    def count(self) -> int:
        return self._index.count

    @property
    def room(self) -> int:
        """How many more entries it takes, until it grows."""
        return self._index.capacity - self._index.count

    @property
    def nbytes(self) -> int:
        larger = self._larger.nbytes if self._larger is not None else 0
        return self._index.nbytes + larger + 12 * len(self._run_entries)

    def add(self, keys: _Keys, sequence: int) -> None:
        """Adds keys with sequence numbers from ``sequence`` on."""
        index, count = self._index, self._index.count
        if not count or self._sequence(count) + 1 != sequence:
            self._run_entries.append(count + 1)
            self._run_sequences.append(sequence)
        if len(keys) <= _FEW:
            index.add_few(keys.whole)
        else:
            index.add(keys.cut())
        homes = index.mask + 1
        if self._larger is None and homes < _HOMES_GROWN_MAX and index.count > homes * 3 // 4:
            self._larger = _Index(min(homes * _GROWTH, _HOMES_GROWN_MAX))
        larger = self._larger
        if larger is not None:
            # So many a step that it is done before the index is full.
            behind = min(_MOVED * (index.count - homes * 3 // 4), index.count) - larger.count
            if behind >= _MOVED_AT_ONCE or larger.count + behind == index.count:
                larger.add(index.entries(larger.count + 1, behind))
            if larger.count == index.count:
                self._index, self._larger = larger, None

    def find(self, keys: _Keys) -> list[tuple[int, Iterator[int]]]:
        """(index of the key, sequence numbers) of the entries that may be those of the keys."""
        index = self._index
        found = index.find_few(keys.whole) if len(keys) <= _FEW else index.find(keys.cut())
        return [(place, self._sequences(head, home, octet)) for place, head, home, octet in found]

    def _sequences(self, head: int, home: int, octet: int) -> Iterator[int]:
        while head:
            yield self._sequence(head & _ENTRY)
            head = self._index.before(head, home, octet)

    def _sequence(self, entry: int) -> int:
        run = bisect_right(self._run_entries, entry) - 1
        return self._run_sequences[run] + entry - self._run_entries[run]


class _Index:
    """Entries by the hashes of their keys.

    A home has a head of 32 bits: the number of the newest entry there (26), its mark (5), and whether there is an older
    one (1); 0 when there is none. An entry keeps the head that it replaced, and 40 bits of its hash. A head alone
    settles nine of ten lookups of a new key in a well-filled index, and those of a batch are settled together: their
    heads are fetched in one call, so that the cache misses overlap, and compared as one long number.
    """

    __slots__ = ("_befores", "_heads", "_homes", "_octets", "capacity", "count", "mask")

    def __init__(self, homes: int) -> None:
        self.capacity, self.count, self.mask = homes, 0, homes - 1
        self._heads = _mapped(4 * homes).cast("I")
        end = self.capacity + 1
        by_entry = memoryview(mmap.mmap(-1, 9 * end, access=mmap.ACCESS_COPY))
        self._befores, self._homes = by_entry[: 4 * end].cast("I"), by_entry[4 * end : 8 * end].cast("I")
        self._octets = by_entry[8 * end :]

    @property
    def nbytes(self) -> int:
        return self._heads.nbytes + 9 * self.count

    def add(self, hashes: _Hashes) -> None:
        first, end = self.count + 1, self.count + 1 + len(hashes)
        heads = self._heads
        befores: list[int] = []
        keep = befores.append
        for entry, cell, mark in zip(range(first, end), hashes.cells(self.mask), hashes.marks, strict=True):
            before = heads[cell]
            keep(before)
            heads[cell] = _OLDER | mark << 24 | entry if before else mark << 24 | entry
        self._befores[first:end] = memoryview(array("I", befores))
        self._homes[first:end] = memoryview(hashes.homes)
        self._octets[first:end] = hashes.octets
        self.count = end - 1

    def add_few(self, hashes: list[int]) -> None:
        """As ``add``, one by one."""
        heads, befores, homes, octets, mask = self._heads, self._befores, self._homes, self._octets, self.mask
        for entry, value in enumerate(hashes, self.count + 1):
            cell, octet = value & mask, value >> 32 & 0xFF
            homes[entry], octets[entry] = value & _HOME, octet
            head = _MARKS[octet] << 24 | entry
            before = heads[cell]
            if before:
                befores[entry] = before
                head |= _OLDER
            heads[cell] = head
        self.count += len(hashes)

    def entries(self, first: int, count: int) -> _Hashes:
        """The hashes of up to ``count`` entries."""
        end = min(first + count, self.count + 1)
        return _Hashes(array("I", self._homes[first:end].tobytes()), self._octets[first:end].tobytes())

    def find(self, hashes: _Hashes) -> list[tuple[int, int, int, int]]:
        """(index of the key, head, home, octet) of the newest entries that may be those of the keys."""
        found = []
        # A home more, or there were no sequence for a single key.
        heads = array("I", itemgetter(*hashes.cells(self.mask), 0)(self._heads))
        compared = int.from_bytes(heads.tobytes()[3:-4:4], "little") ^ int.from_bytes(hashes.marks, "little")
        undecided = compared.to_bytes(len(hashes), "little").translate(_UNDECIDED)
        for index in compress(range(len(hashes)), undecided):
            home, octet = hashes.homes[index], hashes.octets[index]
            head = self._first(heads[index], home, octet)
            if head:
                found.append((index, head, home, octet))
        return found

    def find_few(self, hashes: list[int]) -> list[tuple[int, int, int, int]]:
        """As ``find``, one by one."""
        found = []
        heads, mask = self._heads, self.mask
        for index, value in enumerate(hashes):
            head = heads[value & mask]
            if head:
                octet = value >> 32 & 0xFF
                if head & _OLDER or head & _MARK == _MARKS[octet] << 24:
                    home = value & _HOME
                    head = self._first(head, home, octet)
                    if head:
                        found.append((index, head, home, octet))
        return found

    def before(self, head: int, home: int, octet: int) -> int:
        """The head of the next older entry that may be that of the key."""
        return self._first(self._befores[head & _ENTRY], home, octet) if head & _OLDER else 0

    def _first(self, head: int, home: int, octet: int) -> int:
        """The first head, from this one on to older ones, whose entry may be that of the key; 0 for none."""
        mark = _MARKS[octet] << 24
        while head:
            entry = head & _ENTRY
            if head & _MARK == mark and self._homes[entry] == home and self._octets[entry] == octet:
                return head
            head = self._befores[entry] if head & _OLDER else 0
        return 0


def _mapped(size: int) -> memoryview:
    """Memory that is filled at random: in huge pages where there are any, so that fewer are looked up."""
    mapped = mmap.mmap(-1, size, access=mmap.ACCESS_COPY)
    if size >= _HUGE_BYTES_MIN:
        with suppress(AttributeError, OSError):  # not on every system, nor in every kernel
            mapped.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(mapped)
