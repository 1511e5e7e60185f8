"""Values written as text: form parameters of Query, elements of XML, and what REST puts into paths, queries, headers.

Never: names or places. Every reader raises ``AwsError`` (SerializationException, MalformedInput in Query) for a text
that is not of its type.
"""

import binascii
import math
import re
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final, TypeAlias

from botocore.model import Shape

from broker.api.aws.errors import serialization_error
from broker.api.aws.protocols.values import finite_seconds

TextReader: TypeAlias = Callable[[str], Any]
TextWriter: TypeAlias = Callable[[Any], str]

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?|-?Infinity|NaN", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BOOLEANS: Final = {"true": True, "false": False, "1": True, "0": False}


def text_reader(shape: Shape, timestamp_format: str = "iso8601") -> TextReader:
    """``timestamp_format``: of a timestamp for which the model names none."""
    match shape.type_name:
        case "integer":
            return _integer("Integer", 31)
        case "long":
            return _integer("Long", 63)
        case "float" | "double":
            return _float
        case "boolean":
            return _boolean
        case "blob":
            return _blob
        case "timestamp":
            return _TIMESTAMP_READERS[shape.serialization.get("timestampFormat", timestamp_format).lower()]
        case _:
            return str


def text_writer(shape: Shape, timestamp_format: str = "iso8601") -> TextWriter:
    match shape.type_name:
        case "boolean":
            return lambda value: "true" if value else "false"
        case "blob":
            return lambda value: b64encode(value).decode("ascii")
        case "float" | "double":
            return _float_text
        case "timestamp":
            return _TIMESTAMP_WRITERS[shape.serialization.get("timestampFormat", timestamp_format).lower()]
        case _:
            return str


def _integer(kind: str, bits: int) -> TextReader:
    lowest, highest = -(1 << bits), (1 << bits) - 1

    def integer(text: str) -> int:
        if _INTEGER.fullmatch(text) and lowest <= (value := int(text)) <= highest:
            return value
        raise serialization_error(f"STRING_VALUE can not be converted to {'an' if kind == 'Integer' else 'a'} {kind}")

    return integer


def _float(text: str) -> float:
    if _FLOAT.fullmatch(text):
        return float(text)
    raise serialization_error("STRING_VALUE can not be converted to a Double")


def _boolean(text: str) -> bool:
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    raise serialization_error("boolean must follow xsd1.1 definition")


def _blob(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True) if text else b""
    except (binascii.Error, UnicodeEncodeError):
        raise serialization_error("STRING_VALUE can not be decoded as base64") from None


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value))


def _from_iso8601(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise serialization_error("STRING_VALUE is not a timestamp of ISO 8601") from None
    return _seconds(moment)


def _from_rfc822(text: str) -> float:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        raise serialization_error("STRING_VALUE is not a timestamp of RFC 822") from None
    return _seconds(moment)


def _from_epoch(text: str) -> float:
    return finite_seconds(_float(text))


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(seconds: float) -> datetime:
    """Rounded to the microsecond, so that what was read with a fraction is written with the same."""
    return _EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def _to_iso8601(seconds: float) -> str:
    """In milliseconds, as AWS writes it, unless there is more to say."""
    moment = _moment(seconds)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _to_rfc822(seconds: float) -> str:
    return format_datetime(_moment(seconds), usegmt=True)


def _to_epoch(seconds: float) -> str:
    return str(int(seconds)) if seconds == int(seconds) else repr(seconds)


_TIMESTAMP_READERS: Final[dict[str, TextReader]] = {
    "iso8601": _from_iso8601,
    "rfc822": _from_rfc822,
    "unixtimestamp": _from_epoch,
}
_TIMESTAMP_WRITERS: Final[dict[str, TextWriter]] = {
    "iso8601": _to_iso8601,
    "rfc822": _to_rfc822,
    "unixtimestamp": _to_epoch,
}
