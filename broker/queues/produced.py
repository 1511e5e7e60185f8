"""The checks of whole batches, as they come over ``Produce``.

Bodies are any bytes there. What is asked of single messages is in ``messages.py``; here it is answered for a batch at
once wherever that can be done. Never: state.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError
from heddle.v1.message_pb2 import Message, MessageBatch
from heddle.v1.views_pb2 import MessageBatchView

from broker import limits
from broker.errors import BatchRequestTooLong, BrokerError, EmptyBatchRequest, InvalidParameterValue, MissingParameter
from broker.queues import messages as rules

_EMPTY_MESSAGE: Final = b"\x0a\x00"  # a message without a body in a batch, or with an empty one
_OTHER_FIELDS_TAGS: Final = (b"\x12", b"\x1a", b"\x82\x01", b"\x8a\x01")  # of Message, all but the body


def check_batch(packed: bytes, maximum_message_bytes: int) -> tuple[int, list[str] | None]:
    """Checks a batch that came over ``Produce``. Returns its number of messages, and their groups where any has one.

    Bodies are any bytes. What can be had without a step per message is: protobuf's own check of structure and UTF-8,
    and scans of the packed bytes that tell that no message is empty, has attributes or could be too long. Only a batch
    that none of them can clear is looked at message by message (about 1 µs each). Measured for 1000 messages of 100
    bytes: 30 µs when cleared by the scans, 200 µs when by the merged parse. Raises the error of the first message
    that is refused.
    """
    messages = _parsed(packed).messages
    if not _cleared(packed, maximum_message_bytes):
        for index, message in enumerate(messages):
            try:
                _check_batch_message(message, maximum_message_bytes)
            except BrokerError as error:
                raise type(error)(f"Message {index} of the batch: {error.message}") from error
        groups = [message.message_group_id for message in messages]
        if any(groups):
            return len(messages), groups
    return len(messages), None


def check_ordered_batch(
    packed: bytes, maximum_message_bytes: int, *, content_based: bool
) -> tuple[list[str], Sequence[str]]:
    """Checks a batch for a FIFO queue. Returns the groups and the deduplication ids of its messages. Raises the error
    of the first message that is refused."""
    messages = _parsed(packed).messages
    bodies = [message.body for message in messages]
    groups = [message.message_group_id for message in messages]
    given = [message.message_deduplication_id for message in messages]
    good = (
        all(bodies)
        and (content_based or all(given))
        and rules.are_ids(groups)
        and rules.are_ids([deduplication_id for deduplication_id in given if deduplication_id])
        and max(map(len, bodies)) <= maximum_message_bytes
        and not any(message.message_attributes or message.aws_trace_header for message in messages)
    )
    if not good:
        for index, message in enumerate(messages):
            try:
                _check_ordered_message(message, maximum_message_bytes, content_based=content_based)
            except BrokerError as error:
                raise type(error)(f"Message {index} of the batch: {error.message}") from error
    return groups, deduplication_ids(given, bodies)


def deduplication_ids(given: Sequence[str], bodies: Sequence[bytes]) -> Sequence[str]:
    """The ids that were given; where one is absent, that of the content."""
    if all(given):
        return given
    return [explicit or content_id(body) for explicit, body in zip(given, bodies, strict=True)]


def content_id(body: bytes) -> str:
    """The deduplication id of a body without one: lower-case hexadecimal SHA-256."""
    return sha256(body).hexdigest()


def no_deduplication_id() -> InvalidParameterValue:
    return InvalidParameterValue(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
    )


def _check_ordered_message(message: Message, maximum_message_bytes: int, *, content_based: bool) -> None:
    _check_any_message(message, maximum_message_bytes)
    if not message.message_group_id:
        raise MissingParameter.named("MessageGroupId")
    if message.message_deduplication_id:
        rules.check_id("MessageDeduplicationId", message.message_deduplication_id)
    elif not content_based:
        raise no_deduplication_id()


def _parsed(packed: bytes) -> MessageBatch:
    """Raises BatchRequestTooLong, InvalidParameterValue, EmptyBatchRequest."""
    if len(packed) > limits.PRODUCE_BATCH_BYTES_MAX:
        raise BatchRequestTooLong(
            f"Batches cannot be longer than {limits.PRODUCE_BATCH_BYTES_MAX} bytes. You have sent {len(packed)} bytes."
        )
    try:
        batch = MessageBatch.FromString(packed)
    except DecodeError as error:
        raise InvalidParameterValue(f"The batch is not a serialized MessageBatch: {error}") from error
    count = len(batch.messages)
    if count == 0:
        raise EmptyBatchRequest("There should be at least one message in the batch.")
    if count > limits.PRODUCE_BATCH_MESSAGES_MAX:
        raise InvalidParameterValue(
            f"A batch can have at most {limits.PRODUCE_BATCH_MESSAGES_MAX} messages. You have sent {count}."
        )
    return batch


def _cleared(packed: bytes, maximum_message_bytes: int) -> bool:
    # A zero byte is in an empty body, and in a tag or length that is longer than it need be: both hide from the scans.
    whole = 0 not in packed
    plain = whole and not any(_contains(packed, tag) for tag in _OTHER_FIELDS_TAGS)
    if plain and len(packed) <= maximum_message_bytes:
        return True
    parts = list(MessageBatchView.FromString(packed).messages)
    if len(packed) > maximum_message_bytes and max(map(len, parts)) > maximum_message_bytes:
        return False
    if not whole and (b"" in parts or _EMPTY_MESSAGE in parts):
        return False
    # Parsed as one message, concatenated messages merge: a field that any of them has, the merged one has.
    return [field.name for field, _ in Message.FromString(b"".join(parts)).ListFields()] == ["body"]


def _contains(packed: bytes, tag: bytes) -> bool:
    # The search for one byte is 60 times faster than that for two, and mostly settles it.
    return tag[-1] in packed and tag in packed


def _check_batch_message(message: Message, maximum_message_bytes: int) -> None:
    _check_any_message(message, maximum_message_bytes)
    if message.message_deduplication_id:
        raise rules.not_for_this_queue_type("MessageDeduplicationId", message.message_deduplication_id)


def _check_any_message(message: Message, maximum_message_bytes: int) -> None:
    if not message.body:
        raise MissingParameter.named("MessageBody")
    if message.message_attributes:
        rules.check_attributes(message.message_attributes)
    if rules.message_bytes(message.body, message.message_attributes) > maximum_message_bytes:
        raise rules.too_long(maximum_message_bytes)
    if message.message_group_id:
        rules.check_id("MessageGroupId", message.message_group_id)
    if message.aws_trace_header:
        rules.check_trace_header(message.aws_trace_header)
