"""When queues next have something to do: ends of delays, of visibility timeouts and of retention, soonest first.

A queue says when it is due and may say so again, earlier; only what it said last counts (``Queue.announced_due_ms``).
Never: a clock.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from broker.queues.queue import Queue
from broker.queues.runs import NEVER_MS

_STALE_MAX: Final = 1_000  # items that need not count, beyond as many as there are of those that do


class DueQueues:
    def __init__(self) -> None:
        self._items: list[tuple[int, int, Queue]] = []
        self._pushes = 0  # breaks ties: queues have no order
        self._length_max = _STALE_MAX

    def push(self, queue: Queue, due_ms: int) -> None:
        if len(self._items) > self._length_max:
            self._items = [item for item in self._items if _counts(item)]
            heapify(self._items)
            self._length_max = 2 * len(self._items) + _STALE_MAX
        self._pushes += 1
        heappush(self._items, (due_ms, self._pushes, queue))

    def next_due_ms(self) -> int:
        """The earliest time of all; ``NEVER_MS`` when nothing is due ever."""
        return self._items[0][0] if self._items else NEVER_MS

    def pop(self, now_ms: int) -> Queue | None:
        """Takes out what comes first: its queue, if that is due and what it said still counts."""
        if self.next_due_ms() > now_ms:
            return None
        item = heappop(self._items)
        return item[2] if _counts(item) else None

    def clear(self) -> None:
        self._items.clear()


def _counts(item: tuple[int, int, Queue]) -> bool:
    due_ms, _, queue = item
    return not queue.deleted and queue.announced_due_ms == due_ms
