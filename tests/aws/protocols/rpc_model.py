"""Every operation of the services, as botocore speaks JSON and CBOR with them; and a model of all types of scalars."""

import copy
from functools import cache
from typing import Any

import botocore.loaders
from botocore.model import OperationModel, ServiceModel, StructureShape
from botocore.parsers import ResponseParser
from botocore.serialize import Serializer
from hypothesis import strategies as st

from broker.api.aws.model import service_model
from broker.api.aws.protocols.protocol import WireProtocol
from broker.api.web.messages import Request, Response

from .member_values import seconds, values

SERVICES = ("sqs", "kinesis", "events", "sns", "sts")
OPERATIONS = [(service, name) for service in SERVICES for name in service_model(service).operation_names]
STREAMING = ("kinesis", "SubscribeToShard")
"""Its answer is a stream of events; only what precedes them is of these protocols."""
ANSWERED = [operation for operation in OPERATIONS if operation != STREAMING]
REQUEST_ID = "ef2d1c0a-0000-4000-8000-0123456789ab"


@cache
def rpc_model(service: str) -> ServiceModel:
    """SNS and STS, which speak Query alone, get what JSON and CBOR need beside; the others are as they are."""
    model = copy.deepcopy(botocore.loaders.Loader().load_service_model(service, "service-2"))
    model["metadata"].setdefault("jsonVersion", "1.1")
    model["metadata"].setdefault("targetPrefix", service)
    return ServiceModel(model, service_name=service)


SCALARS = ("string", "integer", "long", "float", "double", "boolean", "blob", "timestamp")


@cache
def scalars_model() -> OperationModel:
    """One operation, ``Echo``, whose input and output have a member of each type of scalar, named after it, a ``Map``
    of strings, a ``List`` of booleans, and ``Inner``, which goes by ``inner`` on the wire and is the structure itself.
    """
    members = {name: {"shape": name} for name in (*SCALARS, "Map", "List")}
    inner = {"Inner": {"shape": "Everything", "locationName": "inner"}}
    shapes = {
        "Everything": {"type": "structure", "members": members | inner},
        "Map": {"type": "map", "key": {"shape": "string"}, "value": {"shape": "string"}},
        "List": {"type": "list", "member": {"shape": "boolean"}},
    }
    echo = {"name": "Echo", "input": {"shape": "Everything"}, "output": {"shape": "Everything"}}
    model = {
        "metadata": {"jsonVersion": "1.0"},
        "shapes": shapes | {name: {"type": name} for name in SCALARS},
        "operations": {"Echo": echo},
    }
    return ServiceModel(model, "echo").operation_model("Echo")


@cache
def members_of(shape: StructureShape | None) -> st.SearchStrategy[Any]:
    return st.just({}) if shape is None else values(shape)


def operation(service: str, name: str) -> OperationModel:
    return rpc_model(service).operation_model(name)


def request(body: bytes) -> Request:
    return Request("POST", "/", {}, body)


def read_by_us(protocol: WireProtocol, judge: Serializer, called: OperationModel, members: dict[str, Any]) -> Any:
    """What we read of what botocore sends."""
    sent = judge.serialize_to_request(members, called)
    return protocol.codec(called).parse(request(bytes(sent["body"])))


def read_by_botocore(
    protocol: WireProtocol, judge: ResponseParser, called: OperationModel, members: dict[str, Any]
) -> Any:
    """What botocore reads of what we answer."""
    response = protocol.codec(called).serialize(members, REQUEST_ID)
    parsed = judge.parse(wire(response), called.output_shape)
    if called.output_shape is not None:
        assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
    return seconds(parsed)


def wire(response: Response) -> dict[str, Any]:
    """As botocore's parsers want it."""
    assert isinstance(response.body, bytes)
    return {"status_code": response.status, "headers": dict(response.headers), "body": response.body}
