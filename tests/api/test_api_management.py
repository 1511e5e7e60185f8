"""Permissions, other accounts, dead-letter queues, move tasks and FIFO queues over gRPC."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.api.running import Broker, reason, until

FRIEND = "111122223333"
HOME = "arn:aws:sqs:us-east-1:000000000000"


@pytest.fixture
def friend(running: Broker) -> Iterator[pb_grpc.QueuesStub]:
    """Calls of another account."""
    with running.stub(metadata=[("heddle-account", FRIEND)]) as made:
        yield made


def refused(call: Callable[[Any], object], request: object) -> tuple[grpc.StatusCode, str, str]:
    """Status, AWS code and text of a call that is refused."""
    with pytest.raises(grpc.RpcError) as error:
        call(request)
    return error.value.code(), reason(error.value), error.value.details() or ""


def add_permission(stub: pb_grpc.QueuesStub, name: str, label: str, *actions: str) -> None:
    stub.AddPermission(
        pb.AddPermissionRequest(queue_url=name, label=label, aws_account_ids=[FRIEND], actions=list(actions))
    )


def attributes(stub: pb_grpc.QueuesStub, name: str) -> dict[str, str]:
    request = pb.GetQueueAttributesRequest(queue_url=name, attribute_names=["All"])
    return dict(stub.GetQueueAttributes(request).attributes)


# --- permissions


def test_permissions_come_and_go(stub: pb_grpc.QueuesStub, name: str) -> None:
    add_permission(stub, name, "one", "SendMessage")
    policy = json.loads(attributes(stub, name)["Policy"])
    assert policy["Id"] == f"{HOME}:{name}/SQSDefaultPolicy"
    assert [statement["Sid"] for statement in policy["Statement"]] == ["one"]
    stub.RemovePermission(pb.RemovePermissionRequest(queue_url=name, label="one"))
    assert "Policy" not in attributes(stub, name)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"label": ""}, "MissingParameter"),
        ({"actions": []}, "MissingParameter"),
        ({"aws_account_ids": []}, "InvalidParameterValue"),
        ({"actions": ["SendMessage"] * 8}, "OverLimit"),
        ({"actions": ["DeleteQueue"]}, "InvalidParameterValue"),
        ({"queue_url": "nobody"}, "AWS.SimpleQueueService.NonExistentQueue"),
        ({"queue_url": "nobody", "label": ""}, "MissingParameter"),
    ],
)
def test_permissions_are_refused(members: dict[str, Any], code: str, stub: pb_grpc.QueuesStub, name: str) -> None:
    request = {"queue_url": name, "label": "l", "aws_account_ids": [FRIEND], "actions": ["SendMessage"], **members}
    assert refused(stub.AddPermission, pb.AddPermissionRequest(**request))[1] == code


def test_permissions_that_are_not_there(stub: pb_grpc.QueuesStub, name: str) -> None:
    remove = pb.RemovePermissionRequest
    assert refused(stub.RemovePermission, remove(queue_url=name, label="l"))[1] == "InvalidParameterValue"
    assert refused(stub.RemovePermission, remove(queue_url=name))[1] == "MissingParameter"


# --- other accounts


def test_messages_of_another_account(stub: pb_grpc.QueuesStub, friend: pb_grpc.QueuesStub, name: str) -> None:
    url = f"http://broker/000000000000/{name}"
    send = pb.SendMessageRequest(queue_url=url, message_body=b"hello")
    entry = pb.SendMessageBatchRequestEntry(id="a", message_body=b"again")
    batch = pb.SendMessageBatchRequest(queue_url=url, entries=[entry])
    receive = pb.ReceiveMessageRequest(
        queue_url=url, max_number_of_messages=10, message_system_attribute_names=["SenderId"]
    )
    status, code, text = refused(friend.SendMessage, send)
    assert (status, code) == (grpc.StatusCode.PERMISSION_DENIED, "AccessDenied")
    assert f"not authorized to perform: sqs:sendmessage on resource: {HOME}:{name}" in text
    add_permission(stub, name, "in", "SendMessage")
    friend.SendMessage(send)
    friend.SendMessageBatch(batch)
    assert refused(friend.ReceiveMessage, receive)[1] == "AccessDenied"
    received = stub.ReceiveMessage(receive).messages
    assert {message.attributes["SenderId"] for message in received} == {FRIEND}
    add_permission(stub, name, "out", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")
    for message in received:
        friend.ChangeMessageVisibility(
            pb.ChangeMessageVisibilityRequest(
                queue_url=url, receipt_handle=message.receipt_handle, visibility_timeout=0
            )
        )
    again = friend.ReceiveMessage(receive).messages
    assert len(again) == 2
    entries = [pb.DeleteMessageBatchRequestEntry(id="a", receipt_handle=again[0].receipt_handle)]
    friend.DeleteMessageBatch(pb.DeleteMessageBatchRequest(queue_url=url, entries=entries))
    friend.DeleteMessage(pb.DeleteMessageRequest(queue_url=url, receipt_handle=again[1].receipt_handle))
    assert len(friend.PeekMessages(pb.PeekMessagesRequest(queue_url=url)).messages) == 0


OWNERS_CALLS: list[tuple[str, Any]] = [
    ("DeleteQueue", pb.DeleteQueueRequest()),
    ("SetQueueAttributes", pb.SetQueueAttributesRequest(attributes={"DelaySeconds": "1"})),
    ("TagQueue", pb.TagQueueRequest(tags={"a": "b"})),
    ("UntagQueue", pb.UntagQueueRequest(tag_keys=["a"])),
    ("ListQueueTags", pb.ListQueueTagsRequest()),
    ("AddPermission", pb.AddPermissionRequest(label="l", aws_account_ids=[FRIEND], actions=["*"])),
    ("RemovePermission", pb.RemovePermissionRequest(label="all")),
]


@pytest.mark.parametrize(("operation", "request_"), OWNERS_CALLS, ids=[operation for operation, _ in OWNERS_CALLS])
def test_calls_of_the_owner_only(
    operation: str, request_: Any, stub: pb_grpc.QueuesStub, friend: pb_grpc.QueuesStub, name: str
) -> None:
    add_permission(stub, name, "all", "*")
    request_.queue_url = f"http://broker/000000000000/{name}"
    assert refused(getattr(friend, operation), request_)[1] == "AccessDenied"


def test_calls_that_a_policy_may_allow(stub: pb_grpc.QueuesStub, friend: pb_grpc.QueuesStub, name: str) -> None:
    url = f"http://broker/000000000000/{name}"
    calls: list[tuple[str, Any]] = [
        ("GetQueueAttributes", pb.GetQueueAttributesRequest(queue_url=url)),
        ("GetQueueUrl", pb.GetQueueUrlRequest(queue_name=name, queue_owner_aws_account_id="000000000000")),
        ("ListDeadLetterSourceQueues", pb.ListDeadLetterSourceQueuesRequest(queue_url=url)),
        ("PurgeQueue", pb.PurgeQueueRequest(queue_url=url)),
        ("ReceiveMessage", pb.ReceiveMessageRequest(queue_url=url)),
    ]
    for operation, request in calls:
        assert refused(getattr(friend, operation), request)[1] == "AccessDenied"
        add_permission(stub, name, operation, operation)
        getattr(friend, operation)(request)
    found = friend.GetQueueUrl(calls[1][1]).queue_url
    assert found == stub.GetQueueUrl(pb.GetQueueUrlRequest(queue_name=name)).queue_url


def test_another_accounts_own_queue_of_the_same_name(friend: pb_grpc.QueuesStub, name: str) -> None:
    assert friend.CreateQueue(pb.CreateQueueRequest(queue_name=name)).queue_url.endswith(f"/{FRIEND}/{name}")
    friend.DeleteQueue(pb.DeleteQueueRequest(queue_url=name))
    assert refused(friend.DeleteQueue, pb.DeleteQueueRequest(queue_url=name))[0] == grpc.StatusCode.NOT_FOUND


# --- dead-letter queues and move tasks


@pytest.fixture
def dead(stub: pb_grpc.QueuesStub, name: str) -> Iterator[str]:
    """The dead-letter queue of the test's queue: one receive, and the next one moves."""
    dead_name = f"{name[:70]}-dead"
    stub.CreateQueue(pb.CreateQueueRequest(queue_name=dead_name))
    policy = json.dumps({"deadLetterTargetArn": f"{HOME}:{dead_name}", "maxReceiveCount": "1"})
    stub.SetQueueAttributes(
        pb.SetQueueAttributesRequest(queue_url=name, attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
    )
    yield dead_name
    stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=dead_name))


