"""CBOR of Kinesis: as Java SDKs send and read it, judged by botocore's own codec; hostile bodies."""

import time
import tracemalloc
from typing import Any

import cbor2
import pytest
from botocore.model import Shape
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.model import service_model
from broker.api.aws.protocols.cbor import DEPTH_MAX, ITEMS_MAX, CborProtocol, Epoch, decode

from .rpc_model import ANSWERED, OPERATIONS, REQUEST_ID, members_of, operation, read_by_botocore, read_by_us, request
from .rpc_model import wire as wired

CBOR = CborProtocol()


class JavaSerializer(RpcV2CBORSerializer):
    """With timestamps as Java SDKs write them: tag 1 and ``Date.getTime()``, integer milliseconds."""

    def _serialize_type_timestamp(self, serialized: bytearray, value: float, _shape: Shape, _key: object) -> None:
        serialized.extend(b"\xc1")
        self._serialize_type_integer(serialized, round(value * 1000), None, None)


def milliseconds(number: Any) -> float:
    """As Java SDKs read the content of tag 1: ``getLongValue()``."""
    assert type(number) is int
    return number / 1000


SERIALIZER = JavaSerializer()
PARSER = RpcV2CBORParser(timestamp_parser=milliseconds)

KINESIS = [pair for pair in OPERATIONS if pair[0] == "kinesis"]
briefly = settings(max_examples=5, deadline=None)


@pytest.mark.parametrize(("service", "name"), KINESIS)
@given(data=st.data())
@briefly
def test_what_java_sends_is_what_we_read(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    sent = data.draw(members_of(called.input_shape))
    assert read_by_us(CBOR, SERIALIZER, called, sent) == sent


@pytest.mark.parametrize(("service", "name"), [pair for pair in ANSWERED if pair in KINESIS])
@given(data=st.data())
@briefly
def test_what_we_answer_is_what_java_reads(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    answered = data.draw(members_of(called.output_shape))
    assert read_by_botocore(CBOR, PARSER, called, answered) == answered


def parse(name: str, body: bytes) -> dict[str, Any]:
    return CBOR.codec(operation("kinesis", name)).parse(request(body))


def refusal(name: str, body: bytes) -> str:
    with pytest.raises(AwsError) as refused:
        parse(name, body)
    assert refused.value.shape == "SerializationException"
    return refused.value.message


def timestamp(content: bytes) -> bytes:
    return b"\xa1\x69Timestamp" + content


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (bytes.fromhex("c11b0000018bcfe5687b"), 1700000000.123),
        (bytes.fromhex("c100"), 0.0),
        (bytes.fromhex("c120"), -0.001),
        (b"\xc1\xfb" + bytes.fromhex("41d954fc4007df3b"), 1700000000.123),
        (bytes.fromhex("1b0000018bcfe5687b"), 1700000000.123),
    ],
)
def test_tag_1_holds_milliseconds_or_fractional_seconds(content: bytes, seconds: float) -> None:
    assert parse("GetShardIterator", timestamp(content))["Timestamp"] == pytest.approx(seconds, abs=1e-6)


def test_a_timestamp_goes_out_as_integer_milliseconds() -> None:
    answered = {"StreamDescriptionSummary": {"StreamCreationTimestamp": 1700000000.123}}
    response = CBOR.codec(operation("kinesis", "DescribeStreamSummary")).serialize(answered, REQUEST_ID)
    assert isinstance(response.body, bytes)
    assert response.body.endswith(bytes.fromhex("c11b0000018bcfe5687b"))
    assert dict(response.headers) == {"content-type": "application/x-amz-cbor-1.1", "x-amzn-requestid": REQUEST_ID}


