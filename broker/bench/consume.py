"""Consume: deliveries out through a bidirectional stream, acknowledged by ranges; confirmed acknowledgements count."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import grpc.aio
from heddle.v1.queues_pb2 import ConsumeRequest, SequenceRange
from heddle.v1.views_pb2 import ConsumeResponseView

from broker.bench import wire
from broker.bench.echo import echo_queue
from broker.bench.loops import Progress
from broker.bench.measure import CountsDisagreeError, Measured, Meter, Plan, check_counts
from broker.bench.payload import Payload, payload_of

DELIVERIES_PER_LOOK = 64  # one delivery in so many is parsed and compared, the others are counted by their length


class ConsumeStream:
    """One stream: acknowledges what it gets until told to stop, then waits until all of that is confirmed.

    `confirms` False (the bare echo): a message counts when it arrives. `wait_turn` is awaited before each group of
    acknowledgements, and the credit that goes with it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        queue_url: str,
        payload: Payload,
        credit: int,
        progress: Progress,
        *,
        confirms: bool = True,
        wait_turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._call = wire.raw_stream(channel, "Consume")
        self._first = ConsumeRequest(queue_url=queue_url, credit=credit)
        self._payload = payload
        self._progress = progress
        self._confirms = confirms
        self._wait_turn = wait_turn
        self._to_acknowledge: list[SequenceRange] = []
        self._unconfirmed: deque[tuple[int, int]] = deque()  # (request id, messages)
        self._something_to_say = asyncio.Event()
        self._stopping = False
        self._deliveries = 0
        self.confirmed = 0

    def stop(self) -> None:
        self._stopping = True
        self._something_to_say.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            group.create_task(self._read())
        unconfirmed = sum(messages for _, messages in self._unconfirmed)
        check_counts("Consume: acknowledged but never confirmed", expected=0, actual=unconfirmed)

    async def _write(self) -> None:
        await self._call.write(self._first.SerializeToString())
        request_id = 0
        stop = False
        while not stop:
            await self._something_to_say.wait()
            if self._wait_turn is not None:
                await self._wait_turn()
            self._something_to_say.clear()
            ranges, self._to_acknowledge, stop = self._to_acknowledge, [], self._stopping
            messages = sum(acked.end - acked.first for acked in ranges)
            request_id += 1
            if self._confirms and messages:
                self._unconfirmed.append((request_id, messages))
            request = ConsumeRequest(acks=ranges, request_id=request_id, stop=stop, credit=0 if stop else messages)
            await self._call.write(request.SerializeToString())
        await self._call.done_writing()

    async def _read(self) -> None:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            assert isinstance(response, bytes)
            view = ConsumeResponseView.FromString(response)
            for delivery in view.deliveries:
                self._take(delivery.base_sequence, delivery.batch)
            if view.confirmed_request_id:
                self._confirm(view.confirmed_request_id)
        if (code := await self._call.code()) is not grpc.StatusCode.OK:
            raise CountsDisagreeError(f"Consume ended with {code}: {await self._call.details()}")

    def _take(self, base_sequence: int, packed: bytes) -> None:
        if self._deliveries % DELIVERIES_PER_LOOK == 0:
            self._payload.check(packed)
        self._deliveries += 1
        count = self._payload.count_of(packed)
        if not self._confirms:
            self.confirmed += count
            self._progress.add(count)
        if self._stopping:
            return  # the broker takes back what was on its way when it heard of the stop
        self._to_acknowledge.append(SequenceRange(first=base_sequence, end=base_sequence + count))
        self._something_to_say.set()

    def _confirm(self, request_id: int) -> None:
        while self._unconfirmed and self._unconfirmed[0][0] <= request_id:
            _, messages = self._unconfirmed.popleft()
            self.confirmed += messages
            self._progress.add(messages)


async def measure_consume(
    channel: grpc.aio.Channel,
    queue_url: str,
    plan: Plan,
    meter: Meter,
    filled: int,
    *,
    payload: Payload | None = None,
) -> tuple[Measured, int]:
    """Takes the `filled` messages out of the queue; a tenth of them (or the warm-up time) goes before the window.

    Returns the measured window and the number of confirmed messages; ends early when the plan's seconds are over.
    """
    progress = Progress()
    payload = payload or payload_of(plan.size_bytes, plan.batch)
    stream = ConsumeStream(channel, queue_url, payload, plan.batch * plan.in_flight, progress)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run())
        await progress.wait_for(filled // 10, plan.warm_up_seconds)
        before = progress.acknowledged
        meter.start()
        await progress.wait_for(filled - before, plan.seconds)
        measured = meter.stop(progress.acknowledged - before)
        stream.stop()
    return measured, progress.acknowledged


async def measure_push(channel: grpc.aio.Channel, plan: Plan, meter: Meter) -> Measured:
    """The same stream against the bare echo, which has no end: the window is the plan's."""
    progress = Progress()
    payload = payload_of(plan.size_bytes, plan.batch)
    queue = echo_queue(plan.size_bytes, plan.batch)
    stream = ConsumeStream(channel, queue, payload, plan.batch * plan.in_flight, progress, confirms=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(stream.run())
        measured = await progress.measure(plan, meter)
        stream.stop()
    return measured
