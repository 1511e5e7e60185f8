"""The sync face against the fake broker, over real gRPC, each in a thread of its own."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import heddle
import pytest
from fake_broker import BrokerThread


@pytest.fixture
def server() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.fixture
def queue(server: BrokerThread) -> Iterator[heddle.Queue]:
    with heddle.Client(server.address, timeout=10.0) as client:
        yield client.create_queue("orders")


def stored_bodies(server: BrokerThread) -> list[bytes]:
    return server.do(lambda broker: [each.message.body for _, each in sorted(broker.queues["orders"].messages.items())])


def until(condition: Callable[[], bool]) -> None:
    """Polls another thread's state, for at most ten seconds."""
    give_up_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_unary_calls(server: BrokerThread, queue: heddle.Queue) -> None:
    assert queue.name == "orders"
    sent = queue.send("hello", attributes={"k": "v"})
    assert queue.peek()[0].message_id == sent.message_id
    (received,) = queue.receive(1, wait_seconds=0, visibility_timeout=60)
    assert received.text == "hello"
    queue.change_visibility(received.receipt_handle, 60)
    assert queue.change_visibility_batch([(received.receipt_handle, 60)]) == [None]
    queue.delete(received.receipt_handle)
    assert stored_bodies(server) == []
    assert [isinstance(each, heddle.SentMessage) for each in queue.send_batch(["a", b"b"])] == [True, True]
    assert queue.delete_batch([message.receipt_handle for message in queue.receive(10)]) == [None, None]
    queue.tag({"team": "x"})
    queue.untag(["other"])
    assert queue.tags() == {"team": "x"}
    queue.set_attributes({"DelaySeconds": "0"})
    assert queue.attributes(["DelaySeconds"]) == {"DelaySeconds": "0"}
    queue.purge()
    queue.delete_queue()
    with pytest.raises(heddle.QueueDoesNotExist) as caught:
        queue.send("a")
    assert caught.value.code == "AWS.SimpleQueueService.NonExistentQueue"
    assert caught.value.message == "The specified queue does not exist."


def test_queues_are_found_and_listed(server: BrokerThread) -> None:
    with heddle.Client(server.address, region="eu-central-1") as client:
        for name in ("a1", "a2", "a3"):
            client.create_queue(name)
        assert [queue.name for queue in client.list_queues()] == ["a1", "a2", "a3"]
        assert client.get_queue("a2").name == "a2"
        assert server.do(lambda broker: broker.metadata["heddle-region"]) == "eu-central-1"


def test_what_is_produced_is_consumed_in_order(server: BrokerThread, queue: heddle.Queue) -> None:
    bodies = [b"%d" % number for number in range(2500)]
    with queue.producer() as producer:
        tickets = [producer.send(body) for body in bodies]
        producer.flush()
        assert all(ticket.done() for ticket in tickets)
    assert tickets[2000].result(5).sequence == tickets[2000].sequence == 2001
    received: list[bytes] = []
    with queue.consumer(prefetch=500) as consumer:
        for message in consumer:
            received.append(message.body)
            message.ack()
            if len(received) == len(bodies):
                break
    assert received == bodies
    assert stored_bodies(server) == []


def test_many_threads_share_a_producer(server: BrokerThread, queue: heddle.Queue) -> None:
    with queue.producer(batch_messages=50, max_in_flight_bytes=3000) as producer:  # and wait for room together

        def send(thread: int) -> None:
            for number in range(300):
                producer.send(b"%d:%d" % (thread, number))

        threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
    bodies = stored_bodies(server)
    assert len(bodies) == 1200
    for thread in range(4):
        own = [int(body.partition(b":")[2]) for body in bodies if body.startswith(b"%d:" % thread)]
        assert own == list(range(300))


def test_streams_are_opened_again(server: BrokerThread, queue: heddle.Queue) -> None:
    with queue.producer(batch_messages=1) as producer:
        producer.send("a").result(10)
        server.do(lambda broker: broker.break_streams())
        producer.send("b").result(10)
        with queue.consumer() as consumer:
            assert next(consumer).text == "a"
            opened = server.do(lambda broker: broker.streams_opened)
            server.do(lambda broker: broker.break_streams())
            until(lambda: server.do(lambda broker: broker.streams_opened) > opened)
            again = next(consumer)
            assert again.text == "a"
            assert again.receive_count == 2
            again.ack()
    assert stored_bodies(server) == [b"b"]


