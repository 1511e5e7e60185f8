"""AWS JSON 1.0 and 1.1: the body is one object, blobs are base64, timestamps epoch seconds. Never: routing by target.

Decoded and encoded by orjson, the fastest of three. For one SendMessageBatch of ten 1 KB entries, without and with an
attribute each, and one ReceiveMessage of ten 1 KB messages (CPython 3.11, best of 9,000, microseconds):

==============================  ====  ======  =======  ==================  ==========
                                json  orjson  msgspec  msgspec into types  this codec
==============================  ====  ======  =======  ==================  ==========
decode ten entries              11.1  4.6     4.5      4.4                 9.0
decode ten, with attributes     14.4  6.5     6.4      6.5                 18.7
encode ten messages             37.8  1.6     4.8                          6.8
==============================  ====  ======  =======  ==================  ==========

What this codec adds to orjson are the type checks of ``values`` (0.4 us a structure) and dropping None. msgspec's
decoding into types would check for nothing, but cannot clamp, drop nulls or refuse in AWS's words.

orjson takes the last of duplicate keys and refuses NaN, Infinity, 1e999, lone surrogates (``\\ud800``), a byte order
mark, bytes that are not UTF-8, more than 1,024 levels and anything after the object; integers over 64 bits become
floats, which readers clamp. Decoded values cost up to 24 times their bytes: ``[],`` 64 bytes and 210 ns, ``{"a":1},``
192 bytes and 180 ns, short strings 59 bytes and 58 ns. ``CONTAINERS_MAX`` holds that to 230 MB and 0.3 s whatever the
limit on bodies is.
"""

import binascii
import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import orjson
from botocore.model import OperationModel, ServiceModel, StructureShape

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.protocols.values import (
    ReaderCompiler,
    Scalar,
    Wording,
    Writer,
    WriterCompiler,
    common_scalars,
    finite_seconds,
    wording,
)
from broker.api.web.messages import Request, Response

CONTAINERS_MAX: Final = 1_200_000  # braces and brackets in a body: a message of SQS may be 1 MiB of nothing else

_CORAL: Final = "com.amazon.coral.service"
_QUOTED_MAX: Final = 256  # characters of a refused value that its error repeats


class JsonCodec:
    """One operation in AWS JSON."""

    def __init__(self, operation: OperationModel) -> None:
        self._read = reader(operation.input_shape, wording(operation.service_model.service_name))
        self._write = writer(operation.output_shape)
        self._answers = operation.output_shape is not None
        self._content_type = content_type(operation.service_model)

    def parse(self, request: Request) -> dict[str, Any]:
        """An empty body is an empty object."""
        body = request.body
        if not body:
            return {}
        if len(body) > CONTAINERS_MAX and body.count(b"{") + body.count(b"[") > CONTAINERS_MAX:
            raise serialization_error("The request body has too many lists and structures")
        try:
            return self._read(orjson.loads(body))
        except orjson.JSONDecodeError as malformed:
            raise serialization_error(f"The request body is not valid JSON: {malformed}") from None
        except RecursionError:  # only a shape that contains itself is followed that deep
            raise serialization_error("The request body is nested too deeply") from None

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        """An operation without output answers with an empty body."""
        headers = [("x-amzn-requestid", request_id), ("content-type", self._content_type)]
        return Response(200, headers, orjson.dumps(self._write(output)) if self._answers else b"")


_codec = cache(JsonCodec)  # ``ServiceModel.operation_model`` always gives the same object


class JsonProtocol:
    """AWS JSON in the version that the service's model names."""

    name = "json"

    def codec(self, operation: OperationModel) -> JsonCodec:
        """Cached per operation."""
        return _codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:
        """A body of ``__type`` and the message, and the headers that SDKs read."""
        headers = [*error_headers(service, error, request_id), ("content-type", content_type(service))]
        return Response(error.status, headers, orjson.dumps(error_members(service, error)))


def reader(shape: StructureShape | None, words: Wording) -> Callable[[Any], dict[str, Any]]:
    """From what orjson decoded to the members of a structure."""
    return ReaderCompiler(_scalars(words)).structure(shape)


def writer(shape: StructureShape | None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """From the members of a structure to what orjson encodes."""
    return WriterCompiler(_WRITERS).structure(shape)


def content_type(service: ServiceModel) -> str:
    """1.1 where the model names no version: services that have known no JSON are asked in none."""
    return f"application/x-amz-json-{service.metadata.get('jsonVersion', '1.1')}"


def error_members(service: ServiceModel, error: AwsError) -> dict[str, str]:
    """What an error's body says, in JSON and in CBOR.

    Services of JSON 1.1 were recorded with bare names for the framework's own errors and with ``Message`` in a
    SerializationException; ``message`` is what all others say. An error without a text has no such member.
    """
    json_1_1 = service.metadata.get("jsonVersion") != "1.0"
    bare = not error.namespace or (json_1_1 and error.namespace == _CORAL)
    members = {"__type": error.shape if bare else f"{error.namespace}#{error.shape}"}
    if error.message:
        key = "Message" if json_1_1 and error.shape == "SerializationException" else "message"
        members[key] = error.message.encode("utf-8", "replace").decode()  # it may quote a lone surrogate
    return members


def error_headers(service: ServiceModel, error: AwsError, request_id: str) -> list[tuple[str, str]]:
    """``x-amzn-query-error`` keeps the codes of services that have known Query: SDKs take ``Error.Code`` from it, and
    recent ones for JavaScript fail without it. ``x-amzn-errortype`` is where some look for the shape first.
    """
    headers = [("x-amzn-requestid", request_id), ("x-amzn-errortype", error.shape)]
    if "awsQueryCompatible" in service.metadata:
        fault = "Sender" if error.sender_fault else "Receiver"
        headers.append(("x-amzn-query-error", f"{error.code};{fault}"))
    return headers


def _scalars(words: Wording) -> dict[str, Scalar]:
    def read_blob(value: Any) -> bytes:
        if type(value) is not str:
            raise words.wrong_scalar(value, "a Blob")
        if len(value) % 4:
            why = f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}"
        else:
            try:
                return binascii.a2b_base64(value, strict_mode=True)
            except ValueError:
                why = "Invalid Base64 character"  # unverified
        raise serialization_error(f"'{value[:_QUOTED_MAX]}' can not be converted to a Blob: {why}")

    def read_timestamp(value: Any) -> float:
        if type(value) is int or type(value) is float:
            return finite_seconds(value)
        raise words.wrong_scalar(value, "milliseconds since epoch")

    return common_scalars(words) | {"blob": Scalar(None, read_blob), "timestamp": Scalar(None, read_timestamp)}


def _write_blob(value: bytes) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _write_float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write_timestamp(value: float) -> float:
    return round(value, 3)


_WRITERS: Final[Mapping[str, Writer]] = {
    "blob": _write_blob,
    "timestamp": _write_timestamp,
    "float": _write_float,
    "double": _write_float,
}
