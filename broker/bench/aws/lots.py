"""Coroutines run in lots, each driven by hand and timed without what a task costs; and steps that wait for nothing.

Times are CPU times of this thread, of the best of many lots: a busy machine shows as little as it can.
Never: anything of AWS.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

LOT: Final = 64
"""Calls at once, as with 64 connections: commits are shared by a lot."""

Output = TypeVar("Output")
Input = TypeVar("Input")


async def run_lot(
    step: Callable[[Input], Coroutine[Any, Any, Output]], inputs: Sequence[Input]
) -> tuple[float, float, list[Output]]:
    """Seconds of the calls themselves, seconds between them (commits, in memory), and the answers in order.

    Nothing in a call may wait for anything but futures that this loop resolves.
    """
    coroutines = [step(each) for each in inputs]
    outputs: dict[int, Output] = {}
    pending: list[tuple[int, asyncio.Future[Any] | None]] = [(number, None) for number in range(len(coroutines))]
    own = between = 0.0
    while pending:
        waiting: list[tuple[int, asyncio.Future[Any] | None]] = []
        started = time.thread_time()
        for number, future in pending:
            if future is not None and not future.done():
                waiting.append((number, future))
                continue
            try:
                waiting.append((number, coroutines[number].send(None)))
            except StopIteration as end:
                outputs[number] = end.value
        own += time.thread_time() - started
        pending = waiting
        if pending:
            started = time.thread_time()
            await asyncio.sleep(0)
            between += time.thread_time() - started
    return own, between, [outputs[number] for number in range(len(coroutines))]


def best_us(step: Callable[[], object], rounds: int) -> float:
    """Microseconds of a step that waits for nothing."""
    best = float("inf")
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(LOT):
            step()
        best = min(best, time.thread_time() - started)
    return best / LOT * 1e6
