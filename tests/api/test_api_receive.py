"""Parked receives: what wakes them, in which order, and what a caller that goes away leaves behind."""

import time
from typing import Any

import grpc
import heddle
import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc

from tests.api.running import Broker, counts, until

ANSWER_SECONDS_MAX = 15.0
"""Less than the polls of these tests wait by themselves."""


def send(stub: pb_grpc.QueuesStub, name: str, body: bytes = b"x", **members: int) -> None:
    stub.SendMessage(pb.SendMessageRequest(queue_url=name, message_body=body, **members))  # type: ignore[arg-type]


def parked(stub: pb_grpc.QueuesStub, name: str, seconds: int = 20, **members: int) -> Any:
    """A long poll, under way."""
    request = pb.ReceiveMessageRequest(queue_url=name, wait_time_seconds=seconds, **members)  # type: ignore[arg-type]
    return stub.ReceiveMessage.future(request)


def waiters(running: Broker) -> int:
    line = next(line for line in running.get("/metrics")[1].splitlines() if line.startswith("heddle_waiters "))
    return int(float(line.split()[1]))


def test_a_send_wakes(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    poll = parked(stub, name)
    until(lambda: waiters(running) == 1)
    send(stub, name)
    assert [message.body for message in poll.result(ANSWER_SECONDS_MAX).messages] == [b"x"]


def test_the_end_of_a_delay_wakes(stub: pb_grpc.QueuesStub, name: str) -> None:
    send(stub, name, delay_seconds=1)
    assert len(parked(stub, name).result(ANSWER_SECONDS_MAX).messages) == 1


def test_the_end_of_a_visibility_timeout_wakes(stub: pb_grpc.QueuesStub, name: str) -> None:
    send(stub, name)
    assert parked(stub, name, visibility_timeout=1).result(ANSWER_SECONDS_MAX).messages
    assert len(parked(stub, name).result(ANSWER_SECONDS_MAX).messages) == 1


def test_a_change_to_zero_wakes(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    send(stub, name)
    (message,) = parked(stub, name).result(ANSWER_SECONDS_MAX).messages
    poll = parked(stub, name)
    until(lambda: waiters(running) == 1)
    stub.ChangeMessageVisibility(
        pb.ChangeMessageVisibilityRequest(queue_url=name, receipt_handle=message.receipt_handle, visibility_timeout=0)
    )
    assert [again.message_id for again in poll.result(ANSWER_SECONDS_MAX).messages] == [message.message_id]


def test_nothing_comes_in_time(stub: pb_grpc.QueuesStub, name: str) -> None:
    started = time.monotonic()
    assert list(parked(stub, name, 1).result(ANSWER_SECONDS_MAX).messages) == []
    assert 0.9 < time.monotonic() - started < ANSWER_SECONDS_MAX


def test_those_who_wait_longest_are_first(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    polls = []
    for number in range(1, 6):
        polls.append(parked(stub, name))
        until(lambda number=number: waiters(running) == number)  # type: ignore[misc]
    for number in range(5):
        send(stub, name, b"%d" % number)
    assert [poll.result(ANSWER_SECONDS_MAX).messages[0].body for poll in polls] == [
        b"%d" % number for number in range(5)
    ]


def test_a_queue_deleted_meanwhile(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    poll = parked(stub, name)
    until(lambda: waiters(running) == 1)
    stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=name))
    assert list(poll.result(ANSWER_SECONDS_MAX).messages) == []
    with pytest.raises(grpc.RpcError) as failed:
        parked(stub, name).result(ANSWER_SECONDS_MAX)
    assert failed.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_caller_that_goes_away_takes_nothing_along(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    poll = parked(stub, name)
    until(lambda: waiters(running) == 1)
    poll.cancel()
    until(lambda: waiters(running) == 0)
    send(stub, name)
    assert counts(stub, name) == (1, 0, 0)


def test_whoever_goes_away_while_it_is_served_gives_back_at_once(stub: pb_grpc.QueuesStub, name: str) -> None:
    """Cancelled at any moment around the send: the message is in the answer, or visible soon, never in flight for the
    length of its timeout with nobody to know of it."""
    for number in range(60):
        poll = parked(stub, name, visibility_timeout=43_200)
        sent = stub.SendMessage.future(pb.SendMessageRequest(queue_url=name, message_body=b"%d" % number))
        if number % 3:
            time.sleep(0.0002 * number)
        if poll.cancel() or poll.cancelled():
            sent.result(ANSWER_SECONDS_MAX)
            # The answer may have been on its way already: then it is gone for good, as with any lost answer.
            until(lambda: sum(counts(stub, name)) == 1)
        stub.PurgeQueue(pb.PurgeQueueRequest(queue_url=name))


def test_a_receive_at_the_moment_of_a_send_has_the_message_or_leaves_it(stub: pb_grpc.QueuesStub, name: str) -> None:
    """A short poll that overtakes the commit of a send: what it puts in flight is in its answer."""
    for _ in range(100):
        send_call = stub.SendMessage.future(pb.SendMessageRequest(queue_url=name, message_body=b"x"))
        polls = [stub.ReceiveMessage.future(pb.ReceiveMessageRequest(queue_url=name)) for _ in range(3)]
        send_call.result(ANSWER_SECONDS_MAX)
        answered = sum(len(poll.result(ANSWER_SECONDS_MAX).messages) for poll in polls)
        _, in_flight, _ = counts(stub, name)
        assert in_flight == answered, "a message is in flight that nobody was given"
        stub.PurgeQueue(pb.PurgeQueueRequest(queue_url=name))


def test_a_peek_at_the_moment_of_a_send_shows_what_is_counted(stub: pb_grpc.QueuesStub, name: str) -> None:
    for number in range(1, 50):
        sent = stub.SendMessage.future(pb.SendMessageRequest(queue_url=name, message_body=b"x"))
        peek = stub.PeekMessages.future(pb.PeekMessagesRequest(queue_url=name, max_number_of_messages=100))
        counted = stub.GetQueueAttributes.future(pb.GetQueueAttributesRequest(queue_url=name, attribute_names=["All"]))
        seen = len(peek.result(ANSWER_SECONDS_MAX).messages)
        assert seen in {number - 1, number}
        # Asked for before the count, after the send or not: never fewer than were there before.
        assert int(counted.result(ANSWER_SECONDS_MAX).attributes["ApproximateNumberOfMessages"]) - seen in {0, 1}
        sent.result(ANSWER_SECONDS_MAX)


def test_accounts_and_regions_do_not_see_each_other(running: Broker) -> None:
    places = [("111111111111", "us-east-1"), ("222222222222", "us-east-1"), ("111111111111", "eu-central-1")]
    clients = [heddle.Client(running.grpc, account=account, region=region) for account, region in places]
    try:
        for number, client in enumerate(clients):
            client.create_queue("shared").send(b"%d" % number)
        for number, client in enumerate(clients):
            assert [queue.name for queue in client.list_queues()] == ["shared"]
            queue = client.queue("shared")
            assert queue.attributes(["QueueArn"])["QueueArn"] == "arn:aws:sqs:{1}:{0}:shared".format(*places[number])
            (received,) = queue.receive(10, wait_seconds=0)
            assert received.body == b"%d" % number
            with pytest.raises(heddle.ReceiptHandleIsInvalid):
                clients[(number + 1) % 3].queue("shared").delete(received.receipt_handle)
        for client in clients:
            client.queue("shared").delete_queue()
        assert all(list(client.list_queues()) == [] for client in clients)
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    "metadata",
    [("heddle-account", "12345"), ("heddle-account", "abcdefghijkl"), ("heddle-region", "a/b"), ("heddle-region", "")],
)
def test_bad_accounts_and_regions_are_refused(metadata: tuple[str, str], running: Broker) -> None:
    with running.stub(metadata=[metadata]) as stub:
        for call in (stub.ListQueues, stub.CreateQueue):
            request = pb.ListQueuesRequest() if call == stub.ListQueues else pb.CreateQueueRequest(queue_name="x")
            with pytest.raises(grpc.RpcError) as refused:
                call(request)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
