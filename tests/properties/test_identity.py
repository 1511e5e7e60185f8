"""Message ids are unique within and between stores; receipt handles are this store's or nothing."""

import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import astuple, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ReceiptHandleIsInvalid
from broker.queues.identity import Identity, ReceiptHandle

_store_ids = st.binary(min_size=16, max_size=16)
_numbers = st.integers(0, 2**64 - 1)
_places = st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**32 - 1))
_handles = st.lists(_numbers, min_size=len(fields(ReceiptHandle)), max_size=len(fields(ReceiptHandle))).map(
    lambda numbers: ReceiptHandle(*numbers)
)


@given(_store_ids, _places, _places)
def test_message_ids_are_unique_uuids(store_id: bytes, one: tuple[int, int], other: tuple[int, int]) -> None:
    identity = Identity(store_id)
    first, second = identity.message_id(*one), identity.message_id(*other)
    assert (first == second) == (one == other)
    assert uuid.UUID(bytes=first).version == 8
    assert uuid.UUID(bytes=first).variant == uuid.RFC_4122


@given(_store_ids, st.integers(1, 2**48), st.integers(0, 2**31), st.integers(1, 20))
def test_ids_of_a_batch_follow_from_the_first(store_id: bytes, batch_id: int, first_index: int, count: int) -> None:
    identity = Identity(store_id)
    first = identity.message_id(batch_id, 0)
    low = int.from_bytes(first[12:], "big")
    expected = []
    for index in range(first_index, first_index + count):
        value = first[:12] + ((low + index) % 2**32).to_bytes(4, "big")
        assert identity.message_id(batch_id, index) == value
        expected.append(str(uuid.UUID(bytes=value)))
    assert identity.message_ids(batch_id, first_index, count) == expected


@given(_store_ids, st.integers(1, 2**48), st.integers(0, 5))
def test_ids_of_a_batch_go_on_where_their_last_four_bytes_start_over(
    store_id: bytes, batch_id: int, before: int
) -> None:
    identity = Identity(store_id)
    low = int.from_bytes(identity.message_id(batch_id, 0)[12:], "big")
    first_index = (-low - before) % 2**32
    expected = [str(uuid.UUID(bytes=identity.message_id(batch_id, first_index + index))) for index in range(5)]
    assert identity.message_ids(batch_id, first_index, 5) == expected


@given(_store_ids, _store_ids, _places)
def test_ids_of_two_stores_differ(one: bytes, other: bytes, place: tuple[int, int]) -> None:
    same = Identity(one).message_id(*place) == Identity(other).message_id(*place)
    assert same == (one == other)


@given(_store_ids, _handles)
def test_a_receipt_handle_comes_back(store_id: bytes, handle: ReceiptHandle) -> None:
    identity = Identity(store_id)
    text = identity.encode_handle(handle)
    assert identity.decode_handle(text) == handle
    assert astuple(identity.decode_handle(text)) == astuple(handle)
    assert len(text) <= 1024


@given(_store_ids, _handles, st.data())
def test_a_receipt_handle_that_was_tampered_with_is_refused(
    store_id: bytes, handle: ReceiptHandle, data: st.DataObject
) -> None:
    identity = Identity(store_id)
    raw = bytearray(urlsafe_b64decode(identity.encode_handle(handle)))
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[place // 8] ^= 1 << place % 8
    with pytest.raises(ReceiptHandleIsInvalid):
        identity.decode_handle(urlsafe_b64encode(bytes(raw)).decode())


@given(_store_ids, _handles)
def test_a_receipt_handle_of_another_store_is_refused(store_id: bytes, handle: ReceiptHandle) -> None:
    other = bytes([store_id[0] ^ 1]) + store_id[1:]
    with pytest.raises(ReceiptHandleIsInvalid):
        Identity(store_id).decode_handle(Identity(other).encode_handle(handle))


@given(_store_ids, st.text(max_size=60) | st.text(min_size=1025, max_size=1100))
def test_any_other_text_is_refused(store_id: bytes, text: str) -> None:
    with pytest.raises(ReceiptHandleIsInvalid):
        Identity(store_id).decode_handle(text)
