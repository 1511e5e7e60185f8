"""What AWS asks of a message: contents, attributes, sizes, and the MD5s that SDKs check.

Source: SendMessage of the SQS API, and sections 3 and 1.4 of the queue semantics. Used where messages come one by one
or in tens; ``produced.py`` has a cheaper look at whole batches. Never: state.
"""

import re
import string
import struct
from collections.abc import Mapping, Sequence
from hashlib import md5
from typing import Final

from heddle.v1.message_pb2 import MessageAttributeValue

from broker import limits
from broker.errors import (
    InvalidMessageContents,
    InvalidParameterValue,
    MissingParameter,
)

Attributes = Mapping[str, MessageAttributeValue]

_CONTROL_CHARACTERS: Final = bytes(c for c in range(0x20) if c not in b"\t\n\r")
_NONCHARACTERS: Final = ("\ufffe", "\uffff")
_CONTENTS_MESSAGE: Final = (
    "Invalid characters found. Valid unicode characters are "
    "#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
)
_ID_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)
_ATTRIBUTE_NAME: Final = re.compile(r"[\w.-]{1,256}", re.UNICODE)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_BASE_TYPES: Final = ("String", "Number", "Binary")
_LENGTH: Final = struct.Struct(">I")
_NOTHING_DIGESTED: Final = md5(usedforsecurity=False)  # copied, since OpenSSL looks its algorithms up: 0.3 of 2 µs


# --- text


def is_aws_text(data: bytes) -> bool:
    """UTF-8 of the characters that AWS allows in bodies and attribute values."""
    if len(data.translate(None, _CONTROL_CHARACTERS)) != len(data):
        return False
    if data.isascii():
        return True
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return not any(character in text for character in _NONCHARACTERS)


def check_body(body: bytes) -> None:
    """Raises MissingParameter or InvalidMessageContents."""
    if not body:
        raise MissingParameter.named("MessageBody")
    if not is_aws_text(body):
        raise InvalidMessageContents(_CONTENTS_MESSAGE)


def are_plain_bodies(bodies: Sequence[bytes], maximum_message_bytes: int, total_bytes_max: int) -> bool:
    """Whether all bodies are good, seen without a look at each: ASCII that AWS allows, none empty or too long."""
    text = b"".join(bodies)
    # What is ASCII as a whole is so in each body; other text might end a body in the middle of a character.
    return (
        text.isascii()
        and is_aws_text(text)
        and all(bodies)
        and len(text) <= total_bytes_max
        and max(map(len, bodies)) <= maximum_message_bytes
    )


def are_ids(values: Sequence[str]) -> bool:
    """Whether all are good as a MessageGroupId or MessageDeduplicationId."""
    text = "".join(values)
    return (
        all(values)
        and text.isascii()
        and text.isprintable()  # letters, digits, punctuation and the space
        and " " not in text
        and max(map(len, values), default=0) <= limits.GROUP_ID_CHARACTERS_MAX
    )


def check_attempt_id(value: str) -> None:
    """Checks a ReceiveRequestAttemptId. Raises InvalidParameterValue."""
    check_id("ReceiveRequestAttemptId", value)


def check_id(name: str, value: str) -> None:
    """Checks a MessageGroupId or MessageDeduplicationId. Raises InvalidParameterValue."""
    if not (1 <= len(value) <= limits.GROUP_ID_CHARACTERS_MAX and _ID_CHARACTERS.issuperset(value)):
        raise InvalidParameterValue(
            f"Value {value} for parameter {name} is invalid. "
            f"Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        )


def not_for_this_queue_type(name: str, value: object) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Value {value} for parameter {name} is invalid. "
        "Reason: The request include parameter that is not valid for this queue type."
    )


# --- attributes


def check_attributes(attributes: Attributes) -> None:
    """Raises InvalidParameterValue for names, types, values or a number of attributes that AWS refuses."""
    if len(attributes) > limits.MESSAGE_ATTRIBUTES_MAX:
        raise InvalidParameterValue(
            f"Number of message attributes [{len(attributes)}] exceeds the allowed maximum [10]."
        )
    for name, value in attributes.items():
        _check_attribute_name(name)
        _check_attribute_value(name, value)


def _check_attribute_name(name: str) -> None:
    lowered = name.lower()
    if (
        not _ATTRIBUTE_NAME.fullmatch(name)
        or lowered.startswith(("aws.", "amazon."))
        or name.startswith(".")
        or name.endswith(".")
        or ".." in name
    ):
        raise InvalidParameterValue(
            f"Message (user) attribute name '{name}' is invalid. Reason: It can only include letters, digits, "
            "underscores, hyphens and periods, 1 to 256 in length; no period at its start or end or after another; "
            "not the prefixes AWS. or Amazon."
        )


