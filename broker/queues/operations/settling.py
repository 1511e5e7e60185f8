"""DeleteMessage, ChangeMessageVisibility and their batch forms."""

from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.errors import InvalidParameterValue, MissingParameter
from broker.queues.identity import Identity, ReceiptHandle, invalid_handle
from broker.queues.operations.batches import check_entries, each
from broker.queues.queue import Queue


def delete_message(queue: Queue, receipt_handle: str, *, identity: Identity, now_ms: int) -> None:
    queue.delete_received(_decoded(queue, receipt_handle, identity), receipt_handle, now_ms)


def delete_message_batch(
    queue: Queue, request: pb.DeleteMessageBatchRequest, *, identity: Identity, now_ms: int
) -> pb.DeleteMessageBatchResponse:
    check_entries("DeleteMessageBatchRequestEntry", request.entries)
    response = pb.DeleteMessageBatchResponse()
    received: list[ReceiptHandle] = []

    def delete(entry: pb.DeleteMessageBatchRequestEntry) -> None:
        if queue.fifo:  # where a handle may be too old, each for itself
            delete_message(queue, entry.receipt_handle, identity=identity, now_ms=now_ms)
        else:
            received.append(_decoded(queue, entry.receipt_handle, identity))

    for entry, error in each(request.entries, delete):
        if error is None:
            response.successful.append(pb.DeleteMessageBatchResultEntry(id=entry.id))
        else:
            response.failed.append(error)
    queue.delete_all_received(received, now_ms)
    return response


def change_visibility(
    queue: Queue,
    request: pb.ChangeMessageVisibilityRequest | pb.ChangeMessageVisibilityBatchRequestEntry,
    *,
    identity: Identity,
    now_ms: int,
) -> None:
    handle = _decoded(queue, request.receipt_handle, identity)
    if not request.HasField("visibility_timeout"):
        raise MissingParameter.named("VisibilityTimeout")
    seconds = request.visibility_timeout
    if not 0 <= seconds <= limits.VISIBILITY_TIMEOUT_SECONDS_MAX:
        raise InvalidParameterValue(
            f"Value {seconds} for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200."
        )
    queue.change_visibility(handle, request.receipt_handle, seconds, now_ms)


def change_visibility_batch(
    queue: Queue, request: pb.ChangeMessageVisibilityBatchRequest, *, identity: Identity, now_ms: int
) -> pb.ChangeMessageVisibilityBatchResponse:
    check_entries("ChangeMessageVisibilityBatchRequestEntry", request.entries)
    response = pb.ChangeMessageVisibilityBatchResponse()
    for entry, error in each(
        request.entries, lambda entry: change_visibility(queue, entry, identity=identity, now_ms=now_ms)
    ):
        if error is None:
            response.successful.append(pb.ChangeMessageVisibilityBatchResultEntry(id=entry.id))
        else:
            response.failed.append(error)
    return response


def _decoded(queue: Queue, receipt_handle: str, identity: Identity) -> ReceiptHandle:
    if not receipt_handle:
        raise MissingParameter.named("ReceiptHandle")
    handle = identity.decode_handle(receipt_handle)
    if handle.log_id != queue.log_id:
        raise invalid_handle(receipt_handle)
    return handle
