"""The wire form of a `Message` as an element of a `MessageBatch`: what stands before its body, written by hand.

It is worth it because a producer meets it per message: building 1000 `Message` objects of 100 bytes costs about 770
microseconds, joining their bytes about 60.

    0A len(message)     MessageBatch.messages, field 1, length-delimited
      0A len(body)      Message.body, field 1, length-delimited
      body
      other fields      none, or packed already

Both lengths are varints. Everything before the body depends on the lengths alone, so that small ones come out of a
table. A property test holds this against protobuf.
"""

from typing import Final

from heddle.v1 import message_pb2

_FIELD_1_LENGTH_DELIMITED: Final = b"\x0a"
_TABLE_BODY_BYTES: Final = 2048


def varint(value: int) -> bytes:
    """Protobuf's encoding of an unsigned number: seven bits a byte, lowest first, the top bit set but on the last."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_FIELDS_1: Final = tuple(_FIELD_1_LENGTH_DELIMITED + varint(length) for length in range(_TABLE_BODY_BYTES))


def _field_1(length: int) -> bytes:
    return _FIELDS_1[length] if length < _TABLE_BODY_BYTES else _FIELD_1_LENGTH_DELIMITED + varint(length)


def header(body_bytes: int, other_bytes: int) -> bytes:
    """What stands before a body of `body_bytes` (1 or more) in a packed batch, where `other_bytes` follow the body."""
    body_header = _field_1(body_bytes)
    return _field_1(len(body_header) + body_bytes + other_bytes) + body_header


# Length 0 is absent on purpose: proto3 leaves an empty body out, and no queue takes one.
_HEADERS: Final = (b"", *(header(body_bytes, 0) for body_bytes in range(1, _TABLE_BODY_BYTES)))


def plain_header(body_bytes: int) -> bytes:
    """As `header`, of a message that has nothing but its body."""
    return _HEADERS[body_bytes] if body_bytes < _TABLE_BODY_BYTES else header(body_bytes, 0)


def pack_one(message: message_pb2.Message) -> bytes:
    """Any message, as a packed batch of one. Packed batches that are joined are the batch of all their messages."""
    return message_pb2.MessageBatch(messages=[message]).SerializeToString()
