"""Parts of the protocol, short to write and to compare."""

from collections.abc import Iterable

from heddle.v1 import message_pb2, queues_pb2, views_pb2


def view(base: int, groups: str, delivery_id: int = 1) -> views_pb2.DeliveryView:
    """Messages from `base` on, one for each letter: its group."""
    messages = [message_pb2.Message(body=b"x", message_group_id=group) for group in groups]
    packed = message_pb2.MessageBatch(messages=messages).SerializeToString()
    return views_pb2.DeliveryView(
        delivery_id=delivery_id, base_sequence=base, batch=packed, first_message_id=bytes(16), receive_count=1
    )


def spans(ranges: Iterable[queues_pb2.SequenceRange]) -> list[tuple[int, int]]:
    return [(piece.first, piece.end) for piece in ranges]
