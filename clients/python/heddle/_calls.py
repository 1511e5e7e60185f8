"""The unary calls as values: which method, with which request, and what its response means. No I/O.

Both faces perform the same `Call`; all that differs between them is who waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage

from heddle._model import (
    Attributes,
    BatchError,
    OutgoingMessage,
    PeekedMessage,
    ReceivedMessage,
    SentMessage,
    body_bytes,
    pack_attributes,
    peeked_message,
    received_message,
    sent_message,
)
from heddle.v1 import message_pb2
from heddle.v1 import queues_pb2 as pb

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """`seconds_more`: how much longer than other calls it may take because it was asked to wait."""

    method: str
    request: ProtoMessage
    parse: Callable[[Any], T_co]
    seconds_more: float = 0.0


def _nothing(_: object) -> None:
    return None


def queue_name(queue_url: str) -> str:
    """A queue's name: the last segment of its URL, or the whole of a bare name."""
    return queue_url.rpartition("/")[2]


def create_queue(name: str, attributes: Mapping[str, str] | None, tags: Mapping[str, str] | None) -> Call[str]:
    """Yields the queue's URL."""
    request = pb.CreateQueueRequest(queue_name=name, attributes=attributes or {}, tags=tags or {})
    return Call("CreateQueue", request, lambda response: str(response.queue_url))


def delete_queue(queue_url: str) -> Call[None]:
    """Yields nothing."""
    return Call("DeleteQueue", pb.DeleteQueueRequest(queue_url=queue_url), _nothing)


def get_queue_url(name: str, owner: str | None) -> Call[str]:
    """Yields the queue's URL."""
    request = pb.GetQueueUrlRequest(queue_name=name, queue_owner_aws_account_id=owner or "")
    return Call("GetQueueUrl", request, lambda response: str(response.queue_url))


def list_queues(prefix: str, next_token: str) -> Call[tuple[list[str], str]]:
    """Yields a page of URLs and the token of the next one ("": this was the last)."""
    request = pb.ListQueuesRequest(queue_name_prefix=prefix, max_results=1000, next_token=next_token)
    return Call("ListQueues", request, lambda response: (list(response.queue_urls), str(response.next_token)))


def get_attributes(queue_url: str, names: Iterable[str]) -> Call[dict[str, str]]:
    """Yields the queue's attributes."""
    request = pb.GetQueueAttributesRequest(queue_url=queue_url, attribute_names=names)
    return Call("GetQueueAttributes", request, lambda response: dict(response.attributes))


def set_attributes(queue_url: str, attributes: Mapping[str, str]) -> Call[None]:
    """Yields nothing."""
    return Call(
        "SetQueueAttributes", pb.SetQueueAttributesRequest(queue_url=queue_url, attributes=attributes), _nothing
    )


def purge(queue_url: str) -> Call[None]:
    """Yields nothing."""
    return Call("PurgeQueue", pb.PurgeQueueRequest(queue_url=queue_url), _nothing)


def get_tags(queue_url: str) -> Call[dict[str, str]]:
    """Yields the queue's tags."""
    return Call("ListQueueTags", pb.ListQueueTagsRequest(queue_url=queue_url), lambda response: dict(response.tags))


def tag(queue_url: str, tags: Mapping[str, str]) -> Call[None]:
    """Yields nothing."""
    return Call("TagQueue", pb.TagQueueRequest(queue_url=queue_url, tags=tags), _nothing)


def untag(queue_url: str, keys: Iterable[str]) -> Call[None]:
    """Yields nothing."""
    return Call("UntagQueue", pb.UntagQueueRequest(queue_url=queue_url, tag_keys=keys), _nothing)


def add_permission(queue_url: str, label: str, account_ids: Iterable[str], actions: Iterable[str]) -> Call[None]:
    """Yields nothing."""
    request = pb.AddPermissionRequest(queue_url=queue_url, label=label, aws_account_ids=account_ids, actions=actions)
    return Call("AddPermission", request, _nothing)


def remove_permission(queue_url: str, label: str) -> Call[None]:
    """Yields nothing."""
    return Call("RemovePermission", pb.RemovePermissionRequest(queue_url=queue_url, label=label), _nothing)


def send(queue_url: str, message: OutgoingMessage) -> Call[SentMessage]:
    """Yields what became of the message."""
    request = pb.SendMessageRequest(queue_url=queue_url, **_members(message))
    return Call("SendMessage", request, sent_message)


def send_batch(
    queue_url: str, entries: Iterable[OutgoingMessage | bytes | str]
) -> Call[list[SentMessage | BatchError]]:
    """Yields what became of each entry, in the order of the entries."""
    messages = [entry if isinstance(entry, OutgoingMessage) else OutgoingMessage(entry) for entry in entries]
    request = pb.SendMessageBatchRequest(
        queue_url=queue_url,
        entries=[
            pb.SendMessageBatchRequestEntry(id=str(index), **_members(message))
            for index, message in enumerate(messages)
        ],
    )

    def parse(response: pb.SendMessageBatchResponse) -> list[SentMessage | BatchError]:
        outcomes: dict[str, SentMessage | BatchError] = {sent.id: sent_message(sent) for sent in response.successful}
        outcomes.update(_batch_errors(response.failed))
        return [outcomes[str(index)] for index in range(len(messages))]

    return Call("SendMessageBatch", request, parse)


