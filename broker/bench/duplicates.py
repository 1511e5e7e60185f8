"""Deduplication: the send rate of a FIFO queue with an empty history, and with ten million ids in its five minutes."""

import asyncio
import uuid
from collections.abc import Iterator

import uvloop

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.loops import Progress
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.ordered import OrderedMessages, OrderedProduceStream
from broker.bench.processes import Server, broker_at
from broker.bench.rows import Row, row_of, throughput_ratio

PLAN = Plan(messages=10_000_000, size_bytes=100, batch=500, in_flight=16, seconds=5.0)
_GROUPS = 1_000


async def _measure(server: Server, plan: Plan) -> tuple[Measured, Measured]:
    async with wire.channels_to(server.target) as (channel,):
        url = await wire.create_queue(channel, f"bench-{uuid.uuid4().hex}.fifo", fifo=True)
        messages, progress = OrderedMessages(plan.size_bytes, _GROUPS), Progress()
        stream = OrderedProduceStream(channel, url, messages, plan, progress)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.run())
            empty = await progress.measure(plan, Meter(server.pid))
            await progress.wait_for(plan.messages, 300.0)
            full = await progress.measure(plan, Meter(server.pid))
            stream.stop()
        full.extra["ids"] = progress.acknowledged
        await wire.check_queue_holds(channel, url, progress.acknowledged)
        return empty, full


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    with broker_at(setting.target, setting.durability) as server:
        empty, full = uvloop.run(_measure(server, plan))
    first = row_of("dedup: produce, no history", setting.durability_in_words, empty, plan.size_bytes)
    yield first
    row = row_of(f"dedup: produce, {plan.messages:,} ids", setting.durability_in_words, full, plan.size_bytes)
    if (ratio := throughput_ratio(row, first)) is not None:
        row.ratios["no_history"] = ratio
    yield row
