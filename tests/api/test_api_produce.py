"""``Produce``: batches in, results out, pipelined."""

import uuid
from itertools import pairwise

import grpc
import heddle
import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc
from heddle.v1.message_pb2 import Message, MessageAttributeValue, MessageBatch

from tests.api.running import Broker, batch_of, counts, raw_stream, reason
from tests.api.streams import ProduceStream


def test_results_come_in_order_and_sequence_numbers_without_gaps(stub: pb_grpc.QueuesStub, name: str) -> None:
    with ProduceStream(stub) as stream:
        for request_id in range(100, 200):
            batch = batch_of(*[b"%d" % request_id] * (request_id % 7 + 1))
            stream.send(
                pb.ProduceRequest(queue_url=name if request_id == 100 else "", request_id=request_id, batch=batch)
            )
        stream.half_close()
        results = stream.results(100)
        assert stream.status() == grpc.StatusCode.OK
    assert [result.request_id for result in results] == list(range(100, 200))
    assert [result.count for result in results] == [request_id % 7 + 1 for request_id in range(100, 200)]
    for before, after in pairwise(results):
        assert after.base_sequence == before.base_sequence + before.count
    assert counts(stub, name)[0] == sum(result.count for result in results)


def test_the_ids_of_results_are_those_of_receives(stub: pb_grpc.QueuesStub, name: str) -> None:
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(queue_url=name, batch=batch_of(*(b"%d" % number for number in range(5)))))
        (result,) = stream.results(1)
    first = result.first_message_id
    last_four = int.from_bytes(first[12:], "big")
    expected = {
        b"%d" % index: str(uuid.UUID(bytes=first[:12] + ((last_four + index) % 2**32).to_bytes(4, "big")))
        for index in range(5)
    }
    peeked = stub.PeekMessages(pb.PeekMessagesRequest(queue_url=name)).messages
    assert {peek.message.body: peek.message_id for peek in peeked} == expected
    assert [peek.sequence for peek in peeked] == list(range(result.base_sequence, result.base_sequence + 5))


REFUSED = {
    "no batch": (pb.ProduceRequest(), "AWS.SimpleQueueService.EmptyBatchRequest"),
    "an empty body": (pb.ProduceRequest(batch=batch_of(b"a", b"")), "MissingParameter"),
    "too many": (pb.ProduceRequest(batch=batch_of(*[b"a"] * 10_001)), "InvalidParameterValue"),
    "too long": (pb.ProduceRequest(batch=batch_of(*[b"a" * 2**20] * 3)), "AWS.SimpleQueueService.BatchRequestTooLong"),
    "a message too long": (pb.ProduceRequest(batch=batch_of(b"a" * (2**20 + 1))), "InvalidParameterValue"),
    "a negative delay": (pb.ProduceRequest(batch=batch_of(b"a"), delay_seconds=-1), "InvalidParameterValue"),
    "a long delay": (pb.ProduceRequest(batch=batch_of(b"a"), delay_seconds=901), "InvalidParameterValue"),
    "a deduplication id": (
        pb.ProduceRequest(batch=MessageBatch(messages=[Message(body=b"a", message_deduplication_id="x")])),
        "InvalidParameterValue",
    ),
    "an attribute without a type": (
        pb.ProduceRequest(
            batch=MessageBatch(
                messages=[Message(body=b"a", message_attributes={"n": MessageAttributeValue(string_value="v")})]
            )
        ),
        "InvalidParameterValue",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_batch_leaves_the_stream_as_it_is(kind: str, stub: pb_grpc.QueuesStub, name: str) -> None:
    request, code = REFUSED[kind]
    bad = pb.ProduceRequest()
    bad.CopyFrom(request)
    bad.request_id = 2
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(queue_url=name, request_id=1, batch=batch_of(b"one")))
        stream.send(bad)
        stream.send(pb.ProduceRequest(request_id=3, batch=batch_of(b"three")))
        one, refused, three = stream.results(3)
    assert (one.request_id, refused.request_id, three.request_id) == (1, 2, 3)
    assert refused.error_code == code
    assert refused.error_message
    assert (refused.count, refused.base_sequence, refused.first_message_id) == (0, 0, b"")
    assert three.base_sequence == one.base_sequence + 1
    assert counts(stub, name) == (2, 0, 0)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


@pytest.mark.parametrize(
    "message",
    [b"", b"\x0a\x00", b"\x0a\x80\x00", b"\x0a\x01a\x0a\x00", b"\x2a\x00", b"\x8a\x00\x80\x00"],
    ids=["nothing", "empty", "a long zero", "the last one counts", "an unknown field", "a long tag"],
)
def test_a_message_without_a_body_is_refused_however_it_is_spelled(
    message: bytes, running: Broker, stub: pb_grpc.QueuesStub, name: str
) -> None:
    assert Message.FromString(message).body == b""
    request = pb.ProduceRequest(queue_url=name).SerializeToString() + _field(3, _field(1, message))
    with running.channel() as channel:
        (frame,) = raw_stream(channel, "Produce")(iter([request]))
    (result,) = pb.ProduceResponse.FromString(frame).results
    assert result.error_code == "MissingParameter", "a message without a body was stored"


def test_attributes_are_checked_however_their_tag_is_spelled(running: Broker, name: str) -> None:
    """A tag in more bytes than it needs is the same tag (protobuf allows it)."""
    plain = Message(body=b"a", message_attributes={"n": MessageAttributeValue(data_type="Nonsense", string_value="v")})
    spelled = plain.SerializeToString().replace(b"\x12", b"\x92\x00", 1)
    assert Message.FromString(spelled) == plain
    request = pb.ProduceRequest(queue_url=name).SerializeToString() + _field(3, _field(1, spelled))
    with running.channel() as channel:
        (frame,) = raw_stream(channel, "Produce")(iter([request]))
    (result,) = pb.ProduceResponse.FromString(frame).results
    assert result.error_code == "InvalidParameterValue"


def test_a_stream_may_change_its_queue(stub: pb_grpc.QueuesStub, name: str) -> None:
    other = f"{name}-2"
    stub.CreateQueue(pb.CreateQueueRequest(queue_name=other))
    with ProduceStream(stub) as stream:
        for queue_url in (name, "", other, "", "", name):
            stream.send(pb.ProduceRequest(queue_url=queue_url, batch=batch_of(b"a")))
        stream.results(6)
    assert counts(stub, name) == (3, 0, 0)
    assert counts(stub, other) == (3, 0, 0)
    stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=other))


