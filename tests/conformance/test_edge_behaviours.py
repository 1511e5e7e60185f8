"""The behaviours that emulators of Amazon SQS most often get wrong, one test each, numbered as in their list.

Rows of ``queues/*.toml`` hold the broker to the same in more detail; here each behaviour can be read from its
beginning to its end. What concerns the AWS HTTP door is tested as far as the native API shows it.
"""

import pytest
from conformance_direct import DirectFace
from conformance_faces import AwsError, Face
from conformance_queue import FIFO, TestedQueue

UNSEEN: tuple[int, int, int] = (0, 0, 0)


def test_edge_01_later_messages_of_a_group_wait_while_an_earlier_is_in_flight(face: Face) -> None:
    queue = TestedQueue(face, FIFO)
    queue.send("g/1", "g/2", "g/3", "h/1")
    first = queue.receive(1)
    assert [message["Body"] for message in first] == ["g/1"]
    assert queue.bodies() == ["h/1"]
    assert queue.bodies() == []
    queue.delete(*first)
    assert queue.bodies() == ["g/2", "g/3"]


def test_edge_02_a_new_send_does_not_unblock_a_blocked_group(face: Face) -> None:
    queue = TestedQueue(face, FIFO)
    queue.send("g/1")
    first = queue.receive()
    queue.send("g/2")
    assert queue.bodies() == []
    queue.send("g/3", "g/4")
    assert queue.bodies() == []
    queue.delete(*first)
    assert queue.bodies() == ["g/2", "g/3", "g/4"]


def test_edge_03_a_delayed_message_at_the_tail_does_not_block_visible_ones(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face, {**FIFO, "DelaySeconds": "60"})
    queue.send("g/1", "g/2")
    direct_face.pause(50)
    queue.send("g/3")
    direct_face.pause(11)
    assert queue.counts() == (2, 0, 1)
    assert queue.bodies() == ["g/1", "g/2"]


def test_edge_04_order_is_kept_when_visibility_timeouts_end(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face, FIFO)
    queue.send("g/1", "g/2", "g/3", "g/4")
    assert queue.bodies(1) == ["g/1"]
    for _ in range(3):
        direct_face.pause(31)
        assert queue.bodies(3) == ["g/1", "g/2", "g/3"]
    direct_face.pause(31)
    assert queue.bodies() == ["g/1", "g/2", "g/3", "g/4"]


def test_edge_05_an_emptied_group_works_for_the_next_send(face: Face) -> None:
    dead_letters = TestedQueue(face, FIFO)
    queue = TestedQueue(face, {**FIFO, "RedrivePolicy": dead_letters.redrive_policy(1)})
    queue.send("g/1", "g/2")
    queue.delete(*queue.receive())
    queue.send("g/3")
    assert queue.bodies(VisibilityTimeout=0) == ["g/3"]
    assert queue.bodies() == []  # this moved it to the dead-letter queue
    queue.send("g/4", "g/5")
    assert queue.bodies() == ["g/4", "g/5"]
    assert dead_letters.bodies() == ["g/3"]


def test_edge_06_deduplication_scope_message_group_is_heeded(face: Face) -> None:
    queue = TestedQueue(face, {**FIFO, "DeduplicationScope": "messageGroup"})
    for group in ("g", "h", "g"):
        queue.send(f"{group}/1", MessageDeduplicationId="same")
    assert queue.bodies() == ["g/1", "h/1"]


def test_edge_07_deduplication_remembers_what_was_deleted(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face, FIFO)
    original = queue.send("g/1")
    queue.delete(*queue.receive())
    direct_face.pause(299)
    assert queue.send("g/1") == original
    assert queue.counts() == UNSEEN
    direct_face.pause(2)
    assert queue.send("g/1")["MessageId"] != original["MessageId"]
    assert queue.bodies() == ["g/1"]


def test_edge_08_on_fifo_delay_0_in_the_request_is_ignored_and_the_queue_delay_counts(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face, {**FIFO, "DelaySeconds": "60"})
    queue.send("g/1", DelaySeconds=0)
    assert queue.counts() == (0, 0, 1)
    assert queue.bodies() == []
    direct_face.pause(61)
    assert queue.bodies() == ["g/1"]
    assert queue.refusal("SendMessage", MessageBody="x", MessageGroupId="g", DelaySeconds=1).code == (
        "InvalidParameterValue"
    )


