"""The wire form that is written by hand is the one that protobuf writes."""

from heddle.packing import header, pack_one, plain_header
from heddle.v1 import message_pb2
from hypothesis import given
from hypothesis import strategies as st

# Around every length at which a varint grows, the end of the table, and the largest body.
EDGES = [1, 123, 124, 125, 126, 127, 128, 2047, 2048, 16_379, 16_380, 16_383, 16_384, 2**20]


@given(st.lists(st.binary(min_size=1, max_size=300) | st.sampled_from(EDGES).map(bytes), max_size=20))
def test_plain_messages_are_packed_as_protobuf_packs_them(bodies: list[bytes]) -> None:
    packed = b"".join(plain_header(len(body)) + body for body in bodies)
    batch = message_pb2.MessageBatch(messages=[message_pb2.Message(body=body) for body in bodies])
    assert packed == batch.SerializeToString()


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.text(max_size=20)), max_size=10))
def test_plain_and_full_messages_mix_in_one_batch(messages: list[tuple[bytes, str]]) -> None:
    packed = b"".join(
        pack_one(message_pb2.Message(body=body, message_group_id=group)) if group else plain_header(len(body)) + body
        for body, group in messages
    )
    parsed = message_pb2.MessageBatch.FromString(packed)
    assert [(message.body, message.message_group_id) for message in parsed.messages] == messages


@given(st.binary(min_size=1, max_size=300) | st.sampled_from(EDGES).map(bytes), st.text(min_size=1, max_size=300))
def test_a_header_counts_what_follows_the_body(body: bytes, group: str) -> None:
    other = message_pb2.Message(message_group_id=group).SerializeToString()
    assert header(len(body), len(other)) + body + other == pack_one(
        message_pb2.Message(body=body, message_group_id=group)
    )
