"""What a peer's client has to offer to be measured, and the measuring that is the same for all of them."""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from broker.bench.loops import Progress, closed_loop
from broker.bench.measure import Measured, Meter, Plan, check_counts


class Driver(Protocol):
    """One connected client. Its queue is empty and durable as the row says."""

    # Windows of batches that make sense for this client: more would only wait in the client.
    in_flight_max: int
    # The most that a consume window is filled with: bounds the time of a server that is slow with many.
    fill_messages_max: int

    async def open(self, address: str, plan: Plan) -> None: ...

    async def send_batch(self) -> int:
        """Sends one batch of the plan; returns the number of messages when all of them are acknowledged."""
        ...

    async def send_one(self) -> int:
        """Sends one message and waits for its acknowledgement; returns 1."""
        ...

    async def consume(self, messages: int, acknowledged: Callable[[int], None]) -> None:
        """Receives and acknowledges `messages`, telling the number of each acknowledged group."""
        ...

    async def waiting(self) -> int:
        """Messages that the server still holds for consumers (in flight included)."""
        ...

    async def close(self) -> None: ...


async def _send(driver: Driver, plan: Plan, meter: Meter, call: Callable[[], Awaitable[int]], callers: int) -> Measured:
    measured, total = await closed_loop(call, callers, plan, meter)
    check_counts("messages in the peer's queue", expected=total, actual=await driver.waiting())
    return measured


async def measure_produce(driver: Driver, plan: Plan, meter: Meter) -> Measured:
    return await _send(driver, plan, meter, driver.send_batch, min(plan.in_flight, driver.in_flight_max))


async def measure_latency(driver: Driver, plan: Plan, meter: Meter) -> Measured:
    return await _send(driver, plan, meter, driver.send_one, 1)


async def measure_consume(driver: Driver, plan: Plan, meter: Meter) -> Measured:
    """Fills the queue for the plan's seconds or messages, then takes everything out; the window is the taking."""
    filled = 0
    deadline = time.perf_counter() + plan.seconds
    while filled < min(plan.messages, driver.fill_messages_max) and time.perf_counter() < deadline:
        filled += await driver.send_batch()
    progress = Progress()
    meter.start()
    await driver.consume(filled, progress.add)
    measured = meter.stop(progress.acknowledged)
    check_counts("messages consumed", expected=filled, actual=progress.acknowledged)
    check_counts("messages left in the peer's queue", expected=0, actual=await driver.waiting())
    return measured


WORKLOADS: dict[str, Callable[[Driver, Plan, Meter], Awaitable[Measured]]] = {
    "produce": measure_produce,
    "consume": measure_consume,
    "unary": measure_produce,
    "latency": measure_latency,
}