def test_sources_are_listed(stub: pb_grpc.QueuesStub, name: str, dead: str) -> None:
    listing = pb.ListDeadLetterSourceQueuesRequest
    (url,) = stub.ListDeadLetterSourceQueues(listing(queue_url=dead)).queue_urls
    assert url == stub.GetQueueUrl(pb.GetQueueUrlRequest(queue_name=name)).queue_url
    assert stub.ListDeadLetterSourceQueues(listing(queue_url=name)).queue_urls == []
    assert (
        refused(stub.ListDeadLetterSourceQueues, listing(queue_url=dead, max_results=0))[1] == "InvalidParameterValue"
    )
    assert attributes(stub, name)["RedrivePolicy"] == (f'{{"deadLetterTargetArn":"{HOME}:{dead}","maxReceiveCount":1}}')


def test_messages_are_moved_and_move_back(stub: pb_grpc.QueuesStub, name: str, dead: str) -> None:
    for number in range(3):
        stub.SendMessage(pb.SendMessageRequest(queue_url=name, message_body=b"%d" % number))
    receive = pb.ReceiveMessageRequest(queue_url=name, max_number_of_messages=10)
    assert len(stub.ReceiveMessage(receive).messages) == 3
    assert len(stub.ReceiveMessage(receive).messages) == 0
    assert attributes(stub, dead)["ApproximateNumberOfMessages"] == "3"

    handle = stub.StartMessageMoveTask(pb.StartMessageMoveTaskRequest(source_arn=f"{HOME}:{dead}")).task_handle
    assert handle
    listing = pb.ListMessageMoveTasksRequest(source_arn=f"{HOME}:{dead}")

    def ended() -> bool:
        (task,) = stub.ListMessageMoveTasks(listing).results
        return str(task.status) != "RUNNING"

    until(ended, 5)
    (task,) = stub.ListMessageMoveTasks(listing).results
    assert task.status == "COMPLETED"
    assert (task.approximate_number_of_messages_moved, task.approximate_number_of_messages_to_move) == (3, 3)
    assert task.started_timestamp > 0
    for absent in ("task_handle", "destination_arn", "max_number_of_messages_per_second", "failure_reason"):
        assert not task.HasField(absent)
    assert attributes(stub, name)["ApproximateNumberOfMessages"] == "3"
    cancel = pb.CancelMessageMoveTaskRequest(task_handle=handle)
    assert refused(stub.CancelMessageMoveTask, cancel)[2] == "Only active tasks can be cancelled."


