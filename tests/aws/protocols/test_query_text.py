"""Values as text: what is read, what is refused, and that both ways fit together."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import Shape
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.protocols.query_text import text_reader, text_writer

from .member_values import BY_TYPE

PYTHON_TYPES = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "blob": bytes,
    "timestamp": float,
    "string": str,
}
FORMATS = ("iso8601", "rfc822", "unixTimestamp")


def shape(kind: str, timestamp_format: str | None = None) -> Shape:
    traits = {"timestampFormat": timestamp_format} if timestamp_format else {}
    return Shape("Member", {"type": kind, **traits})


@pytest.mark.parametrize(
    ("timestamp_format", "text", "seconds"),
    [
        ("iso8601", "2023-11-14T22:13:20Z", 1_700_000_000),
        ("iso8601", "2023-11-14T22:13:20.250Z", 1_700_000_000.25),
        ("iso8601", "2023-11-14T22:13:20.000001Z", 1_700_000_000.000001),
        ("iso8601", "2023-11-15T00:13:20+02:00", 1_700_000_000),
        ("iso8601", "2023-11-14T22:13:20", 1_700_000_000),
        ("iso8601", "0001-01-01T00:00:00Z", -62_135_596_800),
        ("rfc822", "Tue, 14 Nov 2023 22:13:20 GMT", 1_700_000_000),
        ("unixTimestamp", "1700000000.25", 1_700_000_000.25),
        ("unixTimestamp", "1.7e9", 1_700_000_000),
    ],
)
def test_timestamps(timestamp_format: str, text: str, seconds: float) -> None:
    assert text_reader(shape("timestamp", timestamp_format))(text) == seconds


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
def test_a_timestamp_without_a_zone_is_of_greenwich() -> None:
    assert text_reader(shape("timestamp"))("2023-11-14T22:13:20") == 1_700_000_000


@pytest.mark.parametrize(
    ("kind", "timestamp_format", "text"),
    [
        ("timestamp", "iso8601", "yesterday"),
        ("timestamp", "iso8601", "1700000000.25"),
        ("timestamp", "iso8601", "2023-13-01T00:00:00Z"),
        ("timestamp", "rfc822", "2023-11-14T22:13:20Z"),
        ("timestamp", "unixTimestamp", "NaN"),
        ("timestamp", "unixTimestamp", "1e999"),
        ("integer", None, "0x10"),
        ("integer", None, " 1"),
        ("long", None, "9223372036854775808"),
        ("double", None, "nan"),
        ("double", None, "1_0"),
        ("double", None, "infinity"),
        ("double", None, ""),
        ("boolean", None, "True"),
        ("blob", None, "AA"),
    ],
)
def test_what_is_refused(kind: str, timestamp_format: str | None, text: str) -> None:
    with pytest.raises(AwsError) as refused:
        text_reader(shape(kind, timestamp_format))(text)
    assert (refused.value.code, refused.value.status) == ("MalformedInput", 400)


@pytest.mark.parametrize("text", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_floats_that_are_none(text: str) -> None:
    assert repr(text_reader(shape("double"))(text)) == repr(float(text))


@pytest.mark.parametrize("kind", PYTHON_TYPES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_what_is_written_is_read(kind: str, data: st.DataObject) -> None:
    value = data.draw(BY_TYPE[kind])
    timestamp_format = data.draw(st.sampled_from(FORMATS)) if kind == "timestamp" else None
    assume(timestamp_format != "rfc822" or value.is_integer())
    told = shape(kind, timestamp_format)
    assert text_reader(told)(text_writer(told)(value)) == value


@pytest.mark.parametrize("kind", PYTHON_TYPES)
@pytest.mark.parametrize("timestamp_format", FORMATS)
@given(
    text=st.text(st.characters(exclude_categories=()), max_size=30) | st.text("0123456789-+:.TZeE,MonJan ", max_size=40)
)
@settings(max_examples=30, deadline=None)
def test_whatever_text_comes_is_read_or_refused(kind: str, timestamp_format: str, text: str) -> None:
    read: Any = None
    try:
        read = text_reader(shape(kind, timestamp_format if kind == "timestamp" else None))(text)
    except AwsError as refusal:
        read = refusal
    assert type(read) in (PYTHON_TYPES[kind], AwsError)
