"""Unary calls: many at once, one at a time, and the way of one message to a consumer that waits for it."""

import asyncio
import time
from collections.abc import Callable

import grpc.aio
from heddle.v1.queues_pb2 import (
    ConsumeRequest,
    ConsumeResponse,
    SendMessageBatchRequest,
    SendMessageBatchResponse,
    SendMessageRequest,
    SequenceRange,
)

from broker.bench import wire
from broker.bench.loops import closed_loop
from broker.bench.measure import Measured, Meter, Plan, check_counts, with_latencies
from broker.bench.payload import body_of, send_batch_request

ENTRIES = 10  # the most that SendMessageBatch takes


def accepted_by_broker(response: bytes) -> int:
    return len(SendMessageBatchResponse.FromString(response).successful)


def accepted_by_echo(response: bytes) -> int:
    """The echo answers with the request: as many bytes to parse."""
    return len(SendMessageBatchRequest.FromString(response).entries)


async def measure_unary(
    channel: grpc.aio.Channel,
    queue_url: str,
    plan: Plan,
    meter: Meter,
    accepted: Callable[[bytes], int] = accepted_by_broker,
) -> tuple[Measured, int]:
    """SendMessageBatch of ten, `plan.in_flight` at once. Returns the window and the messages accepted in all."""
    request = send_batch_request(queue_url, body_of(plan.size_bytes), ENTRIES)
    stub = wire.raw_unary(channel, "SendMessageBatch")

    async def send() -> int:
        count = accepted(await stub(request))
        check_counts("SendMessageBatch: successful entries", expected=ENTRIES, actual=count)
        return count

    return await closed_loop(send, plan.in_flight, plan, meter)


async def measure_latency(channel: grpc.aio.Channel, queue_url: str, plan: Plan, meter: Meter) -> tuple[Measured, int]:
    """One caller, one SendMessage at a time."""
    request = SendMessageRequest(queue_url=queue_url, message_body=body_of(plan.size_bytes)).SerializeToString()
    stub = wire.raw_unary(channel, "SendMessage")

    async def send() -> int:
        await stub(request)
        return 1

    return await closed_loop(send, 1, plan, meter)


class ParkedConsumer:
    """A Consume stream with credit for one message, waiting at an empty queue."""

    def __init__(self, channel: grpc.aio.Channel, queue_url: str) -> None:
        self._call = wire.raw_stream(channel, "Consume")
        self._queue_url = queue_url
        self._request_id = 0

    async def park(self) -> None:
        await self._call.write(ConsumeRequest(queue_url=self._queue_url, credit=1).SerializeToString())

    async def wait_received(self) -> tuple[float, SequenceRange]:
        """Returns when (by time.perf_counter) the next message came, and its place."""
        while True:
            response = await self._call.read()
            arrived = time.perf_counter()
            if not isinstance(response, bytes):
                raise ConnectionError(f"Consume ended with {await self._call.code()}: {await self._call.details()}")
            deliveries = ConsumeResponse.FromString(response).deliveries
            if deliveries:
                check_counts("a delivery for a credit of one", expected=1, actual=len(deliveries[0].batch.messages))
                first = deliveries[0].base_sequence
                return arrived, SequenceRange(first=first, end=first + 1)

    async def acknowledge(self, received: SequenceRange) -> None:
        """Acknowledges, waits for the confirmation, and parks again."""
        self._request_id += 1
        request = ConsumeRequest(acks=[received], request_id=self._request_id, credit=1)
        await self._call.write(request.SerializeToString())
        while True:
            response = await self._call.read()
            if not isinstance(response, bytes):
                raise ConnectionError(f"Consume ended with {await self._call.code()}: {await self._call.details()}")
            if ConsumeResponse.FromString(response).confirmed_request_id >= self._request_id:
                return

    def leave(self) -> None:
        self._call.cancel()


async def measure_wakeup(
    sending: grpc.aio.Channel, receiving: grpc.aio.Channel, queue_url: str, plan: Plan, meter: Meter
) -> tuple[Measured, int]:
    """One parked consumer, one SendMessage at a time: from the call to the arrival, in latencies."""
    request = SendMessageRequest(queue_url=queue_url, message_body=body_of(plan.size_bytes)).SerializeToString()
    stub = wire.raw_unary(sending, "SendMessage")
    consumer = ParkedConsumer(receiving, queue_url)
    await consumer.park()
    arrivals: list[float] = []

    async def send_and_receive() -> int:
        sent = time.perf_counter()
        arrival = asyncio.ensure_future(consumer.wait_received())
        await stub(request)
        arrived, received = await arrival
        arrivals.append(arrived - sent)
        await consumer.acknowledge(received)
        return 1

    measured, total = await closed_loop(send_and_receive, 1, plan, meter)
    consumer.leave()
    return with_latencies(measured, arrivals[-measured.messages :]), total
