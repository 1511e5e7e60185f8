"""Answers of the Query protocol in JSON: the same tree as the XML, for ``Accept: application/json``.

As AWS answers it: members go by their names in the model, absent ones are null, and of a flattened map there is a list
of ``{"Name": .., "Value": ..}``. Never: the JSON protocols, which are others (``json``, ``rest_json``).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from broker.api.aws.protocols.query_names import Names, dialect, flattened
from broker.api.aws.protocols.query_text import text_writer

Plain: TypeAlias = Callable[[Any], Any]
"""Makes of a member what JSON can hold."""


def json_document(operation: OperationModel) -> Callable[[Mapping[str, Any], str], bytes]:
    """The complete answer of an operation, of its output and the request id."""
    names = Names(dialect(operation.service_model))
    plain = _structure(operation.output_shape, names) if operation.output_shape else None

    def document(output: Mapping[str, Any], request_id: str) -> bytes:
        answer: dict[str, Any] = {"ResponseMetadata": {"RequestId": request_id}}
        if plain is not None:
            answer = {f"{operation.name}Result": plain(output), **answer}
        text = json.dumps({f"{operation.name}Response": answer}, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")

    return document


def _plain(shape: Shape, names: Names) -> Plain:
    if isinstance(shape, StructureShape):
        return _structure(shape, names)
    if isinstance(shape, ListShape):
        item = _plain(shape.member, names)
        return lambda values: [item(value) for value in values]
    if isinstance(shape, MapShape):
        return _map(shape, names)
    if shape.type_name in {"blob", "timestamp"}:
        return text_writer(shape)
    return lambda value: value


def _structure(shape: StructureShape, names: Names) -> Plain:
    members = [(name, names.json_member(name), _plain(member, names)) for name, member in shape.members.items()]

    def structure(values: Mapping[str, Any]) -> dict[str, Any]:
        return {told: None if values.get(name) is None else plain(values[name]) for name, told, plain in members}

    return structure


def _map(shape: MapShape, names: Names) -> Plain:
    key, value = names.entry(shape)
    item = _plain(shape.value, names)
    if flattened(shape):
        return lambda values: [{key: name, value: item(told)} for name, told in values.items()]
    return lambda values: {name: item(told) for name, told in values.items()}
