"""What a stream's client says of the messages that it holds: acknowledged, given back, kept for longer.

A request may name ten thousand ranges, and a range as many runs: it is settled in slices, and others have their turns
between them. Measured: 5,000 single acknowledgements of every second message, and one of 10,000 runs, took the main
thread 0.3 to 0.5 s at a stretch; in slices none takes more than 3 ms.

Never: what is delivered, or when.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final

from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.api.desk import Desk
from broker.api.grpc.held import Held
from broker.errors import InvalidParameterValue, QueueDoesNotExist, StorageUnavailable
from broker.queues import Queue
from broker.queues.fifo import FifoQueue
from broker.queues.groups import Group, Holder
from broker.store.keys import SEQUENCE_END

_SLICE_STEPS: Final = 64.0  # 1 to 3 ms on the main thread
_PARTS_AT_ONCE: Final = 64  # of what is held
_HELD_UNSEEN_MAX: Final = 1_000  # ranges held before any of them is looked at: mostly there are fewer
_STEPS_A_PART: Final = 0.25  # to look it up, and to let go of it
_STEPS_A_RANGE: Final = 0.1  # to find that nothing of it is held
_MESSAGES_AT_ONCE: Final = 2_000  # whose groups are looked up, 1 ms; of 120,000 it took 20 to 60


@dataclass(frozen=True, slots=True)
class _Return:
    """Messages that go back to the queue: those of [lo, hi) that are in flight by a delivery."""

    lo: int
    hi: int
    delivery_id: int
    handled: bool
    delay_ms: int


class Settlement:
    """Of one stream. ``holder``: of a FIFO queue; there an acknowledgement counts only while the delivery that it
    answers stands. ``check``: raises BrokerError when the stream has ended."""

    def __init__(self, desk: Desk, queue: Queue, holder: Holder | None, held: Held, check: Callable[[], None]) -> None:
        self._desk, self._queue, self._holder, self._held, self._check = desk, queue, holder, held, check
        self._returns: list[_Return] = []  # the next one last
        self._steps_left = _SLICE_STEPS
        self._weeded = 0  # what is held below was looked at
        self.paused = False
        """Whether a request is settled in part. Nothing may be delivered to the stream then: the rest of the request
        speaks of what it held before."""

    async def apply(self, request: pb.ConsumeRequest, now_ms: int) -> None:
        """Settles what a checked request names. Raises BrokerError: what was done until then stands, unless its commit
        failed."""
        self._steps_left = _SLICE_STEPS
        try:
            await self._acknowledge(request, now_ms)
            for nack in sorted(request.nacks, key=lambda nack: nack.range.first):  # the first takes later ones along
                await self._turn_back(nack, now_ms)
            for extension in request.extensions:
                await self._extend(extension, now_ms)
        finally:
            self.paused = False

    def weed(self) -> None:
        """Called for each range that is added: looks at two others, and lets go of those that timed out and are no
        longer the stream's. Whoever never settles anything holds twice what is in flight to it, and little more."""
        if len(self._held) <= _HELD_UNSEEN_MAX:
            return
        found = self._held.within(self._weeded, SEQUENCE_END, 2)
        for part in found:
            if not self._queue.has_in_flight(*part):
                self._held.drop(*part[:2])
        self._weeded = found[-1][1] if found else 0

    def return_unsent(self, parts: Iterable[tuple[int, int, int]]) -> None:
        """Held messages that the client will not see: they go back, and this receive of them does not count."""
        under_way, self._returns = self._returns, []
        self._take_back([_Return(*part, False, 0) for part in parts])
        self._returns.extend(under_way)

    async def close(self, *, keep: bool) -> None:
        """Gives back what the client has not settled; with ``keep``, only what it never saw and what it gave back."""
        now_ms = self._desk.now_ms()
        self._steps_left = _SLICE_STEPS
        await self._give_back(now_ms, _breathe)
        while not keep and (held := self._held.last_within(0, SEQUENCE_END, _PARTS_AT_ONCE)):
            self._take_back([_Return(*part, True, 0) for part in held])
            await self._give_back(now_ms, _breathe)

    async def _acknowledge(self, request: pb.ConsumeRequest, now_ms: int) -> None:
        acknowledge = partial(self._queue.acknowledge, now_ms=now_ms)
        sent_below = self._queue.state.log.next_sequence  # what is sent between the slices is not meant
        for first, end in ((first, min(end, sent_below)) for first, end in _joined(request.acks)):
            if self._holder is None:
                await self._stepwise(first, end, acknowledge, self._pause)
            while held := self._held.within(first, end, _PARTS_AT_ONCE):
                for lo, hi, delivery_id in held:
                    if self._holder is not None:
                        await self._stepwise(lo, hi, partial(acknowledge, delivery_id=delivery_id), self._pause)
                    self._held.drop(lo, hi)
                await self._spend(len(held) * _STEPS_A_PART, self._pause)
            await self._spend(_STEPS_A_PART, self._pause)

    async def _turn_back(self, nack: pb.Nack, now_ms: int) -> None:
        """What the client holds of a range, or of it by one delivery, goes back."""
        first, end = nack.range.first, nack.range.end
        if not nack.delivery_id:
            await self._turn_back_range(first, end, nack, now_ms)
        while nack.delivery_id and (held := self._held.last_within(first, end, _PARTS_AT_ONCE)):
            for lo, hi, delivery_id in reversed(held):
                if delivery_id == nack.delivery_id:
                    await self._turn_back_range(lo, hi, nack, now_ms)
            end = held[0][0]
            await self._spend(len(held) * _STEPS_A_PART, self._pause)
        await self._spend(_STEPS_A_PART, self._pause)

    async def _turn_back_range(self, first: int, end: int, nack: pb.Nack, now_ms: int) -> None:
        """All that the client holds of [first, end) goes back to the queue, and with it what it holds of the same
        groups from there on: that has not been handled. The last goes first."""
        delay_ms = nack.delay_seconds * 1000
        seen: set[Group] = set()
        while held := _last_messages(self._held.last_within(first, end, _PARTS_AT_ONCE)):
            if isinstance(self._queue, FifoQueue):
                parts = ((lo, hi) for lo, hi, _ in held)
                for lo, hi in self._queue.groups.later_of_groups(parts, seen):
                    while later := self._held.last_within(max(lo, end), hi, _PARTS_AT_ONCE):
                        await self._return([_Return(*part, False, delay_ms) for part in later], now_ms)
                    await self._spend(_STEPS_A_RANGE, self._pause)
            await self._return([_Return(*part, not nack.unhandled, delay_ms) for part in held], now_ms)

    async def _return(self, returns: list[_Return], now_ms: int) -> None:
        self._take_back(returns)
        await self._spend(len(returns) * _STEPS_A_PART, self._pause)
        await self._give_back(now_ms, self._pause)

    async def _extend(self, extension: pb.Extension, now_ms: int) -> None:
        timeout_ms, (first, end) = extension.visibility_timeout * 1000, (extension.range.first, extension.range.end)
        while held := self._held.within(first, end, _PARTS_AT_ONCE):
            for lo, hi, delivery_id in held:
                extend = partial(self._queue.extend, timeout_ms=timeout_ms, now_ms=now_ms, delivery_id=delivery_id)
                await self._stepwise(lo, hi, extend, self._pause)
            first = held[-1][1]
        await self._spend(_STEPS_A_PART, self._pause)

    def _take_back(self, returns: list[_Return]) -> None:
        for part in returns:
            self._held.drop(part.lo, part.hi)
        self._returns.extend(returns)

    async def _give_back(self, now_ms: int, pause: Callable[[], Awaitable[None]]) -> None:
        while self._returns and not self._queue.deleted:
            part = self._returns[-1]
            give_back = partial(
                self._queue.give_back,
                now_ms=now_ms,
                delivery_id=part.delivery_id,
                delay_ms=part.delay_ms,
                handled=part.handled,
            )
            await self._stepwise(part.lo, part.hi, give_back, pause)
            self._returns.pop()

    async def _stepwise(
        self, lo: int, hi: int, settle: Callable[[int, int], object], pause: Callable[[], Awaitable[None]]
    ) -> None:
        """Settles [lo, hi) from its start on, with a pause after each slice, in which the queue may be deleted."""
        while lo < hi and not self._queue.deleted:
            stop, steps = self._queue.reach(lo, hi, ceil(self._steps_left))
            settle(lo, stop)
            lo = stop
            await self._spend(steps, pause)

    async def _spend(self, steps: float, pause: Callable[[], Awaitable[None]]) -> None:
        self._steps_left -= steps
        if self._steps_left <= 0:
            await pause()
            self._steps_left = _SLICE_STEPS

    async def _pause(self) -> None:
        """The others' turn, between two slices of a request. Raises BrokerError when the stream has ended meanwhile,
        and when what was done before did not last: then what follows could not be confirmed."""
        commit = self._desk.store.durable()
        self.paused = True
        await _breathe()
        self._check()
        if self._queue.deleted:
            raise QueueDoesNotExist
        if commit is not None and commit.error is not None:
            raise StorageUnavailable(commit.error.message)


