"""``Consume``: credit, acknowledgements by ranges, and what becomes of what a consumer held."""

import time
from contextlib import ExitStack

import grpc
import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc
from heddle.v1.message_pb2 import Message, MessageAttributeValue, MessageBatch

from tests.api.running import Broker, batch_of, counts, raw_stream, reason, until
from tests.api.streams import ConsumeStream, ProduceStream, Stream, bodies, span

SOON = 0.3
"""Seconds in which nothing must come."""


def fill(stub: pb_grpc.QueuesStub, name: str, *sizes: int) -> int:
    """Sends a batch of each size, bodies numbered; the first sequence number."""
    number = 0
    with ProduceStream(stub) as stream:
        for size in sizes:
            batch = batch_of(*(b"%d" % index for index in range(number, number + size)))
            number += size
            stream.send(pb.ProduceRequest(queue_url=name, batch=batch))
        return stream.results(len(sizes))[0].base_sequence


def consume(stub: pb_grpc.QueuesStub, name: str, credit: int = 0, **settings: object) -> ConsumeStream:
    return ConsumeStream(stub, pb.ConsumeRequest(queue_url=name, credit=credit, **settings))  # type: ignore[arg-type]


def ranges(*pairs: tuple[int, int]) -> list[pb.SequenceRange]:
    return [pb.SequenceRange(first=first, end=end) for first, end in pairs]


def test_credit_is_respected_exactly(stub: pb_grpc.QueuesStub, name: str) -> None:
    fill(stub, name, 100)
    with consume(stub, name) as stream:
        assert stream.silent(SOON), "a delivery without credit"
        for credit in (1, 7, 92):
            stream.send(pb.ConsumeRequest(credit=credit))
            stream.take(credit)
            assert stream.silent(0.1)
        assert bodies(stream.deliveries) == [b"%d" % number for number in range(100)]
        assert counts(stub, name) == (0, 100, 0)
    until(lambda: counts(stub, name) == (100, 0, 0))


def test_acknowledgements_in_and_out_of_order(stub: pb_grpc.QueuesStub, name: str) -> None:
    base = fill(stub, name, 10, 10, 10)
    with consume(stub, name, 30) as stream:
        stream.take(30)
        stream.settle(pb.ConsumeRequest(acks=ranges((base + 25, base + 30), (base + 5, base + 15))))
        assert counts(stub, name) == (0, 15, 0)
        stream.settle(pb.ConsumeRequest(acks=ranges((base + 2, base + 12))))
        stream.settle(pb.ConsumeRequest(acks=ranges((base, base + 5))))
        assert counts(stub, name) == (0, 10, 0)
        stream.settle(pb.ConsumeRequest(acks=ranges((0, 2**64 - 1))))
        assert counts(stub, name) == (0, 0, 0)
    assert counts(stub, name) == (0, 0, 0)


@pytest.mark.parametrize(("first", "end"), [(5, 5), (8, 3), (2**64 - 1, 0), (2**64 - 1, 2**64 - 1), (1000, 2000)])
def test_a_range_of_nothing_changes_nothing(first: int, end: int, stub: pb_grpc.QueuesStub, name: str) -> None:
    """Empty and inverted ranges are refused or have no effect; the counts stay true."""
    base = fill(stub, name, 20)
    span_of_nothing = pb.SequenceRange(
        first=base + first if first < 2**63 else first, end=base + end if end < 2**63 else end
    )
    with consume(stub, name, 20) as stream:
        stream.take(20)
        for request in (
            pb.ConsumeRequest(acks=[span_of_nothing]),
            pb.ConsumeRequest(nacks=[pb.Nack(range=span_of_nothing)]),
            pb.ConsumeRequest(extensions=[pb.Extension(range=span_of_nothing, visibility_timeout=60)]),
        ):
            try:
                stream.settle(request)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.INVALID_ARGUMENT  # noqa: PT017
                break
            assert counts(stub, name) == (0, 20, 0)
    until(lambda: counts(stub, name) == (20, 0, 0))
    with consume(stub, name, 20) as stream:
        stream.take(20)
        assert sorted(bodies(stream.deliveries)) == sorted(b"%d" % number for number in range(20))
        stream.settle(pb.ConsumeRequest(acks=ranges((base, base + 20))))
    assert counts(stub, name) == (0, 0, 0)


def test_what_was_never_received_cannot_be_acknowledged(stub: pb_grpc.QueuesStub, name: str) -> None:
    base = fill(stub, name, 5, 5)
    with consume(stub, name, 5) as stream:
        stream.take(5)
        stream.settle(pb.ConsumeRequest(acks=ranges((base, base + 10))))
        assert counts(stub, name) == (5, 0, 0)


