"""Producers that write into the account what they do, until the broker dies under them.

Each belongs to one life of the broker; those of the FIFO queue go on where the life before was cut off.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import count

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch

from .life import ORDERED, PLAIN, RETRIED, Life, message_ids

_PIPELINED = 8


async def unary_producer(life: Life) -> None:
    while True:
        queue = life.random.choice((PLAIN, PLAIN, RETRIED))
        bodies = [life.new_body(queue) for _ in range(life.random.randint(1, 10))]
        request = pb.SendMessageBatchRequest(queue_url=queue)
        for index, body in enumerate(bodies):
            request.entries.add(id=str(index), message_body=body.encode())
        response = await life.stub.SendMessageBatch(request)
        for line in response.successful:
            life.account.sent(bodies[int(line.id)], line.message_id)
        await life.breathe(queue)


async def stream_producer(life: Life) -> None:
    await _produce(life, PLAIN, lambda: [life.new_body(PLAIN) for _ in range(life.random.randint(1, 50))], deque())


async def ordered_unary_producer(life: Life) -> None:
    """Sends what was not answered in the life before, then more; now and then something twice."""
    outbox = life.outbox("unary")
    while True:
        bodies = outbox.unanswered[0] if outbox.unanswered else outbox.write(life.random, 10)
        life.account.attempted.update(bodies)
        request = pb.SendMessageBatchRequest(queue_url=ORDERED)
        for index, body in enumerate(bodies):
            message = _ordered(body)
            request.entries.add(
                id=str(index),
                message_body=message.body,
                message_group_id=message.message_group_id,
                message_deduplication_id=message.message_deduplication_id,
            )
        for _ in range(2 if life.random.random() < 0.1 else 1):
            response = await life.stub.SendMessageBatch(request)
            for line in response.failed:
                life.account.violations.append(f"an ordered message was refused: {line.message}")
            for line in response.successful:
                body = bodies[int(line.id)]
                life.account.duplicates += body in life.account.acknowledged
                life.account.sent(body, line.message_id)
        outbox.unanswered.popleft()
        await life.breathe(ORDERED)


async def ordered_stream_producer(life: Life) -> None:
    """Pipelined batches; those without an answer are sent again in the next life, in their order."""
    outbox = life.outbox("stream")
    again = deque(outbox.unanswered)
    await _produce(life, ORDERED, lambda: outbox.write(life.random, 20), again, outbox.unanswered)


async def _produce(
    life: Life,
    queue: str,
    write: Callable[[], list[str]],
    again: deque[list[str]],
    unanswered: deque[list[str]] | None = None,
) -> None:
    """A stream of batches: first those to be sent ``again``. ``unanswered``: loses what is answered."""
    pending: dict[int, list[str]] = {}
    room = asyncio.Semaphore(_PIPELINED)

    async def requests() -> AsyncIterator[pb.ProduceRequest]:
        for request_id in count(1):
            await room.acquire()
            await life.breathe(queue)
            bodies = pending[request_id] = again.popleft() if again else write()
            life.account.attempted.update(bodies)
            batch = MessageBatch(
                messages=[_ordered(body) if unanswered is not None else _plain(body) for body in bodies]
            )
            yield pb.ProduceRequest(queue_url=queue, request_id=request_id, batch=batch)

    async for response in life.stub.Produce(requests()):
        for result in response.results:
            bodies = pending.pop(result.request_id)
            room.release()
            if result.error_code:
                life.account.violations.append(f"a batch was refused: {result.error_message}")
                continue
            if unanswered is not None:
                unanswered.popleft()
            _accepted(life, bodies, result)


def _accepted(life: Life, bodies: list[str], result: pb.ProduceResult) -> None:
    duplicates = set(result.duplicates)
    fresh = [body for index, body in enumerate(bodies) if index not in duplicates]
    ids = message_ids(result.first_message_id, len(fresh)) if fresh else []
    if result.count != len(fresh):
        life.account.violations.append(f"{result.count} of {len(fresh)} messages were accepted")
    for body, message_id in zip(fresh, ids, strict=True):
        life.account.sent(body, message_id)
    for index in duplicates:
        life.account.duplicates += 1
        life.account.sent(bodies[index], "")


def _plain(body: str) -> Message:
    return Message(body=body.encode())


def _ordered(body: str) -> Message:
    _, group, number, _ = body.split(":")
    return Message(body=body.encode(), message_group_id=group, message_deduplication_id=f"{group}-{number}")