def receive(
    queue_url: str,
    *,
    max_messages: int,
    wait_seconds: int | None,
    visibility_timeout: int | None,
    attribute_names: Sequence[str],
    message_attribute_names: Sequence[str],
    receive_request_attempt_id: str | None,
) -> Call[list[ReceivedMessage]]:
    """Yields the received messages, possibly none."""
    request = pb.ReceiveMessageRequest(
        queue_url=queue_url,
        max_number_of_messages=max_messages,
        visibility_timeout=visibility_timeout,
        wait_time_seconds=wait_seconds,
        message_system_attribute_names=attribute_names,
        message_attribute_names=message_attribute_names,
        receive_request_attempt_id=receive_request_attempt_id,
    )
    # A queue may have a wait of its own, of up to 20 seconds.
    return Call(
        "ReceiveMessage",
        request,
        lambda response: [received_message(message) for message in response.messages],
        seconds_more=20 if wait_seconds is None else wait_seconds,
    )


def delete(queue_url: str, receipt_handle: str) -> Call[None]:
    """Yields nothing."""
    request = pb.DeleteMessageRequest(queue_url=queue_url, receipt_handle=receipt_handle)
    return Call("DeleteMessage", request, _nothing)


def delete_batch(queue_url: str, receipt_handles: Iterable[str]) -> Call[list[BatchError | None]]:
    """Yields, for each handle, None or why it failed."""
    entries = [
        pb.DeleteMessageBatchRequestEntry(id=str(index), receipt_handle=handle)
        for index, handle in enumerate(receipt_handles)
    ]
    request = pb.DeleteMessageBatchRequest(queue_url=queue_url, entries=entries)
    return Call("DeleteMessageBatch", request, lambda response: _failures(response.failed, len(entries)))


def change_visibility(queue_url: str, receipt_handle: str, visibility_timeout: int) -> Call[None]:
    """Yields nothing."""
    request = pb.ChangeMessageVisibilityRequest(
        queue_url=queue_url, receipt_handle=receipt_handle, visibility_timeout=visibility_timeout
    )
    return Call("ChangeMessageVisibility", request, _nothing)


def change_visibility_batch(queue_url: str, changes: Iterable[tuple[str, int]]) -> Call[list[BatchError | None]]:
    """Yields, for each (receipt handle, seconds), None or why it failed."""
    entries = [
        pb.ChangeMessageVisibilityBatchRequestEntry(id=str(index), receipt_handle=handle, visibility_timeout=seconds)
        for index, (handle, seconds) in enumerate(changes)
    ]
    request = pb.ChangeMessageVisibilityBatchRequest(queue_url=queue_url, entries=entries)
    return Call("ChangeMessageVisibilityBatch", request, lambda response: _failures(response.failed, len(entries)))


def peek(queue_url: str, max_messages: int, from_sequence: int | None) -> Call[list[PeekedMessage]]:
    """Yields what is there."""
    request = pb.PeekMessagesRequest(
        queue_url=queue_url, max_number_of_messages=max_messages, from_sequence=from_sequence
    )
    return Call("PeekMessages", request, lambda response: [peeked_message(peeked) for peeked in response.messages])


def produced_message(
    body: bytes,
    attributes: Attributes | None,
    group_id: str | None,
    deduplication_id: str | None,
    trace_header: str | None,
) -> message_pb2.Message:
    """A message as `Produce` carries it."""
    return message_pb2.Message(
        body=body,
        message_attributes=pack_attributes(attributes),
        message_group_id=group_id or "",
        message_deduplication_id=deduplication_id or "",
        aws_trace_header=trace_header or "",
    )


def _members(message: OutgoingMessage) -> dict[str, Any]:
    """What SendMessageRequest and SendMessageBatchRequestEntry have in common."""
    trace = {} if message.trace_header is None else {"AWSTraceHeader": message.trace_header}
    return {
        "message_body": body_bytes(message.body),
        "delay_seconds": message.delay_seconds,
        "message_attributes": pack_attributes(message.attributes),
        "message_system_attributes": pack_attributes(trace),
        "message_group_id": message.group_id,
        "message_deduplication_id": message.deduplication_id,
    }


def _batch_errors(failed: Iterable[pb.BatchResultErrorEntry]) -> dict[str, BatchError]:
    return {entry.id: BatchError(entry.code, entry.message, entry.sender_fault) for entry in failed}


def _failures(failed: Iterable[pb.BatchResultErrorEntry], count: int) -> list[BatchError | None]:
    errors = _batch_errors(failed)
    return [errors.get(str(index)) for index in range(count)]
