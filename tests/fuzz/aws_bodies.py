"""Bodies for the AWS endpoint: members of its operations, every one at an extreme, in each of the wire's encodings."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

import cbor2
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import strategies as st

from broker.api.aws.model import service_model
from tests.fuzz.inputs import ATTRIBUTE_VALUES, ATTRIBUTES, HANDLE, INTEGERS_64, NAMES, QUEUE, TEXTS

SERVICES: Final = ("sqs", "sts")
OPERATIONS: Final = {"sqs": service_model("sqs").operation_names, "sts": ["GetCallerIdentity", "AssumeRole"]}
_DEPTH_MAX: Final = 6
_FLOATS: Final = (0.0, -0.0, 1e308, -1e308, 0.1, 0.5, -1.5, 5e-324, float("nan"))
_URLS: Final = (
    QUEUE, QUEUE, QUEUE, *NAMES[:3], f"http://localhost:4566/000000000000/{QUEUE}", f"/000000000000/{QUEUE}",
    f"http://x/111122223333/{QUEUE}", "http://[::1]:1/000000000000/" + QUEUE, "//" + QUEUE, "http://", "x" * 5_000,
    f"http://h/000000000000/{QUEUE}?a#b", "http://h/000000000000/%66uzzed", "\r\nx: y", "http://h/0/\0",
)  # fmt: skip

Members = dict[str, Any]

_ATTRIBUTE: Final = {"DataType": "String", "StringValue": "v"}
_RIGHT: Final[Members] = {
    "QueueUrl": QUEUE, "ReceiptHandle": HANDLE, "QueueName": QUEUE, "MessageBody": "body", "VisibilityTimeout": 1,
    "AttributeNames": ["All"], "Label": "label", "AWSAccountIds": ["111122223333"], "Actions": ["SendMessage"],
    "TagKeys": ["k"], "Tags": {"k": "v"}, "MaxNumberOfMessages": 10, "TaskHandle": "aGVsbG8=",
    "MessageAttributes": {"name": _ATTRIBUTE}, "MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"],
    "SourceArn": f"arn:aws:sqs:us-east-1:000000000000:{QUEUE}",
}  # fmt: skip
_RIGHT_OF: Final[dict[str, Members]] = {
    "SendMessageBatch": {
        "Entries": [
            {"Id": "a", "MessageBody": "b", "MessageAttributes": {"n": _ATTRIBUTE}},
            {"Id": "b", "MessageBody": "c"},
        ]
    },
    "DeleteMessageBatch": {"Entries": [{"Id": "a", "ReceiptHandle": HANDLE}]},
    "ChangeMessageVisibilityBatch": {"Entries": [{"Id": "a", "ReceiptHandle": HANDLE, "VisibilityTimeout": 0}]},
    "SetQueueAttributes": {"Attributes": {"DelaySeconds": "0"}},
}


def members(service: str, operation: str) -> st.SearchStrategy[Members]:
    """The input of an operation: right members of which one or two are hostile, or any members at all."""
    shape = service_model(service).operation_model(operation).input_shape
    if shape is None:
        return st.just({})
    right = {name: value for name, value in (_RIGHT | _RIGHT_OF.get(operation, {})).items() if name in shape.members}
    names = st.lists(st.sampled_from(sorted(shape.members)), max_size=2) if shape.members else st.just([])
    spoilt = names.flatmap(
        lambda chosen: st.fixed_dictionaries({name: values(shape.members[name], name, 1) for name in chosen})
    )
    return st.one_of(spoilt.map(lambda found: right | found), _inside(right), _structure(shape, 0))


def _inside(right: Members) -> st.SearchStrategy[Members]:
    """Right members, one of whose leaves is anything."""
    places = list(_leaves(right))
    if not places:
        return st.just(right)
    return st.tuples(st.sampled_from(places), _wrong).map(lambda chosen: _with(right, *chosen))


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(item, (*place, key))
    else:
        yield place


def _with(value: Any, place: tuple[Any, ...], item: Any) -> Any:
    if not place:
        return item
    copied = value.copy()
    copied[place[0]] = _with(value[place[0]], place[1:], item)
    return copied


def _structure(shape: StructureShape, depth: int) -> st.SearchStrategy[Members]:
    if depth > _DEPTH_MAX:
        return st.just({})
    known = {name: values(member, name, depth + 1) for name, member in shape.members.items()}
    return st.fixed_dictionaries({}, optional=known)


def values(shape: Shape, name: str, depth: int) -> st.SearchStrategy[Any]:
    """Of a member; one time in many of another type than the model's."""
    return st.one_of(*[_right(shape, name, depth)] * 9, _wrong)


