"""Which service, operation and protocol a request means, and what is said to those that mean none."""

from collections.abc import Iterator

import pytest
from botocore import xform_name
from heddle.v1 import queues_pb2

from broker.api.aws.binding import request_reader
from broker.api.aws.model import service_model
from broker.api.web.messages import Request

from .app import App, body_of, header, members, signed_as


@pytest.fixture
def app() -> Iterator[App]:
    with App() as running:
        yield running


def test_json_at_the_root_and_at_the_queue(app: App) -> None:
    url = app.create()
    assert url == "http://sqs.example:4566/000000000000/q"
    sent = app.json("SendMessage", {"QueueUrl": url, "MessageBody": "a"})
    assert sent.status == 200
    assert header(sent, "content-type") == "application/x-amz-json-1.0"
    assert header(sent, "x-amzn-requestid") == "the-request"
    request = Request(
        "POST",
        "/000000000000/q",
        {"host": "h", "content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ReceiveMessage"},
        b'{"QueueUrl": "http://h/000000000000/q"}',
    )
    [message] = members(app.answer(request))["Messages"]
    assert message["Body"] == "a"


def test_the_operation_may_be_signed_for_its_service_only(app: App) -> None:
    assert app.json("ListQueues", {}, authorization=signed_as("AKIA", "sqs")).status == 200
    wrong = app.json("ListQueues", {}, authorization=signed_as("AKIA", "sts"))
    assert (wrong.status, members(wrong)["__type"]) == (
        404,
        "com.amazon.coral.service#UnknownOperationException",
    )


def test_a_service_that_is_not_there(app: App) -> None:
    answer = app.answer(
        Request(
            "POST",
            "/",
            {
                "host": "h",
                "content-type": "application/x-amz-json-1.0",
                "x-amz-target": "DynamoDB_20120810.ListTables",
                "authorization": signed_as("AKIA", "dynamodb"),
            },
            b"{}",
        )
    )
    assert answer.status == 501
    assert members(answer)["message"] == "The service dynamodb is not implemented by this broker."


def test_an_operation_that_is_not_there(app: App) -> None:
    unknown = app.json("Frobnicate", {})
    assert (unknown.status, members(unknown)["__type"]) == (404, "com.amazon.coral.service#UnknownOperationException")
    query = app.query({"Action": "Frobnicate"}, host="sqs.example")
    assert query.status == 400
    assert b"<Code>InvalidAction</Code><Message>The action Frobnicate is not valid for this endpoint.</Message>" in (
        body_of(query)
    )


def test_an_operation_that_is_not_served(app: App) -> None:
    answer = app.query({"Action": "AssumeRole", "Version": "2011-06-15"}, host="x")
    assert answer.status == 501
    assert b"<Code>NotImplemented</Code>" in body_of(answer)
    assert b"<Type>Receiver</Type>" in body_of(answer)


def test_query_without_an_action(app: App) -> None:
    answer = app.query({"QueueName": "q"})
    assert (answer.status, body_of(answer)) == (404, b"<UnknownOperationException/>\n")
    assert app.get("/").status == 404


@pytest.mark.parametrize(
    ("host", "parameters", "authorization"),
    [
        ("x", {"Action": "GetCallerIdentity"}, ""),
        ("x", {"Action": "GetCallerIdentity", "Version": "2011-06-15"}, ""),
        ("sts.eu-west-1.localhost:4566", {"Action": "GetCallerIdentity"}, ""),
        ("x", {"Action": "GetCallerIdentity"}, signed_as("AKIA", "sts")),
    ],
)
def test_the_service_is_found(app: App, host: str, parameters: dict[str, str], authorization: str) -> None:
    more = {"authorization": authorization} if authorization else {}
    answer = app.query(parameters, host=host, **more)
    assert answer.status == 200
    assert b"<Account>000000000000</Account>" in body_of(answer)


def test_the_path_is_the_queue_unless_a_parameter_says_otherwise(app: App) -> None:
    app.create("one")
    other = app.create("two")
    sent = app.query({"Action": "SendMessage", "MessageBody": "to one"}, "/000000000000/one")
    assert sent.status == 200
    sent = app.query({"Action": "SendMessage", "MessageBody": "to two", "QueueUrl": other}, "/000000000000/one")
    assert sent.status == 200
    [message] = members(app.json("ReceiveMessage", {"QueueUrl": "two"}))["Messages"]
    assert message["Body"] == "to two"
    assert app.query({"Action": "GetQueueUrl", "QueueName": "two"}, "/000000000000/one").status == 200
    for action in ("CreateQueue", "ListQueues"):
        refused = app.query({"Action": action, "QueueName": "three"}, "/000000000000/one")
        assert refused.status == 400
        assert b"<Code>InvalidAction</Code>" in body_of(refused)


