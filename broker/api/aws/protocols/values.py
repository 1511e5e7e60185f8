"""Values between the wire's decoded form and the model's: readers and writers compiled from shapes, for JSON and CBOR.

A reader takes what a decoder made (dict, list, str, int, float, bool, bytes, None) and gives the members as ``Codec``
promises them, or refuses with AWS's words; a writer goes back. Both are closures, compiled once for an operation: a
value of the expected Python type passes by one type comparison, without a call. Never: bytes, requests, what a member
means, whether it is required or in range.

Where AWS was seen to bend instead of refusing, so do readers: integers outside their type are clamped to it (recorded
for Kinesis) and so, by analogy, are timestamps; fractions are cut off (unverified; Coral's number class is called
TruncatingBigNumber). Null in a list or as a map's value is refused, as Smithy's tests for malformed requests want it
of servers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from botocore.model import ListShape, MapShape, Shape, StructureShape

from broker.api.aws.errors import AwsError, serialization_error

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]

INTEGER_MAX: Final = 2**31 - 1
LONG_MAX: Final = 2**63 - 1
EARLIEST_SECONDS: Final = -62_135_596_800  # year 1
LATEST_SECONDS: Final = 253_402_300_799  # year 9999

_START_OF_MAP: Final = "Start of structure or map found where not expected."
_START_OF_LIST: Final = "Start of list found where not expected"


class Scalar(NamedTuple):
    """How a scalar is read. ``direct``: values of exactly this type are taken as they are (``None``: no type is);
    all others go through ``read``."""

    direct: type | None
    read: Reader


@dataclass(frozen=True, slots=True)
class Wording:
    """How a service calls a value that has the wrong type: ``STRING_VALUE can not be converted to an Integer``.

    The texts are recorded from AWS for strings, numbers and true; those for blobs and tags (CBOR only) are ours.
    """

    string: str = "STRING_VALUE"
    number: str = "NUMBER_VALUE"
    true: str = "TRUE_VALUE"
    false: str = "FALSE_VALUE"
    always_an: bool = False

    def wrong_scalar(self, value: Any, wanted: str) -> AwsError:
        """``wanted``: with its article, ``an Integer``."""
        match value:
            case dict():
                return serialization_error(_START_OF_MAP)
            case list():
                return serialization_error(_START_OF_LIST)
            case bool():
                found = self.true if value else self.false
            case int() | float():
                found = self.number
            case str():
                found = self.string
            case bytes():
                found = "BLOB_VALUE"
            case None:
                found = "NULL_VALUE"
            case _:
                found = "TAGGED_VALUE"
        if self.always_an and wanted.startswith("a "):
            wanted = "an " + wanted.removeprefix("a ")
        return serialization_error(f"{found} can not be converted to {wanted}")


JAVA_CLASSES: Final = Wording(
    string="class java.lang.String",
    number="class com.amazon.coral.value.json.numbers.TruncatingBigNumber",
    true="class java.lang.Boolean",
    false="class java.lang.Boolean",
    always_an=True,
)
_WORDINGS: Final = {"kinesis": JAVA_CLASSES}
_CURRENT: Final = Wording()


def wording(service_name: str) -> Wording:
    """Kinesis was recorded with names of Java classes; SQS, Lambda and others with those of tokens."""
    return _WORDINGS.get(service_name, _CURRENT)


def common_scalars(words: Wording) -> dict[str, Scalar]:
    """The scalars that JSON and CBOR share: everything but blobs and timestamps."""
    return {
        "string": Scalar(str, _refuser(words, "a String")),
        "boolean": Scalar(bool, _refuser(words, "a Boolean")),
        "integer": Scalar(None, _integer_reader(words, "an Integer", INTEGER_MAX)),
        "long": Scalar(None, _integer_reader(words, "a Long", LONG_MAX)),
        "float": Scalar(float, _float_reader(words, "a Float")),
        "double": Scalar(float, _float_reader(words, "a Double")),
    }


def finite_seconds(seconds: float) -> float:
    """Epoch seconds, clamped to the years that Python's datetime knows; what is no number is refused."""
    if not math.isfinite(seconds):
        raise serialization_error("A timestamp must be a finite number")
    return float(min(max(seconds, EARLIEST_SECONDS), LATEST_SECONDS))


def _refuser(words: Wording, wanted: str) -> Reader:
    def read(value: Any) -> Any:
        raise words.wrong_scalar(value, wanted)

    return read


def _integer_reader(words: Wording, wanted: str, largest: int) -> Reader:
    def read(value: Any) -> int:
        if type(value) is int or type(value) is float:
            if -largest - 1 <= value <= largest:
                return int(value)
            if value > largest:
                return largest
            if value < -largest:
                return -largest - 1
        raise words.wrong_scalar(value, wanted)  # NaN too, which CBOR can carry

    return read


