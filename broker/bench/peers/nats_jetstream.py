# mypy: disable-error-code="import-not-found"
"""NATS JetStream: file storage, pipelined publishes, a pull consumer that acknowledges whole fetches.

Publishes carry a reply subject and their acknowledgements are counted in one callback: cheaper in the client than a
future for each message (`publish_async`). The stream keeps what is acknowledged (limits retention): cheaper than
deleting it, and the only way to acknowledge many at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import nats
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig

from broker.bench.measure import CountsDisagreeError, Plan

STREAM = "BENCH"
SUBJECT = "bench"
CONSUMER = "workers"
FETCH_SECONDS = 10.0


class NatsJetStream:
    """nats-py."""

    in_flight_max = 8
    fill_messages_max = 10_000_000

    async def open(self, address: str, plan: Plan) -> None:
        self._plan = plan
        self._body = b"x" * plan.size_bytes
        self._published = self._acknowledged = 0
        self._waiting_for: list[tuple[int, asyncio.Future[None]]] = []
        self._nats = await nats.connect(f"nats://{address}", pending_size=64 * 2**20)
        self._jetstream = self._nats.jetstream()
        await self._jetstream.add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT], storage=StorageType.FILE))
        await self._jetstream.add_consumer(
            STREAM, ConsumerConfig(durable_name=CONSUMER, ack_policy=AckPolicy.ALL, ack_wait=60)
        )
        self._reply_to = self._nats.new_inbox()
        await self._nats.subscribe(self._reply_to, cb=self._on_acknowledgement, pending_msgs_limit=-1)

    async def _on_acknowledgement(self, message: Any) -> None:
        if b'"error"' in message.data:
            raise CountsDisagreeError(f"NATS refused a message: {message.data!r}")
        self._acknowledged += 1
        while self._waiting_for and self._waiting_for[0][0] <= self._acknowledged:
            self._waiting_for.pop(0)[1].set_result(None)

    async def _publish(self, messages: int) -> int:
        self._published += messages
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_for.append((self._published, acknowledged))
        for _ in range(messages):
            await self._nats.publish(SUBJECT, self._body, reply=self._reply_to)
        await acknowledged
        return messages

    async def send_batch(self) -> int:
        return await self._publish(self._plan.batch)

    async def send_one(self) -> int:
        return await self._publish(1)

    async def consume(self, messages: int, acknowledged: Callable[[int], None]) -> None:
        subscription = await self._jetstream.pull_subscribe_bind(CONSUMER, STREAM)
        received = 0
        while received < messages:
            fetched = await subscription.fetch(min(self._plan.batch, messages - received), timeout=FETCH_SECONDS)
            await fetched[-1].ack_sync(timeout=FETCH_SECONDS)
            received += len(fetched)
            acknowledged(len(fetched))

    async def waiting(self) -> int:
        info = await self._jetstream.consumer_info(STREAM, CONSUMER)
        return int(info.num_pending) + int(info.num_ack_pending)

    async def close(self) -> None:
        await self._jetstream.delete_stream(STREAM)
        await self._nats.close()
