"""Runs the simulation from seeds: ``python -m tests.simulation.run --seeds 2000 --start 0``.

Exits with 1 at the first violation, after printing the seed that replays it and the end of its history.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from unittest import mock

from broker import limits

from .clients import CLIENTS
from .entries import Violation
from .loop import VirtualLoop
from .world import World

_SECONDS_OF_A_RUN = 1.5
_SECONDS_TO_END = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    steps: int
    crashes: int
    sent: int
    received: int
    deleted: int
    repeated: int
    dead_letters: int
    redriven: int
    trace: list[tuple[int, str]]


class SimulationFailed(Violation):
    """``seed`` replays it."""

    def __init__(self, seed: int, cause: BaseException, trace: list[tuple[int, str]]) -> None:
        history = "\n".join(f"  {at_ms:>9} ms  {what}" for at_ms, what in trace[-40:])
        super().__init__(
            f"seed {seed}: {cause!r}\n{history}\nreplay: python -m tests.simulation.run --seeds 1 --start {seed}"
        )
        self.seed = seed


def simulate(seed: int) -> Outcome:
    """One history. Raises SimulationFailed."""
    loop = VirtualLoop()

    async def main() -> Outcome:
        world = World(seed, loop)
        with mock.patch.object(limits, "IN_FLIGHT_MESSAGES_MAX", world.faults.in_flight_max):
            try:
                await _live(world)
            except Exception as error:
                world.fail(error)
        if world.failure is not None:
            raise SimulationFailed(seed, world.failure, world.trace) from world.failure
        ledger = world.ledger
        return Outcome(
            seed,
            loop.steps,
            world.crashes,
            sent=ledger.acknowledged,
            received=ledger.received,
            deleted=ledger.deleted,
            repeated=ledger.repeated,
            dead_letters=ledger.dead_letters,
            redriven=ledger.redriven,
            trace=world.trace,
        )

    return loop.run_to_the_end(main())


async def _live(world: World) -> None:
    clients = [world.spawn(client(world, number)) for number, client in enumerate(CLIENTS)]
    try:
        async with asyncio.timeout(_SECONDS_OF_A_RUN):
            await world.failed.wait()
    except TimeoutError:
        pass
    await _unless_failed(world, world.settle())
    await _unless_failed(world, _ended(clients))
    await _unless_failed(world, world.drain())


async def _ended(clients: "list[asyncio.Task[None]]") -> None:
    _, still = await asyncio.wait(clients, timeout=_SECONDS_TO_END)
    if still:
        raise Violation(f"{len(still)} clients wait for an answer that does not come")


async def _unless_failed(world: World, step: Coroutine[Any, Any, None]) -> None:
    """Does the next step of the end, unless the run has failed or fails meanwhile."""
    task = asyncio.ensure_future(step)
    failed = asyncio.ensure_future(world.failed.wait())
    both: set[asyncio.Future[Any]] = {task, failed}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    failed.cancel()
    if world.failure is not None:
        task.cancel()
        raise world.failure
    await task


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.run", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--start", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    sent = crashes = 0
    for seed in range(options.start, options.start + options.seeds):
        try:
            outcome = simulate(seed)
        except SimulationFailed as failure:
            print(failure, file=sys.stderr)
            return 1
        sent += outcome.sent
        crashes += outcome.crashes
    elapsed_s = time.monotonic() - started
    print(
        f"{options.seeds} seeds from {options.start}: no violation; {sent} messages, {crashes} crashes, "
        f"{elapsed_s:.1f} s, {options.seeds / elapsed_s:.1f} seeds/s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
