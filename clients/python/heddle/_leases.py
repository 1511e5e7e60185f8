"""When a consumer extends what it holds: at half of the visibility timeout, up to AWS's twelve hours. No I/O, no clock.

Deliveries that come close to each other are extended together, so that there are a few leases however many messages
are held.
"""

from collections import deque
from typing import Final, NamedTuple

from heddle._ranges import Range, RangeSet

VISIBILITY_TIMEOUT_SECONDS_MAX: Final = 43_200  # Amazon SQS ChangeMessageVisibility: 12 hours, counted from the receipt
LEASES_PER_EXTENSION: Final = 16  # ours: deliveries that come this close to each other are extended together


class _Lease(NamedTuple):
    """At `due`, what is still held of `members` is extended."""

    due: float
    received_at: float
    members: RangeSet


class Leases:
    """`visibility_timeout` in seconds; 0: nothing is ever extended."""

    def __init__(self, visibility_timeout: int) -> None:
        self._visibility_timeout = visibility_timeout
        self._after_seconds = visibility_timeout / 2
        self._leases: deque[_Lease] = deque()  # by due time: each is due the same time after it was made

    def add(self, first: int, end: int, now: float) -> None:
        """See that [first, end), received now, is extended in time. Never later than its own half time."""
        after = self._after_seconds
        if not after:
            return
        newest = self._leases[-1] if self._leases else None
        if newest is None or now - newest.received_at > after / LEASES_PER_EXTENSION:
            newest = _Lease(now + after, now, RangeSet())
            self._leases.append(newest)
        newest.members.add(first, end)

    def next_due(self) -> float | None:
        """When there is something to extend."""
        return self._leases[0].due if self._leases else None

    def take_due(self, now: float, held: RangeSet, unattended: RangeSet) -> list[Range]:
        """What is to be extended now: held, and not in `unattended`. It is due again after the same time."""
        extended: list[Range] = []
        while self._leases and self._leases[0].due <= now:
            _, received_at, members = self._leases.popleft()
            if now + self._visibility_timeout - received_at > VISIBILITY_TIMEOUT_SECONDS_MAX:
                continue
            attended = RangeSet()
            for low, high in members:
                for first, end in held.overlap(low, high):
                    attended.add(first, end)
                for first, end in unattended.overlap(low, high):
                    attended.remove(first, end)
            extended += attended
            if len(attended):
                self._leases.append(_Lease(now + self._after_seconds, received_at, attended))
        return extended

    def clear(self) -> None:
        """Nothing is held any more."""
        self._leases.clear()
