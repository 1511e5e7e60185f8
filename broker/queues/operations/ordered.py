"""Sending to FIFO queues: groups, deduplication ids, and answers that name the original of a duplicate."""

from collections.abc import Iterable
from typing import NamedTuple

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import MessageBatch

from broker import limits
from broker.errors import BrokerError, InvalidParameterValue, MissingParameter
from broker.log import pack_ordered
from broker.queues import messages as rules
from broker.queues import produced
from broker.queues.fifo import FifoQueue
from broker.queues.identity import Identity, sequence_number, sequence_numbers
from broker.queues.operations.answers import all_sent_in_order
from broker.queues.operations.batches import check_ids, failed
from broker.queues.operations.outgoing import (
    Outgoing,
    add_message,
    attribute_digests,
    check_entry,
    check_total,
    plain_request_bytes,
    size_of,
)


def send(
    queue: FifoQueue,
    packed: bytes,
    request: pb.SendMessageRequest,
    *,
    identity: Identity,
    now_ms: int,
    sender_id: str,
) -> tuple[str, str]:
    """Appends the one, checked message of ``packed``. Returns its message id and sequence number."""
    if not request.HasField("message_group_id"):
        raise MissingParameter.named("MessageGroupId")
    deduplication_id = _deduplication_id(queue, request)
    accepted = queue.send_ordered(
        packed, [request.message_group_id], [deduplication_id], now_ms=now_ms, sender_id=sender_id
    )
    (place,) = accepted.places()
    (message_id,) = identity.message_ids(place.batch_id, place.index, 1)
    return message_id, sequence_number(place.sequence)


def send_batch(
    queue: FifoQueue,
    request: pb.SendMessageBatchRequest,
    *,
    identity: Identity,
    now_ms: int,
    sender_id: str,
) -> bytes:
    """SendMessageBatch of one to ten entries. Returns the response, serialized."""
    fields = _Fields.of(request.entries)
    check_ids(fields.ids)
    packed = _packed_if_plain(queue, request, fields)
    if packed is not None:
        message_ids, numbers = _send_fields(queue, packed, fields, identity, now_ms, sender_id)
        return all_sent_in_order(fields.ids, message_ids, rules.body_md5s(fields.bodies), numbers)
    response = pb.SendMessageBatchResponse()
    packed, accepted = _accepted(queue, list(request.entries), response)
    if accepted:
        message_ids, numbers = _send_fields(queue, packed, _Fields.of(accepted), identity, now_ms, sender_id)
        for entry, message_id, number in zip(accepted, message_ids, numbers, strict=True):
            response.successful.add(
                id=entry.id,
                message_id=message_id,
                md5_of_message_body=rules.body_md5(entry.message_body),
                sequence_number=number,
                **attribute_digests(entry),
            )
    return response.SerializeToString()


def _send_fields(  # noqa: PLR0917
    queue: FifoQueue, packed: bytes, fields: "_Fields", identity: Identity, now_ms: int, sender_id: str
) -> tuple[list[str], list[str]]:
    """Appends checked messages. Returns the message ids and sequence numbers of those that now stand for them."""
    deduplication_ids = produced.deduplication_ids(fields.deduplication_ids, fields.bodies)
    accepted = queue.send_ordered(packed, fields.groups, deduplication_ids, now_ms=now_ms, sender_id=sender_id)
    sent = accepted.sent
    if sent is not None and not accepted.originals:
        message_ids = identity.message_ids(sent.batch_id, sent.first_index, sent.count)
        return message_ids, sequence_numbers(sent.base, sent.count)
    places = accepted.places()
    message_ids = [identity.message_ids(place.batch_id, place.index, 1)[0] for place in places]
    return message_ids, [sequence_number(place.sequence) for place in places]


def _deduplication_id(queue: FifoQueue, request: Outgoing) -> str:
    if request.HasField("message_deduplication_id"):
        return request.message_deduplication_id
    if not queue.attributes.content_based_deduplication:
        raise produced.no_deduplication_id()
    return produced.content_id(request.message_body)


class _Fields(NamedTuple):
    """What every entry of a FIFO batch has; an empty deduplication id stands for that of the content."""

    ids: list[str]
    bodies: list[bytes]
    groups: list[str]
    deduplication_ids: list[str]

    @classmethod
    def of(cls, entries: Iterable[pb.SendMessageBatchRequestEntry]) -> "_Fields":
        rows = [  # once: each look makes ten objects
            (entry.id, entry.message_body, entry.message_group_id, entry.message_deduplication_id) for entry in entries
        ]
        return cls(*map(list, zip(*rows, strict=True)))


def _packed_if_plain(queue: FifoQueue, request: pb.SendMessageBatchRequest, fields: _Fields) -> bytes | None:
    """As in ``sending.py``: the packed batch where entries have an id, a good body, a group and perhaps a deduplication
    id, all of them good, and nothing else."""
    attributes, given = queue.attributes, [each for each in fields.deduplication_ids if each]
    if len(given) < len(fields.ids) and not attributes.content_based_deduplication:
        return None
    if not rules.are_plain_bodies(fields.bodies, attributes.maximum_message_bytes, limits.BATCH_REQUEST_BYTES_MAX):
        return None
    if not rules.are_ids([*fields.groups, *given]):
        return None
    packed = pack_ordered(fields.bodies, fields.groups, fields.deduplication_ids)
    # The tag of a deduplication id takes a byte more in a message than in an entry.
    return packed if request.ByteSize() == plain_request_bytes(request, fields.ids, len(packed) - len(given)) else None


def _accepted(
    queue: FifoQueue, entries: list[pb.SendMessageBatchRequestEntry], response: pb.SendMessageBatchResponse
) -> tuple[bytes, list[pb.SendMessageBatchRequestEntry]]:
    """Checks each entry; those that are refused go into ``response``. Returns the packed batch of the others, and them.
    Raises BatchRequestTooLong, and InvalidParameterValue for what fails the whole call."""
    sizes = [size_of(entry) for entry in entries]
    check_total(sizes)
    for entry in entries:
        if not entry.HasField("message_group_id"):
            raise InvalidParameterValue("The request must contain the parameter MessageGroupId.")
    for entry in entries:
        _deduplication_id(queue, entry)
    batch, good = b"", []
    for entry, size in zip(entries, sizes, strict=True):
        try:
            check_entry(entry, size, queue.attributes.maximum_message_bytes)
            one = MessageBatch()
            add_message(one, entry, fifo=True)
        except BrokerError as error:
            response.failed.append(failed(entry.id, error))
            continue
        batch += one.SerializeToString()
        good.append(entry)
    return batch, good