def _check_attribute_value(name: str, value: MessageAttributeValue) -> None:
    data_type = value.data_type
    if not data_type:
        raise InvalidParameterValue(
            f"The message (user) attribute '{name}' must contain a non-empty message attribute type."
        )
    base, _, label = data_type.partition(".")
    if base not in _BASE_TYPES or len(data_type) > limits.ATTRIBUTE_TYPE_CHARACTERS_MAX or data_type == f"{base}.":
        raise InvalidParameterValue(
            f"The type of message (user) attribute '{name}' is invalid. "
            "You must use only the following supported type prefixes: Binary, Number, String."
        )
    if label and not is_aws_text(label.encode()):
        raise InvalidParameterValue(f"The type of message (user) attribute '{name}' contains invalid characters.")
    content = value.binary_value if base == "Binary" else value.string_value
    if not content:
        raise InvalidParameterValue(
            f"Message (user) attribute '{name}' must contain a non-empty value of type '{data_type}'."
        )
    if isinstance(content, str):
        if not is_aws_text(content.encode()):
            raise InvalidParameterValue(f"Message (user) attribute '{name}': {_CONTENTS_MESSAGE}")
        if base == "Number" and not _NUMBER.fullmatch(content):
            raise InvalidParameterValue(f"Can't cast the value of message (user) attribute '{name}' to a number.")


def trace_header(system_attributes: Attributes) -> str:
    """The AWSTraceHeader among the system attributes of a send, "" when absent. Raises InvalidParameterValue."""
    for name, value in system_attributes.items():
        if name != "AWSTraceHeader":
            raise InvalidParameterValue(
                f"Message (system) attribute '{name}' is invalid. Valid system attributes: AWSTraceHeader."
            )
        if value.data_type != "String" or not value.string_value:
            raise InvalidParameterValue(
                "Message (system) attribute 'AWSTraceHeader' must contain a non-empty value of type 'String'."
            )
        check_trace_header(value.string_value)
        return value.string_value
    return ""


def check_trace_header(value: str) -> None:
    if len(value) > limits.TRACE_HEADER_CHARACTERS_MAX:
        raise InvalidParameterValue(
            "Message (system) attribute 'AWSTraceHeader' can have at most "
            f"{limits.TRACE_HEADER_CHARACTERS_MAX} characters."
        )
    if not is_aws_text(value.encode()):
        raise InvalidParameterValue(f"Message (system) attribute 'AWSTraceHeader': {_CONTENTS_MESSAGE}")


def attributes_md5(attributes: Attributes) -> str:
    """MD5OfMessageAttributes (SQS developer guide): over name, type, kind and value of each, in order of the names."""
    digest = md5(usedforsecurity=False)
    for name in sorted(attributes, key=str.encode):
        value = attributes[name]
        binary = value.data_type.partition(".")[0] == "Binary"
        content = value.binary_value if binary else value.string_value.encode()
        for part in (name.encode(), value.data_type.encode()):
            digest.update(_LENGTH.pack(len(part)) + part)
        digest.update((b"\x02" if binary else b"\x01") + _LENGTH.pack(len(content)) + content)
    return digest.hexdigest()


def body_md5(body: bytes) -> str:
    return body_md5s((body,))[0]


def body_md5s(bodies: Sequence[bytes]) -> list[str]:
    """MD5OfMessageBody of each."""
    digests, start = [], _NOTHING_DIGESTED.copy
    for body in bodies:
        digest = start()
        digest.update(body)
        digests.append(digest.hexdigest())
    return digests


def selected_attributes(attributes: Attributes, wanted: Sequence[str]) -> dict[str, MessageAttributeValue]:
    """Those that MessageAttributeNames asks for: "All", "*" and ".*" mean all, "foo.*" a prefix, else the name."""
    if not wanted or not attributes:
        return {}
    prefixes = tuple(name[:-2] for name in wanted if name.endswith(".*"))
    if "All" in wanted or "*" in wanted:
        return dict(attributes)
    return {name: value for name, value in attributes.items() if name in wanted or name.startswith(prefixes)}


# --- sizes


def message_bytes(body: bytes, attributes: Attributes) -> int:
    """A message's size as AWS counts it: UTF-8 of the body, and name, type and value of every attribute."""
    size = len(body)
    for name, value in attributes.items():
        size += len(name.encode()) + len(value.data_type.encode())
        size += len(value.binary_value) + len(value.string_value.encode())
    return size


def too_long(maximum_bytes: int) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"One or more parameters are invalid. Reason: Message must be shorter than {maximum_bytes} bytes."
    )
