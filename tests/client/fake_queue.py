"""A queue of the fake broker: messages in memory, standard or FIFO.

FIFO: deduplication without an end to its window, one group's messages to one stream as long as it holds the earlier
ones, and what a stream gives back or loses takes the later ones of its group along.
"""

import asyncio
import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from heddle.v1 import message_pb2, queues_pb2

ARN = "arn:aws:sqs:us-east-1:000000000000:"
SEQUENCE_NUMBER_ZERO = 10**19


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Stored:
    message: message_pb2.Message
    message_id: bytes
    sent_timestamp_ms: int = field(default_factory=now_ms)
    first_received_timestamp_ms: int = 0
    receive_count: int = 0
    visible_at: float = 0.0  # time.monotonic()
    stream: int | None = None  # the Consume stream that holds it
    delivery_id: int = 0  # by which it does
    receipt_handle: str = ""
    origin_arn: str = ""

    @property
    def group(self) -> str:
        return self.message.message_group_id

    def history(self) -> tuple[int, int, bytes, str]:
        """What the messages of one delivery have in common."""
        return self.delivery_id, self.receive_count, self.message_id[:12], self.origin_arn


class FakeQueue:
    def __init__(self, name: str, attributes: dict[str, str], tags: dict[str, str]) -> None:
        self.attributes = {"VisibilityTimeout": "30", "QueueArn": ARN + name, **attributes}
        self.tags = tags
        self.fifo = name.endswith(".fifo")
        self.messages: dict[int, Stored] = {}
        self.next_sequence = 1
        self.deliveries = 0
        self.changed = asyncio.Event()
        self.accepted: dict[str, tuple[int, bytes]] = {}  # FIFO: deduplication id -> sequence, message id
        self.attempts: dict[str, list[int]] = {}

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def append(self, messages: list[message_pb2.Message], delay_seconds: int = 0) -> queues_pb2.ProduceResult:
        first_id, base = uuid.uuid4().bytes, self.next_sequence
        result = queues_pb2.ProduceResult()
        for index, message in enumerate(messages):
            last = (int.from_bytes(first_id[12:], "big") + result.count) % 2**32
            sequence, message_id = base + result.count, first_id[:12] + last.to_bytes(4, "big")
            if self.fifo:
                key = message.message_deduplication_id or hashlib.sha256(message.body).hexdigest()
                if key in self.accepted:
                    result.duplicates.append(index)
                    continue
                self.accepted[key] = sequence, message_id
            stored = Stored(message, message_id)
            stored.visible_at = time.monotonic() + delay_seconds if delay_seconds else 0.0
            self.messages[sequence] = stored
            result.count += 1
        self.next_sequence += result.count
        self.notify()
        if result.count:
            result.base_sequence, result.first_message_id = base, first_id
        return result

    def append_one(self, message: message_pb2.Message, delay_seconds: int) -> tuple[str, str]:
        """Its message id and sequence number; of a duplicate, those of the first."""
        result = self.append([message], delay_seconds)
        sequence, message_id = result.base_sequence, result.first_message_id
        if result.duplicates:
            key = message.message_deduplication_id or hashlib.sha256(message.body).hexdigest()
            sequence, message_id = self.accepted[key]
        return str(uuid.UUID(bytes=message_id)), str(SEQUENCE_NUMBER_ZERO + sequence) if self.fifo else ""

    def visible(self) -> list[int]:
        now = time.monotonic()
        return [sequence for sequence, stored in sorted(self.messages.items()) if stored.visible_at <= now]

    def take(self, limit: int, visibility_timeout: int, stream: int | None = None) -> list[int]:
        taken = self._deliverable(stream)[:limit] if self.fifo else self.visible()[:limit]
        self.deliveries += 1
        for sequence in taken:
            stored = self.messages[sequence]
            stored.delivery_id = self.deliveries
            stored.visible_at = time.monotonic() + visibility_timeout
            stored.receive_count += 1
            stored.first_received_timestamp_ms = stored.first_received_timestamp_ms or now_ms()
            stored.stream = stream
            stored.receipt_handle = f"{sequence}-{stored.receive_count}"
        return taken

    def _deliverable(self, stream: int | None) -> list[int]:
        visible = set(self.visible())
        for sequence in sorted(visible):
            if self.messages[sequence].stream is not None:
                self.give_back(sequence, 0)  # its visibility timeout is over
        visible, blocked, found = set(self.visible()), set[str](), []
        for sequence, stored in sorted(self.messages.items()):
            if stored.group in blocked:
                continue
            if sequence in visible:
                found.append(sequence)
            elif stream is None or stored.stream != stream:
                blocked.add(stored.group)
        return found

    def next_visible_at(self) -> float | None:
        now = time.monotonic()
        return min((stored.visible_at for stored in self.messages.values() if stored.visible_at > now), default=None)

    def held_by(self, stream: int, piece: queues_pb2.SequenceRange) -> Iterator[int]:
        for sequence in range(piece.first, piece.end):
            if sequence in self.messages and self.messages[sequence].stream == stream:
                yield sequence

    def give_back(self, sequence: int, delay_seconds: int) -> None:
        given = self.messages[sequence]
        stream, given.stream = given.stream, None
        given.visible_at = time.monotonic() + delay_seconds if delay_seconds else 0.0
        if self.fifo and stream is not None:
            for later, stored in self.messages.items():
                if later > sequence and stored.stream == stream and stored.group == given.group:
                    stored.stream, stored.visible_at = None, 0.0

    def of_handle(self, handle: str) -> int | None:
        return next((s for s, stored in self.messages.items() if stored.receipt_handle == handle), None)

    def system_attributes(self, sequence: int) -> dict[str, str]:
        stored = self.messages[sequence]
        attributes = {
            "ApproximateReceiveCount": str(stored.receive_count),
            "SentTimestamp": str(stored.sent_timestamp_ms),
            "AWSTraceHeader": stored.message.aws_trace_header,
            "MessageGroupId": stored.group,
            "DeadLetterQueueSourceArn": stored.origin_arn,
        }
        if self.fifo:
            attributes["SequenceNumber"] = str(SEQUENCE_NUMBER_ZERO + sequence)
            attributes["MessageDeduplicationId"] = (
                stored.message.message_deduplication_id or hashlib.sha256(stored.message.body).hexdigest()
            )
        return {name: value for name, value in attributes.items() if value}