def test_edge_09_timeouts_of_the_queue_hold_when_omitted_and_0_is_a_value(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face, {"ReceiveMessageWaitTimeSeconds": "7", "VisibilityTimeout": "100"})
    started_s = direct_face.now_s()
    assert queue.bodies() == []
    assert 7 <= direct_face.now_s() - started_s < 7.1
    started_s = direct_face.now_s()
    assert queue.bodies(WaitTimeSeconds=0) == []
    assert direct_face.now_s() - started_s < 0.1
    queue.send("x")
    assert queue.bodies(VisibilityTimeout=0) == ["x"]
    assert queue.bodies() == ["x"]
    direct_face.pause(99)
    assert queue.bodies(WaitTimeSeconds=0) == []
    direct_face.pause(1.1)
    assert queue.bodies() == ["x"]


def test_edge_10_a_long_poll_returns_at_once_with_what_is_there(face: Face) -> None:
    queue = TestedQueue(face)
    queue.send("a", "b")
    started_s = face.now_s()
    assert queue.bodies(10, WaitTimeSeconds=20) == ["a", "b"]
    assert face.now_s() - started_s < 15


def test_edge_11_the_move_happens_on_the_receive_after_the_last(direct_face: DirectFace) -> None:
    dead_letters = TestedQueue(direct_face)
    queue = TestedQueue(direct_face, {"RedrivePolicy": dead_letters.redrive_policy(2)})
    queue.send("x")
    assert queue.bodies() == ["x"]
    direct_face.pause(31)
    assert queue.bodies() == ["x"]
    direct_face.pause(60)
    assert (queue.counts(), dead_letters.counts()) == ((1, 0, 0), UNSEEN)
    assert queue.bodies() == []
    assert (queue.counts(), dead_letters.counts()) == (UNSEEN, (1, 0, 0))
    [moved] = dead_letters.receive(AttributeNames=["All"])
    assert moved["Attributes"]["ApproximateReceiveCount"] == "3"
    assert moved["Attributes"]["DeadLetterQueueSourceArn"] == queue.arn


def test_edge_12_a_chain_of_dead_letter_queues_counts_each_stay_by_itself(face: Face) -> None:
    last = TestedQueue(face)
    middle = TestedQueue(face, {"RedrivePolicy": last.redrive_policy(2), "VisibilityTimeout": "0"})
    queue = TestedQueue(face, {"RedrivePolicy": middle.redrive_policy(3), "VisibilityTimeout": "0"})
    queue.send("x")
    assert [queue.bodies() for _ in range(4)] == [["x"], ["x"], ["x"], []]
    assert [middle.bodies() for _ in range(3)] == [["x"], ["x"], []]
    [message] = last.receive(AttributeNames=["ApproximateReceiveCount"])
    assert message["Attributes"] == {"ApproximateReceiveCount": "6"}


def test_edge_13_without_the_dead_letter_queue_messages_stay_and_are_delivered(face: Face) -> None:
    dead_letters = TestedQueue(face)
    queue = TestedQueue(face, {"RedrivePolicy": dead_letters.redrive_policy(1), "VisibilityTimeout": "0"})
    queue.send("x")
    dead_letters.call("DeleteQueue")
    assert [queue.bodies() for _ in range(4)] == [["x"]] * 4
    assert queue.counts() == (1, 0, 0)


def test_edge_14_a_move_to_a_fifo_dead_letter_queue_neither_fails_nor_is_swallowed(face: Face) -> None:
    dead_letters = TestedQueue(face, FIFO)
    queue = TestedQueue(face, {**FIFO, "RedrivePolicy": dead_letters.redrive_policy(1), "VisibilityTimeout": "0"})
    dead_letters.send("g/1")  # the deduplication id of what will come
    sent = queue.send("g/1")
    assert queue.bodies() == ["g/1"]
    assert queue.bodies() == []
    first, moved = dead_letters.receive(AttributeNames=["All"])
    assert (first["Body"], moved["Body"]) == ("g/1", "g/1")
    assert moved["MessageId"] == moved["Attributes"]["MessageDeduplicationId"] == sent["MessageId"]
    assert moved["Attributes"]["MessageGroupId"] == "g"


@pytest.mark.parametrize("attributes", [{}, FIFO], ids=["standard", "fifo"])
def test_edge_15_visibility_timeout_0_gives_no_duplicates_within_a_response(
    face: Face, attributes: dict[str, str]
) -> None:
    queue = TestedQueue(face, attributes)
    queue.send("g/1", "g/2")
    for _ in range(3):
        assert queue.bodies(10, VisibilityTimeout=0) == ["g/1", "g/2"]


