"""The loads at an SQS endpoint: each connection one caller that waits for its answer before it asks again.

Every row ends with a look at what the server holds: what was acknowledged is there, what was deleted is gone. A broker
that disagrees fails the command; a peer that does is told of in its row.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from broker.bench.aws.http import Connection, connections_to
from broker.bench.aws.queue import ENTRIES, SqsQueue, new_queue
from broker.bench.loops import closed_loop
from broker.bench.measure import Measured, Meter, Plan, check_counts, percentile
from broker.bench.processes import Server

CONSUME = "ReceiveMessage(10)+DeleteMessageBatch"
WARM_UP_CONNECTIONS = (1, 16)

Send = Callable[[SqsQueue, Connection], Awaitable[int]]

SENDS: Final[dict[str, tuple[Send, int]]] = {
    "SendMessage": (SqsQueue.send, 1),
    "SendMessageBatch": (SqsQueue.send_ten, ENTRIES),
}
"""Each with its messages a call."""

OPERATIONS = (*SENDS, CONSUME)


async def _sent(
    queue: SqsQueue, send: Send, connections: list[Connection], plan: Plan, meter: Meter
) -> tuple[Measured, int]:
    idle = list(connections)

    async def call() -> int:
        connection = idle.pop()
        try:
            return await send(queue, connection)
        finally:
            idle.append(connection)

    return await closed_loop(call, len(connections), plan, meter)


async def _emptied(
    queue: SqsQueue, connections: list[Connection], filled: int, seconds: float, meter: Meter, *, exact: bool
) -> Measured:
    """Takes out what there is, for so many seconds. p50 and p99: of both calls together; each alone stands in
    ``extra``."""
    taken = deleted = empty = 0
    deadline = time.perf_counter() + seconds
    receives: list[float] = []
    deletes: list[float] = []

    async def caller(connection: Connection) -> None:
        nonlocal taken, deleted, empty
        while taken < filled and time.perf_counter() < deadline:
            asked = time.perf_counter()
            messages = await queue.receive(connection)
            received = time.perf_counter()
            receives.append(received - asked)
            if not messages:
                empty += 1
                continue
            taken += len(messages)
            gone = await queue.delete(connection, messages)
            deletes.append(time.perf_counter() - received)
            if exact:
                check_counts("DeleteMessageBatch: successful entries", expected=len(messages), actual=gone)
            deleted += gone

    meter.start()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(caller(connection))
    meter.latencies_seconds += receives + deletes
    measured = meter.stop(deleted)
    told = {"empty_receives": empty, "deletes_refused": taken - deleted}
    measured.extra.update({key: count for key, count in told.items() if count})
    for name, latencies in (("receive", receives), ("delete", deletes)):
        if latencies:
            measured.extra[f"{name}_p50_ms"] = round(percentile(sorted(latencies), 50) * 1e3, 3)
    return _per_call(measured, len(receives) + len(deletes))


def _per_call(measured: Measured, calls: float) -> Measured:
    extra = {"calls_per_second": round(calls / measured.seconds, 1)}
    if measured.server_cpu_seconds is not None and calls:
        extra["server_cpu_us_per_call"] = round(measured.server_cpu_seconds / calls * 1e6, 1)
    return replace(measured, extra={**extra, **measured.extra})


async def measure(server: Server, operation: str, connections: int, plan: Plan, *, exact: bool = True) -> Measured:
    """One row: an operation with so many connections, on a queue of its own.

    ``exact``: raises CountsDisagreeError unless every delete succeeds and the server holds in the end what it should;
    otherwise the row tells (of many connections at once moto was seen to give two the same message, and to miscount).

    To be emptied, the queue is filled by batches before the window, for as many seconds: that is one call for ten
    messages where emptying takes two.
    """
    meter = Meter(server.pid)
    async with (
        connections_to(server.target, connections) as opened,
        new_queue(server.target, opened[0], plan.size_bytes) as queue,
    ):
        if operation in SENDS:
            send, messages_per_call = SENDS[operation]
            measured, held = await _sent(queue, send, opened, plan, meter)
            measured = _per_call(measured, measured.messages / messages_per_call)
        else:
            fill = replace(plan, warm_up_seconds=0)
            _, filled = await _sent(queue, SqsQueue.send_ten, opened, fill, Meter(None))
            measured = await _emptied(queue, opened, filled, plan.seconds, meter, exact=exact)
            held = filled - measured.messages
        if exact:
            await queue.check_holds(opened[0], held)
        elif (counted := await queue.held(opened[0])) != held:
            measured.extra["miscounted_by_server"] = counted - held
        if (again := sum(connection.connects > 1 for connection in opened)) > 0:
            measured.extra["connections_closed_by_server"] = again
    return measured


async def warm_up(server: Server, plan: Plan, *, exact: bool) -> None:
    """Every server alike, once before its rows: Java compiles, LocalStack loads what it needs. With one connection
    first: ElasticMQ was seen to answer 500 where the first calls of all came from sixteen."""
    for connections in WARM_UP_CONNECTIONS:
        await measure(server, "SendMessage", connections, plan, exact=exact)
        await measure(server, CONSUME, connections, plan, exact=exact)
