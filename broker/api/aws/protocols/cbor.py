"""CBOR as Kinesis speaks it, beside AWS JSON 1.1: same targets and members, blobs as byte strings. Never: routing.

Java SDKs send and expect timestamps as tag 1 with **integer milliseconds** (1700000000.123 s is
``c1 1b 0000018bcfe5687b``), not RFC 8949's seconds; a float is taken for seconds.

Decoded by cbor2, with what is dangerous in its generic decoder shut off: every tag but 1 is refused (it would build
regular expressions, MIME messages, big numbers, cyclic and shared objects), keys must be strings, nesting ends at
``DEPTH_MAX``. Lengths that are claimed but not there cost nothing: it reads 64 KiB at a time. One byte can still claim
a list of its own, 64 bytes of memory and 600 ns: 10 MB of them would be 640 MB and 6 s. So the items of bodies over
``UNCOUNTED_BYTES_MAX`` are counted first, up to ``ITEMS_MAX``.

Measured: PutRecords of 500 records of 1 KB is read in 800 us, of which cbor2 takes 210 and counting 390; a batch of
ten 1 KB messages in 10 us; ten messages are written in 23 us, of which cbor2 takes 17.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import cbor2
from botocore.model import OperationModel, ServiceModel, StructureShape

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.protocols.json import error_headers, error_members
from broker.api.aws.protocols.values import (
    ReaderCompiler,
    Scalar,
    Wording,
    WriterCompiler,
    common_scalars,
    finite_seconds,
    wording,
)
from broker.api.web.messages import Request, Response

CONTENT_TYPE: Final = "application/x-amz-cbor-1.1"
DEPTH_MAX: Final = 64
ITEMS_MAX: Final = 100_000  # a PutRecords call has 500 records of at most 8 items
UNCOUNTED_BYTES_MAX: Final = 65_536

_EPOCH_TAG: Final = 1
# Every tag that cbor2 decodes by itself; others come to its tag hook.
_BUILT_IN_TAGS: Final = (
    *(0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54),
    *(100, 256, 258, 260, 261, 1004, 43000, 55799),
)
_INDEFINITE: Final = 31


class Epoch(NamedTuple):
    """The content of tag 1, whose unit is the protocol's."""

    value: Any


class CborCodec:
    """One operation in CBOR 1.1."""

    def __init__(self, operation: OperationModel) -> None:
        words = wording(operation.service_model.service_name)
        self._read = reader(operation.input_shape, words, _seconds)
        self._write = writer(operation.output_shape, _milliseconds)
        self._answers = operation.output_shape is not None

    def parse(self, request: Request) -> dict[str, Any]:
        """An empty body is an empty map."""
        return self._read(decode(request.body)) if request.body else {}

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        """An operation without output answers with an empty body."""
        headers = [("x-amzn-requestid", request_id), ("content-type", CONTENT_TYPE)]
        return Response(200, headers, cbor2.dumps(self._write(output)) if self._answers else b"")


_codec = cache(CborCodec)  # ``ServiceModel.operation_model`` always gives the same object


class CborProtocol:
    """What the Java SDKs speak with Kinesis unless told otherwise."""

    name = "cbor"

    def codec(self, operation: OperationModel) -> CborCodec:
        """Cached per operation."""
        return _codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:
        """As in JSON, its body in CBOR."""
        headers = [*error_headers(service, error, request_id), ("content-type", CONTENT_TYPE)]
        return Response(error.status, headers, cbor2.dumps(error_members(service, error)))


def decode(body: bytes) -> Any:
    """One data item, of which nothing is built but dict, list, str, bytes, int, float, bool, None, ``Epoch`` and
    ``cbor2.undefined``; bytes after it are left unread. ``AwsError`` for anything else."""
    if len(body) > UNCOUNTED_BYTES_MAX and _count_items(body) > ITEMS_MAX:
        raise serialization_error(f"The request body has more than {ITEMS_MAX} data items")
    try:
        return cbor2.loads(
            body,
            tag_hook=_refuse_tag,
            semantic_decoders=_TAG_DECODERS,
            max_depth=DEPTH_MAX,
            strict_hashable_types=True,
        )
    except cbor2.CBORDecodeError as malformed:
        raise serialization_error(f"The request body is not valid CBOR: {malformed}") from None


def reader(
    shape: StructureShape | None, words: Wording, seconds: Callable[[float], float]
) -> Callable[[Any], dict[str, Any]]:
    """From what ``decode`` gives to the members of a structure. ``seconds``: of the number that a timestamp holds."""

    def refuse_blob(value: Any) -> Any:
        raise words.wrong_scalar(value, "a Blob")

    def read_timestamp(value: Any) -> float:
        number = value.value if type(value) is Epoch else value
        if type(number) is int or type(number) is float:
            return finite_seconds(seconds(number))
        raise words.wrong_scalar(number, "milliseconds since epoch")

    scalars = common_scalars(words) | {
        "blob": Scalar(bytes, refuse_blob),
        "timestamp": Scalar(None, read_timestamp),
    }
    return ReaderCompiler(scalars, nothing=cbor2.undefined).structure(shape)


def writer(
    shape: StructureShape | None, number: Callable[[float], float]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """From the members of a structure to what cbor2 encodes. ``number``: what a timestamp's seconds go out as."""

    def write_timestamp(value: float) -> cbor2.CBORTag:
        return cbor2.CBORTag(_EPOCH_TAG, number(value))

    return WriterCompiler({"timestamp": write_timestamp, "float": float, "double": float}).structure(shape)


def _seconds(number: float) -> float:
    return number / 1000 if type(number) is int else number


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _read_epoch(value: Any, _immutable: bool) -> Epoch:
    return Epoch(value)


def _refuse_tag(_value: Any, _immutable: bool) -> Any:
    raise ValueError("tags other than 1 have no meaning here")


_TAG_DECODERS: Final = {_EPOCH_TAG: _read_epoch, **dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag)}


def _count_items(body: bytes) -> int:
    """Data items in ``body``, each key, value, tag and break one; ends soon after ``ITEMS_MAX`` or at a body's end.

    Looks at heads alone and skips what strings hold; whether the items fit together is the decoder's to judge.
    """
    position = count = 0
    end = len(body)
    while position < end and count <= ITEMS_MAX:
        head = body[position]
        kind, size = head >> 5, head & 31
        position += 1
        count += 1
        if 24 <= size <= 27:
            width = 1 << (size - 24)
            size = int.from_bytes(body[position : position + width])
            position += width
        elif size == _INDEFINITE:
            size = 0
        if kind in (2, 3):
            position += size
    return count