def test_a_move_task_is_cancelled(stub: pb_grpc.QueuesStub, name: str, dead: str) -> None:
    for _ in range(20):
        stub.SendMessage(pb.SendMessageRequest(queue_url=dead, message_body=b"x"))
    source, destination = f"{HOME}:{dead}", f"{HOME}:{name}"
    start = pb.StartMessageMoveTaskRequest(
        source_arn=source, destination_arn=destination, max_number_of_messages_per_second=1
    )
    handle = stub.StartMessageMoveTask(start).task_handle
    (task,) = stub.ListMessageMoveTasks(pb.ListMessageMoveTasksRequest(source_arn=source)).results
    assert (task.status, task.task_handle, task.destination_arn) == ("RUNNING", handle, destination)
    assert task.max_number_of_messages_per_second == 1
    assert refused(stub.StartMessageMoveTask, start)[1] == "InvalidParameterValue"
    moved = stub.CancelMessageMoveTask(pb.CancelMessageMoveTaskRequest(task_handle=handle))
    assert moved.approximate_number_of_messages_moved < 20

    def status() -> str:
        (task,) = stub.ListMessageMoveTasks(pb.ListMessageMoveTasksRequest(source_arn=source)).results
        return str(task.status)

    until(lambda: status() == "CANCELLED")


