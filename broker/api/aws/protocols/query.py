"""The AWS Query protocol: form parameters in, XML out (JSON for whoever asks), for SQS's older clients, SNS and STS.

Readers are compiled from the model, once for each operation; a request is a tree of parameters (``query_form``) that
they turn into members. Never: which queue a path means, nor the texts of errors that differ by protocol; the bindings
know both.

Measured (CPython 3.11, microseconds of CPU, best of 15): SendMessageBatch of ten 1 KB bodies parsed in 49 (plain text,
11 kB on the wire: percent-escapes undone and split 29, tree 10, members 10) or 136 (JSON, 17 kB with 3,100 escapes:
117, 10, 10); ReceiveMessage of ten such messages with four system attributes each serialized in 45 (JSON bodies: 66),
as JSON in 77.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.protocols.query_form import Node, parameters, tree
from broker.api.aws.protocols.query_json import json_document
from broker.api.aws.protocols.query_names import Names, dialect, flattened
from broker.api.aws.protocols.query_text import text_reader
from broker.api.aws.protocols.xml import document_writer, element, encode
from broker.api.web.messages import Request, Response

Reader: TypeAlias = Callable[[Node], Any]

XML: Final = "text/xml"
JSON: Final = "application/json"
INDEX_DIGITS_MAX: Final = 10
"""Of the index in a parameter's name: what a 32-bit number may need."""
MISPLACED: Final = "Start of list found where not expected"
"""What AWS says of a parameter with parts where its member has none, or other ones: ``QueueUrl.1``,
``MessageAttributeName.member.1`` (rusoto issue 586, amazonka issue 209)."""


class QueryCodec:
    """One operation. ``write`` makes the body of an answer of the output and the request id."""

    def __init__(self, operation: OperationModel, write: Callable[[Mapping[str, Any], str], bytes], content_type: str):
        names = Names(dialect(operation.service_model))
        self._read = _structure(operation.input_shape, names) if operation.input_shape else None
        self._known = _first_parts(operation.input_shape, names)
        self._write = write
        self._content_type = content_type

    def parse(self, request: Request) -> dict[str, Any]:
        if self._read is None:
            return {}
        found: dict[str, Any] = self._read(tree(parameters(request), self._known))
        return found

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        return _response(200, self._content_type, self._write(output, request_id), request_id)


@cache  # ``ServiceModel.operation_model`` always gives the same object
def _xml_codec(operation: OperationModel) -> QueryCodec:
    return QueryCodec(operation, document_writer(operation), XML)


@cache
def _json_codec(operation: OperationModel) -> QueryCodec:
    return QueryCodec(operation, json_document(operation), JSON)


class QueryProtocol:
    """Answers in XML."""

    name = "query"

    def codec(self, operation: OperationModel) -> QueryCodec:
        """Cached per operation. ``KeyError``: its service has never spoken Query."""
        return _xml_codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:
        spoken = dialect(service)
        detail = "<Detail/>" if spoken.detail else ""
        document = (
            f'<ErrorResponse xmlns="{spoken.namespace}"><Error>{element("Type", _fault(error))}'
            f"{element('Code', error.code)}{element('Message', error.message)}{detail}</Error>"
            f"{element('RequestId', request_id)}</ErrorResponse>"
        )
        return _response(error.status, XML, encode(document, spoken), request_id)


class QueryJsonProtocol:
    """The same requests, answered in JSON: what AWS does for ``Accept: application/json``."""

    name = "query-json"

    def codec(self, operation: OperationModel) -> QueryCodec:
        """Cached per operation. ``KeyError``: its service has never spoken Query."""
        return _json_codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:  # noqa: ARG002 - one interface
        told = {"Type": _fault(error), "Code": error.code, "Message": error.message}
        body = json.dumps({"Error": told, "RequestId": request_id}, ensure_ascii=False)
        return _response(error.status, JSON, body.encode("utf-8", "replace"), request_id)


