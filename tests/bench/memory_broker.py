"""A broker in a few lines of memory: enough of the API for the load generators, and able to lose messages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
from heddle.v1.message_pb2 import Message, MessageBatch
from heddle.v1.queues_pb2 import (
    ConsumeRequest,
    ConsumeResponse,
    CreateQueueRequest,
    CreateQueueResponse,
    DeleteQueueRequest,
    DeleteQueueResponse,
    Delivery,
    GetQueueAttributesRequest,
    GetQueueAttributesResponse,
    ProduceRequest,
    ProduceResponse,
    ProduceResult,
    SendMessageBatchRequest,
    SendMessageBatchResponse,
    SendMessageBatchResultEntry,
    SendMessageRequest,
    SendMessageResponse,
)

from broker.bench.processes import Server
from broker.bench.wire import COUNTS, SERVICE

EXPIRY_SECONDS = 0.3


@dataclass
class MemoryQueue:
    """Messages by sequence number; `visible` may be delivered (again)."""

    stored: dict[int, Message] = field(default_factory=dict)
    visible: dict[int, int] = field(default_factory=dict)  # sequence number -> receive count
    next_sequence: int = 1

    def append(self, messages: list[Message]) -> int:
        base = self.next_sequence
        for message in messages:
            self.stored[self.next_sequence] = message
            self.visible[self.next_sequence] = 0
            self.next_sequence += 1
        return base

    def take(self, most: int) -> Delivery | None:
        """The first run of neighbours with the same receive count, as one delivery."""
        taken: list[int] = []
        for sequence in sorted(self.visible):
            if len(taken) == most or (
                taken and (sequence != taken[-1] + 1 or self.visible[sequence] != self.visible[taken[0]])
            ):
                break
            taken.append(sequence)
        if not taken:
            return None
        receive_count = 1 + self.visible[taken[0]]
        for sequence in taken:
            del self.visible[sequence]
        batch = MessageBatch(messages=[self.stored[sequence] for sequence in taken])
        return Delivery(delivery_id=1, base_sequence=taken[0], batch=batch, receive_count=receive_count)


@dataclass
class MemoryBroker:
    """`loses_every`: of so many acknowledged sends one is forgotten. What a consumer holds expires when nothing has
    happened for EXPIRY_SECONDS."""

    loses_every: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    queues: dict[str, MemoryQueue] = field(default_factory=dict)
    sends: int = 0

    def _append(self, queue: MemoryQueue, messages: list[Message]) -> int:
        self.sends += 1
        if self.loses_every and self.sends % self.loses_every == 0:
            return queue.next_sequence
        base = queue.append(messages)
        self.changed.set()
        return base

    async def create_queue(self, request: CreateQueueRequest, _context: object) -> CreateQueueResponse:
        self.queues[request.queue_name] = MemoryQueue()
        return CreateQueueResponse(queue_url=request.queue_name)

    async def delete_queue(self, request: DeleteQueueRequest, _context: object) -> DeleteQueueResponse:
        del self.queues[request.queue_url]
        return DeleteQueueResponse()

    async def attributes(self, request: GetQueueAttributesRequest, _context: object) -> GetQueueAttributesResponse:
        counts = dict.fromkeys(COUNTS, "0") | {COUNTS[0]: str(len(self.queues[request.queue_url].stored))}
        return GetQueueAttributesResponse(attributes=counts)

    async def send(self, request: SendMessageRequest, _context: object) -> SendMessageResponse:
        self._append(self.queues[request.queue_url], [Message(body=request.message_body)])
        return SendMessageResponse()

    async def send_batch(self, request: SendMessageBatchRequest, _context: object) -> SendMessageBatchResponse:
        messages = [Message(body=entry.message_body) for entry in request.entries]
        self._append(self.queues[request.queue_url], messages)
        return SendMessageBatchResponse(
            successful=[SendMessageBatchResultEntry(id=entry.id) for entry in request.entries]
        )

    async def produce(
        self, requests: AsyncIterator[ProduceRequest], _context: object
    ) -> AsyncIterator[ProduceResponse]:
        queue: MemoryQueue | None = None
        async for request in requests:
            queue = queue or self.queues[request.queue_url]
            messages = list(request.batch.messages)
            base = self._append(queue, messages)
            result = ProduceResult(request_id=request.request_id, count=len(messages), base_sequence=base)
            yield ProduceResponse(results=[result])

    async def consume(self, requests: AsyncIterator[ConsumeRequest], context: Any) -> AsyncIterator[ConsumeResponse]:
        first = await anext(aiter(requests))
        queue, credit = self.queues[first.queue_url], first.credit
        held: dict[int, int] = {}
        pending = asyncio.ensure_future(anext(aiter(requests), None))
        while True:
            while credit and (delivery := queue.take(credit)) is not None:
                count = len(delivery.batch.messages)
                credit -= count
                held.update(
                    dict.fromkeys(range(delivery.base_sequence, delivery.base_sequence + count), delivery.receive_count)
                )
                yield ConsumeResponse(deliveries=[delivery])
            self.changed.clear()
            change = asyncio.ensure_future(self.changed.wait())
            done, _ = await asyncio.wait([pending, change], timeout=EXPIRY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            if not done:
                queue.visible.update(held)
                held.clear()
            if not pending.done():
                continue
            request = pending.result()
            if request is None:
                return
            pending = asyncio.ensure_future(anext(aiter(requests), None))
            for acked in request.acks:
                for sequence in range(acked.first, acked.end):
                    held.pop(sequence)
                    del queue.stored[sequence]
            for nack in request.nacks:
                for sequence in range(nack.range.first, nack.range.end):
                    queue.visible[sequence] = held.pop(sequence)
            credit += request.credit
            if request.request_id:
                yield ConsumeResponse(confirmed_request_id=request.request_id)
            if request.stop:
                queue.visible.update(held)
                return

    def handlers(self) -> grpc.GenericRpcHandler:
        unary: dict[str, tuple[Any, Any]] = {
            "CreateQueue": (self.create_queue, CreateQueueRequest),
            "DeleteQueue": (self.delete_queue, DeleteQueueRequest),
            "GetQueueAttributes": (self.attributes, GetQueueAttributesRequest),
            "SendMessage": (self.send, SendMessageRequest),
            "SendMessageBatch": (self.send_batch, SendMessageBatchRequest),
        }
        streams: dict[str, tuple[Any, Any]] = {
            "Produce": (self.produce, ProduceRequest),
            "Consume": (self.consume, ConsumeRequest),
        }
        methods: dict[str, Any] = {}
        for name, (handler, request) in unary.items():
            methods[name] = grpc.unary_unary_rpc_method_handler(
                handler, request.FromString, lambda response: response.SerializeToString()
            )
        for name, (stream_handler, stream_request) in streams.items():
            methods[name] = grpc.stream_stream_rpc_method_handler(
                stream_handler, stream_request.FromString, lambda response: response.SerializeToString()
            )
        return grpc.method_handlers_generic_handler(SERVICE.strip("/"), methods)


@asynccontextmanager
async def memory_broker(loses_every: int = 0) -> AsyncIterator[Server]:
    broker = MemoryBroker(loses_every)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((broker.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Server(f"127.0.0.1:{port}", None)
    finally:
        await server.stop(None)