def test_edge_16_md5_of_message_attributes(face: Face) -> None:
    """The values are the same through every door; that the HTTP door leaves out what is absent is tested there."""
    queue = TestedQueue(face)
    assert "MD5OfMessageAttributes" not in queue.send("plain")
    assert "MD5OfMessageAttributes" not in queue.receive(MessageAttributeNames=["All"])[0]
    texts = {"General": "Kenobi", "Hello": "There", "Help.Me": "Me"}
    several = {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}
    binary = {"attr1": {"DataType": "Binary", "BinaryValue": b"traceparent\x1e00-" + _TRACE}}
    label = {"size": {"DataType": "Number.int", "StringValue": "007"}}
    for attributes, md5 in (
        (several, "4c360f3fdafd970e05fae2f149d997f5"),
        (binary, "8cbe4db156db8a94db8b801b7addb984"),
        (label, "494d17d9b8f703b57c9a6b93f2ceee60"),
    ):
        assert queue.send("x", MessageAttributes=attributes)["MD5OfMessageAttributes"] == md5
        [message] = queue.receive(MessageAttributeNames=["All"])
        assert message["MD5OfMessageAttributes"] == md5
        assert message["MessageAttributes"] == attributes


_TRACE = b"774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"


def test_edge_17_md5_of_the_body_is_that_of_its_utf8(face: Face) -> None:
    """A carriage return comes back here; its escape in XML comes with the HTTP door."""
    queue = TestedQueue(face)
    for body, md5 in (
        ("é", "66ddcd97cfdeabb2f6fb8a999b4bc76f"),
        ("日本語 🦊", "28c64e5909d9dd6fd484d846aa63039e"),
        ("a\r\nb\r", "71df902bada20499f98b34fc559c7588"),
    ):
        assert queue.send(body)["MD5OfMessageBody"] == md5
        [message] = queue.receive()
        assert (message["Body"], message["MD5OfBody"]) == (body, md5)


def test_edge_18_system_attributes_are_returned_when_asked_for(face: Face) -> None:
    """The header X-Amzn-Trace-Id, which sets the same attribute, belongs to the HTTP door."""
    queue = TestedQueue(face, {"VisibilityTimeout": "0"})
    queue.send("x", MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}})
    assert "Attributes" not in queue.receive()[0]
    assert queue.receive(AttributeNames=["AWSTraceHeader"])[0]["Attributes"] == {"AWSTraceHeader": "Root=1"}
    [message] = queue.receive(MessageSystemAttributeNames=["SentTimestamp"])
    assert set(message["Attributes"]) == {"SentTimestamp"}
    assert queue.receive(AttributeNames=["All"])[0]["Attributes"]["AWSTraceHeader"] == "Root=1"


def test_edge_19_the_size_counts_attributes_and_the_queues_own_limit(face: Face) -> None:
    queue = TestedQueue(face, {"MaximumMessageSize": "1024"})
    attribute = {"n": {"DataType": "String", "StringValue": "123"}}  # 10 bytes
    queue.send("x" * 1014, MessageAttributes=attribute)
    for body, attributes in (("x" * 1015, attribute), ("x" * 1025, {})):
        refused = queue.refusal("SendMessage", MessageBody=body, MessageAttributes=attributes)
        assert (refused.code, refused.message) == (
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.",
        )
    largest = TestedQueue(face)
    largest.send("x" * 1_048_576)
    assert largest.refusal("SendMessage", MessageBody="x" * 1_048_577).code == "InvalidParameterValue"


def test_edge_20_errors_name_their_aws_code(face: Face) -> None:
    """Over gRPC the code is the reason of an ErrorInfo, which the face insists on. The shape name in ``__type`` and
    the header ``x-amzn-query-error`` come with the HTTP door."""
    queue = TestedQueue(face)
    for operation, members, code in (
        ("ReceiveMessage", {"QueueUrl": "nobody"}, "AWS.SimpleQueueService.NonExistentQueue"),
        ("SendMessageBatch", {"Entries": []}, "AWS.SimpleQueueService.EmptyBatchRequest"),
        ("DeleteMessage", {"ReceiptHandle": "garbage"}, "ReceiptHandleIsInvalid"),
        ("SendMessage", {}, "MissingParameter"),
        ("CancelMessageMoveTask", {"TaskHandle": "garbage"}, "InvalidParameterValue"),
    ):
        with pytest.raises(AwsError) as refusal:
            face.call(operation, members if "Task" in operation else {"QueueUrl": queue.url, **members})
        assert refusal.value.code == code


