"""FIFO queues: produce and consume with 1 to 100,000 message groups. (Unary calls are in `unary.py`.)

Every message has its group, in turn, and a deduplication id of its own. All ids have the same width, so that messages
are told apart by length as elsewhere.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc.aio
import uvloop
from heddle.v1.message_pb2 import Message, MessageBatch
from heddle.v1.views_pb2 import ProduceRequestView

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.consume import measure_consume
from broker.bench.loops import Progress
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.payload import Payload, body_of
from broker.bench.processes import Server, broker_at
from broker.bench.produce import ProduceStream
from broker.bench.rows import Row, row_of, throughput_ratio

GROUPS = (1, 10, 1_000, 100_000)
PLAN = Plan(messages=1_000_000, size_bytes=100, batch=500, in_flight=16, seconds=5.0)
_WIDTH = 12


class OrderedMessages:
    """Packed messages whose groups take turns, and whose deduplication ids never repeat."""

    def __init__(self, size_bytes: int, groups: int) -> None:
        self.body = body_of(size_bytes)
        one = self._pack("0" * _WIDTH, "0" * _WIDTH)
        self.packed_message_bytes = len(one)
        group_at, id_at = one.index(b"0" * _WIDTH), one.rindex(b"0" * _WIDTH)
        self._head, self._middle = one[:group_at], one[group_at + _WIDTH : id_at]
        assert id_at + _WIDTH == len(one)
        self._groups = [b"%0*d" % (_WIDTH, group) for group in range(groups)]
        self._sent = 0

    def _pack(self, group: str, deduplication_id: str) -> bytes:
        message = Message(body=self.body, message_group_id=group, message_deduplication_id=deduplication_id)
        return MessageBatch(messages=[message]).SerializeToString()

    def batch(self, messages: int) -> bytes:
        first, self._sent = self._sent, self._sent + messages
        groups = self._groups
        parts: list[bytes] = []
        for number in range(first, first + messages):
            parts += (self._head, groups[number % len(groups)], self._middle, b"%0*d" % (_WIDTH, number))
        return b"".join(parts)

    def payload(self, batch: int) -> Payload:
        """What a consumer checks against."""
        return Payload(self.body, batch, b"", self.packed_message_bytes)


class OrderedProduceStream(ProduceStream):
    """Packs each request anew, since no id may repeat."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        queue_url: str,
        messages: OrderedMessages,
        plan: Plan,
        progress: Progress,
        *,
        batches_max: int | None = None,
    ) -> None:
        super().__init__(
            channel, queue_url, messages.payload(plan.batch), plan.in_flight, progress, batches_max=batches_max
        )
        self._queue_url, self._messages = queue_url, messages

    def request(self, number: int) -> bytes:
        return ProduceRequestView(
            queue_url="" if number else self._queue_url,
            request_id=number + 1,
            batch=self._messages.batch(self._payload.batch),
        ).SerializeToString()


@asynccontextmanager
async def _new_queue(target: str) -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    async with wire.channels_to(target) as (channel,):
        url = await wire.create_queue(channel, f"bench-{uuid.uuid4().hex}.fifo", fifo=True)
        yield channel, url
        await wire.delete_queue(channel, url)


async def _produce(server: Server, plan: Plan, groups: int) -> Measured:
    async with _new_queue(server.target) as (channel, url):
        progress = Progress()
        stream = OrderedProduceStream(channel, url, OrderedMessages(plan.size_bytes, groups), plan, progress)
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.run())
            measured = await progress.measure(plan, Meter(server.pid))
            stream.stop()
        await wire.check_queue_holds(channel, url, progress.acknowledged)
        return measured


async def _consume(server: Server, plan: Plan, groups: int) -> Measured:
    async with _new_queue(server.target) as (channel, url):
        messages, progress = OrderedMessages(plan.size_bytes, groups), Progress()
        batches = -(-plan.messages // plan.batch)
        await OrderedProduceStream(channel, url, messages, plan, progress, batches_max=batches).run()
        filled = progress.acknowledged
        measured, confirmed = await measure_consume(
            channel, url, plan, Meter(server.pid), filled, payload=messages.payload(plan.batch)
        )
        await wire.check_queue_holds(channel, url, filled - confirmed)
        return measured


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    words = setting.durability_in_words
    with broker_at(setting.target, setting.durability) as server:
        for name, measure in (("produce", _produce), ("consume", _consume)):
            few: Row | None = None
            for groups in GROUPS:
                measured = uvloop.run(measure(server, plan, groups))
                row = row_of(f"fifo: {name}, groups: {groups:,}", words, measured, plan.size_bytes)
                if few is not None and (ratio := throughput_ratio(row, few)) is not None:
                    row.ratios["10_groups"] = ratio
                few = row if groups == 10 else few  # what more groups are compared with
                yield row
