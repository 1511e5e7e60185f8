"""Hostile inputs: for each rpc, bytes that no client of ours would send.

Three kinds: anything at all; messages that can be parsed, built from the descriptors with every field at an extreme;
and such messages with bytes changed, cut, repeated or added. An input is plain data, so that one that fails can be kept
and replayed.
"""

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from heddle.v1 import queues_pb2 as pb
from hypothesis import strategies as st

METHODS: Final[dict[str, MethodDescriptor]] = dict(pb.DESCRIPTOR.services_by_name["Queues"].methods_by_name)
QUEUE: Final = "fuzzed"
HANDLE: Final = "H" * 44
"""Stands for a receipt handle that is valid when the input is used; as long as one."""

INTEGERS: Final = (0, 1, -1, 2, 10, 20, 900, 901, 43_200, 43_201, 120_000, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1)
INTEGERS_64: Final = (*INTEGERS, 2**63, 2**64 - 2, 2**64 - 1, -(2**63))
_RANGES_MAX: Final = {"acks": 12_000, "nacks": 3_000, "extensions": 3_000}


@dataclass(frozen=True)
class Input:
    """``frames``: one for a unary call. ``leave``: how a stream is left: "half-close", "cancel"."""

    method: str
    frames: tuple[bytes, ...]
    leave: str = "half-close"

    @property
    def kind(self) -> str:
        return self.method

    def __repr__(self) -> str:
        start = self.frames[0][:60] if self.frames else b""
        return f"Input({self.method}, {len(self.frames)} frames, {sum(map(len, self.frames))} bytes, {start!r}...)"

    def dump(self) -> str:
        frames = [base64.b64encode(frame).decode() for frame in self.frames]
        return json.dumps({"method": self.method, "frames": frames, "leave": self.leave}) + "\n"

    @classmethod
    def load(cls, text: str) -> "Input":
        fields = json.loads(text)
        return cls(fields["method"], tuple(map(base64.b64decode, fields["frames"])), fields["leave"])


def inputs(method: str | None = None) -> st.SearchStrategy[Input]:
    """Inputs for one rpc, or for any."""
    if method is None:
        return st.sampled_from(sorted(METHODS)).flatmap(inputs)
    descriptor = METHODS[method]
    frame = _frames(descriptor.input_type)
    if not descriptor.client_streaming:
        return st.builds(Input, st.just(method), st.tuples(frame))
    several = st.lists(frame, min_size=1, max_size=4).map(tuple)
    return st.builds(Input, st.just(method), several, st.sampled_from(("half-close", "cancel")))


