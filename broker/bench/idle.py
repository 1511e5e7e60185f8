"""Idle: many consumers parked at many queues: what they cost while nothing happens, and how fast one is woken."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence

import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import SendMessageRequest

from broker.bench import wire
from broker.bench.calls import ParkedConsumer
from broker.bench.compare import Setting
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.payload import body_of
from broker.bench.processes import Server, broker_at
from broker.bench.rows import Row, row_of

QUEUES = 1000
CONSUMERS_PER_QUEUE = 5
CONNECTIONS = 10
SENDS_MAX = 2000
QUIET_SECONDS_MAX = 60.0
SETUP_IN_FLIGHT = 64
SEED = 20  # of the order in which queues are sent to

PLAN = Plan(messages=SENDS_MAX, size_bytes=100, batch=1, in_flight=1, seconds=20.0)


class ParkedQueue:
    """A queue and its consumers; each acknowledges what it is given and parks again."""

    def __init__(self, url: str, channels: Sequence[grpc.aio.Channel]) -> None:
        self.url = url
        self._consumers = [ParkedConsumer(channel, url) for channel in channels]
        self._arrivals: asyncio.Queue[float] = asyncio.Queue()

    async def park(self) -> None:
        for consumer in self._consumers:
            await consumer.park()

    async def serve(self) -> None:
        """Receives with every consumer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for consumer in self._consumers:
                group.create_task(self._serve(consumer))

    async def _serve(self, consumer: ParkedConsumer) -> None:
        while True:
            arrived, received = await consumer.wait_received()
            await consumer.acknowledge(received)
            self._arrivals.put_nowait(arrived)

    async def wait_served(self) -> float:
        """When the next message came to one of the consumers; it is acknowledged by now."""
        return await self._arrivals.get()


async def _wake(channel: grpc.aio.Channel, queues: Sequence[ParkedQueue], plan: Plan, meter: Meter) -> Measured:
    """Sends to queues chosen by chance, one at a time."""
    stub = wire.raw_unary(channel, "SendMessage")
    chance = random.Random(SEED)
    arrivals: list[float] = []
    meter.start()
    deadline = time.perf_counter() + plan.seconds
    while len(arrivals) < plan.messages and time.perf_counter() < deadline:
        queue = chance.choice(queues)
        request = SendMessageRequest(queue_url=queue.url, message_body=body_of(plan.size_bytes))
        sent = time.perf_counter()
        await stub(request.SerializeToString())
        arrivals.append(await queue.wait_served() - sent)
    meter.latencies_seconds.extend(arrivals)
    return meter.stop(len(arrivals))


async def _quiet(plan: Plan, meter: Meter, consumers: int, number_of_queues: int) -> Measured:
    meter.start()
    await asyncio.sleep(min(plan.seconds, QUIET_SECONDS_MAX))  # the window itself: nothing is to happen in it
    measured = meter.stop(0, parked_consumers=consumers, queues=number_of_queues)
    if measured.server_cpu_seconds is not None:
        measured.extra["server_cpu_percent_of_a_core"] = round(measured.server_cpu_seconds / measured.seconds * 100, 2)
    return measured


async def measure_idle(server: Server, plan: Plan, number_of_queues: int = QUEUES) -> tuple[Measured, Measured]:
    """Returns the quiet window and the window of the wake-ups, in which every message sent was received."""
    meter = Meter(server.pid)
    async with wire.channels_to(server.target, CONNECTIONS + 1) as (channel, *parking):
        setup = asyncio.Semaphore(SETUP_IN_FLIGHT)

        async def make(number: int) -> ParkedQueue:
            async with setup:
                url = await wire.create_queue(channel, f"bench-idle-{number}")
                channels = [parking[(number + i) % len(parking)] for i in range(CONSUMERS_PER_QUEUE)]
                queue = ParkedQueue(url, channels)
                await queue.park()
                return queue

        queues = await asyncio.gather(*(make(number) for number in range(number_of_queues)))
        serving = [asyncio.create_task(queue.serve()) for queue in queues]
        await asyncio.sleep(plan.warm_up_seconds)  # the streams have arrived; there is no answer that says so
        quiet = await _quiet(plan, meter, number_of_queues * CONSUMERS_PER_QUEUE, number_of_queues)
        woken = await _wake(channel, queues, plan, meter)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for queue in queues:
            await wire.check_queue_holds(channel, queue.url, 0)
            await wire.delete_queue(channel, queue.url)
    return quiet, woken


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    with broker_at(setting.target, setting.durability) as server:
        quiet, woken = uvloop.run(measure_idle(server, plan))
    yield row_of("idle: parked", setting.durability_in_words, quiet, plan.size_bytes)
    yield row_of("idle: wake-up", setting.durability_in_words, woken, plan.size_bytes)