def test_what_was_taken_before_the_end_is_answered(stub: pb_grpc.QueuesStub, name: str) -> None:
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(queue_url=name, request_id=1, batch=batch_of(b"a")))
        stream.send(pb.ProduceRequest(queue_url="no-such-queue", request_id=2, batch=batch_of(b"b")))
        (result,) = stream.results(1)
        assert (result.request_id, result.error_code) == (1, "")
        with pytest.raises(grpc.RpcError) as ended:
            stream.receive()
    assert ended.value.code() == grpc.StatusCode.NOT_FOUND
    assert reason(ended.value) == "AWS.SimpleQueueService.NonExistentQueue"


def test_a_queue_deleted_meanwhile_ends_the_stream(stub: pb_grpc.QueuesStub, name: str) -> None:
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(queue_url=name, batch=batch_of(b"a")))
        stream.results(1)
        stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=name))
        stream.send(pb.ProduceRequest(batch=batch_of(b"b")))
        assert stream.status() == grpc.StatusCode.NOT_FOUND


def test_a_first_request_without_a_queue(stub: pb_grpc.QueuesStub) -> None:
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(batch=batch_of(b"a")))
        with pytest.raises(grpc.RpcError) as ended:
            stream.receive()
    assert reason(ended.value) == "MissingParameter"


def test_a_delay_is_the_batchs_own_or_the_queues(stub: pb_grpc.QueuesStub, name: str) -> None:
    with ProduceStream(stub) as stream:
        stream.send(pb.ProduceRequest(queue_url=name, batch=batch_of(b"a", b"b"), delay_seconds=900))
        stream.send(pb.ProduceRequest(batch=batch_of(b"c")))
        stream.results(2)
        assert counts(stub, name) == (1, 0, 2)
        stub.SetQueueAttributes(pb.SetQueueAttributesRequest(queue_url=name, attributes={"DelaySeconds": "60"}))
        stream.send(pb.ProduceRequest(batch=batch_of(b"d")))
        stream.send(pb.ProduceRequest(batch=batch_of(b"e"), delay_seconds=0))
        stream.results(2)
    assert counts(stub, name) == (2, 0, 3)


def test_bodies_are_bytes(running: Broker, name: str) -> None:
    body = bytes(range(256))
    with heddle.Client(running.grpc) as client:
        queue = client.queue(name)
        with queue.producer() as producer:
            ticket = producer.send(body)
            producer.flush()
            sent = ticket.result(10)
        assert [peeked.sequence for peeked in queue.peek()] == [sent.sequence]
        (received,) = queue.receive()
        assert (received.body, received.message_id) == (body, sent.message_id)
