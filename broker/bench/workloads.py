"""The throughput and latency workloads on a broker: queue made, load run, counts verified, queue deleted."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc.aio

from broker.bench import by_hand, wire
from broker.bench.calls import measure_latency, measure_unary, measure_wakeup
from broker.bench.consume import measure_consume
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.processes import Server
from broker.bench.produce import fill, measure_produce

UNBOUNDED = 10**12  # messages: the window ends by its seconds
FILL_BYTES_MAX = 10**9
FILL_BATCH_BYTES_MAX = 10**6


@dataclass(frozen=True)
class Queue:
    """A queue of the broker under test, and two connections to it."""

    name: str
    url: str
    channel: grpc.aio.Channel
    other_channel: grpc.aio.Channel

    async def check_holds(self, messages: int) -> None:
        await wire.check_queue_holds(self.channel, self.url, messages)


@asynccontextmanager
async def new_queue(target: str) -> AsyncIterator[Queue]:
    async with wire.channels_to(target, 2) as (channel, other_channel):
        name = f"bench-{uuid.uuid4().hex}"
        url = await wire.create_queue(channel, name)
        yield Queue(name, url, channel, other_channel)
        await wire.delete_queue(channel, url)


def fill_messages(plan: Plan) -> int:
    """How many messages a consume workload begins with."""
    return min(plan.messages, FILL_BYTES_MAX // plan.size_bytes, 5_000_000)


async def fill_queue(queue: Queue, plan: Plan) -> int:
    """Fills with the plan's batches; returns the number of messages."""
    batch = min(plan.batch, FILL_BATCH_BYTES_MAX // plan.size_bytes)
    return await fill(queue.channel, queue.url, fill_messages(plan), plan.size_bytes, max(batch, 1))


async def _produce(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue, wire.channels_to(server.target, plan.streams) as channels:
        measured, sent = await measure_produce(channels, queue.url, plan, Meter(server.pid))
        await queue.check_holds(sent)
        return measured


async def _consume(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        filled = await fill_queue(queue, plan)
        measured, confirmed = await measure_consume(queue.channel, queue.url, plan, Meter(server.pid), filled)
        await queue.check_holds(filled - confirmed)
        return measured


async def _unary(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        measured, sent = await measure_unary(queue.channel, queue.url, plan, Meter(server.pid))
        await queue.check_holds(sent)
        return measured


async def _latency(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        measured, sent = await measure_latency(queue.channel, queue.url, plan, Meter(server.pid))
        await queue.check_holds(sent)
        return measured


async def _wakeup(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        meter = Meter(server.pid)
        measured, _ = await measure_wakeup(queue.channel, queue.other_channel, queue.url, plan, meter)
        await queue.check_holds(0)
        return measured


async def _producer(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        return await asyncio.to_thread(by_hand.measure_producer, server.target, queue.name, plan, Meter(server.pid))


async def _producer_async(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        return await by_hand.measure_producer_async(server.target, queue.name, plan, Meter(server.pid))


async def _consumer(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        filled = await fill_queue(queue, plan)
        measured = await asyncio.to_thread(
            by_hand.measure_consumer, server.target, queue.name, Meter(server.pid), filled
        )
        await queue.check_holds(0)
        return measured


async def _consumer_async(server: Server, plan: Plan) -> Measured:
    async with new_queue(server.target) as queue:
        filled = await fill_queue(queue, plan)
        measured = await by_hand.measure_consumer_async(server.target, queue.name, Meter(server.pid), filled)
        await queue.check_holds(0)
        return measured


@dataclass(frozen=True)
class Workload:
    """`compared_as`: the workload of ceilings and peers that it stands beside."""

    run: Callable[[Server, Plan], Awaitable[Measured]]
    plan: Plan
    compared_as: str


def _plan(messages: int, size_bytes: int, batch: int, in_flight: int, seconds: float = 5.0) -> Plan:
    return Plan(messages, size_bytes, batch, in_flight, seconds)


WORKLOADS: dict[str, Workload] = {
    "produce": Workload(_produce, _plan(UNBOUNDED, 100, 1000, 32), "produce"),
    "consume": Workload(_consume, _plan(UNBOUNDED, 100, 1000, 32), "consume"),
    "unary": Workload(_unary, _plan(UNBOUNDED, 1000, 10, 64), "unary"),
    "latency": Workload(_latency, _plan(UNBOUNDED, 100, 1, 1), "latency"),
    "wakeup": Workload(_wakeup, _plan(UNBOUNDED, 100, 1, 1), "latency"),
    "producer": Workload(_producer, _plan(UNBOUNDED, 100, 1000, 32), "produce"),
    "producer-asyncio": Workload(_producer_async, _plan(UNBOUNDED, 100, 1000, 32), "produce"),
    "consumer": Workload(_consumer, _plan(1_000_000, 100, 1000, 32), "consume"),
    "consumer-asyncio": Workload(_consumer_async, _plan(1_000_000, 100, 1000, 32), "consume"),
}
