"""Closed loops: a fixed number of callers, each waiting for its answer before it asks again.

Only the standard library, as in `proc`: peers' load generators use it too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from broker.bench.measure import Measured, Meter, Plan


class Progress:
    """Counts acknowledged messages, and tells when a number of them is reached."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self._goal: int | None = None
        self._reached = asyncio.Event()

    def add(self, messages: int) -> None:
        self.acknowledged += messages
        if self._goal is not None and self.acknowledged >= self._goal:
            self._reached.set()

    async def wait_for(self, messages: int, seconds: float) -> None:
        """Returns when `messages` more are acknowledged, or after `seconds`."""
        self._goal = self.acknowledged + messages
        self._reached.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._reached.wait()
        except TimeoutError:
            pass
        finally:
            self._goal = None

    async def measure(self, plan: Plan, meter: Meter) -> Measured:
        """Warms up, then measures one window of the plan. The load runs beside, in tasks of the caller."""
        await self.wait_for(plan.messages, plan.warm_up_seconds)
        before = self.acknowledged
        meter.start()
        await self.wait_for(plan.messages, plan.seconds)
        return meter.stop(self.acknowledged - before)


async def closed_loop(
    call: Callable[[], Awaitable[int]], callers: int, plan: Plan, meter: Meter
) -> tuple[Measured, int]:
    """Runs `callers` loops of `call`, which answers how many messages it had acknowledged.

    Returns the measured window (its latencies are those of the calls) and the number acknowledged in all.
    """
    progress = Progress()
    stopping = False

    async def caller() -> None:
        while not stopping:
            asked = time.perf_counter()
            messages = await call()
            meter.latencies_seconds.append(time.perf_counter() - asked)
            progress.add(messages)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
        measured = await progress.measure(plan, meter)
        stopping = True
    return measured, progress.acknowledged
