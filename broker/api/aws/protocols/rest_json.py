"""REST-JSON, as EventBridge's Pipes, Scheduler and Schemas speak it: members in path, query, headers and a JSON body.

Where a member stands is compiled from the model, once for each operation. Never: what a call means.

Measured (CPython 3.11, microseconds of CPU, best of 15): an operation found by its path in 0.7 to 2.3;
CreateSchedule parsed in 3.6, ListSchedules in 4.8, its answer of ten serialized in 17.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, TypeAlias

import orjson
from botocore.model import ListShape, OperationModel, ServiceModel, Shape, StructureShape

from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.protocols import json
from broker.api.aws.protocols.query_form import query_pairs, unquote
from broker.api.aws.protocols.query_text import text_reader, text_writer
from broker.api.aws.protocols.values import Writer, WriterCompiler, wording
from broker.api.web.messages import Request, Response

JSON: Final = "application/json"
BYTES: Final = "application/octet-stream"
HEADER_TIMESTAMP: Final = "rfc822"
JSON_BYTES_MAX: Final = 2 * 1024 * 1024
"""Ours. The longest member of these services, the input of a schedule's target, has 256 KiB, six times that escaped;
and what is decoded takes up to 24 times the bytes of the body (``json``)."""

TextReader: TypeAlias = Callable[[str], Any]


@dataclass(slots=True)
class _Place:
    """A place in the tree of paths. ``label``: where any segment leads. ``operations``: by method, of the paths that
    end here."""

    literals: "dict[str, _Place]" = field(default_factory=dict)
    label: "_Place | None" = None
    operations: dict[str, OperationModel] = field(default_factory=dict)


class Routes:
    """The paths of one service."""

    def __init__(self, service: ServiceModel) -> None:
        self._root = _Place()
        for name in service.operation_names:
            operation = service.operation_model(name)
            place = self._root
            for segment in _segments(operation.http["requestUri"]):
                if segment.startswith("{"):
                    place.label = place.label or _Place()
                    place = place.label
                else:
                    place = place.literals.setdefault(segment, _Place())
            place.operations[operation.http["method"]] = operation

    def resolve(self, method: str, path: str) -> OperationModel | None:
        """``path``: as sent, percent-escapes kept. The codec of the operation reads the labels. ``None``: not a path of
        this service, or not with this method.

        An ARN as the last label may have its slashes unescaped.
        """
        return _resolve(self._root, method, _segments(path))


@cache
def routes(service: ServiceModel) -> Routes:
    return Routes(service)


def _resolve(place: _Place, method: str, segments: list[str]) -> OperationModel | None:
    """Literal segments go before labels. As deep as the longest path of the model."""
    if not segments:
        return place.operations.get(method)
    first, *rest = segments
    below = place.literals.get(first)
    if below is not None and (found := _resolve(below, method, rest)):
        return found
    if place.label is None or not first:
        return None
    if found := _resolve(place.label, method, rest):
        return found
    return place.label.operations.get(method) if first.startswith(("arn:", "arn%3A", "arn%3a")) else None


def _segments(path: str) -> list[str]:
    return path.split("/")[1:]


class RestJsonCodec:
    """One operation in REST-JSON."""

    def __init__(self, operation: OperationModel) -> None:
        shape = operation.input_shape
        members: Mapping[str, Shape] = shape.members if shape else {}
        self._labels = _label_readers(operation, members)
        self._query = {wire: (name, member) for name, wire, member in _located(members, "querystring")}
        self._query_readers = {wire: _query_reader(member) for wire, (_, member) in self._query.items()}
        self._headers = [
            (name, wire.lower(), text_reader(member, HEADER_TIMESTAMP))
            for name, wire, member in _located(members, "header")
        ]
        self._placed = frozenset(name for name, member in members.items() if "location" in member.serialization)
        self._body = _body_reader(operation, shape)
        self._answer = _answer_writer(operation)
        self._answer_headers = _header_writers(operation.output_shape)

    def parse(self, request: Request) -> dict[str, Any]:
        found = self._body(request.body)
        for name in self._placed & found.keys():
            del found[name]
        for name, wire, read in self._headers:
            if wire in request.headers:
                found[name] = read(request.headers[wire])
        if self._query and request.query:
            for wire, text in query_pairs(request):
                if wire in self._query:
                    self._take(found, wire, text)
        segments = _segments(request.path) if self._labels else []
        for name, place, is_last, read in self._labels:
            raw = "/".join(segments[place:]) if is_last else segments[place]
            found[name] = read(unquote(raw.encode("latin-1", "replace")))
        return found

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        status, content_type, body = self._answer(output)
        headers = [("x-amzn-requestid", request_id)]
        if body:
            headers.append(("content-type", content_type))
        headers += [
            (wire, write(output[name])) for name, wire, write in self._answer_headers if output.get(name) is not None
        ]
        return Response(status, headers, body)

    def _take(self, found: dict[str, Any], wire: str, text: str) -> None:
        """Of a list every value, else the last."""
        name, member = self._query[wire]
        value = self._query_readers[wire](text)
        if isinstance(member, ListShape):
            found.setdefault(name, []).append(value)
        else:
            found[name] = value


_codec = cache(RestJsonCodec)  # ``ServiceModel.operation_model`` always gives the same object


class RestJsonProtocol:
    """REST-JSON for any service whose operations have paths."""

    name = "rest-json"

    def codec(self, operation: OperationModel) -> RestJsonCodec:
        """Cached per operation."""
        return _codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:
        """The name in ``x-amzn-errortype``; in the body the message, and what else the service's errors say of it."""
        said = _error_members(service)
        text = error.message.encode("utf-8", "replace").decode()  # it may quote a lone surrogate
        body = {"Message" if "Message" in said else "message": text}
        if "Code" in said:
            body["Code"] = error.code
        headers = [("x-amzn-requestid", request_id), ("x-amzn-errortype", error.shape), ("content-type", JSON)]
        return Response(error.status, headers, orjson.dumps(body))