@pytest.mark.parametrize(
    "body",
    [
        b"\xbf\x64Data\x5f\x41a\x42bc\xff\x6cPartitionKey\x7f\x61k\x61e\xff\xff",
        b"\xbf\x64Data\x43abc\x6cPartitionKey\x62ke\xff",
        b"\xa2\x64Data\x5b" + bytes([0, 0, 0, 0, 0, 0, 0, 3]) + b"abc\x6cPartitionKey\x62ke",
        b"\xa4\x64Data\x43abc\x6cPartitionKey\x62ke\x6aStreamName\xf6\x69StreamARN\xf7",
        b"\xa3\x64Data\x43abc\x6cPartitionKey\x62ke\x68Surprise\x9f\xbf\xff\xf7\xe0\xff",
    ],
    ids=["indefinite", "indefinite map", "long length", "null and undefined", "unknown member"],
)
def test_every_form_of_one_record(body: bytes) -> None:
    assert parse("PutRecord", body) == {"Data": b"abc", "PartitionKey": "ke"}


def test_an_empty_body_is_an_empty_map() -> None:
    assert parse("ListStreams", b"") == {}


STRING = "class java.lang.String can not be converted to"
NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to"


@pytest.mark.parametrize(
    ("name", "members", "message"),
    [
        ("CreateStream", {"ShardCount": "1"}, f"{STRING} an Integer"),
        ("CreateStream", {"ShardCount": b"1"}, "BLOB_VALUE can not be converted to an Integer"),
        ("CreateStream", {"ShardCount": float("nan")}, f"{NUMBER} an Integer"),
        ("CreateStream", {"ShardCount": cbor2.CBORTag(1, 5)}, "TAGGED_VALUE can not be converted to an Integer"),
        ("CreateStream", {"ShardCount": cbor2.CBORSimpleValue(99)}, "TAGGED_VALUE can not be converted to an Integer"),
        ("CreateStream", {"StreamName": b"s"}, "BLOB_VALUE can not be converted to an String"),
        ("PutRecord", {"Data": "YQ=="}, f"{STRING} an Blob"),
        ("PutRecords", {"Records": {}}, "Start of structure or map found where not expected."),
        ("PutRecords", {"Records": [None]}, "Expected null"),
        ("AddTagsToStream", {"Tags": {b"a": "b"}}, "BLOB_VALUE can not be converted to an String"),
        ("AddTagsToStream", {"Tags": {"a": cbor2.undefined}}, "TAGGED_VALUE can not be converted to an String"),
        ("GetShardIterator", {"Timestamp": "now"}, f"{STRING} milliseconds since epoch"),
        ("GetShardIterator", {"Timestamp": cbor2.CBORTag(1, "now")}, f"{STRING} milliseconds since epoch"),
        ("GetShardIterator", {"Timestamp": cbor2.CBORTag(1, float("inf"))}, "A timestamp must be a finite number"),
    ],
)
def test_a_wrong_type_is_refused(name: str, members: dict[Any, Any], message: str) -> None:
    assert refusal(name, cbor2.dumps(members)) == message


def test_integers_are_clamped() -> None:
    for sent, read in ((2**64 - 1, 2**31 - 1), (-(2**64), -(2**31)), (float("inf"), 2**31 - 1), (2.9, 2)):
        assert parse("CreateStream", cbor2.dumps({"ShardCount": sent})) == {"ShardCount": read}


def test_an_error_is_a_map() -> None:
    response = CBOR.error(service_model("kinesis"), serialization_error("Expected null"), REQUEST_ID)
    assert isinstance(response.body, bytes)
    assert decode(response.body) == {"__type": "SerializationException", "Message": "Expected null"}
    assert dict(response.headers)["content-type"] == "application/x-amz-cbor-1.1"
    parsed = PARSER.parse(wired(response), None)
    assert parsed["Error"] == {"Code": "SerializationException", "Message": "Expected null"}


# Hostile bodies.

