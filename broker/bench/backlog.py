"""Backlog: rates with millions of messages waiting beside the rates on an empty queue, memory, and a restart.

What is compared: two private brokers whose past is the same but for what waits. Both were sent the backlog and a
margin, as much as a round sends; from one queue everything was taken, from the other the margin. So both data files
have one size, all of it was written before, and both have free pages to write to. Otherwise the figures would tell of
the pages: a file that grows takes memory and blocks that nobody has touched, and what was just freed is fast.

Then they take turns, window by window, since a machine is faster in one second than in the next, and each is first in
as many rounds as the other; the one that is not measured idles. Consumers take the oldest messages, and their window
closes before the queue without a backlog runs dry.

A row is all windows of its kind together, so that its CPU is that of its messages. Its ratio is the median of the
rounds': windows next to each other are compared, and one that something else disturbed does not count. The lowest and
the highest round stand beside it and tell how much of it is noise.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import ReceiveMessageRequest, ReceiveMessageResponse

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.consume import ConsumeStream
from broker.bench.loops import Progress
from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.payload import payload_of
from broker.bench.processes import Server, broker_on
from broker.bench.produce import fill, measure_produce
from broker.bench.rounds import compare, together
from broker.bench.rows import Row, row_of

QUEUE = "bench-backlog"
ROUNDS = 8
WINDOW_SHARE = 6  # a window ends at this part of the backlog, or at the plan's seconds
WINDOW_CREDITS_MIN = 4  # and is not shorter than so many times what is in flight
DRAIN_SECONDS_MAX = 300.0

PLAN = Plan(messages=10_000_000, size_bytes=100, batch=1000, in_flight=32, seconds=5.0, warm_up_seconds=0.3)


@dataclass(frozen=True)
class Windows:
    """Of one queue, one of each kind a round."""

    produce: list[Measured] = field(default_factory=list)
    consume: list[Measured] = field(default_factory=list)


@dataclass(frozen=True)
class Rounds:
    """`waiting`: what the queue with the backlog holds at last."""

    empty: Windows
    backlog: Windows
    waiting: int


class Side:
    """A broker, its one queue, and its windows. `plan.messages`: the most that a window counts."""

    def __init__(self, server: Server, channel: grpc.aio.Channel, queue_url: str, plan: Plan) -> None:
        self._server = server
        self._channel = channel
        self._queue_url = queue_url
        self._plan = plan
        self._sent = 0
        self.windows = Windows()

    async def produce(self) -> None:
        before = await self.waiting()
        plan, meter = self._plan, Meter(self._server.pid)
        measured, self._sent = await measure_produce([self._channel], self._queue_url, plan, meter)
        await wire.check_queue_holds(self._channel, self._queue_url, before + self._sent)
        self.windows.produce.append(measured)

    async def consume(self) -> None:
        """As much as was produced: the queue holds what it held before."""
        self.windows.consume.append(await self.take(self._sent))

    async def take(self, messages: int) -> Measured:
        """Consumes the oldest `messages`. What the stream took beyond them until it stopped is sent again."""
        before = await self.waiting()
        measured, confirmed = await self._consume(messages)
        await wire.check_queue_holds(self._channel, self._queue_url, before - confirmed)
        sent = await self.fill(confirmed - messages)
        await wire.check_queue_holds(self._channel, self._queue_url, before - confirmed + sent)
        return measured

    async def fill(self, messages: int) -> int:
        plan = self._plan
        return await fill(self._channel, self._queue_url, messages, plan.size_bytes, plan.batch)

    async def waiting(self) -> int:
        return await wire.messages_in(self._channel, self._queue_url)

    async def _consume(self, messages: int) -> tuple[Measured, int]:
        """The window, and how many messages were confirmed in all: `messages`, or a few more where there are more."""
        plan, progress, credit = self._plan, Progress(), _credit(self._plan)
        payload = payload_of(plan.size_bytes, plan.batch)
        stream = ConsumeStream(self._channel, self._queue_url, payload, credit, progress)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.run())
            measured = await self._window(progress, messages - credit)
            if (left := messages - progress.acknowledged) > 0:
                await progress.wait_for(left, DRAIN_SECONDS_MAX)
            stream.stop()
        check_counts("taken in time", expected=messages, actual=min(messages, progress.acknowledged))
        return measured, progress.acknowledged

    async def _window(self, progress: Progress, end: int) -> Measured:
        """A tenth (or the warm-up time) goes before; then until `end` messages are confirmed, or as the plan says."""
        await progress.wait_for(end // 10, self._plan.warm_up_seconds)
        before, meter = progress.acknowledged, Meter(self._server.pid).start()
        await progress.wait_for(min(self._plan.messages, end - before), self._plan.seconds)
        return meter.stop(progress.acknowledged - before)


def _credit(plan: Plan) -> int:
    return plan.batch * plan.in_flight


def _window_plan(plan: Plan) -> Plan:
    return replace(plan, messages=max(plan.messages // WINDOW_SHARE, WINDOW_CREDITS_MIN * _credit(plan)))


@asynccontextmanager
async def side_of(server: Server, plan: Plan, waiting: int) -> AsyncIterator[Side]:
    """A broker that was sent the backlog and the margin, and whose queue holds `waiting` of it.

    The margin is the most that is sent in a round: the warm-up and the window, each with what is in flight at its end.
    """
    window = _window_plan(plan)
    margin = 2 * (window.messages + _credit(window))
    async with wire.channels_to(server.target) as (channel,):
        side = Side(server, channel, await wire.create_queue(channel, QUEUE), window)
        filled = await side.fill(plan.messages + margin)
        await side.take(filled - waiting)
        yield side


async def measure_rounds(empty: Server, backlog: Server, plan: Plan) -> Rounds:
    async with side_of(empty, plan, 0) as first, side_of(backlog, plan, plan.messages) as second:
        for number in range(ROUNDS):
            sides = (first, second) if number % 2 == 0 else (second, first)
            for side in sides:
                await side.produce()
            for side in sides:
                await side.consume()
        return Rounds(first.windows, second.windows, await second.waiting())


async def _receive_one(target: str) -> None:
    async with wire.channels_to(target) as (channel,):
        request = ReceiveMessageRequest(queue_url=QUEUE)
        response = await wire.call(channel, "ReceiveMessage", request, ReceiveMessageResponse)
        check_counts("the first message after a restart", expected=1, actual=len(response.messages))


async def _count(target: str) -> int:
    async with wire.channels_to(target) as (channel,):
        return await wire.messages_in(channel, QUEUE)


def _restart(data_dir: Path, durability: str, waiting: int) -> Measured:
    """From the start of the process to the first message out; then the count is verified."""
    started = time.perf_counter()
    with broker_on(data_dir, durability) as server:
        ready_seconds = time.perf_counter() - started
        meter = Meter(server.pid).start()
        uvloop.run(_receive_one(server.target))
        served_seconds = time.perf_counter() - started
        measured = meter.stop(1, seconds_to_ready=round(ready_seconds, 3))
        check_counts("messages after a restart", expected=waiting, actual=uvloop.run(_count(server.target)))
    measured.extra["seconds_to_first_message"] = round(served_seconds, 3)
    return measured


def _rows(rounds: Rounds, plan: Plan, durability: str) -> Iterator[Row]:
    sides = {"empty": rounds.empty, f"{plan.messages:,} waiting": rounds.backlog}
    for state, side in sides.items():
        for what, windows, others in (
            ("produce", side.produce, rounds.empty.produce),
            ("consume", side.consume, rounds.empty.consume),
        ):
            row = row_of(f"backlog: {what}, {state}", durability, together(windows), plan.size_bytes)
            if side is rounds.backlog:
                compare(row, "empty_queue", windows, others)
            yield row


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    if setting.target is not None:
        raise click.UsageError("backlog restarts its broker: it cannot run on a --target")
    words = setting.durability_in_words
    with (
        TemporaryDirectory(prefix="heddle-bench-") as empty_dir,
        TemporaryDirectory(prefix="heddle-bench-") as directory,
    ):
        data_dir = Path(directory)
        with (
            broker_on(Path(empty_dir), setting.durability) as empty,
            broker_on(data_dir, setting.durability) as backlog,
        ):
            rounds = uvloop.run(measure_rounds(empty, backlog, plan))
        yield from _rows(rounds, plan, words)
        yield row_of("backlog: restart", words, _restart(data_dir, setting.durability, rounds.waiting), plan.size_bytes)