@cache
def _error_members(service: ServiceModel) -> frozenset[str]:
    """What all errors of a service have: ``message`` (Pipes), ``Message`` (Scheduler), and Code (Schemas)."""
    members = [frozenset(shape.members) for shape in service.error_shapes if isinstance(shape, StructureShape)]
    return frozenset.intersection(*members) if members else frozenset()


def _located(members: Mapping[str, Shape], location: str) -> list[tuple[str, str, Shape]]:
    """Name, name on the wire, and shape of the members that stand somewhere."""
    return [
        (name, member.serialization.get("name", name), member)
        for name, member in members.items()
        if member.serialization.get("location") == location
    ]


def _label_readers(operation: OperationModel, members: Mapping[str, Shape]) -> list[tuple[str, int, bool, TextReader]]:
    """Of each label its member, its place in the path, and whether it takes all that is left of the path."""
    template = _segments(operation.http["requestUri"])
    return [
        (name, place, place == len(template) - 1, text_reader(member))
        for name, wire, member in _located(members, "uri")
        for place in [template.index(f"{{{wire}}}")]
    ]


def _query_reader(shape: Shape) -> TextReader:
    return text_reader(shape.member if isinstance(shape, ListShape) else shape)


def _header_writers(shape: StructureShape | None) -> list[tuple[str, str, Callable[[Any], str]]]:
    located = _located(shape.members, "header") if shape else []
    return [(name, wire.lower(), text_writer(member, HEADER_TIMESTAMP)) for name, wire, member in located]


def _body_reader(operation: OperationModel, shape: StructureShape | None) -> Callable[[bytes], dict[str, Any]]:
    if shape is None:
        return lambda _: {}
    payload: str | None = shape.serialization.get("payload")
    words = wording(operation.service_model.service_name)
    if payload is None:
        return _json_reader(json.reader(shape, words))
    member = shape.members[payload]
    if isinstance(member, StructureShape):
        read = _json_reader(json.reader(member, words))
        return lambda body: {payload: read(body)} if body else {}
    if member.type_name == "blob":
        return lambda body: {payload: body}
    return lambda body: {payload: _text(body)}


def _json_reader(read: Callable[[Any], dict[str, Any]]) -> Callable[[bytes], dict[str, Any]]:
    def read_body(body: bytes) -> dict[str, Any]:
        if not body:
            return {}
        if len(body) > JSON_BYTES_MAX:
            raise serialization_error(f"The request body is longer than {JSON_BYTES_MAX} bytes")
        try:
            return read(orjson.loads(body))
        except orjson.JSONDecodeError as malformed:
            raise serialization_error(f"The request body is not valid JSON: {malformed}") from None
        except RecursionError:  # only a shape that contains itself is followed that deep
            raise serialization_error("The request body is nested too deeply") from None

    return read_body


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise serialization_error("The request body is not encoded as UTF-8") from None


def _answer_writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], tuple[int, str, bytes]]:
    """Makes status, content type and body of an output."""
    status: int = operation.http.get("responseCode", 200)
    shape = operation.output_shape
    if shape is None:
        return lambda _: (status, "", b"")
    payload: str | None = shape.serialization.get("payload")
    if payload is None:
        placed = [name for name, member in shape.members.items() if "location" in member.serialization]
        write = _Writers().structure(shape)
        return lambda output: (status, JSON, orjson.dumps(write(_without(output, placed))))
    member = shape.members[payload]
    if isinstance(member, StructureShape):
        write_member = _Writers().structure(member)
        return lambda output: (status, JSON, orjson.dumps(write_member(output.get(payload) or {})))
    return lambda output: (status, BYTES, _raw(output.get(payload)))


def _without(output: Mapping[str, Any], placed: list[str]) -> Mapping[str, Any]:
    return {name: item for name, item in output.items() if name not in placed} if placed else output


def _raw(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


class _Writers(WriterCompiler):
    """As of the JSON protocols, but that timestamps go out in the format that the model names (Schemas: ISO 8601)."""

    def __init__(self) -> None:
        super().__init__({"timestamp": lambda seconds: round(seconds, 3)})

    def _compile(self, shape: Shape) -> Writer | None:
        is_text = shape.type_name == "blob" or "timestampFormat" in shape.serialization
        return text_writer(shape) if is_text else super()._compile(shape)