_FLOAT_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _float_reader(words: Wording, wanted: str) -> Reader:
    def read(value: Any) -> float:
        if type(value) is int:
            return float(value)
        if type(value) is str and value in _FLOAT_WORDS:
            return _FLOAT_WORDS[value]
        raise words.wrong_scalar(value, wanted)

    return read


class ReaderCompiler:
    """Compiles the shapes of one service for one wire.

    ``scalars``: by type name of the model. ``nothing``: a value that means null beside ``None`` (CBOR's undefined).
    """

    def __init__(self, scalars: Mapping[str, Scalar], nothing: object = None) -> None:
        self._scalars = scalars
        self._nothing = nothing
        self._structures: dict[str, Reader] = {}

    def structure(self, shape: StructureShape | None) -> Callable[[Any], dict[str, Any]]:
        """``None``, an operation without input, reads every structure as empty."""
        return self._structure_reader({}) if shape is None else self._structure(shape)

    def _compile(self, shape: Shape) -> Scalar:
        match shape:
            case StructureShape():
                return Scalar(None, self._structure(shape))
            case ListShape():
                return Scalar(None, self._list_reader(self._compile(shape.member)))
            case MapShape():
                return Scalar(None, self._map_reader(self._compile(shape.value)))
            case _:
                return self._scalars[shape.type_name]

    def _structure(self, shape: StructureShape) -> Reader:
        if shape.name not in self._structures:
            members: dict[str, tuple[str, type | None, Reader]] = {}
            self._structures[shape.name] = self._structure_reader(members)
            # Only now: a shape that contains itself finds its own reader.
            for name, member in shape.members.items():
                members[member.serialization.get("name", name)] = (name, *self._compile(member))
        return self._structures[shape.name]

    def _structure_reader(self, members: Mapping[str, tuple[str, type | None, Reader]]) -> Reader:
        nothing = self._nothing

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise serialization_error(_START_OF_LIST if type(value) is list else "Expected null")
            taken = {}
            for key, item in value.items():
                if key in members:
                    name, direct, convert = members[key]
                    if type(item) is direct:
                        taken[name] = item
                    elif item is not None and item is not nothing:
                        taken[name] = convert(item)
            return taken

        return read

    def _list_reader(self, member: Scalar) -> Reader:
        direct, convert = member

        def read(value: Any) -> list[Any]:
            if type(value) is not list:
                raise serialization_error(_START_OF_MAP if type(value) is dict else "Expected list or null")
            return [item if type(item) is direct else convert(item) for item in value]

        return read

    def _map_reader(self, member: Scalar) -> Reader:
        direct, convert = member
        refuse_key = self._scalars["string"].read

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise serialization_error(_START_OF_LIST if type(value) is list else "Expected map or null")
            return {
                key if type(key) is str else refuse_key(key): item if type(item) is direct else convert(item)
                for key, item in value.items()
            }

        return read


class WriterCompiler:
    """Compiles shapes for one wire. ``scalars``: by type name, those that do not go out as they are.

    A member that the model does not have is the caller's mistake: ``KeyError``. Members that are event streams are
    framed elsewhere and left out.
    """

    def __init__(self, scalars: Mapping[str, Writer]) -> None:
        self._scalars = scalars
        self._structures: dict[str, Writer] = {}

    def structure(self, shape: StructureShape | None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """``None``, an operation without output, writes no members."""
        return _structure_writer({}) if shape is None else self._structure(shape)

    def _compile(self, shape: Shape) -> Writer | None:
        """``None``: goes out untouched."""
        match shape:
            case StructureShape():
                return self._structure(shape)
            case ListShape():
                member = self._compile(shape.member)
                return None if member is None else _list_writer(member)
            case MapShape():
                member = self._compile(shape.value)
                return None if member is None else _map_writer(member)
            case _:
                return self._scalars.get(shape.type_name)

    def _structure(self, shape: StructureShape) -> Writer:
        if shape.name not in self._structures:
            members: dict[str, tuple[str, Writer | None]] = {}
            self._structures[shape.name] = _structure_writer(members)
            for name, member in shape.members.items():
                if not member.serialization.get("eventstream"):
                    members[name] = (member.serialization.get("name", name), self._compile(member))
        return self._structures[shape.name]


def _structure_writer(members: Mapping[str, tuple[str, Writer | None]]) -> Writer:
    def write(value: Mapping[str, Any]) -> dict[str, Any]:
        sent = {}
        for name, item in value.items():
            if item is not None:
                wire_name, convert = members[name]
                sent[wire_name] = item if convert is None else convert(item)
        return sent

    return write


def _list_writer(convert: Writer) -> Writer:
    return lambda value: [convert(item) for item in value]


def _map_writer(convert: Writer) -> Writer:
    return lambda value: {key: convert(item) for key, item in value.items()}
