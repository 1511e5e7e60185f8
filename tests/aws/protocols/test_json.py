"""AWS JSON: malformed bodies, wrong types in AWS's words, numbers, and what SDKs read of errors."""

import json
import math
from typing import Any

import pytest
from botocore.parsers import create_parser

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.model import service_model
from broker.api.aws.protocols.json import JsonProtocol

from .rpc_model import REQUEST_ID, operation, request, scalars_model, wire

JSON = JsonProtocol()
PARSER = create_parser("json")


def parse(service: str, name: str, body: bytes | dict[str, Any]) -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return JSON.codec(operation(service, name)).parse(request(raw))


def refusal(service: str, name: str, body: bytes | dict[str, Any]) -> str:
    with pytest.raises(AwsError) as refused:
        parse(service, name, body)
    assert (refused.value.shape, refused.value.code, refused.value.status) == (
        "SerializationException",
        "MalformedInput",
        400,
    )
    return refused.value.message


@pytest.mark.parametrize("body", [b"", b"{}", b" {}\n", b'{"QueueUrl": null}'])
def test_bodies_without_members(body: bytes) -> None:
    assert parse("sqs", "SendMessage", body) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"}",
        b"null",
        b"{}x",
        b"{}{}",
        b"{'QueueUrl': 1}",
        b'{"QueueUrl": "q",}',
        b'{"QueueUrl"}',
        b'{"QueueUrl": "q"',
        b'{"QueueUrl": "\x00"}',
        b'{"QueueUrl": "\n"}',
        b'{"QueueUrl": "\\x"}',
        b'{"QueueUrl": "\xff\xfe"}',
        b'{"QueueUrl": "\xed\xa0\x80"}',
        b'{"QueueUrl": "\xc0\x80"}',
        b'{"DelaySeconds": NaN}',
        b'{"DelaySeconds": Infinity}',
        b'{"DelaySeconds": -Infinity}',
        b'{"DelaySeconds": 1e999}',
        b'{"DelaySeconds": 01}',
        b'{"DelaySeconds": +1}',
        b'{"DelaySeconds": 0x10}',
        b"\xef\xbb\xbf{}",
        '{"QueueUrl": "q"}'.encode("utf-16"),
        b"QueueUrl=q&Action=SendMessage",
        b"<SendMessage/>",
        b"\x00" * 64,
    ],
)
def test_what_is_not_one_json_object_is_refused(body: bytes) -> None:
    assert refusal("sqs", "SendMessage", body)


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"a\\ud83dz", b"\\uD83D\\n"])
@pytest.mark.parametrize("member", [b'{"MessageBody": "%s"}', b'{"%s": "x"}', b'{"MessageAttributes": {"%s": {}}}'])
def test_a_lone_surrogate_gets_nowhere(member: bytes, escape: bytes) -> None:
    assert "not valid JSON" in refusal("sqs", "SendMessage", member % escape)


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse("sqs", "SendMessage", b'{"MessageBody": "\\ud83d\\ude00"}') == {"MessageBody": "\N{GRINNING FACE}"}


def test_the_last_of_duplicate_keys_counts() -> None:
    assert parse("sqs", "SendMessage", b'{"QueueUrl": "a", "QueueUrl": "b"}') == {"QueueUrl": "b"}


MAP = "Start of structure or map found where not expected."
LIST = "Start of list found where not expected"


