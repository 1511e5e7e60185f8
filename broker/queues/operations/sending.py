"""SendMessage and SendMessageBatch: check, append, say what to answer.

What only FIFO queues need is in ``ordered.py``.
"""

from dataclasses import dataclass

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import MessageBatch

from broker import limits
from broker.errors import BrokerError
from broker.log import pack_plain
from broker.queues import messages as rules
from broker.queues.fifo import FifoQueue
from broker.queues.identity import Identity
from broker.queues.operations import ordered
from broker.queues.operations.answers import all_sent
from broker.queues.operations.batches import check_count, check_ids, failed
from broker.queues.operations.outgoing import (
    add_message,
    attribute_digests,
    check_entry,
    check_total,
    plain_request_bytes,
    size_of,
)
from broker.queues.queue import Queue


def send_message(
    queue: Queue, request: pb.SendMessageRequest, *, identity: Identity, now_ms: int, sender_id: str
) -> pb.SendMessageResponse:
    rules.check_body(request.message_body)
    batch = MessageBatch()
    delay_ms = add_message(batch, request, fifo=queue.fifo)
    if size_of(request) > queue.attributes.maximum_message_bytes:
        raise rules.too_long(queue.attributes.maximum_message_bytes)
    packed = batch.SerializeToString()
    response = pb.SendMessageResponse(
        md5_of_message_body=rules.body_md5(request.message_body), **attribute_digests(request)
    )
    if isinstance(queue, FifoQueue):
        response.message_id, response.sequence_number = ordered.send(
            queue, packed, request, identity=identity, now_ms=now_ms, sender_id=sender_id
        )
    else:
        groups = [request.message_group_id] if request.message_group_id else None
        sent = queue.send(packed, 1, len(packed), delay_ms=delay_ms, now_ms=now_ms, sender_id=sender_id, groups=groups)
        (response.message_id,) = identity.message_ids(sent.batch_id, sent.first_index, 1)
    return response


def send_message_batch(
    queue: Queue, request: pb.SendMessageBatchRequest, *, identity: Identity, now_ms: int, sender_id: str
) -> bytes:
    """Returns the SendMessageBatchResponse, serialized."""
    check_count("SendMessageBatchRequestEntry", len(request.entries))
    if isinstance(queue, FifoQueue):
        return ordered.send_batch(queue, request, identity=identity, now_ms=now_ms, sender_id=sender_id)
    ids: list[str] = []
    bodies: list[bytes] = []
    for entry in request.entries:  # once: each look makes ten objects
        ids.append(entry.id)
        bodies.append(entry.message_body)
    check_ids(ids)
    packed = _packed_if_plain(request, ids, bodies, queue.attributes.maximum_message_bytes)
    if packed is not None:
        sent = queue.send(packed, len(ids), len(packed), delay_ms=None, now_ms=now_ms, sender_id=sender_id)
        message_ids = identity.message_ids(sent.batch_id, sent.first_index, sent.count)
        return all_sent(ids, message_ids, rules.body_md5s(bodies))
    response = pb.SendMessageBatchResponse()
    for group in _accepted(list(request.entries), queue.attributes.maximum_message_bytes, response):
        sent = queue.send(
            group.packed,
            len(group.entries),
            len(group.packed),
            delay_ms=group.delay_ms,
            now_ms=now_ms,
            sender_id=sender_id,
            groups=group.groups(),
        )
        message_ids = identity.message_ids(sent.batch_id, sent.first_index, sent.count)
        for entry, message_id in zip(group.entries, message_ids, strict=True):
            response.successful.add(
                id=entry.id,
                message_id=message_id,
                md5_of_message_body=rules.body_md5(entry.message_body),
                **attribute_digests(entry),
            )
    return response.SerializeToString()


@dataclass(slots=True)
class _Accepted:
    """Entries of a SendMessageBatch that follow each other and share a delay: one append to the log."""

    delay_ms: int | None
    packed: bytes
    entries: list[pb.SendMessageBatchRequestEntry]

    def groups(self) -> list[str] | None:
        """The message groups, where any message has one."""
        names = [entry.message_group_id for entry in self.entries]
        return names if any(names) else None


def _packed_if_plain(
    request: pb.SendMessageBatchRequest, ids: list[str], bodies: list[bytes], maximum_message_bytes: int
) -> bytes | None:
    """The packed batch of a request whose entries have nothing but an id and a good body, as most have; None for
    others, and where any entry is to be refused.

    Nothing here looks at an entry by itself. Measured for ten bodies of 1 KB: the whole call takes 40 µs so and 100 µs
    entry by entry; the MD5s of the answer are 17 of them. In a busy broker, with cold caches, twice to three times as
    much, and of a main thread that spends 400 µs a call with gRPC and the commit.
    """
    if not rules.are_plain_bodies(bodies, maximum_message_bytes, limits.BATCH_REQUEST_BYTES_MAX):
        return None
    packed = pack_plain(bodies)
    # The message of a plain entry takes as many bytes as the entry without its id.
    return packed if request.ByteSize() == plain_request_bytes(request, ids, len(packed)) else None


def _accepted(
    entries: list[pb.SendMessageBatchRequestEntry],
    maximum_message_bytes: int,
    response: pb.SendMessageBatchResponse,
) -> list[_Accepted]:
    """Checks each entry by itself; those that are refused go into ``response``. Raises BatchRequestTooLong."""
    sizes = [size_of(entry) for entry in entries]
    check_total(sizes)
    groups: list[_Accepted] = []
    for entry, size in zip(entries, sizes, strict=True):
        try:
            check_entry(entry, size, maximum_message_bytes)
            batch = MessageBatch()
            delay_ms = add_message(batch, entry, fifo=False)
        except BrokerError as error:
            response.failed.append(failed(entry.id, error))
            continue
        if not groups or groups[-1].delay_ms != delay_ms:
            groups.append(_Accepted(delay_ms, b"", []))
        group = groups[-1]
        group.packed += batch.SerializeToString()  # batches that are joined are the batch of all their messages
        group.entries.append(entry)
    return groups
