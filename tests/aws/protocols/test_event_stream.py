"""Event streams with botocore's decoder and Kinesis parser as the judges."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import EventStreamError
from botocore.model import StructureShape
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.protocols.event_stream import (
    CONTENT_TYPE,
    HEADERS_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    Events,
    Header,
    Moment,
    Sized,
    message,
)

from .member_values import seconds, values

SUBSCRIBE = service_model("kinesis").operation_model("SubscribeToShard")
OUTPUT = cast("StructureShape", SUBSCRIBE.output_shape)
UNION = cast("StructureShape", OUTPUT.members["EventStream"])
EVENTS = Events(SUBSCRIBE)

HEADERS: st.SearchStrategy[Header] = st.one_of(
    st.booleans(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.uuids(),
    st.integers(-(1 << 63), (1 << 63) - 1).map(Moment),
    st.sampled_from([8, 16, 32, 64]).flatmap(
        lambda bits: st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1).map(lambda value: Sized(value, bits))
    ),
)


def decoded(frames: bytes) -> list[Any]:
    """Messages of botocore."""
    buffer = EventStreamBuffer()
    buffer.add_data(frames)
    return list(buffer)


def as_decoded(value: Header) -> Any:
    match value:
        case Sized():
            return value.value
        case Moment():
            return value.milliseconds
        case UUID():
            return value.bytes
        case _:
            return value


@dataclass
class Body:
    """What botocore reads a stream from."""

    pieces: list[bytes]

    def stream(self) -> Iterator[bytes]:
        yield from self.pieces


def parsed(*frames: bytes) -> Any:
    response = {
        "status_code": 200,
        "headers": {"content-type": CONTENT_TYPE},
        "body": Body(list(frames)),
        "context": {"operation_name": "SubscribeToShard"},
    }
    return create_parser("json").parse(response, OUTPUT)["EventStream"]


@given(headers=st.dictionaries(st.text(max_size=20), HEADERS, max_size=5), payload=st.binary(max_size=50))
@settings(max_examples=200, deadline=None)
def test_botocore_decodes_every_message(headers: dict[str, Header], payload: bytes) -> None:
    first, second = decoded(message(headers, payload) + message({}, b""))
    assert first.headers == {name: as_decoded(value) for name, value in headers.items()}
    assert first.payload == payload
    assert (second.headers, second.payload) == ({}, b"")


def test_the_initial_response_is_that_of_kinesis() -> None:
    assert EVENTS.initial_response().hex() == (
        "00000068000000564e6817240d3a6d6573736167652d747970650700056576656e740b3a6576656e742d74797065070010696e69"
        "7469616c2d726573706f6e73650d3a636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b7dfe942c1d"
    )


@given(members=values(UNION.members["SubscribeToShardEvent"]))
@settings(max_examples=50, deadline=None)
def test_botocore_reads_every_event(members: dict[str, Any]) -> None:
    stream = parsed(EVENTS.initial_response(), EVENTS.event("SubscribeToShardEvent", members))
    assert [seconds(event) for event in stream] == [{"SubscribeToShardEvent": members}]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (AwsError("ResourceInUseException", "ResourceInUseException", "Why ü\ud800"), "exception"),
        (AwsError("InternalFailureException", "InternalFailureException", "Why ü\ud800", status=500), "exception"),
        (AwsError("ServiceUnavailable", "ServiceUnavailable", "Why ü\ud800", status=503), "error"),
    ],
)
def test_botocore_raises_what_ends_a_stream(error: AwsError, kind: str) -> None:
    frame = EVENTS.error(error)
    assert decoded(frame)[0].headers[":message-type"] == kind
    with pytest.raises(EventStreamError) as raised:
        list(parsed(EVENTS.initial_response(), frame))
    assert raised.value.response["Error"] == {"Code": error.shape, "Message": "Why ü?"}


def test_a_long_error_is_cut_between_characters() -> None:
    (frame,) = decoded(EVENTS.error(AwsError("Other", "Other", "ü" * 40_000)))
    assert frame.headers[":error-message"] == "ü" * 16_383


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ({"a": Sized(128, 8)}, b""),
        ({"a": Sized(-(1 << 31) - 1, 32)}, b""),
        ({"a": "x" * 65_536}, b""),
        ({"a": b"x" * 65_536}, b""),
        ({"a" * 256: True}, b""),
        (dict.fromkeys("abc", "x" * 65_000), b""),
        ({}, bytes(PAYLOAD_BYTES_MAX + 1)),
    ],
)
def test_what_does_not_fit_is_refused(headers: dict[str, Header], payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"does not fit|too many for one message"):
        message(headers, payload)


def test_what_just_fits_is_decoded() -> None:
    text = "x" * (HEADERS_BYTES_MAX // 2 - 5)
    (frame,) = decoded(message({"a": text, "b": text}, b"x"))
    assert frame.headers == {"a": text, "b": text}


def test_only_streams_have_events() -> None:
    with pytest.raises(ValueError, match="PutRecord does not answer with an event stream"):
        Events(service_model("kinesis").operation_model("PutRecord"))
    with pytest.raises(KeyError):
        EVENTS.event("Other", {})
