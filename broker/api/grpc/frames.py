"""Responses of ``Consume`` put together from stored bytes, each batch copied once.

Serialized protobuf fields may follow each other in any order, so a delivery is its small fields, serialized by
protobuf, and then the batch's field: a tag, a length and the stored bytes. Building the same through message objects
copies every batch three times more (1000-byte messages on a busy machine: 337 to 496 MB/s so, 428 to 705 MB/s here).
"""

from typing import Final

from heddle.packing import varint
from heddle.v1.views_pb2 import ConsumeResponseView, DeliveryView

_DELIVERIES_TAG: Final = bytes([ConsumeResponseView.DELIVERIES_FIELD_NUMBER << 3 | 2])
_BATCH_TAG: Final = bytes([DeliveryView.BATCH_FIELD_NUMBER << 3 | 2])


class Frame:
    """A ``ConsumeResponse`` in the making."""

    __slots__ = ("_parts", "nbytes")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.nbytes = 0

    def add(self, delivery: DeliveryView, batch: bytes) -> None:
        """Adds a delivery, ``delivery`` being everything but its batch."""
        head = delivery.SerializeToString()
        batch_length = varint(len(batch))
        length = len(head) + len(_BATCH_TAG) + len(batch_length) + len(batch)
        self._parts += (_DELIVERIES_TAG, varint(length), head, _BATCH_TAG, batch_length, batch)
        self.nbytes += length

    def confirm(self, request_id: int) -> None:
        """Adds a confirmation; the last one added counts."""
        self._parts.append(ConsumeResponseView(confirmed_request_id=request_id).SerializeToString())

    def __bool__(self) -> bool:
        return bool(self._parts)

    def serialize(self) -> bytes:
        return b"".join(self._parts)
