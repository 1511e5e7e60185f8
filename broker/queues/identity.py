"""Names of messages: message ids, and receipt handles that only this store makes.

Both derive from state (batch id, index, sequence number), not from chance: they survive a restart and a move to another
machine. Never: a look into the store.
"""

import binascii
import struct
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2s
from typing import Final

from broker import limits
from broker.errors import ReceiptHandleIsInvalid

_VERSION_AND_VARIANT: Final = (0x8 << 76) | (0b10 << 62)  # UUID version 8: a layout of our own
_HANDLE = struct.Struct(">QQQQ")
_MAC_BYTES: Final = 8
_THREE_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))


@dataclass(frozen=True, slots=True)
class ReceiptHandle:
    """One receive of one message: the log it is in, its sequence number, the batch that holds it, and the delivery that
    handed it out. The batch tells the message from another that has the same sequence number after a crash."""

    log_id: int
    sequence: int
    batch_id: int
    delivery_id: int


class Identity:
    """``store_id``: 16 random bytes, once for a store: they keep the ids of two stores apart and handles honest."""

    def __init__(self, store_id: bytes) -> None:
        self._mask = int.from_bytes(blake2s(store_id, person=b"msgid").digest()[:16], "big")
        self._key = blake2s(store_id, person=b"handle").digest()
        self._last_stem = (0, "")  # small sends that share a commit share a batch

    def message_id(self, batch_id: int, index: int) -> bytes:
        """The 16 bytes of the UUID of message ``index`` of a batch: that of message 0 with the index added to its last
        four bytes. The upper twelve are the batch id, masked so that the ids of two stores do not meet."""
        # 90 free bits above the last four bytes: 48, then 12 after the version, then 30 after the variant.
        upper = (batch_id ^ (self._mask >> 32)) & ((1 << 90) - 1)
        word = (upper >> 42 << 80) | (((upper >> 30) & 0xFFF) << 64) | ((upper & 0x3FFFFFFF) << 32)
        low = (self._mask + index) & 0xFFFFFFFF
        return (word | _VERSION_AND_VARIANT | low).to_bytes(16, "big")

    def message_ids(self, batch_id: int, first_index: int, count: int) -> list[str]:
        """The UUIDs, as text, of ``count`` messages of a batch."""
        stem_of, stem = self._last_stem
        if stem_of != batch_id:
            text = self.message_id(batch_id, 0).hex()
            stem = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:24]}"
            self._last_stem = batch_id, stem
        low = (self._mask + first_index) & 0xFFFFFFFF
        if low + count > 1 << 32:
            return [f"{stem}{(low + index) & 0xFFFFFFFF:08x}" for index in range(count)]
        # Half the time of the line above.
        digits = struct.pack(f">{count}I", *range(low, low + count)).hex("-", 4)
        return [stem + each for each in digits.split("-")] if count else []

    def encode_handle(self, handle: ReceiptHandle) -> str:
        body = _HANDLE.pack(handle.log_id, handle.sequence, handle.batch_id, handle.delivery_id)
        return urlsafe_b64encode(body + self._mac(body)).decode()

    def decode_handle(self, text: str) -> ReceiptHandle:
        """Raises ReceiptHandleIsInvalid for what ``encode_handle`` of this store did not make."""
        try:
            if len(text) > limits.RECEIPT_HANDLE_CHARACTERS_MAX:
                raise ValueError(len(text))
            data = b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise invalid_handle(text) from error
        body, mac = data[: _HANDLE.size], data[_HANDLE.size :]
        if len(body) != _HANDLE.size or mac != self._mac(body):
            raise invalid_handle(text)
        return ReceiptHandle(*_HANDLE.unpack(body))

    def _mac(self, body: bytes) -> bytes:
        return blake2s(body, key=self._key, digest_size=_MAC_BYTES).digest()


def sequence_number(sequence: int) -> str:
    """SequenceNumber of a message of a FIFO queue: 20 digits, so that texts are in the order of the numbers."""
    return str(limits.SEQUENCE_NUMBER_BASE + sequence)


def sequence_numbers(first: int, count: int) -> list[str]:
    """Those of ``count`` messages in line."""
    thousands, low = divmod(first, 1000)
    if low + count > 1000:
        return [sequence_number(sequence) for sequence in range(first, first + count)]
    head = _sequence_head(thousands)  # a number beyond 64 bits takes 1 us to write
    return [head + digits for digits in _THREE_DIGITS[low : low + count]]


@lru_cache(maxsize=64)
def _sequence_head(thousands: int) -> str:
    """What the sequence numbers of a thousand messages have in common."""
    return sequence_number(thousands * 1000)[:-3]


def invalid_handle(text: str) -> ReceiptHandleIsInvalid:
    return ReceiptHandleIsInvalid(f'The input receipt handle "{text}" is not a valid receipt handle.')
