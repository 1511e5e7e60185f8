"""Backlog: rates with millions of messages waiting beside the rates on an empty queue, memory, and a restart."""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import ReceiveMessageRequest, ReceiveMessageResponse

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.consume import measure_consume
from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.processes import Server, broker_on
from broker.bench.produce import fill, measure_produce
from broker.bench.rows import Row, row_of, throughput_ratio

QUEUE = "bench-backlog"
EMPTY_QUEUE = "bench-empty"
CONSUME_SHARE = 4  # a consume window takes at most this part of the backlog

PLAN = Plan(messages=10_000_000, size_bytes=100, batch=1000, in_flight=32, seconds=5.0)


async def _rates(channel: grpc.aio.Channel, queue_url: str, plan: Plan, pid: int | None) -> tuple[Measured, Measured]:
    """Produce and consume on a queue, whatever it holds; it holds as much afterwards, and that is verified."""
    before = await wire.messages_in(channel, queue_url)
    produced, sent = await measure_produce([channel], queue_url, plan, Meter(pid))
    check_counts("messages in the queue", expected=before + sent, actual=await wire.messages_in(channel, queue_url))
    most = max(sent, plan.messages // CONSUME_SHARE) if before else sent
    consumed, confirmed = await measure_consume(channel, queue_url, plan, Meter(pid), most)
    await wire.check_queue_holds(channel, queue_url, before + sent - confirmed)
    return produced, consumed


async def _measure(server: Server, plan: Plan) -> tuple[list[Measured], int]:
    """Windows: produce and consume on an empty queue, then with the backlog. Returns what the queue holds at last."""
    async with wire.channels_to(server.target) as (channel,):
        empty_url = await wire.create_queue(channel, EMPTY_QUEUE)
        empty = await _rates(channel, empty_url, plan, server.pid)
        await wire.delete_queue(channel, empty_url)
        queue_url = await wire.create_queue(channel, QUEUE)
        await fill(channel, queue_url, plan.messages, plan.size_bytes, plan.batch)
        full = await _rates(channel, queue_url, plan, server.pid)
        return [*empty, *full], await wire.messages_in(channel, queue_url)


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


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    if setting.target is not None:
        raise click.UsageError("backlog restarts its broker: it cannot run on a --target")
    words = setting.durability_in_words
    with TemporaryDirectory(prefix="heddle-bench-") as directory:
        data_dir = Path(directory)
        with broker_on(data_dir, setting.durability) as server:
            measured, waiting = uvloop.run(_measure(server, plan))
        labels = [f"backlog: {what}, {state}" for state in ("empty", f"{plan.messages:,} waiting") for what in _WINDOWS]
        rows = [row_of(label, words, each, plan.size_bytes) for label, each in zip(labels, measured, strict=True)]
        for with_backlog, empty in zip(rows[2:], rows[:2], strict=True):
            ratio = throughput_ratio(with_backlog, empty)
            if ratio is not None:
                with_backlog.ratios["empty_queue"] = ratio
        yield from rows
        yield row_of("backlog: restart", words, _restart(data_dir, setting.durability, waiting), plan.size_bytes)


_WINDOWS = ("produce", "consume")