@pytest.mark.parametrize(
    ("service", "name", "body", "message"),
    [
        ("sqs", "SendMessage", {"DelaySeconds": "5"}, "STRING_VALUE can not be converted to an Integer"),
        ("sqs", "SendMessage", {"DelaySeconds": ""}, "STRING_VALUE can not be converted to an Integer"),
        ("sqs", "SendMessage", {"DelaySeconds": True}, "TRUE_VALUE can not be converted to an Integer"),
        ("sqs", "SendMessage", {"DelaySeconds": {}}, MAP),
        ("sqs", "SendMessage", {"DelaySeconds": [1]}, LIST),
        ("sqs", "SendMessage", {"MessageBody": 1}, "NUMBER_VALUE can not be converted to a String"),
        ("sqs", "SendMessage", {"MessageBody": 1.5}, "NUMBER_VALUE can not be converted to a String"),
        ("sqs", "SendMessage", {"MessageBody": False}, "FALSE_VALUE can not be converted to a String"),
        ("sqs", "SendMessage", {"MessageBody": {"a": 1}}, MAP),
        ("sqs", "SendMessage", {"MessageBody": ["a"]}, LIST),
        ("sqs", "SendMessage", {"MessageAttributes": []}, LIST),
        ("sqs", "SendMessage", {"MessageAttributes": "a"}, "Expected map or null"),
        ("sqs", "SendMessage", {"MessageAttributes": {"a": "b"}}, "Expected null"),
        ("sqs", "SendMessage", {"MessageAttributes": {"a": None}}, "Expected null"),
        ("sqs", "SendMessageBatch", {"Entries": {}}, MAP),
        ("sqs", "SendMessageBatch", {"Entries": "a"}, "Expected list or null"),
        ("sqs", "SendMessageBatch", {"Entries": [[]]}, LIST),
        ("sqs", "SendMessageBatch", {"Entries": [None]}, "Expected null"),
        ("sqs", "CreateQueue", {"Attributes": {"DelaySeconds": 5}}, "NUMBER_VALUE can not be converted to a String"),
        ("sqs", "ReceiveMessage", {"AttributeNames": [None]}, "NULL_VALUE can not be converted to a String"),
        ("sqs", "SendMessage", b"[]", LIST),
        ("sqs", "SendMessage", b'"a"', "Expected null"),
        (
            "kinesis",
            "CreateStream",
            {"ShardCount": "1"},
            "class java.lang.String can not be converted to an Integer",
        ),
        (
            "kinesis",
            "CreateStream",
            {"StreamName": 1},
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        ),
        ("kinesis", "CreateStream", {"StreamName": []}, LIST),
        ("kinesis", "PutRecords", {"Records": 1}, "Expected list or null"),
        ("kinesis", "AddTagsToStream", {"Tags": "a"}, "Expected map or null"),
        (
            "kinesis",
            "GetShardIterator",
            {"Timestamp": "2020-01-01T00:00:00Z"},
            "class java.lang.String can not be converted to milliseconds since epoch",
        ),
        (
            "kinesis",
            "PutRecord",
            {"Data": "23456"},
            "'23456' can not be converted to a Blob: "
            "Base64 encoded length is expected a multiple of 4 bytes but found: 5",
        ),
    ],
)
def test_a_wrong_type_is_refused_in_the_words_of_aws(
    service: str, name: str, body: bytes | dict[str, Any], message: str
) -> None:
    assert refusal(service, name, body) == message


@pytest.mark.parametrize("data", ["====", "ab-_", "ab\n=", "a===", "äöüß", "YQ==YQ==", "ab\x00c", " YQ="])
def test_bad_base64_is_refused(data: str) -> None:
    assert "can not be converted to a Blob" in refusal("kinesis", "PutRecord", {"Data": data})


def test_a_refusal_does_not_repeat_a_large_value() -> None:
    assert len(refusal("kinesis", "PutRecord", {"Data": "x" * 1_000_001})) < 500


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"1.0", 1),
        (b"1e2", 100),
        (b"-0", 0),
        (b"1.9", 1),
        (b"-1.9", -1),
        (b"2147483647", 2**31 - 1),
        (b"2147483648", 2**31 - 1),
        (b"-2147483648", -(2**31)),
        (b"-2147483649", -(2**31)),
        (b"9" * 40, 2**31 - 1),
        (b"-" + b"9" * 40, -(2**31)),
        (b"1e300", 2**31 - 1),
    ],
)
def test_integers_are_clamped_and_cut(sent: bytes, read: int) -> None:
    members = parse("sqs", "SendMessage", b'{"DelaySeconds": %s}' % sent)
    assert members == {"DelaySeconds": read}
    assert type(members["DelaySeconds"]) is int


