"""Steady state: produce and consume side by side for minutes, a window of backlog between them.

One row a minute, and the size of the data file beside the bytes that live in it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import click
import grpc.aio
import uvloop

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.consume import ConsumeStream
from broker.bench.loops import Progress
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.payload import payload_of
from broker.bench.processes import Server, broker_at
from broker.bench.produce import ProduceStream, fill
from broker.bench.rows import Row, row_of, throughput_ratio

BACKLOG_BYTES = 500_000_000
ROW_SECONDS = 60.0
PLAN = Plan(messages=BACKLOG_BYTES // 100, size_bytes=100, batch=1000, in_flight=32, seconds=900.0)


class _Flow(Progress):
    """Progress that also tells the balance."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        super().__init__()
        self._tell = tell

    def add(self, messages: int) -> None:
        super().add(messages)
        self._tell(messages)


class Balance:
    """Holds back whichever side is ahead, so that about `backlog` messages wait (give or take `slack`)."""

    def __init__(self, backlog: int, slack: int) -> None:
        self._low, self._high = backlog - slack, backlog + slack
        self._waiting = backlog
        self._may_produce, self._may_consume = asyncio.Event(), asyncio.Event()
        self.produced = _Flow(self._change)
        self.consumed = _Flow(lambda messages: self._change(-messages))
        self._ended = False
        self._change(0)

    def _change(self, messages: int) -> None:
        self._waiting += messages
        for event, may in (
            (self._may_produce, self._waiting <= self._high),
            (self._may_consume, self._waiting >= self._low),
        ):
            if may or self._ended:
                event.set()
            else:
                event.clear()

    def end(self) -> None:
        """Nobody is held back any more."""
        self._ended = True
        self._change(0)

    async def wait_may_produce(self) -> None:
        await self._may_produce.wait()

    async def wait_may_consume(self) -> None:
        await self._may_consume.wait()


async def _windows(balance: Balance, plan: Plan, pid: int | None) -> AsyncIterator[Measured]:
    """One window a minute. Its messages are those consumed; `produced` says how many came in."""
    ends = time.perf_counter() + plan.seconds
    while (left := ends - time.perf_counter()) > 0:
        meter = Meter(pid).start()
        produced, consumed = balance.produced.acknowledged, balance.consumed.acknowledged
        await asyncio.sleep(min(left, ROW_SECONDS))  # the window itself
        came_in = balance.produced.acknowledged - produced
        yield meter.stop(balance.consumed.acknowledged - consumed, produced=came_in)


def _sizes(server: Server, plan: Plan) -> dict[str, float]:
    """The data file as it is on disk, and the bodies that wait, in MB. The file must not exceed twice the live data."""
    assert server.data_dir is not None
    blocks = sum(path.stat().st_blocks for path in server.data_dir.rglob("*") if path.is_file())
    file_mb, live_mb = blocks * 512 / 1e6, plan.messages * payload_of(plan.size_bytes, 1).packed_message_bytes / 1e6
    sizes = {"file_mb": file_mb, "live_mb": live_mb, "file_to_live": file_mb / live_mb}
    return {name: round(value, 2) for name, value in sizes.items()}


async def measure_steady(server: Server, plan: Plan, queue_url: str, channel: grpc.aio.Channel) -> list[Measured]:
    filled = await fill(channel, queue_url, plan.messages, plan.size_bytes, plan.batch)
    payload = payload_of(plan.size_bytes, plan.batch)
    window = plan.batch * plan.in_flight
    balance = Balance(filled, slack=2 * window)
    producer = ProduceStream(
        channel, queue_url, payload, plan.in_flight, balance.produced, wait_turn=balance.wait_may_produce
    )
    consumer = ConsumeStream(channel, queue_url, payload, window, balance.consumed, wait_turn=balance.wait_may_consume)
    measured: list[Measured] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(producer.run())
        group.create_task(consumer.run())
        async for each in _windows(balance, plan, server.pid):
            each.extra.update(_sizes(server, plan))
            measured.append(each)
        producer.stop()
        consumer.stop()
        balance.end()
    left = filled + balance.produced.acknowledged - balance.consumed.acknowledged
    await wire.check_queue_holds(channel, queue_url, left)
    return measured


async def _measure(server: Server, plan: Plan) -> list[Measured]:
    async with wire.channels_to(server.target) as (channel,):
        queue_url = await wire.create_queue(channel, "bench-steady")
        return await measure_steady(server, plan, queue_url, channel)


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    if setting.target is not None:
        raise click.UsageError("steady looks at the data file: it cannot run on a --target")
    with broker_at(None, setting.durability) as server:
        measured = uvloop.run(_measure(server, plan))
    rows = [
        row_of(f"steady: minute {minute}", setting.durability_in_words, each, plan.size_bytes)
        for minute, each in enumerate(measured, start=1)
    ]
    if len(rows) > 1 and (ratio := throughput_ratio(rows[-1], rows[0])) is not None:
        rows[-1].ratios["first_minute"] = ratio
    yield from rows
