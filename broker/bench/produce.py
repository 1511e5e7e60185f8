"""Produce: batches in through bidirectional streams, a window of them in flight on each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import grpc.aio
from heddle.v1.queues_pb2 import ProduceResponse

from broker.bench import wire
from broker.bench.loops import Progress
from broker.bench.measure import CountsDisagreeError, Measured, Meter, Plan, check_counts
from broker.bench.payload import Payload, payload_of, produce_requests

FILL_IN_FLIGHT = 32


class ProduceStream:
    """One stream: sends the same packed batch until told to stop (or `batches_max` of it), then waits for the rest.

    `wait_turn` is awaited before each batch.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        queue_url: str,
        payload: Payload,
        in_flight: int,
        progress: Progress,
        *,
        batches_max: int | None = None,
        wait_turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._call = wire.raw_stream(channel, "Produce")
        self._payload = payload
        self._requests = produce_requests(payload, queue_url, in_flight)
        self._window = asyncio.Semaphore(in_flight)
        self._progress = progress
        self._batches_max = batches_max
        self._wait_turn = wait_turn
        self._stopping = False
        self.sent = 0
        self.acknowledged = 0

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            group.create_task(self._read())
        check_counts("Produce: sent and acknowledged", expected=self.sent, actual=self.acknowledged)

    async def _write(self) -> None:
        batches = 0
        while not self._stopping and batches != self._batches_max:
            await self._window.acquire()
            if self._wait_turn is not None:
                await self._wait_turn()
            await self._call.write(self.request(batches))
            batches += 1
            self.sent += self._payload.batch
        await self._call.done_writing()

    def request(self, number: int) -> bytes:
        """The serialized request of batch ``number``."""
        return self._requests[number % len(self._requests)]

    async def _read(self) -> None:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            assert isinstance(response, bytes)
            for result in ProduceResponse.FromString(response).results:
                if result.error_code:
                    raise CountsDisagreeError(f"Produce refused: {result.error_code}: {result.error_message}")
                check_counts("a ProduceResult", expected=self._payload.batch, actual=result.count)
                self.acknowledged += result.count
                self._progress.add(result.count)
                self._window.release()
        if (code := await self._call.code()) is not grpc.StatusCode.OK:
            raise CountsDisagreeError(f"Produce ended with {code}: {await self._call.details()}")


async def measure_produce(
    channels: Sequence[grpc.aio.Channel], queue_url: str, plan: Plan, meter: Meter
) -> tuple[Measured, int]:
    """One stream on each channel. Returns the measured window and the number of messages acknowledged in all."""
    payload, progress = payload_of(plan.size_bytes, plan.batch), Progress()
    streams = [ProduceStream(channel, queue_url, payload, plan.in_flight, progress) for channel in channels]
    async with asyncio.TaskGroup() as group:
        for stream in streams:
            group.create_task(stream.run())
        measured = await progress.measure(plan, meter)
        for stream in streams:
            stream.stop()
    return measured, progress.acknowledged


async def fill(channel: grpc.aio.Channel, queue_url: str, messages: int, size_bytes: int, batch: int) -> int:
    """Sends `messages`, rounded up to whole batches; returns how many that were."""
    batches = -(-messages // batch)
    payload, progress = payload_of(size_bytes, batch), Progress()
    await ProduceStream(channel, queue_url, payload, FILL_IN_FLIGHT, progress, batches_max=batches).run()
    return progress.acknowledged
