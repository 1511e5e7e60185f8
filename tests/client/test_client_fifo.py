"""FIFO queues on both faces against the fake broker, over real gRPC."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import heddle
import heddle.aio
import pytest
from fake_broker import BrokerThread, FakeBroker, serving
from fake_queue import FakeQueue

NAME = "orders.fifo"


@pytest.fixture
def server() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.fixture
def queue(server: BrokerThread) -> Iterator[heddle.Queue]:
    with heddle.Client(server.address, timeout=10.0) as client:
        yield client.create_queue(NAME, {"FifoQueue": "true"})


@asynccontextmanager
async def orders() -> AsyncIterator[tuple[FakeBroker, FakeQueue, heddle.aio.Queue]]:
    async with asyncio.timeout(20), serving() as (broker, address), heddle.aio.Client(address, timeout=10.0) as client:
        queue = await client.create_queue(NAME, {"FifoQueue": "true"})
        yield broker, broker.queues[NAME], queue


def stored_bodies(server: BrokerThread) -> list[bytes]:
    return server.do(lambda broker: [each.message.body for _, each in sorted(broker.queues[NAME].messages.items())])


def test_unary_calls(server: BrokerThread, queue: heddle.Queue) -> None:
    first = queue.send("one", group_id="g", deduplication_id="d")
    assert (first.sequence, first.sequence_number) == (1, "10000000000000000001")
    assert queue.send("other", group_id="g", deduplication_id="d") == first
    second, again = queue.send_batch(
        [heddle.OutgoingMessage("two", group_id="g"), heddle.OutgoingMessage("two", group_id="h")]
    )
    assert isinstance(second, heddle.SentMessage)
    assert second.sequence == 2
    assert again == second
    (received,) = queue.receive(receive_request_attempt_id="attempt-1")
    assert queue.receive(receive_request_attempt_id="attempt-1") == [received]
    assert (received.sequence, received.sequence_number) == (1, first.sequence_number)
    assert (received.group_id, received.deduplication_id) == ("g", "d")
    assert received.dead_letter_queue_source_arn is None
    assert queue.receive() == []  # the group is in flight
    assert [peeked.deduplication_id for peeked in queue.peek()] == ["d", None]
    assert stored_bodies(server) == [b"one", b"two"]


def test_a_producer_needs_groups_and_tells_duplicates(server: BrokerThread, queue: heddle.Queue) -> None:
    with queue.producer(linger_ms=1) as producer:
        with pytest.raises(heddle.MissingParameter):
            producer.send("no group")
        tickets = [producer.send(f"{number % 3}", group_id="g") for number in range(5)]
        assert [ticket.result(10).duplicate for ticket in tickets] == [False, False, False, True, True]
        assert [ticket.sequence for ticket in tickets] == [1, 2, 3, None, None]
    assert (producer.accepted_messages, producer.duplicate_messages) == (5, 2)
    assert stored_bodies(server) == [b"0", b"1", b"2"]


def test_a_refusal_is_told_before_anything_can_overtake(server: BrokerThread, queue: heddle.Queue) -> None:
    server.do(lambda broker: setattr(broker, "refuse_batches", 1))
    with queue.producer(batch_messages=1) as producer:
        refused = producer.send("1", group_id="g")
        with pytest.raises(heddle.Overloaded):
            refused.result(10)
        with pytest.raises(heddle.PredecessorFailed, match="the disk is full"):
            producer.send("2", group_id="g")
        for text in ("1", "2"):
            producer.send(text, group_id="g")
    assert stored_bodies(server) == [b"1", b"2"]


def test_lost_results_and_broken_streams_neither_reorder_nor_repeat(server: BrokerThread, queue: heddle.Queue) -> None:
    server.do(lambda broker: setattr(broker, "lose_results", 3))
    with queue.producer(batch_messages=7) as producer:
        for number in range(300):
            producer.send(b"%d" % number, group_id=f"g{number % 5}")
    assert stored_bodies(server) == [b"%d" % number for number in range(300)]
    assert producer.accepted_messages == 300
    assert producer.duplicate_messages == 7  # a batch whose result was lost three times was taken once


def test_run_handles_each_group_in_order_and_by_one_thread_at_a_time(server: BrokerThread, queue: heddle.Queue) -> None:
    groups, length = 6, 20
    with queue.producer() as producer:
        for number in range(length):
            for group in range(groups):
                producer.send(f"{number}", group_id=f"g{group}", deduplication_id=f"{group}-{number}")
    consumer = queue.consumer(prefetch=40)
    seen: dict[str, list[int]] = defaultdict(list)
    busy: set[str] = set()
    failed: set[tuple[str, int]] = set()
    guard = threading.Lock()
    left = groups * length

    def handle(message: heddle.Message) -> None:
        nonlocal left
        group, number = message.group_id or "", int(message.text)
        with guard:
            assert group not in busy
            busy.add(group)
        try:
            if number % 5 == 2 and (group, number) not in failed:
                failed.add((group, number))
                raise ArithmeticError(number)
            with guard:
                seen[group].append(number)
                left -= 1
                if left == 0:
                    consumer.stop()
        finally:
            with guard:
                busy.discard(group)

    consumer.run(handle, concurrency=4)
    assert dict(seen) == {f"g{group}": list(range(length)) for group in range(groups)}
    assert len(failed) == groups * length // 5
    assert stored_bodies(server) == []


def test_a_nack_in_an_iteration_brings_its_group_again_in_order(server: BrokerThread, queue: heddle.Queue) -> None:
    for text in ("a1", "b1", "a2", "a3"):
        queue.send(text, group_id=text[0])
    with queue.consumer() as consumer:
        first, other, second = (next(consumer) for _ in range(3))
        assert [message.text for message in (first, other, second)] == ["a1", "b1", "a2"]
        first.nack()
        second.ack()  # does nothing: it went back with the first
        other.ack()
        again = [next(consumer) for _ in range(3)]
        assert [(message.text, message.receive_count) for message in again] == [("a1", 2), ("a2", 2), ("a3", 2)]
        for message in again:
            message.ack()
    assert stored_bodies(server) == []


def test_the_queue_that_a_dead_letter_came_from_is_told(server: BrokerThread, queue: heddle.Queue) -> None:
    queue.send("dead", group_id="g")
    server.do(lambda broker: setattr(broker.queues[NAME].messages[1], "origin_arn", "arn:aws:sqs:r:a:source.fifo"))
    with queue.consumer() as consumer:
        assert next(consumer).dead_letter_queue_source_arn == "arn:aws:sqs:r:a:source.fifo"
    (received,) = queue.receive()
    assert received.dead_letter_queue_source_arn == "arn:aws:sqs:r:a:source.fifo"


def test_asyncio_keeps_the_order_across_nacks_and_broken_streams() -> None:
    async def test() -> None:
        async with orders() as (broker, stored, queue):
            async with queue.producer(batch_messages=10) as producer:
                broker.lose_results = 2
                for number in range(60):
                    await producer.send(b"%d" % number, group_id=f"g{number % 4}")
            assert producer.duplicate_messages == 10
            consumer = queue.consumer(prefetch=30)
            seen: dict[str, list[int]] = defaultdict(list)
            failed: set[int] = set()
            busy: set[str] = set()

            async def handle(message: heddle.Message) -> None:
                group, number = message.group_id or "", int(message.text)
                assert group not in busy
                busy.add(group)
                await asyncio.sleep(0)
                busy.discard(group)
                if number % 7 == 3 and number not in failed:
                    failed.add(number)
                    if number == 31:
                        broker.break_streams()
                    raise ArithmeticError(number)
                if number not in seen[group]:  # after the break, what was not confirmed comes again
                    seen[group].append(number)
                if sum(map(len, seen.values())) == 60:
                    consumer.stop()

            await consumer.run(handle, concurrency=3)
            assert dict(seen) == {f"g{group}": list(range(group, 60, 4)) for group in range(4)}
            assert not stored.messages
            assert broker.streams_opened == 5  # three for the producer, two for the consumer

    asyncio.run(test())


def test_asyncio_tickets_tell_duplicates() -> None:
    async def test() -> None:
        async with orders() as (_, _, queue), queue.producer(linger_ms=1) as producer:
            tickets = [await producer.send("same", group_id="g") for _ in range(2)]
            first, second = [await ticket.result(10) for ticket in tickets]
            assert (first.sequence, first.sequence_number) == (1, "10000000000000000001")
            assert [ticket.duplicate for ticket in tickets] == [False, True]
            assert second == heddle.SentMessage("", None, duplicate=True)

    asyncio.run(test())
