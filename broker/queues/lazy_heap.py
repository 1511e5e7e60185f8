"""A heap of times or places from which nothing is taken out that no longer counts: it is passed over.

Who is extended again and again leaves an item each time, so those that do not count are left out now and then, in step
with what is added: of 120,000 at once it took 84 ms. Never: what an item means.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Generic, TypeVar

_STALE_MAX: Final = 1_000  # items that need not count, beyond as many as there are of those that may
_MOVED: Final = 4  # items that are looked at for each that is added

T = TypeVar("T", bound=Any)


class LazyHeap(Generic[T]):
    """``counts``: whether an item still does. What does not will never again, unless it is added anew."""

    __slots__ = ("_counts", "_items", "_old")

    def __init__(self, counts: Callable[[T], bool]) -> None:
        self._counts = counts
        self._items: list[T] = []
        self._old: list[T] = []  # a heap as well, of which what counts moves over

    def __len__(self) -> int:
        return len(self._items) + len(self._old)

    def push(self, item: T, most: int) -> None:
        """``most``: no more items count than that."""
        heappush(self._items, item)
        if self._old:
            for _ in range(min(_MOVED, len(self._old))):
                moved = self._old.pop()  # the last one, without which it is a heap still
                if self._counts(moved):
                    heappush(self._items, moved)
        elif len(self._items) > 2 * most + _STALE_MAX:
            self._old, self._items = self._items, []

    def first(self) -> T | None:
        """The lowest that counts."""
        items, old, counts = self._items, self._old, self._counts
        while items and not counts(items[0]):
            heappop(items)
        if not old:
            return items[0] if items else None
        while old and not counts(old[0]):
            heappop(old)
        if old and (not items or old[0] < items[0]):
            return old[0]
        return items[0] if items else None

    def clear(self) -> None:
        self._items.clear()
        self._old.clear()