def test_a_nack_comes_back_at_once_or_later(stub: pb_grpc.QueuesStub, name: str) -> None:
    base = fill(stub, name, 4)
    with consume(stub, name, 4) as stream:
        stream.take(4)
        later, now = ranges((base, base + 1), (base + 2, base + 3))
        started = time.monotonic()
        stream.send(pb.ConsumeRequest(credit=4, nacks=[pb.Nack(range=later, delay_seconds=1), pb.Nack(range=now)]))
        (again,) = stream.take(1)
        assert (again.base_sequence, again.receive_count) == (base + 2, 2)
        (delayed,) = stream.take(1)
        assert (delayed.base_sequence, delayed.receive_count) == (base, 2)
        assert time.monotonic() - started > 0.9
        assert delayed.first_received_timestamp_ms == stream.deliveries[0].first_received_timestamp_ms


def test_a_nack_of_an_older_delivery_is_passed_over(stub: pb_grpc.QueuesStub) -> None:
    """It came too late: what it answers is over, and what the stream holds now is another delivery's."""
    name = "older.fifo"
    stub.CreateQueue(pb.CreateQueueRequest(queue_name=name, attributes={"FifoQueue": "true"}))
    for number in range(3):
        text = str(number)
        stub.SendMessage(
            pb.SendMessageRequest(
                queue_url=name, message_body=text.encode(), message_group_id="g", message_deduplication_id=text
            )
        )
    with consume(stub, name, 10) as stream:
        older = stream.take(3)
        base = older[0].base_sequence
        first, second, whole = ranges((base, base + 1), (base + 1, base + 2), (base, base + 3))
        stream.send(pb.ConsumeRequest(nacks=[pb.Nack(range=first, delivery_id=older[0].delivery_id)], credit=3))
        newer = stream.take(3)
        assert bodies(newer) == [b"0", b"1", b"2"]
        for delivery in older:
            stream.settle(pb.ConsumeRequest(nacks=[pb.Nack(range=whole, delivery_id=delivery.delivery_id)]))
        assert counts(stub, name) == (0, 3, 0)
        (its_id,) = (
            delivery.delivery_id for delivery in newer if span(delivery).first <= second.first < span(delivery).end
        )
        stream.settle(pb.ConsumeRequest(nacks=[pb.Nack(range=second, delivery_id=its_id, delay_seconds=600)]))
        stream.settle(pb.ConsumeRequest(acks=[whole]))
        assert counts(stub, name) == (0, 2, 0)  # the second is back, for later, and the third with it
    stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=name))


def test_an_extension_keeps_and_its_absence_gives_up(stub: pb_grpc.QueuesStub, name: str) -> None:
    """Two seconds: the extension must be there before they are over, on a busy machine too."""
    base = fill(stub, name, 2)
    with consume(stub, name, 2, visibility_timeout=2) as stream:
        stream.take(2)
        kept = pb.Extension(range=ranges((base, base + 1))[0], visibility_timeout=60)
        stream.settle(pb.ConsumeRequest(extensions=[kept]))
        until(lambda: counts(stub, name) == (1, 1, 0))
        (message,) = stub.ReceiveMessage(pb.ReceiveMessageRequest(queue_url=name)).messages
        assert message.body == b"1"


def test_what_a_broken_consumer_held_is_back_at_once(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    base = fill(stub, name, 10)
    with running.stub() as own, consume(own, name, 10, visibility_timeout=43_200) as stream:
        stream.take(10)
        stream.settle(pb.ConsumeRequest(acks=ranges((base + 3, base + 5))))
        poll = stub.ReceiveMessage.future(
            pb.ReceiveMessageRequest(queue_url=name, wait_time_seconds=20, max_number_of_messages=10)
        )
        stream.call.cancel()
        assert len(poll.result(15).messages) == 8


@pytest.mark.parametrize("end", ["cancel", "half-close", "stop"])
@pytest.mark.parametrize("keep", [False, True])
def test_what_is_held_at_the_end_stays_in_flight_only_if_asked(
    end: str, keep: bool, stub: pb_grpc.QueuesStub, name: str
) -> None:
    fill(stub, name, 10)
    with consume(stub, name, 10, keep_in_flight_on_disconnect=keep) as stream:
        stream.take(10)
        if end == "cancel":
            stream.call.cancel()
        elif end == "half-close":
            stream.half_close()
            assert stream.status() == grpc.StatusCode.OK
        else:
            stream.send(pb.ConsumeRequest(stop=True))
            assert stream.status() == grpc.StatusCode.OK
    if keep:
        time.sleep(SOON)
        assert counts(stub, name) == (0, 10, 0)
    else:
        until(lambda: counts(stub, name) == (10, 0, 0))


def test_a_stop_confirms_what_came_before_it(stub: pb_grpc.QueuesStub, name: str) -> None:
    fill(stub, name, 10)
    with consume(stub, name, 20) as stream:
        (delivery,) = stream.take(10)
        stream.send(pb.ConsumeRequest(acks=[span(delivery)], request_id=7, stop=True))
        frame = stream.receive()
        assert (frame.confirmed_request_id, list(frame.deliveries)) == (7, [])
        assert stream.status() == grpc.StatusCode.OK
    assert counts(stub, name) == (0, 0, 0)


def test_confirmations_never_go_back(stub: pb_grpc.QueuesStub, name: str) -> None:
    with consume(stub, name) as stream:
        for request_id in range(1, 101):
            stream.send(pb.ConsumeRequest(request_id=request_id))
        seen = [0]
        while seen[-1] < 100:
            seen.append(stream.receive().confirmed_request_id)
    assert seen == sorted(set(seen))


def test_a_queue_deleted_while_it_is_consumed(stub: pb_grpc.QueuesStub, name: str) -> None:
    fill(stub, name, 10)
    with consume(stub, name, 5) as holding, consume(stub, name, 100) as waiting:
        stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=name))
        assert waiting.status() == grpc.StatusCode.NOT_FOUND
        holding.send(pb.ConsumeRequest(acks=ranges((1, 5))))
        assert holding.status() == grpc.StatusCode.NOT_FOUND
        assert holding.error is not None
        assert reason(holding.error) == "AWS.SimpleQueueService.NonExistentQueue"


