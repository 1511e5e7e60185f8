"""Producers and consumers that write into the account what they do, until the broker dies under them.

Each belongs to one life of the broker. Never: a retry, which would blur what was acknowledged.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from heddle.v1.queues_pb2_grpc import QueuesStub

from .account import Account

QUEUE: Final = "crash"
VISIBILITY_SECONDS: Final = 1
_PIPELINED: Final = 8
_BACKLOG: Final = 400
"""Producers pause when this many more messages were sent than handed out: a round is about crashes, not throughput."""


@dataclass(slots=True)
class Life:
    """One life of the broker. ``removed_before``: removals that were confirmed before it began."""

    stub: QueuesStub
    account: Account
    random: Random
    names: "count[int]"
    removed_before: frozenset[str]

    def new_body(self) -> str:
        """A unique body that may be sent from now on. Sizes vary, so that batches span pages and cross them."""
        number = next(self.names)
        body = f"{number}:" + "x" * self.random.choice((1, 30, 100, 2000))
        self.account.attempted.add(body)
        return body

    def received(self, body: str, message_id: str) -> None:
        self.account.handed_out(body, message_id)
        if body in self.removed_before:
            self.account.came_back(body)

    async def breathe(self) -> None:
        ahead = len(self.account.acknowledged) - self.account.received
        await asyncio.sleep(0.02 if ahead > _BACKLOG else self.random.uniform(0, 0.002))


async def unary_producer(life: Life) -> None:
    while True:
        bodies = [life.new_body() for _ in range(life.random.randint(1, 10))]
        request = pb.SendMessageBatchRequest(queue_url=QUEUE)
        for index, body in enumerate(bodies):
            request.entries.add(id=str(index), message_body=body.encode())
        response = await life.stub.SendMessageBatch(request)
        for line in response.successful:
            life.account.sent(bodies[int(line.id)], line.message_id)
        await life.breathe()


async def stream_producer(life: Life) -> None:
    pending: dict[int, list[str]] = {}
    room = asyncio.Semaphore(_PIPELINED)

    async def requests() -> AsyncIterator[pb.ProduceRequest]:
        for request_id in count(1):
            await room.acquire()
            await life.breathe()
            bodies = pending[request_id] = [life.new_body() for _ in range(life.random.randint(1, 50))]
            batch = MessageBatch(messages=[Message(body=body.encode()) for body in bodies])
            yield pb.ProduceRequest(queue_url=QUEUE, request_id=request_id, batch=batch)

    async for response in life.stub.Produce(requests()):
        for result in response.results:
            bodies = pending.pop(result.request_id)
            room.release()
            if result.error_code:
                life.account.violations.append(f"a batch was refused: {result.error_message}")
                continue
            for body, message_id in zip(bodies, message_ids(result.first_message_id, result.count), strict=True):
                life.account.sent(body, message_id)


async def unary_consumer(life: Life) -> None:
    request = pb.ReceiveMessageRequest(
        queue_url=QUEUE, max_number_of_messages=10, wait_time_seconds=1, visibility_timeout=VISIBILITY_SECONDS
    )
    while True:
        messages = (await life.stub.ReceiveMessage(request)).messages
        for message in messages:
            life.received(message.body.decode(), message.message_id)
        chosen = [message for message in messages if life.random.random() < 0.8]
        if chosen:
            await _delete(life, chosen)


async def _delete(life: Life, messages: "list[pb.ReceivedMessage]") -> None:
    request = pb.DeleteMessageBatchRequest(queue_url=QUEUE)
    for index, message in enumerate(messages):
        request.entries.add(id=str(index), receipt_handle=message.receipt_handle)
        life.account.removing.add(message.body.decode())
    response = await life.stub.DeleteMessageBatch(request)
    life.account.removed.update(messages[int(line.id)].body.decode() for line in response.successful)


async def stream_consumer(life: Life) -> None:
    """Acknowledges most of what it gets, out of order, and gives some back."""
    outgoing: asyncio.Queue[pb.ConsumeRequest] = asyncio.Queue()
    outgoing.put_nowait(
        pb.ConsumeRequest(queue_url=QUEUE, credit=200, visibility_timeout=life.random.choice((VISIBILITY_SECONDS, 3)))
    )
    unconfirmed: dict[int, list[str]] = {}

    async def requests() -> AsyncIterator[pb.ConsumeRequest]:
        while True:
            yield await outgoing.get()

    for request_id in count(1):
        if request_id == 1:
            responses: Any = life.stub.Consume(requests())
        response = await responses.read()
        if response is grpc.aio.EOF:
            return
        acknowledged = [number for number in unconfirmed if number <= response.confirmed_request_id]
        for number in acknowledged:
            life.account.removed.update(unconfirmed.pop(number))
        request = pb.ConsumeRequest(request_id=request_id)
        bodies: list[str] = []
        for delivery in response.deliveries:
            bodies += _settle(life, delivery, request)
        if bodies:
            life.account.removing.update(bodies)
            unconfirmed[request_id] = bodies
        if response.deliveries:
            outgoing.put_nowait(request)


def _settle(life: Life, delivery: pb.Delivery, request: pb.ConsumeRequest) -> list[str]:
    """Acknowledges one part of a delivery and gives another back. Returns the bodies of the first."""
    bodies = [message.body.decode() for message in delivery.batch.messages]
    for body, message_id in zip(bodies, message_ids(delivery.first_message_id, len(bodies)), strict=True):
        life.received(body, message_id)
    request.credit += len(bodies)
    first = delivery.base_sequence
    cut = first + life.random.randint(0, len(bodies))
    if life.random.random() < 0.7:
        cut = first + len(bodies)
    if cut > first:
        request.acks.add(first=first, end=cut)
    if cut < first + len(bodies):
        nack = request.nacks.add()
        nack.range.first, nack.range.end = cut, first + len(bodies)
    return bodies[: cut - first]


def message_ids(first: bytes, number: int) -> list[str]:
    low = int.from_bytes(first[12:], "big")
    return [str(uuid.UUID(bytes=first[:12] + ((low + i) & 0xFFFFFFFF).to_bytes(4, "big"))) for i in range(number)]