def _frames(descriptor: Descriptor) -> st.SearchStrategy[bytes]:
    built = st.one_of(messages(descriptor), messages(descriptor), _opening(descriptor)).map(_serialized)
    return st.one_of(built, built, _mutated(built), st.binary(max_size=200))


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _opening(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Requests that are right as far as they go, so that what is hostile in them is reached."""
    return messages(descriptor).map(_to_the_queue)


def _to_the_queue(message: Any) -> Any:
    names = message.DESCRIPTOR.fields_by_name
    if "queue_url" in names:
        message.queue_url = QUEUE
    if "receipt_handle" in names:
        message.receipt_handle = HANDLE
    if "message_body" in names and not message.message_body:
        message.message_body = b"body"
    if "visibility_timeout" in names and message.DESCRIPTOR.name == "ConsumeRequest":
        message.ClearField("visibility_timeout")
        message.credit = min(message.credit, 200_000) or 20
    return message


# --- messages from descriptors


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    make = GetMessageClass(descriptor)
    fields = {field.name: _values(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda chosen: _build(make, chosen))


def _build(make: Callable[[], Message], chosen: dict[str, Any]) -> Message:
    message: Any = make()
    for name, value in chosen.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, dict):
            target = getattr(message, name)
            for key, item in value.items():
                if isinstance(item, Message):
                    target[key].CopyFrom(item)
                else:
                    target[key] = item
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif isinstance(value, Message):
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message  # type: ignore[no-any-return]


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        keys, values = _values(kind.fields_by_name["key"]), _values(kind.fields_by_name["value"])
        if field.name == "attributes":
            keys, values = st.sampled_from(ATTRIBUTES) | keys, st.sampled_from(ATTRIBUTE_VALUES) | values
        return st.one_of(st.dictionaries(keys, values, max_size=2), _many_pairs(keys, values))
    one = _scalar(field) if kind is None else messages(kind)
    if not field.is_repeated:
        return one
    many = _RANGES_MAX.get(field.name, 30)
    return st.one_of(
        st.lists(one, max_size=3),
        st.tuples(one, st.integers(0, many)).map(lambda repeated: [repeated[0]] * repeated[1]),
        *([_many_ranges(kind, many)] if field.name in _RANGES_MAX and kind is not None else []),
    )


def _many_pairs(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[Any, Any]]:
    def pairs(chosen: tuple[Any, Any, int]) -> dict[Any, Any]:
        key, value, count = chosen
        return {f"{key}{number}": value for number in range(count)}

    return st.tuples(keys, values, st.integers(0, 60)).map(pairs)


def _many_ranges(kind: Descriptor, many: int) -> st.SearchStrategy[list[Any]]:
    """Thousands of ranges: side by side, with gaps, backwards, or all over each other."""

    def ranges(chosen: tuple[int, int, int, int]) -> list[Any]:
        first, step, length, count = chosen
        spans = (max(0, first + number * step) for number in range(count))
        found = [pb.SequenceRange(first=span, end=max(0, span + length)) for span in spans]
        make = GetMessageClass(kind)
        return found if kind.name == "SequenceRange" else [make(range=span) for span in found]

    lengths = st.sampled_from((0, 1, 2, -1, 2**40))
    return st.tuples(st.integers(0, 50), st.sampled_from((0, 1, 2, -1)), lengths, st.integers(0, many)).map(ranges)


TEXTS: Final = (
    "", QUEUE, "/", "//", "\0", "a\0b", "..", "All", ".*", "*", HANDLE, "é" * 200, "\U0010ffff", "\ufffe", "\r\n", "%s",
    "http://127.0.0.1/000000000000/" + QUEUE, "x" * 81, "x" * 9_000, "String", "Number", "Binary", "String.x", "1e9999",
    "-1", "0", "900", "99999999999999999999999", "{}", "[" * 3_000, "AWSTraceHeader", "true", "FifoQueue",
)  # fmt: skip
ATTRIBUTES: Final = (
    "DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds",
    "VisibilityTimeout", "Policy",
    "RedrivePolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "FifoQueue",
    "SqsManagedSseEnabled",
)  # fmt: skip
ATTRIBUTE_VALUES: Final = (
    "",
    "0",
    "1",
    "60",
    "-1",
    "1e3",
    "٣",
    "true",
    "{}",
    '{"a":' + "9" * 5_000 + "}",
    "[" * 3_000,
)
NAMES: Final = tuple(f"made-{number}" for number in range(10))


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.name == "queue_name":
        return st.sampled_from((QUEUE, *NAMES)) | st.sampled_from(TEXTS)
    if field.name == "queue_url":
        return st.sampled_from((QUEUE, QUEUE, QUEUE, *NAMES)) | st.sampled_from(TEXTS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(TEXTS) | st.text(max_size=20)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=50) | st.sampled_from((b"body", b"", b"\0", b"\xff\xfe", b"x" * 20_000))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    low, high = _BOUNDS[field.type]
    return st.sampled_from([value for value in INTEGERS_64 if low <= value <= high]) | st.integers(
        max(low, -50), min(high, 200)
    )


_BOUNDS: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


# --- bytes that were messages


def variant(attack: Input, random: Random) -> Input:
    """The same input, one of its frames changed by chance."""
    frames = list(attack.frames)
    if not frames:
        return attack
    at = random.randrange(len(frames))
    kind = random.choice(MUTATION_KINDS)
    place = random.randrange(min(2**16, len(frames[at]) + 1))
    frames[at] = mutate((frames[at], [(kind, place, random.randrange(256))]))
    return Input(attack.method, tuple(frames), attack.leave)


def _mutated(source: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(source, st.lists(MUTATIONS, min_size=1, max_size=3)).map(mutate)


MUTATION_KINDS: Final = ("flip", "cut", "repeat", "insert", "unknown", "nest")
MUTATIONS: Final = st.tuples(st.sampled_from(MUTATION_KINDS), st.integers(0, 2**16), st.integers(0, 255))


def mutate(chosen: tuple[bytes, list[tuple[str, int, int]]]) -> bytes:
    data, steps = chosen
    for kind, place, value in steps:
        at = place % (len(data) + 1)
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (value or 1)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "repeat":
            data += data[: min(at, 5_000)]
        elif kind == "insert":
            data = data[:at] + bytes([value]) * (place % 9) + data[at:]
        elif kind == "unknown":
            data += _UNKNOWN_FIELDS[value % len(_UNKNOWN_FIELDS)]
        elif kind == "nest":
            data = data[:at] + b"\x0b" * (place % 300) + data[at:]
    return data


_UNKNOWN_FIELDS: Final = (
    b"\xf8\xff\xff\xff\x0f\x01",  # the largest field number
    b"\x9a\x06\x03abc",
    b"\xa1\x06" + struct.pack("<d", 1.0),
    b"\xa3\x06\xa4\x06",  # a group
    b"\x0a\x02\xff\xfe",  # field 1 that is no UTF-8
    b"\x1a\x04\x0a\x02\x2a\x00",  # field 3, a batch of a message without a body
    b"\x92\x00\x00",
)
