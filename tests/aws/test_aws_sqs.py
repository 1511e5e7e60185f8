"""SQS over HTTP where it is not gRPC: URLs, errors, headers, bodies that are no text, callers without a signature."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from heddle.v1 import queues_pb2
from heddle.v1.message_pb2 import Message, MessageBatch

from broker import errors
from broker.api.aws import sqs as sqs_module
from broker.api.aws.credentials import Credentials
from broker.api.aws.sigv4 import Verifier
from broker.api.web.messages import Request
from broker.queues import Scope, operations

from .app import App, body_of, header, members, signed_as

OWNER = Scope("000000000000", "us-east-1")


@pytest.fixture
def app() -> Iterator[App]:
    with App() as running:
        yield running


def test_urls_are_those_of_the_caller(app: App) -> None:
    app.create("a")
    app.create("b")
    listed = members(app.json("ListQueues", {}, host="broker.internal"))
    assert listed["QueueUrls"] == [f"http://broker.internal/000000000000/{name}" for name in "ab"]
    with App(base_url="https://queues.example.com/sqs") as fixed:
        assert fixed.create() == "https://queues.example.com/sqs/000000000000/q"
        assert fixed.json("SendMessage", {"QueueUrl": fixed.create(), "MessageBody": "x"}).status == 200


def test_sources_of_a_dead_letter_queue_are_told_by_url_and_as_a_list_when_there_are_none(app: App) -> None:
    dead = app.create("dead")
    assert members(app.json("ListDeadLetterSourceQueues", {"QueueUrl": dead})) == {"queueUrls": []}
    policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": "2"}
    app.create("source", {"RedrivePolicy": json.dumps(policy)})
    told = members(app.json("ListDeadLetterSourceQueues", {"QueueUrl": dead}))
    assert told == {"queueUrls": ["http://sqs.example:4566/000000000000/source"]}


def test_empty_outputs_leave_members_out(app: App) -> None:
    url = app.create()
    assert members(app.json("ReceiveMessage", {"QueueUrl": url})) == {}
    assert members(app.json("ListQueueTags", {"QueueUrl": url})) == {}
    entries = [{"Id": "a", "MessageBody": "x"}]
    assert members(app.json("SendMessageBatch", {"QueueUrl": url, "Entries": entries})).keys() == {"Successful"}


@pytest.mark.parametrize("kind", sorted(errors.BrokerError.__subclasses__(), key=lambda kind: kind.__name__))
def test_every_refusal_has_a_shape_a_status_and_a_namespace(kind: type[errors.BrokerError]) -> None:
    error = sqs_module._aws_error(kind("why"), "json")
    assert error.shape
    assert error.message == "why"
    assert 400 <= error.status < 600
    assert (error.status >= 500) is not error.sender_fault
    assert error.namespace in {"com.amazonaws.sqs", "com.amazon.coral.service"}


def test_statuses_are_those_of_aws(app: App) -> None:
    url = app.create()
    missing = app.json("SendMessage", {"QueueUrl": "http://x/000000000000/none", "MessageBody": "x"})
    assert (missing.status, members(missing)["__type"]) == (400, "com.amazonaws.sqs#QueueDoesNotExist")
    handle = app.json("DeleteMessage", {"QueueUrl": url, "ReceiptHandle": "garbage"})
    assert (handle.status, members(handle)["__type"]) == (404, "com.amazonaws.sqs#ReceiptHandleIsInvalid")
    assert app.json("PurgeQueue", {"QueueUrl": url}).status == 200
    again = app.json("PurgeQueue", {"QueueUrl": url})
    assert (again.status, header(again, "x-amzn-query-error")) == (
        403,
        "AWS.SimpleQueueService.PurgeQueueInProgress;Sender",
    )
    value = app.json("SendMessage", {"QueueUrl": url, "MessageBody": "x", "DelaySeconds": 901})
    assert (value.status, members(value)["__type"]) == (400, "com.amazon.coral.service#InvalidParameterValueException")


def test_the_text_that_differs_by_protocol(app: App) -> None:
    told = members(app.json("GetQueueUrl", {"QueueName": "none"}))
    assert told["message"] == "The specified queue does not exist."
    asked = app.query({"Action": "GetQueueUrl", "QueueName": "none"})
    assert b"<Message>The specified queue does not exist for this wsdl version.</Message>" in body_of(asked)


def test_list_values_are_refused(app: App) -> None:
    url = app.create()
    attribute = {"DataType": "String", "StringListValues": ["a"]}
    refused = app.json("SendMessage", {"QueueUrl": url, "MessageBody": "x", "MessageAttributes": {"a": attribute}})
    assert members(refused) == {
        "__type": "com.amazonaws.sqs#UnsupportedOperation",
        "message": "Message attribute list values in SendMessage operation are not supported.",
    }


def test_the_trace_header_comes_along(app: App) -> None:
    url = app.create()
    ask = {"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["AWSTraceHeader"]}
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793"
    app.json("SendMessage", {"QueueUrl": url, "MessageBody": "one"}, x_amzn_trace_id=trace)
    own = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=own"}}
    entries = [
        {"Id": "a", "MessageBody": "two"},
        {"Id": "b", "MessageBody": "three", "MessageSystemAttributes": own},
    ]
    app.json("SendMessageBatch", {"QueueUrl": url, "Entries": entries}, x_amzn_trace_id=trace)
    app.json("ReceiveMessage", {"QueueUrl": "none"}, x_amzn_trace_id=trace)
    received = members(app.json("ReceiveMessage", ask, x_amzn_trace_id="Root=not-this"))["Messages"]
    assert [message["Attributes"]["AWSTraceHeader"] for message in received] == [trace, trace, "Root=own"]


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\x00b", "\ufffe".encode()])
def test_a_body_that_is_no_text_is_handed_out_in_base64(app: App, body: bytes) -> None:
    url = app.create()
    queue = app.queues.find(OWNER, "q")
    packed = MessageBatch(messages=[Message(body=body)]).SerializeToString()

    async def send() -> None:
        queue.send(packed, 1, len(body), delay_ms=0, now_ms=app.desk.now_ms(), sender_id="000000000000")

    app.loop.run_until_complete(send())
    [message] = members(app.json("ReceiveMessage", {"QueueUrl": url}))["Messages"]
    assert base64.b64decode(message["Body"]) == body
    assert message["Attributes"] == {"HeddleBodyEncoding": "base64"}
    assert message["MD5OfBody"] == hashlib.md5(message["Body"].encode()).hexdigest()
    settled = app.json("DeleteMessage", {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]})
    assert settled.status == 200


def test_half_a_surrogate(app: App) -> None:
    url = app.create()
    refused = app.json("SendMessage", {"QueueUrl": url, "MessageBody": "a\ud800"})
    assert refused.status == 400
    assert members(refused)["__type"].endswith(("#InvalidMessageContents", "#SerializationException"))
    elsewhere = app.json("SendMessage", {"QueueUrl": "\ud800", "MessageBody": "a"})
    assert elsewhere.status == 400


@pytest.fixture
def signed_app() -> Iterator[App]:
    """Where nobody has credentials."""
    with App(gate=Verifier(Credentials(()), lambda: 1_800_000_000.0)) as running:
        yield running


def test_the_anonymous_may_do_what_a_policy_lets_anybody_do(signed_app: App) -> None:
    app, calls = signed_app, signed_app.calls

    async def prepare() -> None:
        statement = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "sqs:SendMessage",
            "Resource": "arn:aws:sqs:us-east-1:000000000000:open",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        for name, attributes in (("open", {"Policy": policy}), ("shut", {})):
            await calls.CreateQueue(OWNER, queues_pb2.CreateQueueRequest(queue_name=name, attributes=attributes))

    app.loop.run_until_complete(prepare())
    send = {"Action": "SendMessage", "MessageBody": "x"}
    assert app.query(send, "/000000000000/open").status == 200
    shut = app.query(send, "/000000000000/shut")
    assert (shut.status, b"<Code>AccessDenied</Code>" in body_of(shut)) == (403, True)
    other = app.query({"Action": "ReceiveMessage"}, "/000000000000/open")
    assert other.status == 403
    for action in ("CreateQueue", "ListQueues", "GetQueueUrl", "GetCallerIdentity"):
        refused = app.query({"Action": action, "QueueName": "open"}, host="x")
        assert refused.status == 403
        assert b"<Code>MissingAuthenticationToken</Code>" in body_of(refused)
    assert len(app.queues) == 2
    badly = app.query(send, "/000000000000/open", authorization=signed_as("AKIA"))
    assert (badly.status, b"<Code>IncompleteSignature</Code>" in body_of(badly)) == (400, True)


@pytest.fixture
def public_app() -> Iterator[App]:
    with App(origins=("https://app.example.com",)) as running:
        yield running


def test_pages_of_other_origins(public_app: App) -> None:
    app = public_app
    for origin in ("http://localhost:3000", "https://app.example.com"):
        allowed = app.json("ListQueues", {}, origin=origin)
        assert (allowed.status, header(allowed, "access-control-allow-origin")) == (200, origin)
        assert "x-amzn-requestid" in (header(allowed, "access-control-expose-headers") or "")
    for origin in ("https://evil.example", "http://localhost.evil.example", "null", "http://127.0.0.1.evil.example"):
        refused = app.json("CreateQueue", {"QueueName": "q"}, origin=origin)
        assert (refused.status, header(refused, "access-control-allow-origin")) == (403, None)
    assert len(app.queues) == 0
    assert header(app.json("ListQueues", {}), "access-control-allow-origin") is None


def test_a_preflight(app: App) -> None:
    ask = {
        "host": "h",
        "origin": "http://localhost:3000",
        "access-control-request-headers": "x-amz-target,content-type",
    }
    answer = app.answer(Request("OPTIONS", "/", ask | {"access-control-request-method": "POST"}, b""))
    assert answer.status == 200
    assert header(answer, "access-control-allow-headers") == "x-amz-target,content-type"
    assert "POST" in (header(answer, "access-control-allow-methods") or "")


def test_calls_are_counted_by_names_of_the_model(app: App) -> None:
    app.create()
    app.json("GetQueueUrl", {"QueueName": "none"})
    app.json("Frobnicate", {})
    assert app.app.statistics.calls == {
        ("sqs", "CreateQueue", "ok"): 1,
        ("sqs", "GetQueueUrl", "AWS.SimpleQueueService.NonExistentQueue"): 1,
        ("sqs", "", "UnknownOperationException"): 1,
    }


def test_a_defect_is_an_internal_failure_and_no_more(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(sqs_module._Bound, "__call__", broken)
    answer = app.json("ListQueues", {})
    assert answer.status == 500
    assert b"InternalFailure" in body_of(answer)
    assert b"secret" not in body_of(answer)


def test_large_answers_are_made_one_a_turn(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty of them in one turn would hold up everybody for as long as they take together."""
    url = app.create()
    for _ in range(20):
        app.json("SendMessage", {"QueueUrl": url, "MessageBody": "x" * 150_000})
    made_in: list[int] = []
    turn, run_once, answering = count(), app.loop._run_once, operations.received_messages
    now = [0]

    def counted() -> None:
        now[0] = next(turn)
        run_once()

    def watched(*arguments: Any) -> Any:
        made_in.append(now[0])
        return answering(*arguments)

    monkeypatch.setattr(operations, "received_messages", watched)
    monkeypatch.setattr(app.loop, "_run_once", counted)

    async def receive() -> int:
        request = queues_pb2.ReceiveMessageRequest(queue_url=url, max_number_of_messages=4)
        answer = await app.calls.ReceiveMessage(OWNER, request)
        return len(answer.messages)

    async def all_at_once() -> list[int]:
        leaving = asyncio.ensure_future(receive())
        several = [asyncio.ensure_future(receive()) for _ in range(4)]
        await asyncio.sleep(0)
        leaving.cancel()
        return await asyncio.gather(*several)

    assert app.loop.run_until_complete(all_at_once()) == [4, 4, 4, 4]
    assert len(made_in) == len(set(made_in)) >= 4
    counts = app.queues.find(OWNER, "q").counts(app.desk.now_ms())
    assert counts == (4, 16, 0)  # what was taken for the caller who left is back