def test_close_confirms_acks_and_gives_the_rest_back(server: BrokerThread, queue: heddle.Queue) -> None:
    queue.send_batch(["a", "b", "c"])
    with queue.consumer() as consumer:
        next(consumer).ack()
        next(consumer)
    assert stored_bodies(server) == [b"b", b"c"]
    assert server.do(lambda broker: broker.queues["orders"].visible()) == [2, 3]
    assert list(consumer) == []


def test_run_works_in_many_threads_until_stop(server: BrokerThread, queue: heddle.Queue) -> None:
    queue.send_batch([b"%d" % number for number in range(10)])
    consumer = queue.consumer()
    seen: list[tuple[str, int]] = []

    def handle(message: heddle.Message) -> None:
        seen.append((message.text, message.receive_count))
        if message.text == "3" and message.receive_count == 1:
            raise ArithmeticError("three")
        if len(seen) == 11:
            consumer.stop()

    consumer.run(handle, concurrency=4)
    assert sorted(seen) == sorted([(f"{number}", 1) for number in range(10)] + [("3", 2)])
    assert stored_bodies(server) == []


def test_stop_ends_an_iteration_that_waits(queue: heddle.Queue) -> None:
    consumer = queue.consumer()
    stopping = threading.Timer(0.05, consumer.stop)
    stopping.start()
    assert list(consumer) == []
    consumer.close()
    stopping.join(5)


def test_deliveries_are_settled_in_bulk(server: BrokerThread, queue: heddle.Queue) -> None:
    with queue.producer() as producer:
        for number in range(300):
            producer.send(b"%d" % number)
    count = 0
    with queue.consumer() as consumer:
        for delivery in consumer.deliveries():
            count += len(delivery)
            delivery.ack()
            if count == 300:
                break
    assert stored_bodies(server) == []


def test_refusals_and_errors_are_typed(server: BrokerThread, queue: heddle.Queue) -> None:
    server.do(lambda broker: setattr(broker, "refuse_batches", 1))
    producer = queue.producer()
    ticket = producer.send("a")
    with pytest.raises(heddle.Overloaded):
        producer.close()
    with pytest.raises(heddle.Overloaded):
        ticket.result(5)
    assert producer.failed_messages == 1


def test_nobody_there() -> None:
    with heddle.Client("127.0.0.1:1", timeout=1.0) as client:
        with pytest.raises((heddle.Unavailable, heddle.DeadlineExceeded)):
            client.queue("orders").tags()
        with pytest.raises(heddle.Unavailable):
            client.queue("orders").send("a")
        producer = client.queue("orders").producer()
        producer.send("a")
        with pytest.raises(heddle.DeadlineExceeded):
            producer.close()


def test_a_closed_client_says_so(server: BrokerThread) -> None:
    client = heddle.Client(server.address)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.queue("orders").tags()


def test_a_client_refuses_to_work_after_a_fork(server: BrokerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    with heddle.Client(server.address) as client:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="fork"):
            client.queue("orders").tags()
        monkeypatch.undo()


def test_closing_the_client_before_its_streams_is_told(server: BrokerThread) -> None:
    client = heddle.Client(server.address, timeout=5.0)
    queue = client.create_queue("orders")
    producer, consumer = queue.producer(linger_ms=10_000), queue.consumer()
    ticket = producer.send("never sent")
    client.close()
    with pytest.raises(heddle.HeddleError):
        ticket.result(5)
    with pytest.raises(heddle.HeddleError):
        producer.send("a")
    with pytest.raises(heddle.HeddleError):
        next(consumer)
    for each in (producer, consumer):
        with pytest.raises(RuntimeError, match="closed"):
            each.close()


def test_a_program_may_end_without_closing(server: BrokerThread) -> None:
    program = """
import heddle, sys
queue = heddle.Client(sys.argv[1]).create_queue("orders")
queue.producer().send("a").result(10)
print(next(queue.consumer()).text)
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, server.address], capture_output=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"a\n", b"")
