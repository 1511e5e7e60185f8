"""Answers in XML, as the Query protocol shapes them: ``<XResponse><XResult>..</XResult><ResponseMetadata>..``.

Writers are compiled from the model, once for each operation; an answer is then one pass over its members. Never:
reading XML.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from broker.api.aws.protocols.query_names import Dialect, Names, dialect, flattened
from broker.api.aws.protocols.query_text import text_writer

Writer: TypeAlias = Callable[[Any, Callable[[str], object]], None]
"""Takes a value and ``append`` of the pieces of the document."""

_UNSPEAKABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""The characters that XML 1.0 cannot carry, not even escaped."""
_CONTROLS: Final = bytes(code for code in range(32) if code not in b"\t\n\r")
_DECLARATION: Final = '<?xml version="1.0"?>'


def escape(text: str) -> str:
    """Text for between tags. ``"`` because AWS does; CR because a parser would make LF of it, and the MD5 of a message
    would be another."""
    if "&" in text:
        text = text.replace("&", "&amp;")
    if "<" in text:
        text = text.replace("<", "&lt;")
    if ">" in text:
        text = text.replace(">", "&gt;")
    if '"' in text:
        text = text.replace('"', "&quot;")
    if "\r" in text:
        text = text.replace("\r", "&#xD;")
    return text


def element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def encode(document: str, spoken: Dialect) -> bytes:
    """A complete document. What XML 1.0 cannot carry becomes U+FFFD; it is looked for in the whole document at once, in
    C, because next to none has any: SQS does not let such messages in."""
    if spoken.declared:
        document = _DECLARATION + document
    try:
        body = document.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return _UNSPEAKABLE.sub("\ufffd", document).encode()
    if len(body.translate(None, _CONTROLS)) != len(body) or "\ufffe" in document or "\uffff" in document:
        return _UNSPEAKABLE.sub("\ufffd", document).encode()
    return body


def document_writer(operation: OperationModel) -> Callable[[Mapping[str, Any], str], bytes]:
    """The complete answer of an operation, of its output and the request id."""
    spoken = dialect(operation.service_model)
    write = _members(operation.output_shape, Names(spoken)) if operation.output_shape else None
    result = operation.output_shape.serialization.get("resultWrapper", "") if operation.output_shape else ""
    result = result or f"{operation.name}Result"
    start = f'<{operation.name}Response xmlns="{spoken.namespace}">'
    end = f"</{operation.name}Response>"

    def document(output: Mapping[str, Any], request_id: str) -> bytes:
        pieces = [start]
        if write is not None:
            _wrap(result, output, write, pieces)
        pieces += ("<ResponseMetadata>", element("RequestId", request_id), "</ResponseMetadata>", end)
        return encode("".join(pieces), spoken)

    return document


def _wrap(name: str, value: Any, write: Writer, pieces: list[str]) -> None:
    """An element around what is written; ``<Name/>`` around nothing."""
    pieces.append(f"<{name}>")
    before = len(pieces)
    write(value, pieces.append)
    if len(pieces) == before:
        pieces[-1] = f"<{name}/>"
    else:
        pieces.append(f"</{name}>")


def _members(shape: StructureShape, names: Names) -> Writer:
    """The members of a structure, without an element around them, in the order of the model."""
    writers = [(name, _member(names.member(name, member), member, names)) for name, member in shape.members.items()]

    def members(value: Mapping[str, Any], append: Callable[[str], object]) -> None:
        get = value.get
        for name, write in writers:
            member = get(name)
            if member is not None:
                write(member, append)

    return members


def _member(name: str, shape: Shape, names: Names) -> Writer:
    """A value with its element, or its elements where the shape is flattened."""
    start, end = f"<{name}>", f"</{name}>"
    if isinstance(shape, StructureShape):
        inner = _members(shape, names)
    elif isinstance(shape, ListShape):
        if flattened(shape):
            return _each(_member(name, shape.member, names))
        inner = _each(_member(names.element(shape), shape.member, names))
    elif isinstance(shape, MapShape):
        if flattened(shape):
            return _entries(name, shape, names)
        inner = _entries("entry", shape, names)
    else:
        return _text(start, end, shape)

    def nested(value: Any, append: Callable[[str], object]) -> None:
        append(start)
        inner(value, append)
        append(end)

    return nested


def _text(start: str, end: str, shape: Shape) -> Writer:
    if shape.type_name == "string":

        def string(value: str, append: Callable[[str], object]) -> None:
            append(f"{start}{escape(value)}{end}")

        return string

    write = text_writer(shape)

    def text(value: Any, append: Callable[[str], object]) -> None:
        append(f"{start}{write(value)}{end}")

    return text


def _each(write: Writer) -> Writer:
    def each(value: Any, append: Callable[[str], object]) -> None:
        for item in value:
            write(item, append)

    return each


def _entries(name: str, shape: MapShape, names: Names) -> Writer:
    start, end = f"<{name}>", f"</{name}>"
    key, value = names.entry(shape)
    write_key, write_value = _member(key, shape.key, names), _member(value, shape.value, names)

    def entries(values: Mapping[str, Any], append: Callable[[str], object]) -> None:
        for told, item in values.items():
            append(start)
            write_key(told, append)
            write_value(item, append)
            append(end)

    return entries
