"""Values for the shapes of a model, and what of them survives a protocol: for tests with botocore as the judge."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import strategies as st

Values: TypeAlias = st.SearchStrategy[Any]

XML_TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters="\t\n\r", exclude_characters="\ufffe\uffff"),
    max_size=12,
) | st.sampled_from(["<&>\"'", "a\r\nb", "100%", "a+b c", "\\x41%41", "ü€😀", "&amp;", "]]>"])
"""What XML 1.0 can carry, with everything that some layer escapes."""
NAMES = st.text(st.characters(codec="ascii", categories=("Lu", "Ll", "Nd")), min_size=1, max_size=8)
MILLISECONDS = st.integers(0, 4_102_444_800_000).map(lambda milliseconds: milliseconds / 1000)

BY_TYPE: dict[str, Values] = {
    "integer": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(allow_nan=False),
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "blob": st.binary(max_size=12),
    "timestamp": MILLISECONDS,
    "string": XML_TEXT,
}


def values(shape: Shape, depth: int = 6) -> Values:
    """Values as the planes see them: timestamps are seconds. Structures deeper than ``depth`` are empty."""
    if isinstance(shape, StructureShape):
        if not depth:
            return st.just({})
        required = {name: values(shape.members[name], depth - 1) for name in shape.required_members}
        rest = {name: values(member, depth - 1) for name, member in shape.members.items() if name not in required}
        if shape.is_tagged_union:
            return st.one_of([st.fixed_dictionaries({name: value}) for name, value in rest.items()])
        return st.fixed_dictionaries(required, optional=rest)
    if isinstance(shape, ListShape):
        return st.lists(values(shape.member, depth - 1), max_size=3)
    if isinstance(shape, MapShape):
        return st.dictionaries(NAMES, values(shape.value, depth - 1), max_size=3)
    return BY_TYPE[shape.type_name]


def seconds(value: Any) -> Any:
    """What botocore parsed, with its timestamps as seconds and without what it adds about the response."""
    match value:
        case dict():
            return {name: seconds(item) for name, item in value.items() if name != "ResponseMetadata"}
        case list():
            return [seconds(item) for item in value]
        case datetime():
            return value.timestamp()
        case _:
            return value


def without_empty(value: Any, is_kept: Callable[[Any], bool]) -> Any:
    """Without the members and items that leave no trace on the wire."""
    match value:
        case dict():
            kept = {name: without_empty(item, is_kept) for name, item in value.items()}
            return {name: item for name, item in kept.items() if is_kept(item)}
        case list():
            return [kept for item in value if is_kept(kept := without_empty(item, is_kept))]
        case _:
            return value
