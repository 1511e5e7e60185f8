"""Smithy RPC v2 CBOR with botocore as the judge, over every operation of the services."""

import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.protocols.cbor import decode
from broker.api.aws.protocols.rpc_cbor import RpcCborProtocol

from .rpc_model import ANSWERED, OPERATIONS, REQUEST_ID, members_of, operation, read_by_botocore, read_by_us, wire
from .rpc_model import request as asked

SERIALIZER = create_serializer("smithy-rpc-v2-cbor", include_validation=False)
PARSER = create_parser("smithy-rpc-v2-cbor")
RPC = RpcCborProtocol()

briefly = settings(max_examples=4, deadline=None)


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
@given(data=st.data())
@briefly
def test_what_botocore_sends_is_what_we_read(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    sent = data.draw(members_of(called.input_shape))
    assert read_by_us(RPC, SERIALIZER, called, sent) == sent


@pytest.mark.parametrize(("service", "name"), ANSWERED)
@given(data=st.data())
@briefly
def test_what_we_answer_is_what_botocore_reads(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    answered = data.draw(members_of(called.output_shape))
    assert read_by_botocore(RPC, PARSER, called, answered) == answered


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        ("c11a6553f100", 1700000000.0),
        ("c1fb41d954fc4007df3b", 1700000000.123),
        ("c1f90000", 0.0),
        ("1a6553f100", 1700000000.0),
    ],
)
def test_timestamps_are_read_as_seconds(content: str, seconds: float) -> None:
    body = b"\xa1\x69Timestamp" + bytes.fromhex(content)
    members = RPC.codec(operation("kinesis", "GetShardIterator")).parse(asked(body))
    assert members["Timestamp"] == pytest.approx(seconds, abs=1e-6)
    assert type(members["Timestamp"]) is float


@pytest.mark.parametrize(
    ("seconds", "content"), [(1700000000.0, "c11a6553f100"), (1700000000.123, "c1fb41d954fc4007df3b")]
)
def test_timestamps_are_written_as_seconds(seconds: float, content: str) -> None:
    answered = {"StreamDescriptionSummary": {"StreamCreationTimestamp": seconds}}
    body = RPC.codec(operation("kinesis", "DescribeStreamSummary")).serialize(answered, REQUEST_ID).body
    assert isinstance(body, bytes)
    assert body.endswith(bytes.fromhex(content))


def test_an_answer_names_the_protocol() -> None:
    response = RPC.codec(operation("sqs", "ListQueues")).serialize({"QueueUrls": ["q"]}, REQUEST_ID)
    assert dict(response.headers) == {
        "content-type": "application/cbor",
        "smithy-protocol": "rpc-v2-cbor",
        "x-amzn-requestid": REQUEST_ID,
    }
    assert isinstance(response.body, bytes)
    assert decode(response.body) == {"QueueUrls": ["q"]}


def test_an_operation_without_output_answers_nothing() -> None:
    response = RPC.codec(operation("sqs", "DeleteQueue")).serialize({}, REQUEST_ID)
    assert (response.status, response.body) == (200, b"")
    assert dict(response.headers) == {"smithy-protocol": "rpc-v2-cbor", "x-amzn-requestid": REQUEST_ID}


def test_an_error_keeps_its_query_code() -> None:
    refused = AwsError(
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
        "The specified queue does not exist.",
        namespace="com.amazonaws.sqs",
    )
    response = RPC.error(service_model("sqs"), refused, REQUEST_ID)
    assert response.status == 400
    assert dict(response.headers)["smithy-protocol"] == "rpc-v2-cbor"
    assert dict(response.headers)["content-type"] == "application/cbor"
    parsed = PARSER.parse(wire(response), None)
    assert parsed["Error"] == {
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "The specified queue does not exist.",
        "QueryErrorCode": "QueueDoesNotExist",
        "Type": "Sender",
    }
    assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\xa1\x6cDelaySeconds\x61x", "STRING_VALUE can not be converted to an Integer"),
        (b"\xa1\x6bMessageBody\x41x", "BLOB_VALUE can not be converted to a String"),
        (b"\x80", "Start of list found where not expected"),
    ],
)
def test_wrong_types_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(AwsError) as refused:
        RPC.codec(operation("sqs", "SendMessage")).parse(asked(body))
    assert refused.value.message == message