@pytest.mark.parametrize(
    ("call", "request_", "status", "code"),
    [
        ("StartMessageMoveTask", pb.StartMessageMoveTaskRequest(), "INVALID_ARGUMENT", "MissingParameter"),
        (
            "StartMessageMoveTask",
            pb.StartMessageMoveTaskRequest(source_arn=f"{HOME}:nobody"),
            "NOT_FOUND",
            "ResourceNotFoundException",
        ),
        ("ListMessageMoveTasks", pb.ListMessageMoveTasksRequest(), "INVALID_ARGUMENT", "MissingParameter"),
        (
            "ListMessageMoveTasks",
            pb.ListMessageMoveTasksRequest(source_arn="x"),
            "INVALID_ARGUMENT",
            "InvalidParameterValue",
        ),
        ("CancelMessageMoveTask", pb.CancelMessageMoveTaskRequest(), "INVALID_ARGUMENT", "MissingParameter"),
        (
            "CancelMessageMoveTask",
            pb.CancelMessageMoveTaskRequest(task_handle="x"),
            "INVALID_ARGUMENT",
            "InvalidParameterValue",
        ),
    ],
)
def test_move_tasks_are_refused(call: str, request_: Any, status: str, code: str, stub: pb_grpc.QueuesStub) -> None:
    found = refused(getattr(stub, call), request_)
    assert (found[0].name, found[1]) == (status, code)


# --- FIFO queues


@pytest.fixture
def ordered(stub: pb_grpc.QueuesStub, name: str) -> Iterator[str]:
    """A FIFO queue of the test's own."""
    fifo_name = f"{name[:75]}.fifo"
    stub.CreateQueue(
        pb.CreateQueueRequest(
            queue_name=fifo_name, attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        )
    )
    yield fifo_name
    stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=fifo_name))


def test_attributes_of_a_fifo_queue(stub: pb_grpc.QueuesStub, ordered: str) -> None:
    found = attributes(stub, ordered)
    assert {name: found[name] for name in ("FifoQueue", "ContentBasedDeduplication")} == {
        "FifoQueue": "true",
        "ContentBasedDeduplication": "true",
    }
    assert (found["DeduplicationScope"], found["FifoThroughputLimit"]) == ("queue", "perQueue")


def test_a_receive_is_attempted_again(stub: pb_grpc.QueuesStub, ordered: str) -> None:
    for number in range(3):
        stub.SendMessage(
            pb.SendMessageRequest(queue_url=ordered, message_body=b"%d" % number, message_group_id=f"g{number}")
        )
    attempt = pb.ReceiveMessageRequest(
        queue_url=ordered, max_number_of_messages=2, receive_request_attempt_id="attempt-1"
    )
    first = stub.ReceiveMessage(attempt).messages
    again = stub.ReceiveMessage(attempt).messages
    assert len(first) == 2
    assert [(one.message_id, one.receipt_handle) for one in again] == [
        (one.message_id, one.receipt_handle) for one in first
    ]
    attempt.receive_request_attempt_id = "attempt-2"
    assert [one.body for one in stub.ReceiveMessage(attempt).messages] == [b"2"]
    stub.DeleteMessage(pb.DeleteMessageRequest(queue_url=ordered, receipt_handle=first[0].receipt_handle))
    attempt.receive_request_attempt_id = "attempt-1"
    status, code, text = refused(stub.ReceiveMessage, attempt)
    assert (status, code) == (grpc.StatusCode.INVALID_ARGUMENT, "InvalidParameterValue")
    assert "not valid anymore since the receive call is not retryable" in text