def test_consumers_take_turns(stub: pb_grpc.QueuesStub, name: str) -> None:
    """Each batch is handed out before the next is sent: those that share a commit may go to one taker."""
    with ExitStack() as stack:
        streams = [stack.enter_context(consume(stub, name, 1000)) for _ in range(4)]
        for stream in streams:
            stream.settle(pb.ConsumeRequest())  # it is in line
        first_sequences = []
        for batch in range(20):
            first_sequences.append(fill(stub, name, 10))
            until(lambda in_flight=10 * (batch + 1): counts(stub, name) == (0, in_flight, 0))  # type: ignore[misc]
        for stream in streams:
            stream.take(5 * 10)
        shares = [
            [first_sequences.index(delivery.base_sequence) for delivery in stream.deliveries] for stream in streams
        ]
        assert sorted(shares) == [[turn + 4 * lap for lap in range(5)] for turn in range(4)]
        assert all(bodies(stream.deliveries) == [b"%d" % number for number in range(10)] * 5 for stream in streams)


def test_a_whole_batch_is_delivered_as_it_was_sent(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    """Byte for byte, fields that this version does not know included."""
    attributes = {"a": MessageAttributeValue(data_type="String", string_value="ä")}
    batch = MessageBatch(messages=[Message(body=b"one", message_attributes=attributes), Message(body=b"two")])
    packed = batch.SerializeToString() + b"\x0a\x07\x0a\x01x\x28\x05\x30\x06"
    request = pb.ProduceRequest(queue_url=name).SerializeToString() + b"\x1a" + bytes([len(packed)]) + packed
    with running.channel() as channel:
        (frame,) = raw_stream(channel, "Produce")(iter([request]))
        assert pb.ProduceResponse.FromString(frame).results[0].count == 3
        with Stream[bytes, bytes](raw_stream(channel, "Consume")) as stream:
            stream.send(pb.ConsumeRequest(queue_url=name, credit=10).SerializeToString())
            assert packed in stream.receive()


@pytest.mark.parametrize(
    "request_fields",
    [{"visibility_timeout": -1}, {"visibility_timeout": 43_201}, {"queue_url": ""}],
    ids=["negative", "too long", "no queue"],
)
def test_a_bad_first_request_ends_the_stream(
    request_fields: dict[str, object], stub: pb_grpc.QueuesStub, name: str
) -> None:
    with ConsumeStream(stub, pb.ConsumeRequest(**{"queue_url": name, **request_fields})) as stream:  # type: ignore[arg-type]
        assert stream.status() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_bad_request_is_applied_as_a_whole_or_not_at_all(stub: pb_grpc.QueuesStub, name: str) -> None:
    base = fill(stub, name, 10)
    (whole,) = ranges((base, base + 10))
    with consume(stub, name, 10, keep_in_flight_on_disconnect=True) as stream:
        stream.take(10)
        stream.send(pb.ConsumeRequest(acks=[whole], nacks=[pb.Nack(range=whole, delay_seconds=-1)]))
        assert stream.status() == grpc.StatusCode.INVALID_ARGUMENT
    assert counts(stub, name) == (0, 10, 0)


def test_a_refusal_while_a_delivery_is_on_its_way(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    """The status follows whatever is being written: it is never lost to it."""
    logged = len(running.log())
    for _ in range(200):
        fill(stub, name, 1)
        with consume(stub, name, 10) as stream:
            stream.send(pb.ConsumeRequest(nacks=[pb.Nack(delay_seconds=-1)]))
            assert stream.status() == grpc.StatusCode.INVALID_ARGUMENT
    assert "Traceback" not in running.log()[logged:]
