"""Where ids may be: tables in memory from the hash of an id to sequence numbers, for the deduplication history.

They answer with candidates: every place where an id is, and now and then one where it is not, which the history finds
out from its rows. A table has a fixed capacity, takes the ids of half a window at most, and goes as a whole. Its memory
is mapped and not allocated, so that a large one costs nothing until it is filled, and it is bytes: no Python object
stands for an id.

The hash is Python's own of a string, SipHash with a key made at random for each process (unless PYTHONHASHSEED fixes
it): a client cannot choose ids that collide. It never reaches the disk.

Never: a look into the store, a clock, an id.
"""

import mmap
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Sequence
from operator import itemgetter
from typing import Final, NamedTuple

HashKey = Callable[[Hashable], int]
"""Returns 64 bits, signed."""

_ENTRIES_MIN: Final = 1 << 12  # of a table
_ENTRIES_MAX: Final = 1 << 26
_ENTRIES_LARGE: Final = 1 << 24  # the last to be followed by one much larger: 64 MB when it is sparsely filled
_GROWTH: Final = 16
_SEVERAL: Final = 255
_MARKS: Final = bytes(1 + octet % 254 for octet in range(256))  # octets of a hash as marks: neither 0 nor that


class IdTables:
    """The tables of one history: of the ids of one window, and up to a half.

    Memory is 6 bytes an id and 4 for each that a table has room for, up to two and a half times as many. In steady
    traffic that comes to 14 to 24 bytes an id in the window. When traffic rises suddenly, a new table has room for 16
    times as many as the one before.
    """

    __slots__ = ("_hash_key", "_tables", "_window_ms")

    def __init__(self, window_ms: int, hash_key: HashKey) -> None:
        self._window_ms, self._hash_key = window_ms, hash_key
        self._tables: list[_Table] = []  # oldest first

    def add(self, keys: Sequence[Hashable], sequence: int, accepted_ms: int, *, expected: int = 0) -> None:
        """Adds keys with sequence numbers from ``sequence`` on. ``expected``: how many are known to come, these
        included."""
        hashes = _split_hashes(keys, self._hash_key)
        start = 0
        while start < len(keys):
            table = self._with_room(accepted_ms, expected)
            stop = min(len(keys), start + table.capacity - table.count)
            table.add(hashes, start, stop, sequence + start)
            table.newest_ms = accepted_ms
            start = stop

    def find(self, keys: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
        """Where the keys may be: (index of the key, sequence number), for each key the newest first."""
        if keys and self._tables:
            hashes = _split_hashes(keys, self._hash_key)
            mask, cells = 0, [0]
            for table in reversed(self._tables):
                if table.mask != mask:  # in steady traffic all are of one size
                    mask = table.mask
                    # One more than there are keys, since a lookup of one gives no sequence.
                    cells = [*[home & mask for home in hashes.homes], 0]
                yield from table.find(hashes, cells)

    def drop(self, now_ms: int) -> None:
        """Lets go of the tables all of whose ids are out of the window."""
        while self._tables and abs(now_ms - self._tables[0].newest_ms) >= self._window_ms:
            del self._tables[0]

    def clear(self) -> None:
        self._tables.clear()

    @property
    def oldest_ms(self) -> int | None:
        """When the newest id of the oldest table was accepted."""
        return self._tables[0].newest_ms if self._tables else None

    @property
    def nbytes(self) -> int:
        """The memory taken: of what is filled at random, all of it; of what is filled in order, the filled part."""
        return sum(table.nbytes for table in self._tables)

    def _with_room(self, accepted_ms: int, expected: int) -> "_Table":
        """The table that new ids go into: one for half a window, as large as the last half suggests. Where that proves
        too small, a much larger one follows: each table costs every lookup the time of a cache miss."""
        since_ms = accepted_ms
        if self._tables:
            last = self._tables[-1]
            age_ms = accepted_ms - last.since_ms
            if age_ms < self._window_ms // 2:
                if last.count < last.capacity:
                    return last
                since_ms = last.since_ms
                expected = max(expected, last.capacity * (_GROWTH if last.capacity < _ENTRIES_LARGE else 2))
            elif age_ms < self._window_ms:
                same_half = sum(table.count for table in self._tables if table.since_ms == last.since_ms)
                expected = max(expected, same_half * 5 // 4)
            self.drop(accepted_ms)
        capacity = min(max(_ENTRIES_MIN, 1 << (expected - 1).bit_length()), _ENTRIES_MAX)
        table = _Table(capacity, since_ms)
        self._tables.append(table)
        return table


class _Hashes(NamedTuple):
    """The hashes of some keys, cut into parts that say nothing of each other."""

    homes: list[int]
    """32 bits: where a key is in a table."""
    marks: bytes
    """1 to 254: tells a key from the one other key of its cell."""
    tags: "memoryview[int]"
    """16 bits: tells a key from the others of its chain."""


def _split_hashes(keys: Sequence[Hashable], hash_key: HashKey) -> _Hashes:
    packed = memoryview(struct.pack(f"{len(keys)}q", *map(hash_key, keys)))
    return _Hashes(packed.cast("I")[::2].tolist(), packed[4::8].tobytes().translate(_MARKS), packed.cast("H")[3::4])


class _Table:
    """Entries with consecutive sequence numbers but for gaps, found by hash.

    An entry has a home cell, of one byte: 0 when no entry is at home there, the entry's mark when one is, 255 when
    several are. That alone settles nine of ten lookups of a new id, even in a full table. For the others, the entries
    at home in four neighbouring cells are a chain, newest first, each with a tag of 16 bits.

    Memory is mapped in blocks of 16 bytes for four entries: eight cells, then the newest entries of two chains. What is
    looked up for ``find`` is at hand for ``add``: a cache miss takes as long as all else that is done for an id.
    """

    __slots__ = (
        "_cells",
        "_heads",
        "_nexts",
        "_run_entries",
        "_run_sequences",
        "_tags",
        "capacity",
        "count",
        "mask",
        "newest_ms",
        "since_ms",
    )

    def __init__(self, capacity: int, since_ms: int) -> None:
        self.capacity, self.count = capacity, 0
        self.since_ms = self.newest_ms = since_ms
        self.mask = (4 * capacity - 1) & ~8
        """Makes a hash the place of a cell."""
        self._cells = mmap.mmap(-1, 4 * capacity, access=mmap.ACCESS_COPY)  # itself: twice as fast as a view of it
        self._heads = memoryview(self._cells).cast("I")
        # Entries count from 1: 0 is none.
        by_entry = memoryview(mmap.mmap(-1, 6 * (capacity + 1), access=mmap.ACCESS_COPY))
        self._nexts = by_entry[: 4 * (capacity + 1)].cast("I")  # the one before in the chain
        self._tags = by_entry[4 * (capacity + 1) :].cast("H")
        # The first entry after each gap, and its sequence number.
        self._run_entries, self._run_sequences = array("I"), array("Q")

    @property
    def nbytes(self) -> int:
        return len(self._cells) + 6 * self.count + 12 * len(self._run_entries)

    def add(self, hashes: _Hashes, start: int, stop: int, sequence: int) -> None:
        """Adds the keys in [start, stop), with sequence numbers from ``sequence`` on."""
        first, last = self.count + 1, self.count + stop - start
        if not self.count or self._sequence(self.count) + 1 != sequence:
            self._run_entries.append(first)
            self._run_sequences.append(sequence)
        cells, heads, mask = self._cells, self._heads, self.mask
        before: list[int] = []
        homes, marks = hashes.homes[start:stop], hashes.marks[start:stop]
        for entry, home, mark in zip(range(first, last + 1), homes, marks, strict=True):
            cell = home & mask
            cells[cell] = _SEVERAL if cells[cell] else mark
            head = cell >> 2 | 2
            before.append(heads[head])
            heads[head] = entry
        self._nexts[first : last + 1] = memoryview(array("I", before))
        self._tags[first : last + 1] = hashes.tags[start:stop]
        self.count = last

    def find(self, hashes: _Hashes, cells: list[int]) -> Iterator[tuple[int, int]]:
        """(index of the key, sequence number) of the entries that may be those of the keys. ``cells``: their places,
        and one place more."""
        undecided = [
            index
            # All in one call, so that the cache misses overlap.
            for index, found, mark in zip(
                range(len(cells)), itemgetter(*cells)(self._cells), hashes.marks, strict=False
            )
            if found == mark or found == _SEVERAL  # noqa: PLR1714 (a tuple for each would double the time)
        ]
        heads, nexts, tags = self._heads, self._nexts, self._tags
        for index in undecided:
            entry, tag = heads[cells[index] >> 2 | 2], hashes.tags[index]
            while entry:
                if tags[entry] == tag:
                    yield index, self._sequence(entry)
                entry = nexts[entry]

    def _sequence(self, entry: int) -> int:
        run = bisect_right(self._run_entries, entry) - 1
        return self._run_sequences[run] + entry - self._run_entries[run]
