"""Fair queues: how long a quiet tenant's messages wait behind a noisy one's backlog, with message groups and without.

A noisy tenant has left a backlog; workers take one message at a time and spend ten milliseconds on each; a quiet tenant
sends fifty messages a second. The latencies are those from the send of a quiet message to its receive.
"""

import asyncio
import time
import uuid
from collections.abc import Iterator

import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import (
    DeleteMessageRequest,
    DeleteMessageResponse,
    ReceiveMessageRequest,
    ReceiveMessageResponse,
    SendMessageRequest,
    SendMessageResponse,
)

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.measure import Measured, Meter, Plan
from broker.bench.payload import body_of
from broker.bench.processes import Server, broker_at
from broker.bench.rows import Row, row_of

PLAN = Plan(messages=10_000, size_bytes=100, batch=10, in_flight=50, seconds=5.0)
_WORK_SECONDS = 0.01
_QUIET_EVERY_SECONDS = 0.02
_QUIET = b"quiet "
_SENDERS = 32


async def _send(channel: grpc.aio.Channel, url: str, body: bytes, group: str | None) -> None:
    request = SendMessageRequest(queue_url=url, message_body=body, message_group_id=group)
    await wire.call(channel, "SendMessage", request, SendMessageResponse)


async def _backlog(channel: grpc.aio.Channel, url: str, plan: Plan, group: str | None) -> None:
    left, body = plan.messages, body_of(plan.size_bytes)

    async def sender() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await _send(channel, url, body, group)

    async with asyncio.TaskGroup() as senders:
        for _ in range(_SENDERS):
            senders.create_task(sender())


class _Workers:
    """Receive, work, delete; and note how long quiet messages have waited."""

    def __init__(self, channel: grpc.aio.Channel, url: str) -> None:
        self._channel, self._url = channel, url
        self.waited_seconds: list[float] = []
        self.handled = 0
        self.stopping = False

    async def run(self) -> None:
        receive = ReceiveMessageRequest(queue_url=self._url, max_number_of_messages=1, wait_time_seconds=1)
        while not self.stopping:
            answer = await wire.call(self._channel, "ReceiveMessage", receive, ReceiveMessageResponse)
            for message in answer.messages:
                if message.body.startswith(_QUIET):
                    self.waited_seconds.append(time.perf_counter() - float(message.body[len(_QUIET) :]))
                await asyncio.sleep(_WORK_SECONDS)  # the work
                delete = DeleteMessageRequest(queue_url=self._url, receipt_handle=message.receipt_handle)
                await wire.call(self._channel, "DeleteMessage", delete, DeleteMessageResponse)
                self.handled += 1


async def _measure(server: Server, plan: Plan, *, groups: bool) -> Measured:
    async with wire.channels_to(server.target, 2) as (channel, other):
        url = await wire.create_queue(channel, f"bench-{uuid.uuid4().hex}")
        await _backlog(channel, url, plan, "noisy" if groups else None)
        workers, sent = _Workers(other, url), 0
        async with asyncio.TaskGroup() as group:
            for _ in range(plan.in_flight):
                group.create_task(workers.run())
            meter = Meter(server.pid).start()
            ends = time.perf_counter() + plan.seconds
            while time.perf_counter() < ends:
                await _send(channel, url, _QUIET + repr(time.perf_counter()).encode(), "quiet" if groups else None)
                sent += 1
                await asyncio.sleep(_QUIET_EVERY_SECONDS)  # the quiet tenant's pace
            meter.latencies_seconds.extend(workers.waited_seconds)
            measured = meter.stop(workers.handled)
            measured.extra.update(quiet_sent=sent, quiet_received=len(workers.waited_seconds))
            workers.stopping = True
        await wire.delete_queue(channel, url)
        return measured


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    with broker_at(setting.target, setting.durability) as server:
        for name, groups in (("no groups", False), ("groups", True)):
            measured = uvloop.run(_measure(server, plan, groups=groups))
            yield row_of(f"fairness: {name}", setting.durability_in_words, measured, plan.size_bytes)
