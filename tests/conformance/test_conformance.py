"""The broker against the semantics of Amazon SQS, row by row, through every door it has."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import grpc
import pytest
from conformance_aws import AwsJsonFace, AwsQueryFace
from conformance_direct import DirectFace
from conformance_faces import RESPONSE_BYTES_MAX, Face, GrpcFace
from conformance_fits import MATCHERS, mismatches
from conformance_queue import FIFO, TestedQueue
from conformance_rows import Row, load_rows, run_row
from heddle.v1 import message_pb2, queues_pb2, queues_pb2_grpc

AnyFace = type[GrpcFace | AwsJsonFace | AwsQueryFace | DirectFace]

ROWS: Final = load_rows(Path(__file__).parent / "queues")
FACES: Final = (GrpcFace, AwsJsonFace, AwsQueryFace, DirectFace)
REAL_SECONDS_MAX: Final = 3
EVERYDAY_SECONDS_MAX: Final = 0.5
"""Rows that wait for longer run every day in virtual time, and with real time in the full suite."""


def _everyday(face: AnyFace, rows: list[Row]) -> Iterator[Row]:
    """All rows where time is virtual. Over a wire those that bring an operation, a member of its input or a code of an
    error that none before them has: to the others the wire adds nothing that these do not show."""
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if face.virtual_time or row.is_of_few_faces:
            yield row
        elif row.seconds_least() <= EVERYDAY_SECONDS_MAX and row.kinds() - seen:
            seen |= row.kinds()
            yield row


def _by_mark(face: AnyFace) -> Iterator[tuple[Row, Sequence[pytest.MarkDecorator]]]:
    rows = [row for row in ROWS if row.concerns(face.name, virtual_time=face.virtual_time)]
    everyday = {row.id for row in _everyday(face, rows)}
    for row in rows:
        yield row, () if row.id in everyday else (pytest.mark.full,)


PAIRS: Final = [
    pytest.param(face.name, row, id=f"{face.name}-{row.id}", marks=marks)
    for face in FACES
    for row, marks in _by_mark(face)
]


@pytest.mark.parametrize(("face", "row"), PAIRS, indirect=["face"])
def test_row(row: Row, face: Face) -> None:
    run_row(row, face)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"A": "1"}, {"A": "2"}),
        ({"A": "1"}, {}),
        ({"A": {"absent": True}}, {"A": "1"}),
        ({"only": {}}, {"A": "1"}),
        ({"only": {"A": "1"}}, {"A": "2"}),
        (["a"], []),
        (["a", "b"], ["b", "a"]),
        ({"unordered": ["a", "b"]}, ["a", "a"]),
        ({"length": 1}, []),
        ({"matches": "a"}, "ab"),
        ({"other": "a"}, "a"),
        ({"distinct": "A"}, [{"A": "1"}, {"A": "1"}]),
        ({"increasing": "A"}, [{"A": "1"}, {"A": "2"}, {"A": "2"}]),
        ({"increasing": "A"}, [{"A": "9"}, {"A": "10"}]),
        ({"above": "2"}, "2"),
        ({"above": "9"}, "10"),
        ({"json": {"a": 1}}, '{"a": "1"}'),
        ({"json": {"a": 1}}, '{"a": 1, "b": 2}'),
        ({"base64_json": {"a": {"uuid": True}}}, "eyJhIjogMX0="),
        ({"keys": ["A"]}, {"A": "1", "B": "2"}),
        ("1", 1),
        (1, True),
    ],
)
def test_the_runner_sees_what_does_not_fit(expected: object, actual: object) -> None:
    assert list(mismatches(expected, actual, "output"))


def test_there_are_rows_for_every_operation() -> None:
    operations = {step["call"] for row in ROWS for step in row.steps() if "${" not in step.get("call", "${")}
    assert operations >= {
        *("CreateQueue", "DeleteQueue", "GetQueueUrl", "ListQueues", "GetQueueAttributes", "SetQueueAttributes"),
        *("PurgeQueue", "TagQueue", "UntagQueue", "ListQueueTags", "SendMessage", "SendMessageBatch"),
        *("ReceiveMessage", "DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility"),
        *("ChangeMessageVisibilityBatch", "AddPermission", "RemovePermission", "ListDeadLetterSourceQueues"),
        *("StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask"),
    }


def test_rows_that_wait_for_long_say_so() -> None:
    waits = {row.id: row.seconds_least() for row in ROWS if "time" not in row.table}
    assert not {row: seconds for row, seconds in waits.items() if seconds > REAL_SECONDS_MAX}


def test_matchers_do_not_look_like_members() -> None:
    assert all(name.islower() for name in MATCHERS)


@pytest.mark.parametrize("attributes", [{}, FIFO], ids=["standard", "fifo"])
def test_in_flight_limit(ports: dict[str, Any], grpc_face: GrpcFace, attributes: dict[str, str]) -> None:
    """4.4: at 120,000 in flight a short poll is refused (standard) or empty (FIFO), a long poll is empty; one delete
    lifts both.

    No row can reach that many in a reasonable time: they are put in flight over one stream of the native API.
    """
    queue = TestedQueue(grpc_face, attributes)
    with grpc.insecure_channel(
        ports["grpc"], options=[("grpc.max_receive_message_length", RESPONSE_BYTES_MAX)]
    ) as channel:
        stub = queues_pb2_grpc.QueuesStub(channel)  # type: ignore[no-untyped-call]
        sent = (
            queues_pb2.ProduceRequest(queue_url=queue.name, request_id=n, batch=_ten_thousand(n, fifo=queue.fifo))
            for n in range(13)
        )
        results = [result for response in stub.Produce(sent, timeout=60) for result in response.results]
        assert [result.error_code for result in results] == [""] * 13
        [received] = queue.receive(1)

        requests = SimpleQueue[queues_pb2.ConsumeRequest | None]()
        requests.put(queues_pb2.ConsumeRequest(queue_url=queue.name, credit=119_999))
        consumed = stub.Consume(iter(requests.get, None), timeout=60)
        in_flight = 1
        while in_flight < 120_000:
            in_flight += sum(len(delivery.batch.messages) for delivery in next(consumed).deliveries)
        assert in_flight == 120_000

        if queue.fifo:
            assert queue.receive() == []
        else:
            assert queue.refusal("ReceiveMessage").code == "OverLimit"
        assert queue.receive(WaitTimeSeconds=1) == []
        queue.delete(received)
        assert len(queue.receive()) == 1
        requests.put(queues_pb2.ConsumeRequest(stop=True))
        requests.put(None)
        assert not [delivery for response in consumed for delivery in response.deliveries]


def _ten_thousand(batch: int, *, fifo: bool) -> message_pb2.MessageBatch:
    """Messages of a batch; on FIFO each has a group of its own, so that all may be in flight together."""
    if not fifo:
        return message_pb2.MessageBatch(messages=[message_pb2.Message(body=b"x")] * 10_000)
    ids = [f"{batch}-{index}" for index in range(10_000)]
    return message_pb2.MessageBatch(
        messages=[message_pb2.Message(body=b"x", message_group_id=i, message_deduplication_id=i) for i in ids]
    )