def wants_json(request: Request) -> bool:
    """Whether the answer to this Query request is to be JSON."""
    return JSON in request.headers.get("accept", "")


def _fault(error: AwsError) -> str:
    return "Sender" if error.sender_fault else "Receiver"


def _response(status: int, content_type: str, body: bytes, request_id: str) -> Response:
    return Response(status, (("x-amzn-requestid", request_id), ("content-type", content_type)), body)


def _first_parts(shape: StructureShape | None, names: Names) -> frozenset[str]:
    return frozenset(_members(shape, names)) if shape else frozenset()


def _members(shape: StructureShape, names: Names) -> dict[str, tuple[str, Shape]]:
    """By name on the wire, and by the model's own name where that is another: botocore calls an empty list by it. Of
    two members with one name on the wire the first in the model has it (SQS: AttributeNames, which covers the younger
    MessageSystemAttributeNames)."""
    found: dict[str, tuple[str, Shape]] = {}
    for name, member in shape.members.items():
        found.setdefault(names.member(name, member), (name, member))
    for name, member in shape.members.items():
        found.setdefault(name, (name, member))
    return found


def _reader(shape: Shape, names: Names) -> Reader:
    if isinstance(shape, StructureShape):
        return _structure(shape, names)
    if isinstance(shape, ListShape):
        return _list(shape, names)
    if isinstance(shape, MapShape):
        return _map(shape, names)
    return _scalar(text_reader(shape))


def _scalar(read: Callable[[str], Any]) -> Reader:
    def scalar(node: Node) -> Any:
        if isinstance(node, str):
            return read(node)
        raise serialization_error(MISPLACED)

    return scalar


def _structure(shape: StructureShape, names: Names) -> Reader:
    members = {wire: (name, _reader(member, names)) for wire, (name, member) in _members(shape, names).items()}

    def structure(node: Node) -> dict[str, Any]:
        found = {}
        for wire, below in _below(node).items():
            if wire in members:
                name, read = members[wire]
                found[name] = read(below)
        return found

    return structure


def _list(shape: ListShape, names: Names) -> Reader:
    read = _reader(shape.member, names)
    around = None if flattened(shape) else names.element(shape)

    def items(node: Node) -> list[Any]:
        return [read(below) for below in _indexed(node, around)]

    return items


def _map(shape: MapShape, names: Names) -> Reader:
    key, value = names.entry(shape)
    read_key, read_value = _reader(shape.key, names), _reader(shape.value, names)
    absent: Node | None = {} if isinstance(shape.value, StructureShape) else None
    around = None if flattened(shape) else "entry"

    def entries(node: Node) -> dict[str, Any]:
        found = {}
        for entry in _indexed(node, around):
            below = _below(entry)
            if key not in below or (told := below.get(value, absent)) is None:
                raise serialization_error(f"A map entry needs {key} and {value}")
            found[read_key(below[key])] = read_value(told)
        return found

    return entries


def _indexed(node: Node, around: str | None) -> list[Node]:
    """What stands at a list's or map's indices, in their order, gaps closed."""
    below = _below(node)
    if around is not None and below:
        if below.keys() != {around}:
            raise serialization_error(MISPLACED)
        below = _below(below[around])
    ordered = []
    for index in below:
        if not (index.isascii() and index.isdigit() and len(index) <= INDEX_DIGITS_MAX):
            raise serialization_error(MISPLACED)
        ordered.append((int(index), index))
    return [below[index] for _, index in sorted(ordered)]


def _below(node: Node) -> dict[str, Node]:
    """The parts of a node. The bare name of a list, map or structure, without a value, says that it is empty."""
    if isinstance(node, str):
        if node:
            raise serialization_error("Unexpected value where a list or structure is expected")
        return {}
    if "" in node:
        if node[""]:
            raise serialization_error(MISPLACED)
        return {part: below for part, below in node.items() if part}
    return node
