"""Fair queues: on a standard queue whose messages name groups, a noisy tenant does not make the others wait.

A tenant is noisy when it has more than a tenth of the queue's messages in flight, and 30 at least. While quiet tenants
have visible messages, those are delivered first; among noisy tenants, the one with the fewest in flight. A tenant is
noisy until nothing of it waits any more, or it has sent nothing for five minutes. Nothing is refused or slowed down,
and while nobody is noisy the order is that of the log. A message without a group is a tenant by itself, never noisy.

Source: section 5.4 of the queue reference; AWS calls its thresholds approximate.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from broker.queues.runs import RunMap, State
from broker.queues.window import Member, Window, as_ranges

NOISY_MESSAGES_MIN: Final = 30  # in flight
NOISY_SHARE: Final = 10  # more than one in so many of the queue's messages in flight
SILENT_MS: Final = 300_000
_SKIPPED_RUNS_MAX: Final = 1_000  # looked at in one take


class Tenant(Member):
    """``in_flight``: how many messages are in flight."""

    __slots__ = ("in_flight", "noisy", "sent_ms")

    def __init__(self) -> None:
        super().__init__()
        self.in_flight = 0
        self.noisy = False
        self.sent_ms = 0  # not known: sent before this process started

    def reset(self) -> bool:
        self.sent_ms = 0
        return not self.noisy


class Tenants(Window[Tenant]):
    def __init__(self, runs: RunMap, *, start: int, window: int) -> None:
        super().__init__(runs, Tenant, start=start, window=window, ahead=window, many=0)
        self._noisy: set[Tenant] = set()
        # Quiet tenants by their first visible message: kept while anyone is noisy. Lazy: an item counts only if it is
        # still so.
        self._quiet: list[tuple[int, int, Tenant]] | None = None
        self._pushes = 0  # breaks ties: tenants have no order

    @property
    def noisy(self) -> int:
        """How many tenants are noisy."""
        return len(self._noisy)

    def sent(self, base: int, names: Sequence[str], now_ms: int, *, visible: bool) -> None:
        """Messages just appended to the log."""
        self.append(base, names, visible=visible)
        for name in set(names):
            tenant = self._members.get(name)
            if tenant is not None:
                tenant.sent_ms = now_ms

    def noisy_messages(self) -> tuple[int, int]:
        """Messages of noisy tenants, visible (within the window) and in flight."""
        return sum(len(tenant.waiting) for tenant in self._noisy), sum(tenant.in_flight for tenant in self._noisy)

    # --- who is next

    def take(self, count: int, now_ms: int) -> list[tuple[int, int]]:
        """Up to ``count`` visible messages, as ranges. They are in flight from here on: the caller puts them
        in flight in the run map, or gives them up (``visible``, ``gone``)."""
        self._forgive(now_ms)
        taken: list[int] = []
        while len(taken) < count:
            before = len(taken)
            if not self._noisy:
                self._take_in_order(count, taken)
            else:
                self._take_quiet(count, taken)
            if len(taken) == before:  # nobody quiet has anything
                tenant = min((tenant for tenant in self._noisy if tenant.waiting.first), key=_in_flight, default=None)
                if tenant is None:
                    break
                self._take_one(tenant, taken)
        self.waiting -= len(taken)
        return as_ranges(taken)

    def _take_in_order(self, count: int, taken: list[int]) -> None:
        first = self._runs.first_visible()
        if first is None:
            return
        skipped = 0
        for run in self._runs.starting_at(first.lo):
            if run.state != State.VISIBLE:
                skipped += 1
                if skipped > _SKIPPED_RUNS_MAX:
                    return
                continue
            for sequence, tenant in self._each(run.lo, run.hi):
                if tenant.waiting.first == sequence:
                    self._take_one(tenant, taken)
                    if len(taken) == count or self._noisy:
                        return

    def _take_quiet(self, count: int, taken: list[int]) -> None:
        while len(taken) < count and (quiet := self._in_turn()):  # which may be made anew
            sequence, _, tenant = quiet[0]
            if tenant.noisy or tenant.waiting.first != sequence:
                heappop(quiet)
                continue
            self._take_one(tenant, taken)
            heappop(quiet)
            self._waits(tenant)

    def _take_one(self, tenant: Tenant, taken: list[int]) -> None:
        sequence = tenant.waiting.pop()
        taken.append(sequence)
        self._flies(tenant, sequence)
        # What this call has taken is not in the run map yet.
        in_flight = self._runs.counts[State.IN_FLIGHT] + len(taken)
        if (
            not tenant.noisy
            and tenant.name
            and tenant.in_flight >= NOISY_MESSAGES_MIN
            and tenant.in_flight * NOISY_SHARE > in_flight
            and tenant.waiting.first
        ):
            tenant.noisy = True
            self._noisy.add(tenant)

    def _in_turn(self) -> list[tuple[int, int, Tenant]]:
        if self._quiet is None:
            self._quiet = []
            for tenant in self._members.values():
                if tenant.waiting.first and not tenant.noisy:
                    self._pushes += 1
                    self._quiet.append((tenant.waiting.first, self._pushes, tenant))
            heapify(self._quiet)
        return self._quiet

    def _forgive(self, now_ms: int) -> None:
        for tenant in [
            tenant
            for tenant in self._noisy
            if not tenant.waiting.first or (tenant.sent_ms and now_ms - tenant.sent_ms > SILENT_MS)
        ]:
            tenant.noisy = False
            self._noisy.discard(tenant)
            self._waits(tenant)
        if not self._noisy:
            self._quiet = None

    # --- what becomes of messages

    def _waits(self, tenant: Tenant) -> None:
        if self._quiet is not None and tenant.waiting.first and not tenant.noisy:
            self._pushes += 1
            heappush(self._quiet, (tenant.waiting.first, self._pushes, tenant))
            if len(self._quiet) > 2 * len(self._members) + NOISY_MESSAGES_MIN:
                self._quiet = None  # most no longer counts: made anew when it is asked for

    def _flies(self, tenant: Tenant, sequence: int) -> None:
        tenant.flight.add(sequence)
        tenant.in_flight += 1

    def _lands(self, tenant: Tenant, sequence: int) -> bool:
        if not tenant.flight.first or not tenant.flight.remove(sequence):
            return False
        tenant.in_flight -= 1
        return True


def _in_flight(tenant: Tenant) -> int:
    return tenant.in_flight
