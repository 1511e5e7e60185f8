"""One `Consume` stream of the fake broker: credit in, deliveries out, and what comes back when it ends."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import Any

from fake_queue import FakeQueue, now_ms
from heddle.v1 import message_pb2, queues_pb2

DELIVERY_MESSAGES = 100


class ConsumeStream:
    def __init__(self, number: int, context: Any) -> None:
        self.queue: FakeQueue | None = None
        self._number = number
        self._context = context
        self._credit = 0
        self._keep = False
        self._visibility_timeout = 30
        self._credited = asyncio.Event()
        self._writing = asyncio.Lock()
        self._pushing: asyncio.Task[None] | None = None

    def start(self, queue: FakeQueue, request: queues_pb2.ConsumeRequest) -> None:
        self.queue = queue
        self._keep = request.keep_in_flight_on_disconnect
        if request.HasField("visibility_timeout"):
            self._visibility_timeout = request.visibility_timeout
        if self._keep:  # what an earlier stream held is this client's still
            for stored in queue.messages.values():
                if stored.stream is not None:
                    stored.stream = self._number
        self._pushing = asyncio.ensure_future(self._push(queue))

    async def apply(self, request: queues_pb2.ConsumeRequest) -> None:
        queue = self.queue
        assert queue is not None
        if request.stop and self._pushing is not None:
            self._pushing.cancel()  # before anything is given back, or it would be delivered here again
        for piece in request.acks:
            for sequence in queue.held_by(self._number, piece):
                del queue.messages[sequence]
        for nack in request.nacks:
            for sequence in queue.held_by(self._number, nack.range):
                if nack.delivery_id in (0, queue.messages[sequence].delivery_id):
                    queue.give_back(sequence, nack.delay_seconds)
        for extension in request.extensions:
            for sequence in queue.held_by(self._number, extension.range):
                queue.messages[sequence].visible_at = time.monotonic() + extension.visibility_timeout
        queue.notify()
        if request.request_id:
            await self._write(queues_pb2.ConsumeResponse(confirmed_request_id=request.request_id))
        self._credit += request.credit
        self._credited.set()

    async def _push(self, queue: FakeQueue) -> None:
        while True:
            await self._credited.wait()
            changed, next_at = queue.changed, queue.next_visible_at()
            taken = queue.take(min(self._credit, DELIVERY_MESSAGES), self._visibility_timeout, self._number)
            if not taken:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), next_at and max(0.001, next_at - time.monotonic()))
                continue
            self._credit -= len(taken)
            if not self._credit:
                self._credited.clear()
            await self._write(queues_pb2.ConsumeResponse(deliveries=self._deliveries(queue, taken)))

    async def _write(self, response: queues_pb2.ConsumeResponse) -> None:
        async with self._writing:  # gRPC takes one write at a time
            await self._context.write(response)

    def _deliveries(self, queue: FakeQueue, taken: list[int]) -> Iterator[queues_pb2.Delivery]:
        """One a message history: sequences without a gap, ids without a gap, the same receive count."""
        position = 0
        while position < len(taken):
            base = taken[position]
            first = queue.messages[base]
            count = 1
            while position + count < len(taken) and taken[position + count] == base + count:
                if queue.messages[base + count].history() != first.history():
                    break
                count += 1
            yield queues_pb2.Delivery(
                delivery_id=first.delivery_id,
                base_sequence=base,
                batch=message_pb2.MessageBatch(messages=[queue.messages[base + i].message for i in range(count)]),
                first_message_id=first.message_id,
                sent_timestamp_ms=first.sent_timestamp_ms,
                first_received_timestamp_ms=first.first_received_timestamp_ms,
                receive_count=first.receive_count,
                sender_id="fake",
                visible_again_timestamp_ms=now_ms() + self._visibility_timeout * 1000,
                dead_letter_queue_source_arn=first.origin_arn,
            )
            position += count

    def end(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
        if self.queue is not None and not self._keep:
            for sequence, stored in self.queue.messages.items():
                if stored.stream == self._number:
                    self.queue.give_back(sequence, 0)
            self.queue.notify()
