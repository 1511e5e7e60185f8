"""Consumers that write into the account what they receive and remove, until the broker dies under them.

A removal counts as confirmed only where nothing else can have become of the message meanwhile: it was held until then.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb

from .life import ORDERED, ORDERED_DEAD, PLAIN, RETRIED, RETRIED_DEAD, Life, arn, message_ids, wall_ms

_VISIBILITY_SECONDS: Final = 1


async def unary_consumer(life: Life) -> None:
    await _receive(life, (PLAIN,), deleted=0.8)


async def forgetful_consumer(life: Life) -> None:
    """Leaves much of what it gets, so that it becomes dead letters; takes some of those too."""
    await _receive(life, (RETRIED, RETRIED, RETRIED_DEAD, ORDERED_DEAD), deleted=0.3)


async def ordered_unary_consumer(life: Life) -> None:
    await _receive(life, (ORDERED,), deleted=0.9)


async def _receive(life: Life, queues: tuple[str, ...], *, deleted: float) -> None:
    while True:
        queue = life.random.choice(queues)
        request = pb.ReceiveMessageRequest(queue_url=queue, max_number_of_messages=10)
        request.visibility_timeout = life.random.choice((0, _VISIBILITY_SECONDS)) if deleted < 0.5 else 2
        request.wait_time_seconds = 1 if len(queues) == 1 else 0
        until_ms = wall_ms() + request.visibility_timeout * 1000
        messages = (await life.stub.ReceiveMessage(request)).messages
        for message in messages:
            life.received(queue, message.body.decode(), message.message_id)
        chosen = [message for message in messages if life.random.random() < deleted]
        if chosen:
            await _delete(life, queue, chosen, until_ms)
        elif not messages:
            await asyncio.sleep(0.01)


async def _delete(life: Life, queue: str, messages: "list[pb.ReceivedMessage]", until_ms: int) -> None:
    """A handle may be too old, on a FIFO queue; and what it named may be elsewhere, where there are dead letters."""
    request = pb.DeleteMessageBatchRequest(queue_url=queue)
    for index, message in enumerate(messages):
        request.entries.add(id=str(index), receipt_handle=message.receipt_handle)
    life.account.remove(message.body.decode() for message in messages)
    response = await life.stub.DeleteMessageBatch(request)
    if queue == PLAIN or wall_ms() < until_ms:
        life.account.removed.update(messages[int(line.id)].body.decode() for line in response.successful)


async def redriver(life: Life) -> None:
    """Sends the dead letters back to where they came from, again and again."""
    life.account.redriven.add(RETRIED)
    while True:
        await asyncio.sleep(life.random.uniform(0, 0.2))
        try:
            await life.stub.StartMessageMoveTask(pb.StartMessageMoveTaskRequest(source_arn=arn(RETRIED_DEAD)))
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.INVALID_ARGUMENT:  # there is a task running
                raise
        listed = await life.stub.ListMessageMoveTasks(pb.ListMessageMoveTasksRequest(source_arn=arn(RETRIED_DEAD)))
        for task in listed.results:
            if task.approximate_number_of_messages_moved > task.approximate_number_of_messages_to_move:
                life.account.violations.append(f"a task moved more than it should: {task}")


async def stream_consumer(life: Life) -> None:
    await StreamConsumer(life, PLAIN, life.random.choice((_VISIBILITY_SECONDS, 3))).run()


async def ordered_stream_consumer(life: Life) -> None:
    await StreamConsumer(life, ORDERED, 3).run()


class StreamConsumer:
    """Acknowledges most of what it gets, out of order, and gives some back."""

    def __init__(self, life: Life, queue: str, visibility_seconds: int) -> None:
        self._life, self._queue = life, queue
        self._outgoing: asyncio.Queue[pb.ConsumeRequest] = asyncio.Queue()
        self._outgoing.put_nowait(pb.ConsumeRequest(queue_url=queue, credit=200, visibility_timeout=visibility_seconds))
        self._unconfirmed: dict[int, list[tuple[str, int]]] = {}
        """By request: the bodies that it acknowledged, and until when they were held."""
        self._returning: dict[str, int] = {}
        """By message group: the request that gave back a message, and with it all later ones of the group."""

    async def run(self) -> None:
        async def requests() -> AsyncIterator[pb.ConsumeRequest]:
            while True:
                yield await self._outgoing.get()

        responses: Any = self._life.stub.Consume(requests())
        for request_id in count(1):
            response = await responses.read()
            if response is grpc.aio.EOF:
                return
            self._confirmed(response.confirmed_request_id)
            request = pb.ConsumeRequest(request_id=request_id)
            acknowledged: list[tuple[str, int]] = []
            for delivery in response.deliveries:
                acknowledged += self._settle(delivery, request)
            if acknowledged:
                self._life.account.remove(body for body, _ in acknowledged)
                self._unconfirmed[request_id] = acknowledged
            if response.deliveries:
                self._outgoing.put_nowait(request)

    def _confirmed(self, confirmed_request_id: int) -> None:
        now_ms = wall_ms()
        for number in [number for number in self._unconfirmed if number <= confirmed_request_id]:
            self._life.account.removed.update(
                body for body, until_ms in self._unconfirmed.pop(number) if self._queue == PLAIN or now_ms < until_ms
            )
        for group in [group for group, number in self._returning.items() if number <= confirmed_request_id]:
            del self._returning[group]

    def _settle(self, delivery: pb.Delivery, request: pb.ConsumeRequest) -> list[tuple[str, int]]:
        """Acknowledges one part of a delivery and gives another back. Returns the bodies of the first, and until when
        each is certainly held."""
        random, messages = self._life.random, delivery.batch.messages
        bodies = [message.body.decode() for message in messages]
        for body, message_id in zip(bodies, message_ids(delivery.first_message_id, len(bodies)), strict=True):
            self._life.received(self._queue, body, message_id)
        request.credit += len(bodies)
        first = delivery.base_sequence
        cut = first + (len(bodies) if random.random() < 0.7 else random.randint(0, len(bodies)))
        held = [
            (body, 0 if message.message_group_id in self._returning else delivery.visible_again_timestamp_ms)
            for body, message in zip(bodies, messages, strict=True)
        ]
        if cut > first:
            request.acks.add(first=first, end=cut)
        if cut < first + len(bodies):
            nack = request.nacks.add()
            nack.range.first, nack.range.end = cut, first + len(bodies)
            self._returning.update(
                (message.message_group_id, request.request_id) for message in messages[cut - first :]
            )
        return held[: cut - first]
