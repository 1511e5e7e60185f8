"""What a consumer hands out: deliveries, and the messages in them. Both are light views of one parsed batch.

`ack`, `nack` and `extend` neither block nor wait, on either face: they are noted, and the stream sends what was noted
within milliseconds. The first of ack and nack counts, later ones do nothing. All may be called from any thread.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from heddle._model import Attribute, message_id_at, unpack_attributes
from heddle.v1 import message_pb2, views_pb2

if TYPE_CHECKING:
    from heddle._ledger import Ledger


class Epoch:
    """One stretch of time in which what was delivered stays this consumer's. It is `over` with the stream that
    delivered it, unless the broker keeps messages in flight across streams. A consumer that stops hands out nothing
    more in it, and may still settle."""

    __slots__ = ("handing_out", "over")

    def __init__(self, handing_out: bool) -> None:
        self.handing_out = handing_out
        self.over = False


class Message:
    """A message in flight to this consumer."""

    __slots__ = ("_delivery", "_packed", "sequence")

    def __init__(self, delivery: "Delivery", packed: message_pb2.Message, sequence: int) -> None:
        self._delivery = delivery
        self._packed = packed
        self.sequence = sequence

    @property
    def body(self) -> bytes:
        """The body."""
        return self._packed.body

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self._packed.body.decode()

    @property
    def message_id(self) -> str:
        """The message id."""
        delivery = self._delivery
        return message_id_at(delivery.first_message_id, self.sequence - delivery.base_sequence)

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        """The message attributes."""
        return unpack_attributes(self._packed.message_attributes)

    @property
    def group_id(self) -> str | None:
        """The message group, if it was sent with one."""
        return self._packed.message_group_id or None

    @property
    def deduplication_id(self) -> str | None:
        """FIFO queues: the deduplication id, if it was sent with one."""
        return self._packed.message_deduplication_id or None

    @property
    def trace_header(self) -> str | None:
        """The X-Ray trace header, if it was sent with one."""
        return self._packed.aws_trace_header or None

    @property
    def receive_count(self) -> int:
        """How often it was delivered, this time included."""
        return self._delivery.receive_count

    @property
    def dead_letter_queue_source_arn(self) -> str | None:
        """The ARN of the queue that it came from, if this is a dead-letter queue that it was moved to."""
        return self._delivery.dead_letter_queue_source_arn

    @property
    def sent_timestamp_ms(self) -> int:
        """When the broker took it, milliseconds since the epoch."""
        return self._delivery.sent_timestamp_ms

    @property
    def first_received_timestamp_ms(self) -> int:
        """When it was delivered for the first time, milliseconds since the epoch."""
        return self._delivery.first_received_timestamp_ms

    @property
    def delivery(self) -> "Delivery":
        """What it came with."""
        return self._delivery

    @property
    def handed_back(self) -> bool:
        """It went back to the queue: its stream broke, or (FIFO queues) it or an earlier message of its group was
        nacked. It comes again; settling it does nothing."""
        return self._delivery.epoch.over or self.sequence in self._delivery.returned

    def ack(self) -> None:
        """Done: delete it."""
        delivery = self._delivery
        delivery.ledger.ack(delivery, self.sequence)

    def nack(self, delay_seconds: int = 0) -> None:
        """Not done: make it visible again after `delay_seconds`, 0 to 43200.

        FIFO queues: what this consumer holds of its group after it goes back with it, and all comes again in order.
        """
        delivery = self._delivery
        delivery.ledger.nack(delivery, self.sequence, self.sequence + 1, delay_seconds)

    def extend(self, seconds: int) -> None:
        """Keep it for `seconds` from now, 0 to 43200. From then on its visibility is yours: no automatic extension."""
        delivery = self._delivery
        delivery.ledger.extend(delivery, self.sequence, self.sequence + 1, seconds)

    def __repr__(self) -> str:
        return f"<heddle.Message sequence={self.sequence} body_bytes={len(self._packed.body)}>"


class Delivery:
    """Messages [base_sequence, end_sequence) that came together and share their history.

    FIFO queues: those that went back with an earlier message of their group are `returned`. They are not handed out and
    not counted; only `packed` has them still.
    """

    __slots__ = (
        "_messages",
        "base_sequence",
        "dead_letter_queue_source_arn",
        "delivery_id",
        "epoch",
        "first_message_id",
        "first_received_timestamp_ms",
        "ledger",
        "packed",
        "receive_count",
        "returned",
        "sender_id",
        "sent_timestamp_ms",
    )

    def __init__(self, ledger: "Ledger", epoch: Epoch, view: views_pb2.DeliveryView) -> None:
        self.ledger = ledger
        self.epoch = epoch
        self.delivery_id = view.delivery_id
        self.base_sequence = view.base_sequence
        self.first_message_id = view.first_message_id
        self.sent_timestamp_ms = view.sent_timestamp_ms
        self.first_received_timestamp_ms = view.first_received_timestamp_ms
        self.receive_count = view.receive_count
        self.sender_id = view.sender_id
        self.dead_letter_queue_source_arn = view.dead_letter_queue_source_arn or None
        self.returned: set[int] = set()
        self.packed = view.batch  # the serialized MessageBatch, to hand on as it is
        self._messages = message_pb2.MessageBatch.FromString(view.batch).messages

    @property
    def end_sequence(self) -> int:
        """The sequence number after the last."""
        return self.base_sequence + len(self._messages)

    def __len__(self) -> int:
        return len(self._messages) - len(self.returned)

    def __iter__(self) -> Iterator[Message]:
        """The messages, as objects of their own."""
        sequence, returned = self.base_sequence, self.returned
        for packed in self._messages:
            if sequence not in returned:
                yield Message(self, packed, sequence)
            sequence += 1

    def bodies(self) -> list[bytes]:
        """The bodies alone, in order: the quickest way to read a delivery that is settled as a whole."""
        if self.returned:
            return [message.body for message in self]
        return [packed.body for packed in self._messages]

    def hands_out(self, sequence: int) -> bool:
        """Whether one of the messages may be given to somebody to work on."""
        return self.epoch.handing_out and sequence not in self.returned

    def groups(self) -> list[str]:
        """The message group of each message, in order."""
        return [packed.message_group_id for packed in self._messages]

    def group_of(self, sequence: int) -> str:
        """The message group of one of the messages."""
        return self._messages[sequence - self.base_sequence].message_group_id

    def ack(self) -> None:
        """Done: delete all that was not settled singly."""
        self.ledger.ack_range(self, self.base_sequence, self.end_sequence)

    def nack(self, delay_seconds: int = 0) -> None:
        """Not done: make all that was not settled singly visible again after `delay_seconds`, 0 to 43200."""
        self.ledger.nack(self, self.base_sequence, self.end_sequence, delay_seconds)

    def extend(self, seconds: int) -> None:
        """Keep all for `seconds` from now, 0 to 43200. From then on their visibility is yours."""
        self.ledger.extend(self, self.base_sequence, self.end_sequence, seconds)