def test_a_standard_queue_ignores_the_attempt(stub: pb_grpc.QueuesStub, name: str) -> None:
    stub.SendMessage(pb.SendMessageRequest(queue_url=name, message_body=b"x"))
    attempt = pb.ReceiveMessageRequest(queue_url=name, receive_request_attempt_id="a b")
    assert len(stub.ReceiveMessage(attempt).messages) == 1
    assert len(stub.ReceiveMessage(attempt).messages) == 0


def test_an_attempt_outlives_its_caller(running: Broker, stub: pb_grpc.QueuesStub, ordered: str) -> None:
    """Whether the caller goes away before or after it is served: who asks again gets the message."""
    attempt = pb.ReceiveMessageRequest(queue_url=ordered, wait_time_seconds=20, receive_request_attempt_id="attempt")
    poll = stub.ReceiveMessage.future(attempt)
    until(lambda: "heddle_waiters 1.0" in running.get("/metrics")[1])
    stub.SendMessage(pb.SendMessageRequest(queue_url=ordered, message_body=b"x", message_group_id="g"))
    poll.cancel()
    (message,) = stub.ReceiveMessage(attempt).messages
    assert message.body == b"x"


def test_metrics_of_a_fifo_queue(running: Broker, stub: pb_grpc.QueuesStub, ordered: str, name: str) -> None:
    for group in ("a", "b", "c"):
        for _ in range(2):
            stub.SendMessage(
                pb.SendMessageRequest(queue_url=ordered, message_body=group.encode() * 100, message_group_id=group)
            )
    stub.ReceiveMessage(pb.ReceiveMessageRequest(queue_url=ordered, max_number_of_messages=2))
    values = {
        (sample.labels.get("queue"), sample.name.removeprefix("heddle_queue_")): sample.value
        for family in text_string_to_metric_families(running.get("/metrics")[1])
        for sample in family.samples
    }
    assert values[ordered, "sent_messages_total"] == 3
    assert values[ordered, "deduplicated_messages_total"] == 3
    assert values[ordered, "in_flight_groups"] == 2
    assert values[ordered, "visible_messages"] == 1
    assert values[ordered, "sent_message_size_bytes_count"] == 3
    assert values[ordered, "sent_message_size_bytes_sum"] == values[ordered, "sent_bytes_total"] >= 300
    assert (name, "in_flight_groups") not in values
    assert values[name, "noisy_groups"] == 0
    assert (ordered, "noisy_groups") not in values


def test_noisy_groups_are_counted(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    def send(group: str, messages: int) -> None:
        for number in range(messages):
            stub.SendMessage(pb.SendMessageRequest(queue_url=name, message_body=b"%d" % number, message_group_id=group))

    send("loud", 50)
    send("quiet", 1)
    for _ in range(4):
        stub.ReceiveMessage(pb.ReceiveMessageRequest(queue_url=name, max_number_of_messages=10))
    metrics = running.get("/metrics")[1]
    labels = f'{{account="000000000000",queue="{name}",region="us-east-1"}}'
    assert f"heddle_queue_noisy_groups{labels} 1.0" in metrics
    # 40 in flight: the loud one's from the thirtieth on, and the quiet message among them
    assert f"heddle_queue_quiet_visible_messages{labels} 0.0" in metrics
    assert f"heddle_queue_quiet_in_flight_messages{labels} 1.0" in metrics
