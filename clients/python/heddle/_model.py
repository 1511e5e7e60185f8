"""The values that calls take and return: plain, frozen, the same on the sync and on the asyncio face."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from uuid import UUID

from heddle._errors import HeddleError, error_of_code
from heddle.v1 import message_pb2, queues_pb2

ALL: Final = ("All",)
SEQUENCE_NUMBER_ZERO: Final = 10**19  # a SequenceNumber is AWS's 20 digits: this and the sequence number of the queue


@dataclass(frozen=True, slots=True)
class Attribute:
    """A message attribute with its type: "String", "Number" or "Binary", optionally labelled ("Number.int").

    The value is text, or bytes if the type is Binary. A Number is the text that the sender wrote.
    """

    data_type: str
    value: str | bytes


AttributeLike = Attribute | str | bytes | int | float | Decimal
Attributes = Mapping[str, AttributeLike]


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One entry of `send_batch`. The members mean what the parameters of `send` mean."""

    body: bytes | str
    delay_seconds: int | None = None
    attributes: Attributes | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    trace_header: str | None = None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that the broker has made durable.

    `sequence` is its place in the queue, the same number wherever this client shows one; None where the call does not
    tell it: unary sends to standard queues. `sequence_number` is how AWS writes it: FIFO queues only.

    `duplicate`: only a producer's ticket tells it. The message repeats one of the last five minutes and was not
    appended again; what it repeats is not told, so that `message_id` is empty and `sequence` None. (A unary send that
    repeats a message returns the message id and the sequence number of the first one, as AWS does.)
    """

    message_id: str
    sequence: int | None
    sequence_number: str | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class BatchError:
    """One entry of a batch call that failed; the other entries stand."""

    code: str
    message: str
    sender_fault: bool

    @property
    def error(self) -> HeddleError:
        """The same as an exception, to raise."""
        return error_of_code(self.code, self.message)


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message of a unary `receive`: in flight until its visibility timeout, known by its receipt handle.

    `system_attributes` are AWS's (SentTimestamp, ApproximateReceiveCount, ...), as text; only those asked for.
    """

    message_id: str
    receipt_handle: str
    body: bytes
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    system_attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    @property
    def receive_count(self) -> int | None:
        """How often it was received, this time included."""
        return self._number("ApproximateReceiveCount")

    @property
    def sent_timestamp_ms(self) -> int | None:
        """When it was sent, milliseconds since the epoch."""
        return self._number("SentTimestamp")

    @property
    def sequence(self) -> int | None:
        """FIFO queues only: its place in the queue, the same number wherever this client shows one."""
        return sequence_of(self.sequence_number)

    @property
    def sequence_number(self) -> str | None:
        """FIFO queues only: its place in the queue as AWS writes it."""
        return self.system_attributes.get("SequenceNumber")

    @property
    def group_id(self) -> str | None:
        """The message group, if it was sent with one."""
        return self.system_attributes.get("MessageGroupId")

    @property
    def deduplication_id(self) -> str | None:
        """FIFO queues only: as it was sent, or the hash of the body."""
        return self.system_attributes.get("MessageDeduplicationId")

    @property
    def dead_letter_queue_source_arn(self) -> str | None:
        """The ARN of the queue that it came from, if this is a dead-letter queue that it was moved to."""
        return self.system_attributes.get("DeadLetterQueueSourceArn")

    def _number(self, name: str) -> int | None:
        text = self.system_attributes.get(name)
        return None if text is None else int(text)


@dataclass(frozen=True, slots=True)
class PeekedMessage:
    """A message that was looked at. `state` is "visible", "in flight" or "delayed"; it ends by itself at
    `until_timestamp_ms` (0: never)."""

    sequence: int
    message_id: str
    state: str
    until_timestamp_ms: int
    sent_timestamp_ms: int
    receive_count: int
    body: bytes
    attributes: Mapping[str, Attribute]
    group_id: str | None
    deduplication_id: str | None = None


def is_fifo(queue_url: str) -> bool:
    """Whether a queue is FIFO: the names of those, and of no others, end so."""
    return queue_url.endswith(".fifo")


def sequence_of(sequence_number: str | None) -> int | None:
    """The sequence number of the queue in AWS's 20 digits; None for none."""
    return int(sequence_number) - SEQUENCE_NUMBER_ZERO if sequence_number else None


def body_bytes(body: bytes | str) -> bytes:
    """The body as it travels: text becomes UTF-8."""
    return body.encode() if isinstance(body, str) else body


def message_id_at(first_message_id: bytes, index: int) -> str:
    """The UUID of message `index` of a batch: the first one's, `index` added to its last four bytes modulo 2^32."""
    last = (int.from_bytes(first_message_id[12:], "big") + index) & 0xFFFF_FFFF
    return str(UUID(bytes=first_message_id[:12] + last.to_bytes(4, "big")))


def pack_attributes(attributes: Attributes | None) -> dict[str, message_pb2.MessageAttributeValue]:
    """Text becomes a String, numbers a Number, bytes a Binary; `Attribute` says it itself."""
    return {name: _pack_attribute(name, value) for name, value in (attributes or {}).items()}


def _pack_attribute(name: str, value: AttributeLike) -> message_pb2.MessageAttributeValue:
    match value:
        case Attribute(data_type, bytes(binary)):
            return message_pb2.MessageAttributeValue(data_type=data_type, binary_value=binary)
        case Attribute(data_type, str(text)):
            return message_pb2.MessageAttributeValue(data_type=data_type, string_value=text)
        case str():
            return message_pb2.MessageAttributeValue(data_type="String", string_value=value)
        case bytes():
            return message_pb2.MessageAttributeValue(data_type="Binary", binary_value=value)
        case bool():
            raise TypeError(f"attribute {name!r}: a bool has no type in SQS; send text or a number")
        case _:
            return message_pb2.MessageAttributeValue(data_type="Number", string_value=str(value))


def unpack_attributes(values: Mapping[str, message_pb2.MessageAttributeValue]) -> dict[str, Attribute]:
    """Attributes as the broker hands them out."""
    return {
        name: Attribute(
            value.data_type,
            value.binary_value if value.WhichOneof("value") == "binary_value" else value.string_value,
        )
        for name, value in values.items()
    }


def sent_message(sent: queues_pb2.SendMessageResponse | queues_pb2.SendMessageBatchResultEntry) -> SentMessage:
    """From the wire."""
    return SentMessage(sent.message_id, sequence_of(sent.sequence_number), sent.sequence_number or None)


def received_message(message: queues_pb2.ReceivedMessage) -> ReceivedMessage:
    """From the wire."""
    return ReceivedMessage(
        message_id=message.message_id,
        receipt_handle=message.receipt_handle,
        body=message.body,
        attributes=unpack_attributes(message.message_attributes),
        system_attributes=dict(message.attributes),
    )


def peeked_message(peeked: queues_pb2.PeekedMessage) -> PeekedMessage:
    """From the wire."""
    return PeekedMessage(
        sequence=peeked.sequence,
        message_id=peeked.message_id,
        state=peeked.state,
        until_timestamp_ms=peeked.until_timestamp_ms,
        sent_timestamp_ms=peeked.sent_timestamp_ms,
        receive_count=peeked.receive_count,
        body=peeked.message.body,
        attributes=unpack_attributes(peeked.message.message_attributes),
        group_id=peeked.message.message_group_id or None,
        deduplication_id=peeked.message.message_deduplication_id or None,
    )
