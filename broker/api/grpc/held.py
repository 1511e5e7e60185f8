"""What one consumer holds: disjoint ranges of sequence numbers, each with the delivery that handed them out."""

from collections.abc import Iterator

from sortedcontainers import SortedDict


class Held:
    def __init__(self) -> None:
        self._ranges: SortedDict = SortedDict()  # lo -> (hi, delivery id)

    def __len__(self) -> int:
        """How many ranges."""
        return len(self._ranges)

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        for lo, (hi, delivery_id) in self._ranges.items():
            yield lo, hi, delivery_id

    def add(self, lo: int, hi: int, delivery_id: int) -> None:
        """A new delivery; what of it was held before (and ran out) is held by the new one now."""
        self.drop(lo, hi)
        self._ranges[lo] = (hi, delivery_id)

    def within(self, first: int, end: int, limit: int | None = None) -> list[tuple[int, int, int]]:
        """The held parts of [first, end), in order; the first ``limit`` of them."""
        found: list[tuple[int, int, int]] = []
        if first >= end:
            return found
        start = self._ranges.bisect_right(first) - 1
        for lo in self._ranges.islice(max(start, 0)):
            if lo >= end or len(found) == limit:
                break
            hi, delivery_id = self._ranges[lo]
            if hi > first:
                found.append((max(lo, first), min(hi, end), delivery_id))
        return found

    def last_within(self, first: int, end: int, limit: int) -> list[tuple[int, int, int]]:
        """The last ``limit`` of them, in order."""
        found: list[tuple[int, int, int]] = []
        for lo in self._ranges.irange(None, end, (True, False), reverse=True):
            hi, delivery_id = self._ranges[lo]
            if hi <= first or first >= end or len(found) == limit:
                break
            found.append((max(lo, first), min(hi, end), delivery_id))
        found.reverse()
        return found

    def drop(self, first: int, end: int) -> None:
        """Lets go of [first, end)."""
        for lo, hi, delivery_id in self.within(first, end):
            key = self._ranges.keys()[self._ranges.bisect_right(lo) - 1]
            whole_hi, _ = self._ranges[key]
            if key < lo:
                self._ranges[key] = (lo, delivery_id)
            else:
                del self._ranges[key]
            if hi < whole_hi:
                self._ranges[hi] = (whole_hi, delivery_id)