INSIDE_RECORDS = b"\xa1\x67Records"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\xbf",
        b"\xa1",
        b"\xa1\x61a",
        b"\xbf\x61a\xff",
        b"\xa1\x01\x02",
        b"\xa1\x81\x01\x02",
        b"\xa1\xf6\x02",
        b"\x1c",
        b"\xa1\x61a\x1f",
        b"\xa1\x61a\xfc",
        b"\xa1\x61a\xf8\x10",
        b"\x62\xc3",
        b"\x62\xc3\x28",
        b"\x63\xed\xa0\x80",
        b"\x7f\x41a\xff",
        b"\x5f\x5f\xff\xff",
        b"\x5f\x61a\xff",
        b"\x5b\x7f" + b"\xff" * 7,
        b"\x7b\x7f" + b"\xff" * 7,
        b"\x9b\x7f" + b"\xff" * 7,
        b"\xbb\x7f" + b"\xff" * 7,
        b"\x5b" + b"\xff" * 8,
        b"\x9b" + b"\xff" * 8,
        b"\x5a\x3f\xff\xff\xff" + b"a" * 1000,
        b"\x9a\x3f\xff\xff\xff" * (DEPTH_MAX - 1),
        b"\x9f" + b"\x9a\x00\x0f\xff\xff" * 50,
        b"\x81" * 60_000,
        b"\x9f" * 60_000,
        b"\xc1" * 60_000,
        b"\xa1\x61a" * 20_000,
        b"\x81" * 1_000_000,
        b'{"Records": []}',
    ],
)
@pytest.mark.parametrize("before", [b"", INSIDE_RECORDS], ids=["alone", "inside"])
def test_hostile_bodies_are_refused_cheaply(before: bytes, body: bytes) -> None:
    started = time.process_time()
    tracemalloc.start()
    try:
        assert refusal("PutRecords", before + body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 8_000_000


def head_of_tag(tag: int) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]


def test_of_all_tags_only_that_of_time_is_decoded() -> None:
    """A new cbor2 may learn to build something of one more tag: this names it."""
    assert type(decode(head_of_tag(1) + b"\x00")) is Epoch
    for tag in (0, *range(2, 3000), 43000, 55799, 55800, 65535, 2**32, 2**64 - 1):
        with pytest.raises(AwsError, match="SerializationException") as refused:
            decode(head_of_tag(tag) + b"\x00")
        by_cbor2 = refused.value.__context__
        assert by_cbor2 is not None
        assert str(by_cbor2.__cause__) == "tags other than 1 have no meaning here", tag


@pytest.mark.parametrize("nest", [b"\x81", b"\x9f", b"\xa1\x61a", b"\xbf\x61a", b"\xc1"])
def test_nesting_ends_where_nobody_looks_too(nest: bytes) -> None:
    close = b"\xff" * (DEPTH_MAX + 1) if nest[0] & 31 == 31 else b""
    unknown = b"\xa1\x68Surprise" + nest * (DEPTH_MAX + 1) + b"\x00" + close
    assert "nesting depth" in refusal("PutRecords", unknown)


PLAIN = (dict, list, str, bytes, int, float, bool, type(None), Epoch, type(cbor2.undefined), cbor2.CBORSimpleValue)


def assert_plain(value: Any) -> None:
    assert isinstance(value, PLAIN)
    if isinstance(value, dict):
        for key, item in value.items():
            assert type(key) in (str, bytes)
            assert_plain(item)
    elif isinstance(value, list | Epoch):
        for item in value:
            assert_plain(item)


@given(body=st.binary(max_size=40) | st.lists(st.sampled_from(range(256)), max_size=12).map(bytes))
@example(body=b"\xc1\xc1\x00")
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_refused_or_become_plain_values(body: bytes) -> None:
    try:
        value = decode(body)
    except AwsError:
        return
    assert_plain(value)


@pytest.mark.parametrize(
    "filling", [b"\x80", b"\xa0", b"\x00", b"\x60", b"\x81\x00", b"\xf7", b"\xf8\xff", b"\x5f\xff"]
)
def test_millions_of_tiny_items_are_counted_before_they_are_built(filling: bytes) -> None:
    body = INSIDE_RECORDS + b"\x9f" + filling * (1_000_000 // len(filling)) + b"\xff"
    tracemalloc.start()
    try:
        assert f"more than {ITEMS_MAX} data items" in refusal("PutRecords", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("indefinite", [False, True])
def test_the_largest_call_is_far_below_the_limit_on_items(indefinite: bool) -> None:
    records = [{"Data": bytes([i % 256]) * 20_000, "PartitionKey": f"key {i}"} for i in range(500)]
    sent = {"Records": records, "StreamName": "s"}
    assert parse("PutRecords", cbor2.dumps(sent, indefinite_containers=indefinite)) == sent
