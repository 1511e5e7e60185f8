"""The messages of a benchmark, packed once: load generators send these bytes again and again.

So a row measures the server and the wire, not protobuf in the client. The rows `producer` and `consumer` are the ones
that measure the client.
"""

from dataclasses import dataclass

from heddle.v1.message_pb2 import Message, MessageBatch
from heddle.v1.queues_pb2 import ProduceRequest, SendMessageBatchRequest, SendMessageBatchRequestEntry
from heddle.v1.views_pb2 import MessageBatchView, ProduceRequestView

from broker.bench.measure import CountsDisagreeError

TEXT = b"The quick brown fox jumps over the lazy dog. "


def body_of(size_bytes: int) -> bytes:
    """Plain text, as the unary calls demand it."""
    return (TEXT * (size_bytes // len(TEXT) + 1))[:size_bytes]


@dataclass(frozen=True)
class Payload:
    """`batch` messages of one body, packed as the wire and the log hold them."""

    body: bytes
    batch: int
    packed: bytes
    packed_message_bytes: int

    def count_of(self, packed: bytes) -> int:
        """The number of messages in packed bytes, from their length: all messages of a benchmark are equal."""
        count, rest = divmod(len(packed), self.packed_message_bytes)
        if rest:
            raise CountsDisagreeError(f"a delivery of {len(packed)} bytes holds messages that were never sent")
        return count

    def check(self, packed: bytes) -> None:
        """Looks into every message of a delivery."""
        bodies = [Message.FromString(message).body for message in MessageBatchView.FromString(packed).messages]
        if any(body != self.body for body in bodies):
            raise CountsDisagreeError("a delivery holds a body that was never sent")


def payload_of(size_bytes: int, batch: int) -> Payload:
    body = body_of(size_bytes)
    one = MessageBatch(messages=[Message(body=body)]).SerializeToString()
    return Payload(body, batch, one * batch, len(one))


def produce_requests(payload: Payload, queue_url: str, in_flight: int) -> list[bytes]:
    """One serialized ProduceRequest for each place of the window; the first names the queue."""
    return [
        ProduceRequestView(
            queue_url=queue_url if place == 0 else "", request_id=place + 1, batch=payload.packed
        ).SerializeToString()
        for place in range(in_flight)
    ]


def send_batch_request(queue_url: str, body: bytes, entries: int) -> bytes:
    """A serialized SendMessageBatchRequest of `entries` (1 to 10) equal messages."""
    return SendMessageBatchRequest(
        queue_url=queue_url,
        entries=[SendMessageBatchRequestEntry(id=str(i), message_body=body) for i in range(entries)],
    ).SerializeToString()


assert ProduceRequest.DESCRIPTOR.fields_by_name["batch"].number == 3  # the view and the public message agree