def echo(body: bytes) -> dict[str, Any]:
    return JSON.codec(scalars_model()).parse(request(body))


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b'{"long": 9223372036854775807}', {"long": 2**63 - 1}),
        (b'{"long": 9223372036854775808}', {"long": 2**63 - 1}),
        (b'{"long": -9223372036854775808}', {"long": -(2**63)}),
        (b'{"long": -1e30}', {"long": -(2**63)}),
        (b'{"double": 1}', {"double": 1.0}),
        (b'{"float": -2.5}', {"float": -2.5}),
        (b'{"double": "Infinity", "float": "-Infinity"}', {"double": math.inf, "float": -math.inf}),
        (b'{"boolean": false}', {"boolean": False}),
        (b'{"timestamp": 1}', {"timestamp": 1.0}),
        (b'{"timestamp": 1.25}', {"timestamp": 1.25}),
        (b'{"timestamp": 1e300}', {"timestamp": 253402300799.0}),
        (b'{"timestamp": -1e300}', {"timestamp": -62135596800.0}),
        (b'{"blob": ""}', {"blob": b""}),
        (b'{"inner": {"inner": {"string": "s"}}}', {"Inner": {"Inner": {"string": "s"}}}),
        (b'{"Inner": {"string": "s"}}', {}),
    ],
)
def test_every_type_of_scalar(sent: bytes, read: dict[str, Any]) -> None:
    members = echo(sent)
    assert members == read
    assert {name: type(value) for name, value in members.items()} == {name: type(value) for name, value in read.items()}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"boolean": 1}', "NUMBER_VALUE can not be converted to a Boolean"),
        (b'{"boolean": "true"}', "STRING_VALUE can not be converted to a Boolean"),
        (b'{"long": "1"}', "STRING_VALUE can not be converted to a Long"),
        (b'{"double": "1"}', "STRING_VALUE can not be converted to a Double"),
        (b'{"float": true}', "TRUE_VALUE can not be converted to a Float"),
        (b'{"timestamp": "NaN"}', "STRING_VALUE can not be converted to milliseconds since epoch"),
        (b'{"timestamp": false}', "FALSE_VALUE can not be converted to milliseconds since epoch"),
        (b'{"blob": 1}', "NUMBER_VALUE can not be converted to a Blob"),
        (b'{"blob": []}', LIST),
    ],
)
def test_every_type_of_scalar_refuses_others(body: bytes, message: str) -> None:
    with pytest.raises(AwsError) as refused:
        echo(body)
    assert refused.value.message == message


def test_every_type_of_scalar_goes_out() -> None:
    answered = {
        "blob": b"\x00\xff",
        "boolean": True,
        "double": math.nan,
        "float": -math.inf,
        "long": 2**63 - 1,
        "timestamp": 0.5,
        "Inner": {"double": 1.5},
    }
    body = JSON.codec(scalars_model()).serialize(answered, REQUEST_ID).body
    assert body == (
        b'{"blob":"AP8=","boolean":true,"double":"NaN","float":"-Infinity","long":9223372036854775807,'
        b'"timestamp":0.5,"inner":{"double":1.5}}'
    )


# What SDKs read of an error.

NO_QUEUE = AwsError(
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "The specified queue does not exist.",
    namespace="com.amazonaws.sqs",
)


def test_an_error_of_sqs_keeps_its_query_code() -> None:
    response = JSON.error(service_model("sqs"), NO_QUEUE, REQUEST_ID)
    assert response.status == 400
    assert dict(response.headers) == {
        "content-type": "application/x-amz-json-1.0",
        "x-amzn-errortype": "QueueDoesNotExist",
        "x-amzn-query-error": "AWS.SimpleQueueService.NonExistentQueue;Sender",
        "x-amzn-requestid": REQUEST_ID,
    }
    assert response.body == (
        b'{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}'
    )
    parsed = PARSER.parse(wire(response), service_model("sqs").operation_model("SendMessage").output_shape)
    assert parsed["Error"] == {
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "The specified queue does not exist.",
        "QueryErrorCode": "QueueDoesNotExist",
        "Type": "Sender",
    }
    assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID


def test_a_fault_of_the_server_is_the_receivers() -> None:
    fault = AwsError("InternalError", "InternalError", "", status=500, sender_fault=False)
    response = JSON.error(service_model("sqs"), fault, REQUEST_ID)
    assert (response.status, dict(response.headers)["x-amzn-query-error"]) == (500, "InternalError;Receiver")
    assert response.body == b'{"__type":"InternalError"}'


def test_an_error_of_kinesis_has_a_bare_name_and_no_query_code() -> None:
    missing = AwsError("ResourceNotFoundException", "ResourceNotFoundException", "Stream s not found.")
    response = JSON.error(service_model("kinesis"), missing, REQUEST_ID)
    assert "x-amzn-query-error" not in dict(response.headers)
    assert dict(response.headers)["content-type"] == "application/x-amz-json-1.1"
    assert response.body == b'{"__type":"ResourceNotFoundException","message":"Stream s not found."}'
    parsed = PARSER.parse(wire(response), None)
    assert parsed["Error"] == {"Code": "ResourceNotFoundException", "Message": "Stream s not found."}


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("sqs", b'{"__type":"com.amazon.coral.service#SerializationException","message":"Expected null"}'),
        ("kinesis", b'{"__type":"SerializationException","Message":"Expected null"}'),
        ("events", b'{"__type":"SerializationException","Message":"Expected null"}'),
    ],
)
def test_the_refusal_of_a_body_as_each_service_words_it(service: str, body: bytes) -> None:
    response = JSON.error(service_model(service), serialization_error("Expected null"), REQUEST_ID)
    assert response.body == body
    assert PARSER.parse(wire(response), None)["Error"]["Message"] == "Expected null"


def test_a_namespace_of_the_service_is_kept() -> None:
    missing = AwsError("ResourceNotFoundException", "ResourceNotFoundException", "", namespace="com.amazonaws.events")
    response = JSON.error(service_model("events"), missing, REQUEST_ID)
    assert response.body == b'{"__type":"com.amazonaws.events#ResourceNotFoundException"}'


def test_an_error_may_quote_what_utf_8_cannot_say() -> None:
    response = JSON.error(service_model("sqs"), serialization_error("'\ud800' is bad"), REQUEST_ID)
    assert PARSER.parse(wire(response), None)["Error"]["Message"] == "'?' is bad"


# What goes out.


def test_none_is_left_out_at_every_level() -> None:
    answered = {"Messages": [{"Body": "b", "Attributes": None, "MessageAttributes": {"a": {"StringValue": None}}}]}
    response = JSON.codec(operation("sqs", "ReceiveMessage")).serialize(answered, REQUEST_ID)
    assert response.body == b'{"Messages":[{"Body":"b","MessageAttributes":{"a":{}}}]}'


def test_no_output_is_an_empty_body() -> None:
    response = JSON.codec(operation("sqs", "DeleteMessage")).serialize({}, REQUEST_ID)
    assert (response.status, response.body) == (200, b"")
    assert dict(response.headers) == {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": REQUEST_ID}


def test_a_member_that_the_model_does_not_have_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="MessageID"):
        JSON.codec(operation("sqs", "SendMessage")).serialize({"MessageID": "x"}, REQUEST_ID)


def test_timestamps_go_out_with_milliseconds() -> None:
    answered = {"StreamDescriptionSummary": {"StreamCreationTimestamp": 1707824145.1234567}}
    body = JSON.codec(operation("kinesis", "DescribeStreamSummary")).serialize(answered, REQUEST_ID).body
    assert body == b'{"StreamDescriptionSummary":{"StreamCreationTimestamp":1707824145.123}}'
