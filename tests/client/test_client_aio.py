"""The asyncio face against the fake broker, over real gRPC."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import heddle
import heddle.aio
import pytest
from fake_broker import FakeBroker, serving
from fake_queue import FakeQueue


@asynccontextmanager
async def orders(
    attributes: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[FakeBroker, FakeQueue, heddle.aio.Queue]]:
    """A broker with a queue, and a handle to it."""
    async with (
        asyncio.timeout(20),
        serving() as (broker, address),
        heddle.aio.Client(address, **{"timeout": 10.0, **options}) as client,
    ):
        queue = await client.create_queue("orders", attributes)
        yield broker, broker.queues["orders"], queue


async def until(condition: Callable[[], bool]) -> None:
    """Polls: the fake has no event for everything that a test may wait for. The test's timeout bounds it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def take(consumer: heddle.aio.Consumer, count: int) -> list[heddle.Message]:
    return [await anext(consumer) for _ in range(count)]


def run(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Makes a test of a coroutine function."""

    def synchronous() -> None:
        asyncio.run(test())  # type: ignore[arg-type]

    synchronous.__name__ = test.__name__
    synchronous.__doc__ = test.__doc__
    return synchronous


@run
async def test_unary_calls() -> None:
    async with orders() as (_, stored, queue):
        sent = await queue.send("hello", attributes={"n": 7, "b": b"x", "s": "t"}, trace_header="Root=1", group_id="g")
        (received,) = await queue.receive(10, wait_seconds=0)
        assert (received.message_id, received.text, received.receive_count) == (sent.message_id, "hello", 1)
        assert received.attributes == {
            "n": heddle.Attribute("Number", "7"),
            "b": heddle.Attribute("Binary", b"x"),
            "s": heddle.Attribute("String", "t"),
        }
        assert received.system_attributes["AWSTraceHeader"] == "Root=1"
        assert [peeked.state for peeked in await queue.peek()] == ["in flight"]
        await queue.change_visibility(received.receipt_handle, 0)
        (again,) = await queue.receive()
        assert again.receive_count == 2
        await queue.delete(again.receipt_handle)
        assert not stored.messages
        with pytest.raises(heddle.ReceiptHandleIsInvalid):
            await queue.delete("nonsense")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[bytes, bytes]:
    """A certificate for "heddle.test" that vouches for itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=heddle.test"
    names = ["-addext", "subjectAltName=DNS:heddle.test", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([openssl, *made.split(), *names], check=True, capture_output=True, timeout=30)
    return cert.read_bytes(), key.read_bytes()


def test_tls_in_both_directions(certificate: tuple[bytes, bytes]) -> None:
    cert, key = certificate

    async def test() -> None:
        credentials = grpc.ssl_server_credentials([(key, cert)], cert, require_client_auth=True)
        known = heddle.Tls(ca=cert, cert=cert, key=key, server_name="heddle.test")
        stranger = heddle.Tls(ca=cert, server_name="heddle.test")
        async with asyncio.timeout(20), serving(credentials) as (_, address):
            async with heddle.aio.Client(address, tls=known) as client:
                assert (await client.create_queue("orders")).name == "orders"
            async with heddle.aio.Client(address, tls=stranger) as client:
                with pytest.raises(heddle.Unavailable):
                    await client.queue("orders").send("a")

    asyncio.run(test())


@run
async def test_batch_calls_answer_entry_by_entry() -> None:
    async with orders() as (_, stored, queue):
        first, refused, last = await queue.send_batch(["a", "", heddle.OutgoingMessage(b"c", attributes={"k": "v"})])
        assert isinstance(first, heddle.SentMessage)
        assert isinstance(refused, heddle.BatchError)
        assert isinstance(refused.error, heddle.MissingParameter)
        assert isinstance(last, heddle.SentMessage)
        handles = [message.receipt_handle for message in await queue.receive(10)]
        assert await queue.change_visibility_batch([(handle, 60) for handle in handles]) == [None, None]
        outcome = await queue.delete_batch([handles[0], "nonsense"])
        assert outcome[0] is None
        assert outcome[1] is not None
        assert outcome[1].code == "ReceiptHandleIsInvalid"
        assert len(stored.messages) == 1


@run
async def test_queues_are_listed_tagged_and_deleted() -> None:
    async with serving() as (broker, address), heddle.aio.Client(address, account="111122223333") as client:
        for name in ("a1", "a2", "a3", "b1"):
            await client.create_queue(name, tags={"team": "x"})
        assert broker.metadata["heddle-account"] == "111122223333"
        assert "heddle-region" not in broker.metadata
        listed = [queue.name async for queue in client.list_queues("a")]
        assert listed == ["a1", "a2", "a3"]  # two pages
        queue = await client.get_queue("a1")
        await queue.tag({"cost": "1"})
        await queue.untag(["team"])
        assert await queue.tags() == {"cost": "1"}
        await queue.set_attributes({"VisibilityTimeout": "5"})
        assert await queue.attributes(["VisibilityTimeout"]) == {"VisibilityTimeout": "5"}
        await queue.purge()
        await queue.delete_queue()
        with pytest.raises(heddle.QueueDoesNotExist):
            await queue.attributes()


@run
async def test_calls_that_may_be_repeated_survive_unavailability_and_sends_do_not() -> None:
    async with orders() as (broker, stored, queue):
        broker.unavailable_calls = 2
        assert await queue.tags() == {}
        broker.unavailable_calls = 1
        with pytest.raises(heddle.Unavailable):
            await queue.send("once")
        assert not stored.messages


@run
async def test_a_producer_keeps_the_order_and_its_tickets_tell_the_truth() -> None:
    async with orders() as (_, stored, queue):
        async with queue.producer(batch_messages=64, delay_seconds=0) as producer:
            tickets = [await producer.send(f"{number}", attributes={"n": number}) for number in range(500)]
            tickets += [await producer.send(b"%d" % number) for number in range(500, 1000)]
        assert producer.accepted_messages == 1000
        assert [each.message.body for _, each in sorted(stored.messages.items())] == [b"%d" % n for n in range(1000)]
        assert all(ticket.done() for ticket in tickets)
        assert [ticket.sequence for ticket in tickets] == sorted(stored.messages)
        assert (await tickets[77].result()).message_id == tickets[77].message_id
        assert len({ticket.message_id for ticket in tickets}) == 1000
        with pytest.raises(heddle.HeddleError):
            await producer.send("too late")


@run
async def test_a_lingering_batch_leaves_without_being_asked() -> None:
    async with orders() as (_, _, queue), queue.producer(linger_ms=1) as producer:
        ticket = await producer.send("alone")
        assert not ticket.done()
        assert (await ticket.result(10)).sequence == 1


@run
async def test_a_producer_waits_for_room() -> None:
    async with orders() as (broker, stored, queue):
        broker.hold_results = asyncio.Event()
        async with queue.producer(batch_messages=10, max_in_flight_bytes=1500) as producer:
            for _ in range(10):
                await producer.send(bytes(100))
            sending = asyncio.ensure_future(producer.send(b"x" * 1000))
            await until(lambda: len(stored.messages) == 10)
            assert not sending.done()
            broker.hold_results.set()
            assert (await (await sending).result(10)).sequence == 11


@run
async def test_waiting_for_room_ends_with_the_timeout() -> None:
    async with orders(timeout=0.2) as (broker, _, queue):
        broker.hold_results = asyncio.Event()
        producer = queue.producer(max_in_flight_bytes=100)
        ticket = await producer.send(bytes(90))
        with pytest.raises(heddle.DeadlineExceeded):
            await producer.send(bytes(90))
        with pytest.raises(heddle.DeadlineExceeded):
            await producer.flush()
        with pytest.raises(heddle.DeadlineExceeded):
            await ticket.result(0.01)
        with pytest.raises(heddle.DeadlineExceeded):
            await producer.close()
        with pytest.raises(heddle.HeddleError):  # and not for ever unknown
            await ticket.result(10)


@run
async def test_a_producer_sends_again_what_was_not_acknowledged() -> None:
    async with orders() as (broker, stored, queue):
        async with queue.producer(batch_messages=10) as producer:
            for number in range(10):
                await producer.send(b"%d" % number)
            await producer.flush()
            broker.lose_results = 2
            for number in range(10, 40):
                await producer.send(b"%d" % number)
        assert broker.streams_opened == 3
        assert producer.accepted_messages == 40
        bodies = [int(each.message.body) for _, each in sorted(stored.messages.items())]
        assert set(bodies) == set(range(40))
        assert len(bodies) > 40  # at least once
        firsts = list(dict.fromkeys(bodies))
        assert firsts == sorted(firsts)


@run
async def test_a_refused_batch_is_raised_and_counted() -> None:
    async with orders() as (broker, _, queue):
        producer = queue.producer(batch_messages=1)
        broker.refuse_batches = 1
        refused, accepted = await producer.send("a"), await producer.send("b")
        with pytest.raises(heddle.Overloaded, match="the disk is full"):
            await producer.flush()
        with pytest.raises(heddle.Overloaded):
            await refused.result()
        assert refused.message_id is None
        assert (await accepted.result()).sequence == 1
        assert (producer.accepted_messages, producer.failed_messages) == (1, 1)
        await producer.close()  # the refusal was told


@run
async def test_streams_on_a_queue_that_does_not_exist() -> None:
    async with serving() as (_, address), heddle.aio.Client(address, timeout=5.0) as client:
        queue = client.queue("nowhere")
        producer = queue.producer()
        ticket = await producer.send("a")
        with pytest.raises(heddle.QueueDoesNotExist):
            await ticket.result(10)
        with pytest.raises(heddle.QueueDoesNotExist):
            await producer.close()
        consumer = queue.consumer(visibility_timeout=30)
        with pytest.raises(heddle.QueueDoesNotExist):
            await anext(consumer)
        with pytest.raises(heddle.QueueDoesNotExist):
            await consumer.close()


@run
async def test_a_consumer_acks_in_and_out_of_order() -> None:
    async with orders() as (broker, stored, queue):
        async with queue.producer() as producer:
            for number in range(300):
                await producer.send(b"%d" % number, group_id="g", attributes={"n": number})
        async with queue.consumer(prefetch=50) as consumer:
            messages = await take(consumer, 40)
            assert [message.body for message in messages] == [b"%d" % number for number in range(40)]
            assert messages[7].attributes == {"n": heddle.Attribute("Number", "7")}
            assert (messages[7].group_id, messages[7].receive_count, messages[7].sequence) == ("g", 1, 8)
            for message in messages[1::2] + messages[::2][::-1]:
                message.ack()
            for _ in range(260):
                (await anext(consumer)).ack()
        assert not stored.messages
        granted = sum(request.credit for request in broker.consumed)
        assert granted <= 300 + 50


@run
async def test_a_nack_brings_the_message_again() -> None:
    async with orders() as (_, stored, queue):
        sent = await queue.send("again")
        async with queue.consumer() as consumer:
            first = await anext(consumer)
            first.nack()
            second = await anext(consumer)
            assert first.message_id == second.message_id == sent.message_id
            assert (first.receive_count, second.receive_count) == (1, 2)
            second.ack()
        assert not stored.messages


@run
async def test_close_confirms_the_acks_and_gives_the_rest_back() -> None:
    async with orders() as (_, stored, queue):
        await queue.send_batch([b"%d" % number for number in range(10)])
        async with queue.consumer(keep_in_flight_on_disconnect=True) as consumer:
            for message in await take(consumer, 4):
                message.ack()
            await anext(consumer)
        assert [each.message.body for each in stored.messages.values()] == [b"%d" % number for number in range(4, 10)]
        assert len(stored.visible()) == 6
        with pytest.raises(StopAsyncIteration):
            await anext(consumer)


@run
async def test_a_consumer_that_lost_its_stream_goes_on_with_fresh_credit() -> None:
    async with orders() as (broker, stored, queue):
        await queue.send_batch(["a", "b", "c"])
        async with queue.consumer(prefetch=3) as consumer:
            lost = await take(consumer, 2)
            broker.break_streams()
            await until(lambda: broker.streams_opened == 2)
            again = await take(consumer, 3)
            assert [message.text for message in again] == ["a", "b", "c"]
            assert {message.receive_count for message in again} == {2}
            lost[0].ack()  # does nothing: "a" was delivered again and is another delivery's to settle
            for message in again[1:]:
                message.ack()
            await until(lambda: len(stored.messages) == 1)
        assert broker.streams_opened == 2
        assert [each.message.body for each in stored.messages.values()] == [b"a"]


@run
async def test_held_messages_are_extended_by_themselves() -> None:
    async with orders({"VisibilityTimeout": "1"}) as (broker, stored, queue):
        await queue.send_batch(["held", "done"])
        async with queue.consumer() as consumer:
            held, done = await take(consumer, 2)
            done.ack()
            await until(lambda: sum(len(request.extensions) for request in broker.consumed) >= 3)
            assert [each.receive_count for each in stored.messages.values()] == [1]  # after more than a timeout
            held.ack()
        assert not stored.messages
        assert broker.consumed[0].visibility_timeout == 1


@run
async def test_deliveries_are_settled_in_bulk() -> None:
    async with orders() as (_, stored, queue):
        async with queue.producer() as producer:
            for number in range(250):
                await producer.send(b"%d" % number)
        bodies: list[bytes] = []
        async with queue.consumer() as consumer:
            async for delivery in consumer.deliveries():
                bodies += delivery.bodies()
                delivery.ack()
                if len(bodies) == 250:
                    break
        assert bodies == [b"%d" % number for number in range(250)]
        assert not stored.messages


@run
async def test_run_acks_what_returns_and_nacks_what_raises() -> None:
    async with orders() as (_, stored, queue):
        await queue.send_batch([b"%d" % number for number in range(10)])
        consumer = queue.consumer()
        seen: list[tuple[str, int]] = []

        async def handle(message: heddle.Message) -> None:
            await asyncio.sleep(0)
            seen.append((message.text, message.receive_count))
            if message.text == "3" and message.receive_count == 1:
                raise ArithmeticError("three")
            if len(seen) == 11:
                consumer.stop()

        await consumer.run(handle, concurrency=3)
        assert sorted(seen) == sorted([(f"{number}", 1) for number in range(10)] + [("3", 2)])
        assert not stored.messages


@run
async def test_closing_the_client_ends_what_runs() -> None:
    async with serving() as (_, address):
        client = heddle.aio.Client(address, timeout=5.0)
        queue = await client.create_queue("orders")
        consumer = queue.consumer()
        waiting = asyncio.ensure_future(anext(consumer))
        producer = queue.producer(linger_ms=10_000)
        ticket = await producer.send("never sent")
        await asyncio.sleep(0.05)
        await client.close()
        with pytest.raises(heddle.HeddleError):
            await waiting
        with pytest.raises(heddle.HeddleError):
            await ticket.result(5)
