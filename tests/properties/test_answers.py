"""Answers and messages that are written by hand are those that protobuf writes."""

import re
from hashlib import md5

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import given
from hypothesis import strategies as st

from broker import limits
from broker.log import pack_ordered
from broker.queues.identity import Identity, sequence_number, sequence_numbers
from broker.queues.operations.answers import all_sent, all_sent_in_order

_IDS = st.lists(
    st.from_regex(re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII), fullmatch=True), min_size=1, max_size=10, unique=True
)


@given(
    ids=_IDS, store_id=st.binary(min_size=16, max_size=16), batch_id=st.integers(1, 2**63), first=st.integers(0, 2**50)
)
def test_all_sent_is_what_protobuf_writes(ids: list[str], store_id: bytes, batch_id: int, first: int) -> None:
    message_ids = Identity(store_id).message_ids(batch_id, 3, len(ids))
    digests = [md5(each.encode(), usedforsecurity=False).hexdigest() for each in ids]
    numbers = sequence_numbers(first, len(ids))
    plain, ordered = pb.SendMessageBatchResponse(), pb.SendMessageBatchResponse()
    for entry_id, message_id, digest, number in zip(ids, message_ids, digests, numbers, strict=True):
        plain.successful.add(id=entry_id, message_id=message_id, md5_of_message_body=digest)
        ordered.successful.add(id=entry_id, message_id=message_id, md5_of_message_body=digest, sequence_number=number)
    assert all_sent(ids, message_ids, digests) == plain.SerializeToString()
    assert all_sent_in_order(ids, message_ids, digests, numbers) == ordered.SerializeToString()


def test_ids_of_every_length() -> None:
    for length in range(1, limits.ENTRY_ID_CHARACTERS_MAX + 1):
        expected = pb.SendMessageBatchResponse()
        expected.successful.add(id="i" * length, message_id="m" * 36, md5_of_message_body="d" * 32)
        assert all_sent(["i" * length], ["m" * 36], ["d" * 32]) == expected.SerializeToString()


_NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=limits.GROUP_ID_CHARACTERS_MAX)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=3000), _NAMES.filter(bool), _NAMES), max_size=10))
def test_ordered_messages_are_packed_as_protobuf_packs_them(messages: list[tuple[bytes, str, str]]) -> None:
    batch = MessageBatch(
        messages=[
            Message(body=body, message_group_id=group, message_deduplication_id=deduplication_id)
            for body, group, deduplication_id in messages
        ]
    )
    bodies, groups, deduplication_ids = zip(*messages, strict=True) if messages else ((), (), ())
    assert pack_ordered(bodies, groups, deduplication_ids) == batch.SerializeToString()


@given(first=st.integers(0, 2**50) | st.sampled_from([990, 995, 999, 1000, 999_995]), count=st.integers(0, 20))
def test_sequence_numbers_are_those_of_each(first: int, count: int) -> None:
    assert sequence_numbers(first, count) == [sequence_number(each) for each in range(first, first + count)]
    assert all(len(number) == 20 for number in sequence_numbers(first, count))
