"""From the members of an AWS operation to the messages of ``heddle.v1`` and back, by name.

The two say the same in two spellings (``MessageBody``, ``message_body``), so the way between them is compiled from the
service model and the protobuf descriptor, once an operation. Measured: 11 us for a SendMessageBatch of ten there, 28 us
for a ReceiveMessage of ten back. Never: anything written by hand about a single operation.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore import xform_name
from botocore.model import ListShape, MapShape, Shape, StructureShape
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from broker.api.aws.errors import serialization_error

Members = Mapping[str, Any]
_Reader = Callable[[Any], Any]
_Writer = Callable[[Any], Any]


class UnknownMember(Exception):
    """A member that the model has and Heddle's message does not. ``name``: of the member."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def request_reader(shape: StructureShape | None, descriptor: Descriptor) -> Callable[[Members], Message]:
    """Makes the request of an operation's input. What it makes raises UnknownMember, and AwsError for text that is no
    Unicode. Raises LookupError when the two do not fit together at all."""
    make = GetMessageClass(descriptor)
    fields = _fields_reader(shape, descriptor) if shape is not None else dict

    def read(members: Members) -> Message:
        try:
            return make(**fields(members))
        except UnicodeEncodeError as error:
            raise serialization_error("A string holds a surrogate without its other half.") from error

    return read


def answer_writer(shape: StructureShape | None, descriptor: Descriptor) -> Callable[[Any], dict[str, Any]]:
    """Makes the output of an operation's answer; what is empty is left out, numbers and booleans never."""
    return _message_writer(shape, descriptor) if shape is not None else lambda _message: {}


def _field_of(descriptor: Descriptor, member: str) -> FieldDescriptor | None:
    return descriptor.fields_by_name.get(xform_name(member))


def _nested(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None, f"{field.full_name} is no message"
    return field.message_type


def _each(step: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda values: [step(value) for value in values]


def _each_value(step: Callable[[Any], Any]) -> Callable[[Any], dict[Any, Any]]:
    return lambda values: {key: step(value) for key, value in values.items()}


# --- members to fields


def _fields_reader(shape: StructureShape, descriptor: Descriptor) -> Callable[[Members], dict[str, Any]]:
    plan: dict[str, tuple[str, _Reader | None]] = {}
    unknown: Final = set()
    for member, member_shape in shape.members.items():
        field = _field_of(descriptor, member)
        if field is None:
            unknown.add(member)
        else:
            plan[member] = (field.name, _value_reader(member_shape, field))
    if not plan and shape.members:
        raise LookupError(f"{shape.name} has nothing in common with {descriptor.full_name}")

    def read(members: Members) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for member, value in members.items():
            row = plan.get(member)
            if row is not None:
                name, reader = row
                fields[name] = value if reader is None else reader(value)
            elif value and member in unknown:
                raise UnknownMember(member)
        return fields

    return read


def _value_reader(shape: Shape, field: FieldDescriptor) -> _Reader | None:
    """None where the value passes as it is."""
    if isinstance(shape, ListShape):
        reader = _single_reader(shape.member, field)
        return None if reader is None else _each(reader)
    if isinstance(shape, MapShape):
        reader = _single_reader(shape.value, _nested(field).fields_by_name["value"])
        return None if reader is None else _each_value(reader)
    return _single_reader(shape, field)


def _single_reader(shape: Shape, field: FieldDescriptor) -> _Reader | None:
    if isinstance(shape, StructureShape):
        return _fields_reader(shape, _nested(field))
    if field.type == FieldDescriptor.TYPE_BYTES and shape.type_name == "string":
        return _text_to_bytes
    return None


def _text_to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # halves of surrogates are the plane's to refuse, as contents


# --- fields to members


def _message_writer(shape: StructureShape, descriptor: Descriptor) -> _Writer:
    steps: list[tuple[str, str, _Writer]] = []  # left out when empty
    present: list[tuple[str, str, _Writer]] = []  # left out when not set
    always: list[tuple[str, str]] = []
    for member, member_shape in shape.members.items():
        field = _field_of(descriptor, member)
        if field is None:
            continue
        if field.is_repeated:
            steps.append((member, field.name, _repeated_writer(member_shape, field)))
        elif field.has_presence:
            present.append((member, field.name, _single_writer(member_shape, field)))
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            steps.append((member, field.name, _single_writer(member_shape, field)))
        else:
            always.append((member, field.name))

    def write(message: Any) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for member, name, writer in steps:
            value = getattr(message, name)
            if value:
                members[member] = writer(value)
        for member, name, writer in present:
            if message.HasField(name):
                members[member] = writer(getattr(message, name))
        for member, name in always:
            members[member] = getattr(message, name)
        return members

    return write


def _repeated_writer(shape: Shape, field: FieldDescriptor) -> _Writer:
    if isinstance(shape, MapShape):
        value_field = _nested(field).fields_by_name["value"]
        if not isinstance(shape.value, StructureShape):
            return dict
        return _each_value(_single_writer(shape.value, value_field))
    assert isinstance(shape, ListShape)
    if not isinstance(shape.member, StructureShape):
        return list
    return _each(_single_writer(shape.member, field))


def _single_writer(shape: Shape, field: FieldDescriptor) -> _Writer:
    if isinstance(shape, StructureShape):
        return _message_writer(shape, _nested(field))
    if field.type == FieldDescriptor.TYPE_BYTES and shape.type_name == "string":
        return lambda data: data.decode("utf-8", "backslashreplace")
    return lambda value: value
