"""`heddle bench aws-parked`: many parked long polls over HTTP: what they cost, and how fast one of them is woken.

Each poll waits 20 seconds, the most that SQS allows, and is renewed as it ends: 2,000 of them are 100 calls a second
that find nothing, which is part of the cost.
"""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop

from broker.bench.aws.http import Connection, connections_to
from broker.bench.aws.queue import SqsQueue, new_queue
from broker.bench.compare import Setting
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.processes import Server, ServerDidNotStartError, broker_at
from broker.bench.rows import Row, row_of

QUEUES = 200
WAIT_SECONDS = 20
SPARE_FILES = 200
SETUP_SECONDS_MAX = 60.0
SEED = 20  # of the order in which queues are sent to


class ParkedQueue:
    """A queue and the connections that poll it; each deletes what it is given and polls again."""

    def __init__(self, queue: SqsQueue, connections: Sequence[Connection]) -> None:
        self.queue = queue
        self._connections = connections
        self._arrivals: asyncio.Queue[float] = asyncio.Queue()
        self.ended = 0

    async def serve(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for connection in self._connections:
                group.create_task(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        while True:
            messages = await self.queue.receive_waiting(connection, WAIT_SECONDS)
            arrived = time.perf_counter()
            self.ended += 1
            if messages:
                await self.queue.delete(connection, messages)
                self._arrivals.put_nowait(arrived)

    async def wait_served(self) -> float:
        """When the next message came to one of the connections; it is deleted by now."""
        return await self._arrivals.get()


@asynccontextmanager
async def _parked(
    server: Server, plan: Plan, connection: Connection, number_of_queues: int
) -> AsyncIterator[list[ParkedQueue]]:
    """The queues with the plan's polls spread over them."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(connections_to(server.target, plan.in_flight))
        queues = []
        for number in range(number_of_queues):
            queue = await stack.enter_async_context(new_queue(server.target, connection, plan.size_bytes))
            queues.append(ParkedQueue(queue, opened[number::number_of_queues]))
        serving = [asyncio.create_task(queue.serve()) for queue in queues]
        try:
            yield queues
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            for poll in opened:
                poll.close()


async def _all_connected(queues: Sequence[ParkedQueue], connection: Connection) -> None:
    """A call of each queue, sent after the polls were: what is answered later than they arrived."""
    for queue in queues:
        await queue.queue.check_holds(connection, 0)


async def _quiet(queues: Sequence[ParkedQueue], plan: Plan, meter: Meter) -> Measured:
    ended = sum(queue.ended for queue in queues)
    meter.start()
    await asyncio.sleep(plan.seconds)  # the window itself: nothing but renewals is to happen in it
    measured = meter.stop(0, parked_receives=plan.in_flight, queues=len(queues))
    measured.extra["renewed"] = sum(queue.ended for queue in queues) - ended
    if measured.server_cpu_seconds is not None:
        measured.extra["server_cpu_percent_of_a_core"] = round(measured.server_cpu_seconds / measured.seconds * 100, 2)
    return measured


async def _wake(queues: Sequence[ParkedQueue], connection: Connection, plan: Plan, meter: Meter) -> Measured:
    """Sends to queues chosen by chance, one at a time, for a quarter of the window at most."""
    chance = random.Random(SEED)
    arrivals: list[float] = []
    meter.start()
    deadline = time.perf_counter() + plan.seconds / 4
    while len(arrivals) < plan.messages and time.perf_counter() < deadline:
        queue = chance.choice(queues)
        sent = time.perf_counter()
        await queue.queue.send(connection)
        arrivals.append(await queue.wait_served() - sent)
    meter.latencies_seconds.extend(arrivals)
    return meter.stop(len(arrivals))


async def measure_parked(server: Server, plan: Plan, number_of_queues: int = QUEUES) -> tuple[Measured, Measured]:
    """The quiet window, and the window of the wake-ups, in which every message sent was received and deleted."""
    meter = Meter(server.pid)
    async with (
        connections_to(server.target, 1) as (connection,),
        _parked(server, plan, connection, number_of_queues) as queues,
    ):
        async with asyncio.timeout(SETUP_SECONDS_MAX):
            await _all_connected(queues, connection)
        await asyncio.sleep(plan.warm_up_seconds)  # the polls have arrived; there is no answer that says so
        quiet = await _quiet(queues, plan, meter)
        woken = await _wake(queues, connection, plan, meter)
        for queue in queues:
            await queue.queue.check_holds(connection, 0)
    return quiet, woken


def _allow_files(count: int) -> None:
    """For this process and the broker that it starts. Raises ServerDidNotStartError where the system allows fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ServerDidNotStartError(f"{wanted} open files are needed, ulimit -Hn allows {hard}")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    _allow_files(plan.in_flight)
    with broker_at(setting.target, setting.durability, door="aws") as server:
        quiet, woken = uvloop.run(measure_parked(server, plan))
    yield row_of("aws-parked: quiet", setting.durability_in_words, quiet, plan.size_bytes)
    yield row_of("aws-parked: wake-up", setting.durability_in_words, woken, plan.size_bytes)
