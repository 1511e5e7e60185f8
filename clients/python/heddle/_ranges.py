"""A set of sequence numbers, kept as disjoint half-open ranges in rising order. Pure: no locks, no I/O."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

Range = tuple[int, int]


class RangeSet:
    """Cost is by the number of ranges, not of members: a set in one piece costs the same for 1 and for 1,000,000."""

    __slots__ = ("_ends", "_firsts", "_size")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []
        self._size = 0

    def __len__(self) -> int:
        """The number of members."""
        return self._size

    def __iter__(self) -> Iterator[Range]:
        """The ranges [first, end), rising, none touching the next."""
        return zip(self._firsts, self._ends, strict=True)

    def add(self, first: int, end: int) -> None:
        """Make every number of [first, end) a member."""
        if first >= end:
            return
        # Those that overlap [first, end) or touch it: they become one with it.
        low, high = bisect_left(self._ends, first), bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._replace(low, high, [(first, end)])

    def remove(self, first: int, end: int) -> list[Range]:
        """Make no number of [first, end) a member; returns what was one, as ranges."""
        low, high = self._overlapping(first, end)
        if low == high:
            return []
        removed = self._clipped(low, high, first, end)
        left, right = (self._firsts[low], first), (end, self._ends[high - 1])
        self._replace(low, high, [rest for rest in (left, right) if rest[0] < rest[1]])
        return removed

    def overlap(self, first: int, end: int) -> list[Range]:
        """The members within [first, end), as ranges."""
        return self._clipped(*self._overlapping(first, end), first, end)

    def clear(self) -> None:
        """Make no number a member."""
        self._replace(0, len(self._firsts), [])

    def _overlapping(self, first: int, end: int) -> tuple[int, int]:
        """The positions [low, high) of the ranges that share a number with [first, end)."""
        if first >= end:
            return 0, 0
        return bisect_right(self._ends, first), bisect_left(self._firsts, end)

    def _clipped(self, low: int, high: int, first: int, end: int) -> list[Range]:
        pieces = zip(self._firsts[low:high], self._ends[low:high], strict=True)
        return [(max(first, a), min(end, b)) for a, b in pieces]

    def _replace(self, low: int, high: int, ranges: list[Range]) -> None:
        self._size += sum(b - a for a, b in ranges) - sum(self._ends[low:high]) + sum(self._firsts[low:high])
        self._firsts[low:high] = [a for a, _ in ranges]
        self._ends[low:high] = [b for _, b in ranges]