def test_edge_21_of_a_queue_url_only_account_and_name_count(face: Face) -> None:
    """That the HTTP door builds URLs which its client can reach (host, port, prefix of the request) is tested there."""
    queue = TestedQueue(face)
    assert queue.url.endswith(f"/000000000000/{queue.name}")
    for base in ("http://localhost:1", "https://proxy.example/behind/a/prefix", "https://queue.amazonaws.com"):
        found = face.call(
            "GetQueueAttributes",
            {"QueueUrl": f"{base}/000000000000/{queue.name}", "AttributeNames": ["QueueArn"]},
        )
        assert found == {"Attributes": {"QueueArn": queue.arn}}


def test_edge_22_max_receive_count_may_be_a_string_and_an_empty_policy_removes_it(face: Face) -> None:
    dead_letters = TestedQueue(face)
    queue = TestedQueue(face, {"RedrivePolicy": dead_letters.redrive_policy("1"), "VisibilityTimeout": "0"})
    policy = queue.call("GetQueueAttributes", AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]
    assert '"maxReceiveCount":1}' in policy.replace(" ", "")
    queue.send("x")
    assert [queue.bodies(), queue.bodies()] == [["x"], []]
    queue.set(RedrivePolicy="")
    assert queue.call("GetQueueAttributes", AttributeNames=["RedrivePolicy"]) == {}
    queue.send("y")
    assert [queue.bodies() for _ in range(3)] == [["y"]] * 3


def test_edge_23_visibility_timeouts_end_at_12_hours_in_total(direct_face: DirectFace) -> None:
    queue = TestedQueue(direct_face)
    queue.send("x")
    [message] = queue.receive()
    queue.hide(message, 43_199)
    direct_face.pause(40_000)
    handle = message["ReceiptHandle"]
    refused = queue.refusal("ChangeMessageVisibility", ReceiptHandle=handle, VisibilityTimeout=3_201)
    assert (refused.code, refused.message) == (
        "InvalidParameterValue",
        "Value 3201 for parameter VisibilityTimeout is invalid. "
        "Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
    )
    queue.hide(message, 3_200)
    with pytest.raises(AwsError, match="InvalidAttributeValue"):
        queue.set(VisibilityTimeout="43201")


def test_edge_24_what_fails_a_batch_and_what_fails_an_entry(face: Face) -> None:
    """The HTTP door answers 200 although entries failed; that is tested there."""
    queue = TestedQueue(face, FIFO)
    good = {"Id": "good", "MessageBody": "x", "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    bad = {"Id": "bad", "MessageBody": "\x00", "MessageGroupId": "g", "MessageDeduplicationId": "2"}
    output = queue.call("SendMessageBatch", Entries=[bad, good])
    assert [entry["Id"] for entry in output["Successful"]] == ["good"]
    assert [(entry["Id"], entry["Code"]) for entry in output["Failed"]] == [("bad", "InvalidMessageContents")]
    for entry, code in (
        ({"Id": "a", "MessageBody": "x"}, "InvalidParameterValue"),
        ({"Id": "a", "MessageBody": "x", "MessageGroupId": "g"}, "InvalidParameterValue"),
        (good, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
    ):
        assert queue.refusal("SendMessageBatch", Entries=[good, entry]).code == code
    assert queue.bodies() == ["x"]


def test_edge_25_receipt_handles_end_on_fifo_and_last_on_standard(face: Face) -> None:
    standard = TestedQueue(face)
    standard.send("x")
    [message] = standard.receive(VisibilityTimeout=0, ReceiveRequestAttemptId="ignored here", AttributeNames=["All"])
    times = [message["Attributes"][name] for name in ("SentTimestamp", "ApproximateFirstReceiveTimestamp")]
    assert all(text.isdigit() and len(text) == 13 for text in times)
    standard.delete(message, message)  # after the timeout, and once more
    assert standard.counts() == UNSEEN

    fifo = TestedQueue(face, FIFO)
    fifo.send("g/1")
    [message] = fifo.receive(VisibilityTimeout=0)
    handle = message["ReceiptHandle"]
    refused = fifo.refusal("DeleteMessage", ReceiptHandle=handle)
    assert (refused.code, refused.message) == (
        "InvalidParameterValue",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )
    [message] = fifo.receive()
    fifo.delete(message, message)
    assert fifo.counts() == UNSEEN
