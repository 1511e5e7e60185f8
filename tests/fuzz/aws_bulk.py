"""Bodies of one thing a hundred thousand times: what they cost must be bounded, as their bytes are."""

from typing import Final

import cbor2
from hypothesis import strategies as st

from tests.fuzz.inputs import QUEUE

Bulk = tuple[str, str, bytes]
"""Encoding, operation, body."""

_QUEUE_URL: Final = b'{"QueueUrl":"' + QUEUE.encode() + b'",'
_ELEMENTS: Final = (
    b"[]", b"{}", b'""', b'"a"', b"0", b"null", b"0.1", b'{"Id":"a"}', b'{"Id":"a","MessageBody":"b"}', b"[[]]",
    b'{"Id":"a","ReceiptHandle":"b"}', b'"All"', b'{"MessageAttributes":{}}',
)  # fmt: skip
_LISTS: Final = (
    ("SendMessageBatch", b"Entries"), ("DeleteMessageBatch", b"Entries"), ("ChangeMessageVisibilityBatch", b"Entries"),
    ("ReceiveMessage", b"AttributeNames"), ("ReceiveMessage", b"MessageAttributeNames"),
    ("GetQueueAttributes", b"AttributeNames"), ("UntagQueue", b"TagKeys"), ("AddPermission", b"AWSAccountIds"),
    ("AddPermission", b"Actions"), ("ListQueues", b"Nothing"),
)  # fmt: skip
_MAPS: Final = (
    ("SendMessage", b"MessageAttributes", b"{}"), ("CreateQueue", b"Attributes", b'"1"'),
    ("SetQueueAttributes", b"Attributes", b'"1"'), ("TagQueue", b"Tags", b'"x"'), ("CreateQueue", b"tags", b'"x"'),
    ("SendMessage", b"MessageSystemAttributes", b'{"DataType":"String","StringValue":"a"}'),
    ("SendMessage", b"MessageAttributes", b'{"StringListValues":["a"]}'), ("ListQueues", b"Nothing", b"[]"),
)  # fmt: skip


def _list(chosen: tuple[tuple[str, bytes], bytes, int]) -> Bulk:
    (operation, name), element, count = chosen
    return "json", operation, _QUEUE_URL + b'"%b":[' % name + b",".join([element] * count) + b"]}"


def _map(chosen: tuple[tuple[str, bytes, bytes], int]) -> Bulk:
    (operation, name, value), count = chosen
    pairs = b",".join(b'"%d":%b' % (number, value) for number in range(count))
    return "json", operation, _QUEUE_URL + b'"MessageBody":"b","QueueName":"q","%b":{' % name + pairs + b"}}"


def _form(chosen: tuple[str, int]) -> Bulk:
    name, count = chosen
    pairs = "&".join(f"{name.replace('N', str(number))}=a" for number in range(count))
    return "query", "", f"Action=SendMessageBatch&QueueUrl={QUEUE}&{pairs}".encode()


def _cbor(chosen: tuple[bytes, int]) -> Bulk:
    element, count = chosen
    return "cbor", "ListQueues", b"\xa1" + cbor2.dumps("a") + b"\x9f" + element * count + b"\xff"


def _attribute(chosen: tuple[bytes, bytes, int]) -> Bulk:
    """An attribute that is a document itself."""
    name, element, count = chosen
    document = b"[" + b",".join([element] * count) + b"]"
    return "json", "SetQueueAttributes", _QUEUE_URL + b'"Attributes":{"%b":"%b"}}' % (name, document)


_POLICIES: Final = (b"Policy", b"RedrivePolicy", b"RedriveAllowPolicy", b"DelaySeconds")
_counts: Final = st.sampled_from((100, 100, 100, 5_000, 5_000, 5_000, 60_000, 60_000, 400_000))
_FORMS: Final = ("a", "aN", "SendMessageBatchRequestEntry.N.Id", "Entry.N.N.N.N", "." * 500 + "N", "%41N")
bulks: Final[st.SearchStrategy[Bulk]] = st.one_of(
    st.tuples(st.sampled_from(_LISTS), st.sampled_from(_ELEMENTS), _counts).map(_list),
    st.tuples(st.sampled_from(_MAPS), _counts).map(_map),
    st.tuples(st.sampled_from(_FORMS), _counts).map(_form),
    st.tuples(st.sampled_from(_POLICIES), st.sampled_from((b"[]", b"9", b"")), _counts).map(_attribute),
    st.tuples(st.sampled_from((b"\x80", b"\xa0", b"\x9f\xff", b"\x60", b"\x00", b"\xc1\x00")), _counts).map(_cbor),
    _counts.map(lambda count: ("json", "SendMessage", _QUEUE_URL + b'"MessageBody":"' + b"\\n" * count + b'"}')),
    _counts.map(lambda count: ("json", "ListQueues", b'{"NextToken":"' + b"A" * count + b'"}')),
    _counts.map(lambda count: ("json", "GetQueueUrl", b'{"QueueName":"' + b"a" * count + b'"}')),
)