def _right(shape: Shape, name: str, depth: int) -> st.SearchStrategy[Any]:
    match shape:
        case StructureShape():
            return _structure(shape, depth)
        case ListShape():
            one = values(shape.member, name, depth + 1)
            many = st.tuples(one, st.integers(0, 40)).map(lambda chosen: [chosen[0]] * chosen[1])
            return st.one_of(st.lists(one, max_size=3), many)
        case MapShape():
            value = values(shape.value, name, depth + 1)
            if name == "Attributes":
                value |= st.sampled_from(ATTRIBUTE_VALUES)
            return st.dictionaries(st.sampled_from(ATTRIBUTES) | st.sampled_from(TEXTS), value, max_size=3)
        case _:
            return _scalar(shape, name)


def _scalar(shape: Shape, name: str) -> st.SearchStrategy[Any]:
    match shape.type_name:
        case "string":
            first = _URLS if name == "QueueUrl" else (QUEUE, *NAMES) if name == "QueueName" else TEXTS
            # A surrogate is a character of JSON that no other wire can carry.
            return st.sampled_from(first) | st.sampled_from((*first, *TEXTS, "\ud800")) | st.text(max_size=20)
        case "blob":
            return st.binary(max_size=40)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.sampled_from(INTEGERS_64) | st.integers(-5, 200)
        case _:
            return st.sampled_from(_FLOATS)


_wrong: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | st.sampled_from((*INTEGERS_64, *_FLOATS)) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3),
    max_leaves=4,
)


def as_json(found: Members) -> bytes:
    return json.dumps(found, default=lambda blob: base64.b64encode(blob).decode()).encode()


def as_cbor(found: Members) -> bytes:
    try:
        return cbor2.dumps(found)
    except (ValueError, OverflowError):  # what CBOR has no form for, a surrogate
        return b"\xbf" + as_json(found)


def as_form(service: str, operation: str, found: Members) -> bytes:
    """As the older SDKs flatten members; what does not fit the model is flattened as it is."""
    model = service_model(service)
    pairs = [("Action", operation), ("Version", str(model.api_version))]
    shape = model.operation_model(operation).input_shape
    _flatten(pairs, "", shape, found)
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs).encode()


def _flatten(pairs: list[tuple[str, str]], name: str, shape: Shape | None, value: Any) -> None:
    dot = f"{name}." if name else ""
    if isinstance(value, dict) and isinstance(shape, MapShape):
        for index, (key, item) in enumerate(value.items(), 1):
            pairs.append((f"{dot}{index}.{shape.key.serialization.get('name', 'key')}", str(key)))
            _flatten(pairs, f"{dot}{index}.{shape.value.serialization.get('name', 'value')}", shape.value, item)
    elif isinstance(value, dict):
        known = shape.members if isinstance(shape, StructureShape) else {}
        for key, item in value.items():
            member = known.get(key)
            wire = member.serialization.get("name", key) if member is not None else key
            if isinstance(member, ListShape) and member.serialization.get("flattened"):
                wire = member.member.serialization.get("name", wire)
            _flatten(pairs, f"{dot}{wire}", member, item)
    elif isinstance(value, list):
        for index, item in enumerate(value, 1):
            _flatten(pairs, f"{dot}{index}", shape.member if isinstance(shape, ListShape) else None, item)
    elif value is not None:
        text = str(value).lower() if isinstance(value, bool) else value
        pairs.append((name, base64.b64encode(text).decode() if isinstance(text, bytes) else str(text)))


def _quoted(text: str) -> str:
    if text.isascii():
        return quote(text, safe="")
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="")