def test_a_get_with_an_action(app: App) -> None:
    app.create()
    target = "/000000000000/q?Action=SendMessage&MessageBody=%C3%A4+b"
    assert b"<MD5OfMessageBody>" in body_of(app.get(target))
    told = members(app.get("/000000000000/q?Action=ReceiveMessage", accept="application/json"))
    assert told["ReceiveMessageResponse"]["ReceiveMessageResult"]["messages"][0]["Body"] == "ä b"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-3.localhost:4566", "eu-west-3"),
        ("sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("sqs.localhost", "us-east-1"),
        ("localhost:4566", "us-east-1"),
        ("10.0.0.1:4566", "us-east-1"),
    ],
)
def test_the_region_of_a_host_counts_where_nobody_signed(app: App, host: str, region: str) -> None:
    app.query({"Action": "CreateQueue", "QueueName": "q"}, host=host)
    asked = {"Action": "GetQueueAttributes", "QueueUrl": "q", "AttributeName.1": "QueueArn"}
    assert f"arn:aws:sqs:{region}:000000000000:q".encode() in body_of(app.query(asked, host=host))
    signed = app.json("ListQueues", {}, host=host, authorization=signed_as("AKIA", region="ap-south-1"))
    assert members(signed) == {}


def test_the_account_of_a_twelve_digit_access_key(app: App) -> None:
    answer = app.json("CreateQueue", {"QueueName": "mine"}, authorization=signed_as("123456789012", region="eu-west-3"))
    assert members(answer)["QueueUrl"] == "http://sqs.example:4566/123456789012/mine"
    arn = members(
        app.json(
            "GetQueueAttributes",
            {"QueueUrl": "mine", "AttributeNames": ["QueueArn"]},
            authorization=signed_as("123456789012", region="eu-west-3"),
        )
    )["Attributes"]["QueueArn"]
    assert arn == "arn:aws:sqs:eu-west-3:123456789012:mine"
    elsewhere = app.json("GetQueueUrl", {"QueueName": "mine"}, authorization=signed_as("123456789012"))
    assert header(elsewhere, "x-amzn-query-error") == "AWS.SimpleQueueService.NonExistentQueue;Sender"


def test_every_operation_has_its_place_in_the_native_api() -> None:

    reserved = {"StringListValues", "BinaryListValues"}  # "Not implemented. Reserved for future use."
    methods = queues_pb2.DESCRIPTOR.services_by_name["Queues"].methods_by_name
    for name in service_model("sqs").operation_names:
        operation, method = service_model("sqs").operation_model(name), methods[name]
        assert request_reader(operation.input_shape, method.input_type)({}) is not None
        for shape, message in (
            (operation.input_shape, method.input_type),
            (operation.output_shape, method.output_type),
        ):
            for member in shape.members if shape is not None else ():
                assert member in reserved or xform_name(member) in message.fields_by_name, f"{name}: {member}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"Surprise":[' + b"[]," * 30_000 + b"0]}", 400),
        (b'{"Surprise":[' + b'"a",' * 30_000 + b'"a"]}', 400),
        (b'{"Surprise":[' + b'"\\"",' * 30_000 + b'"a"]}', 400),
        (b'{"Surprise":"' + b"[,{" * 30_000 + b'"}', 200),
        (b'{"Surprise":"' + b'\\"[,{\\\\' * 30_000 + b'"}', 200),
        (b'{"Surprise":[' + b"[]," * 9_000 + b"0]}", 200),
    ],
)
def test_a_body_has_no_more_items_than_any_operation_takes(app: App, body: bytes, status: int) -> None:
    """Decoding and refusing 400,000 of them took up to two seconds, in which nobody else was served."""
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ListQueues", "host": "h"}
    answer = app.answer(Request("POST", "/", headers, body))
    assert answer.status == status
    assert (b"SerializationException" in body_of(answer)) is (status == 400)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"Action=ListQueues", 200),
        (b"a=b&Action=ListQueues&c=d", 200),
        (b"Action=ListQueues&Action=CreateQueue", 200),
        (b"NoAction=ListQueues", 404),
        (b"Action", 404),
        (b"a=Action=ListQueues", 404),
        (b"&&Action=List%51ueues", 200),
    ],
)
def test_the_first_action_counts(app: App, body: bytes, status: int) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded", "host": "h"}
    answer = app.answer(Request("POST", "/", headers, body))
    assert answer.status == status
    assert (b"ListQueuesResponse" in body_of(answer)) is (status == 200)


@pytest.mark.parametrize("headers", [{}, {"host": ""}])
def test_queue_urls_have_a_host_even_if_the_request_has_none(app: App, headers: dict[str, str]) -> None:
    told = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.CreateQueue", **headers}
    answer = app.answer(Request("POST", "/", told, b'{"QueueName": "q"}'))
    assert members(answer)["QueueUrl"] == "http://localhost/000000000000/q"
