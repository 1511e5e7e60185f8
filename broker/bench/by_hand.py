"""The Python client's Producer and Consumer, one message at a time: what an application gets that knows no batches."""

import itertools
import time

import heddle
import heddle.aio

from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.payload import body_of

MESSAGES_PER_LOOK = 1000  # the clock is read once in so many messages


def _over(sent: int, started: float, messages_max: int, seconds_max: float) -> bool:
    return sent >= messages_max or time.perf_counter() - started >= seconds_max


def _send(producer: heddle.Producer, body: bytes, messages_max: int, seconds_max: float) -> int:
    """Hands over messages until a limit is reached, and waits until all are durable; returns their number."""
    sent, started = 0, time.perf_counter()
    while not _over(sent, started, messages_max, seconds_max):
        for _ in range(MESSAGES_PER_LOOK):
            producer.send(body)
        sent += MESSAGES_PER_LOOK
    producer.flush()
    return sent


def measure_producer(target: str, queue_name: str, plan: Plan, meter: Meter) -> Measured:
    """The blocking client. The window ends when the last message is durable."""
    body = body_of(plan.size_bytes)
    with heddle.Client(target) as client, client.queue(queue_name).producer(batch_messages=plan.batch) as producer:
        sent = _send(producer, body, plan.messages, plan.warm_up_seconds)
        meter.start()
        measured_messages = _send(producer, body, plan.messages, plan.seconds)
        measured = meter.stop(measured_messages)
        accepted = producer.accepted_messages
    check_counts("Producer: accepted", expected=sent + measured_messages, actual=accepted)
    return measured


async def _send_async(producer: heddle.aio.Producer, body: bytes, messages_max: int, seconds_max: float) -> int:
    sent, started = 0, time.perf_counter()
    while not _over(sent, started, messages_max, seconds_max):
        for _ in range(MESSAGES_PER_LOOK):
            await producer.send(body)
        sent += MESSAGES_PER_LOOK
    await producer.flush()
    return sent


async def measure_producer_async(target: str, queue_name: str, plan: Plan, meter: Meter) -> Measured:
    """The asyncio client, otherwise as `measure_producer`."""
    body = body_of(plan.size_bytes)
    async with (
        heddle.aio.Client(target) as client,
        client.queue(queue_name).producer(batch_messages=plan.batch) as producer,
    ):
        sent = await _send_async(producer, body, plan.messages, plan.warm_up_seconds)
        meter.start()
        measured_messages = await _send_async(producer, body, plan.messages, plan.seconds)
        measured = meter.stop(measured_messages)
        accepted = producer.accepted_messages
    check_counts("Producer: accepted", expected=sent + measured_messages, actual=accepted)
    return measured


def measure_consumer(target: str, queue_name: str, meter: Meter, filled: int) -> Measured:
    """The blocking client takes and acknowledges `filled` messages one by one; all are confirmed when it ends.

    A tenth of them goes before the window.
    """
    warm_up = filled // 10
    with heddle.Client(target) as client:
        consumer = client.queue(queue_name).consumer(prefetch=20_000)
        for message in itertools.islice(consumer, warm_up):
            message.ack()
        meter.start()
        for message in itertools.islice(consumer, filled - warm_up):
            message.ack()
        consumer.close()
        return meter.stop(filled - warm_up)


async def measure_consumer_async(target: str, queue_name: str, meter: Meter, filled: int) -> Measured:
    """The asyncio client, otherwise as `measure_consumer`."""
    warm_up = filled // 10
    taken = 0
    async with heddle.aio.Client(target) as client:
        consumer = client.queue(queue_name).consumer(prefetch=20_000)
        async for message in consumer:
            message.ack()
            taken += 1
            if taken == warm_up:
                meter.start()
            if taken == filled:
                break
        await consumer.close()
        return meter.stop(filled - warm_up)
