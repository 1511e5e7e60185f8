"""Whatever arrives, a parse is refused or gives exactly the types that ``Codec`` promises."""

from datetime import UTC, datetime
from typing import Any

import cbor2
import orjson
import pytest
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.protocols.cbor import CborProtocol
from broker.api.aws.protocols.json import JsonProtocol
from broker.api.aws.protocols.protocol import WireProtocol
from broker.api.aws.protocols.rpc_cbor import RpcCborProtocol

from .rpc_model import OPERATIONS, SCALARS, members_of, operation, request, scalars_model

CALLED = [operation(*pair) for pair in OPERATIONS if pair[0] in ("sqs", "kinesis", "events")]

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(["YQ==", "NaN", "1", "\x00", "\ud7ff\ue000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CBOR_JUNK = (
    JUNK
    | st.dictionaries(st.binary(max_size=3), st.text(max_size=3), max_size=2)
    | st.floats()
    | st.binary(max_size=4)
    | st.just(cbor2.undefined)
    | (st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=3)).map(lambda content: cbor2.CBORTag(1, content))
)
PYTHON_TYPES = {
    "string": str,
    "blob": bytes,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "timestamp": float,
}
INTEGER_BITS = {"integer": 31, "long": 63}


def assert_as_promised(shape: Shape, value: Any) -> None:
    match shape:
        case StructureShape():
            assert type(value) is dict
            for name, item in value.items():
                assert_as_promised(shape.members[name], item)
        case ListShape():
            assert type(value) is list
            for item in value:
                assert_as_promised(shape.member, item)
        case MapShape():
            assert type(value) is dict
            for key, item in value.items():
                assert_as_promised(shape.key, key)
                assert_as_promised(shape.value, item)
        case _:
            assert type(value) is PYTHON_TYPES[shape.type_name]
            if bits := INTEGER_BITS.get(shape.type_name):
                assert -(1 << bits) <= value < 1 << bits
            if shape.type_name == "timestamp":
                datetime.fromtimestamp(value, UTC)
            if shape.type_name == "string":
                value.encode()


def spoiled(data: st.DataObject, value: Any, junk: st.SearchStrategy[Any]) -> Any:
    """``value`` with something else in its place or within it, here and there."""
    if data.draw(st.integers(0, 5)) == 5:
        return data.draw(junk)
    match value:
        case dict():
            return {key: spoiled(data, item, junk) for key, item in value.items()}
        case list():
            return [spoiled(data, item, junk) for item in value]
        case _:
            return value


def check(protocol: WireProtocol, called: OperationModel, body: bytes) -> None:
    try:
        members = protocol.codec(called).parse(request(body))
    except AwsError as refused:
        assert refused.shape == "SerializationException"  # noqa: PT017 - both ends are right
        return
    assert_as_promised(called.input_shape or StructureShape("None", {"members": {}}), members)


every_protocol = pytest.mark.parametrize(
    ("protocol", "encode", "junk"),
    [
        (JsonProtocol(), lambda value: orjson.dumps(value, default=lambda _blob: "YWJj"), JUNK),
        (CborProtocol(), cbor2.dumps, CBOR_JUNK),
        (RpcCborProtocol(), cbor2.dumps, CBOR_JUNK),
    ],
    ids=["json", "cbor", "rpc-v2-cbor"],
)


@every_protocol
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_every_operation_keeps_the_promise(
    protocol: WireProtocol, encode: Any, junk: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    called = data.draw(st.sampled_from(CALLED))
    sent = data.draw(members_of(called.input_shape))
    check(protocol, called, encode({name: spoiled(data, item, junk) for name, item in sent.items()}))


@every_protocol
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_every_type_keeps_the_promise(
    protocol: WireProtocol, encode: Any, junk: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([*SCALARS, "Map", "List", "inner"]))
    check(protocol, scalars_model(), encode({name: data.draw(junk)}))