async def _breathe() -> None:
    """The others' turn."""
    await asyncio.sleep(0)


def check_request(request: pb.ConsumeRequest) -> None:
    """All or nothing: raises InvalidParameterValue before anything of the request is applied."""
    ranges = len(request.acks) + len(request.nacks) + len(request.extensions)
    if ranges > limits.CONSUME_RANGES_MAX:
        raise InvalidParameterValue(
            f"A request can have at most {limits.CONSUME_RANGES_MAX} ranges. You have sent {ranges}."
        )
    for nack in request.nacks:
        check_timeout("DelaySeconds", nack.delay_seconds)
    for extension in request.extensions:
        check_timeout("VisibilityTimeout", extension.visibility_timeout)
    _check_ranges("acks", _in_order(request.acks))
    _check_ranges("nacks", _in_order(nack.range for nack in request.nacks))
    _check_ranges("extensions", _in_order(extension.range for extension in request.extensions))


def check_timeout(parameter: str, seconds: int) -> None:
    """Raises InvalidParameterValue."""
    if not 0 <= seconds <= limits.VISIBILITY_TIMEOUT_SECONDS_MAX:
        raise InvalidParameterValue(
            f"Value {seconds} for parameter {parameter} is invalid. Reason: Must be between 0 and 43200."
        )


def _check_ranges(field: str, ranges: list[tuple[int, int]]) -> None:
    """None is empty and no two overlap: the work of a request is bounded by what there is."""
    before_end = 0
    for first, end in ranges:
        if not before_end <= first < end:
            raise InvalidParameterValue(
                f"Range [{first}, {end}) for parameter {field} is invalid. "
                "Reason: Ranges must not be empty, and must not overlap."
            )
        before_end = end


def _last_messages(parts: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """As many of the last of them as may be looked at together."""
    left = _MESSAGES_AT_ONCE
    for place in range(len(parts) - 1, -1, -1):
        lo, hi, delivery_id = parts[place]
        left -= hi - lo
        if left <= 0:
            return [(lo - left, hi, delivery_id), *parts[place + 1 :]]
    return parts


def _in_order(ranges: Iterable[pb.SequenceRange]) -> list[tuple[int, int]]:
    return sorted((part.first, part.end) for part in ranges)


def _joined(ranges: Iterable[pb.SequenceRange]) -> list[tuple[int, int]]:
    """In order, and those that touch as one: a client may acknowledge message by message."""
    joined: list[tuple[int, int]] = []
    for first, end in _in_order(ranges):
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((first, end))
    return joined
