"""A message that is being sent: from what a caller asked for to the form that is stored."""

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import MessageBatch

from broker import limits
from broker.errors import BatchRequestTooLong, InvalidParameterValue
from broker.queues import messages as rules

Outgoing = pb.SendMessageRequest | pb.SendMessageBatchRequestEntry


def add_message(batch: MessageBatch, request: Outgoing, *, fifo: bool) -> int | None:
    """Adds the message of a request whose body is checked. Returns its delay, None for the queue's. Raises the exact
    error of a bad parameter, and then the batch is of no use."""
    message = batch.messages.add(body=request.message_body)
    delay_ms = None
    if request.HasField("delay_seconds"):
        check_delay(request.delay_seconds)
        if not fifo:
            delay_ms = request.delay_seconds * 1000
        elif request.delay_seconds:  # 0 is taken, and means nothing: the queue's delay holds
            raise rules.not_for_this_queue_type("DelaySeconds", request.delay_seconds)
    if request.message_attributes:
        rules.check_attributes(request.message_attributes)
        for name, value in request.message_attributes.items():
            message.message_attributes[name].CopyFrom(value)
    if request.message_system_attributes:
        message.aws_trace_header = rules.trace_header(request.message_system_attributes)
    if request.HasField("message_group_id"):
        rules.check_id("MessageGroupId", request.message_group_id)
        message.message_group_id = request.message_group_id
    if request.HasField("message_deduplication_id"):
        if not fifo:
            raise rules.not_for_this_queue_type("MessageDeduplicationId", request.message_deduplication_id)
        rules.check_id("MessageDeduplicationId", request.message_deduplication_id)
        message.message_deduplication_id = request.message_deduplication_id
    return delay_ms


def check_delay(delay_seconds: int) -> None:
    if not 0 <= delay_seconds <= limits.DELAY_SECONDS_MAX:
        raise InvalidParameterValue(
            f"Value {delay_seconds} for parameter DelaySeconds is invalid. "
            "Reason: DelaySeconds must be >= 0 and <= 900."
        )


def size_of(request: Outgoing) -> int:
    """In bytes, as AWS counts a message."""
    if not request.message_attributes:
        return len(request.message_body)
    return rules.message_bytes(request.message_body, request.message_attributes)


def check_total(sizes: list[int]) -> None:
    """Raises BatchRequestTooLong."""
    if sum(sizes) > limits.BATCH_REQUEST_BYTES_MAX:
        raise BatchRequestTooLong(
            f"Batch requests cannot be longer than {limits.BATCH_REQUEST_BYTES_MAX} bytes. "
            f"You have sent {sum(sizes)} bytes."
        )


def check_entry(entry: pb.SendMessageBatchRequestEntry, size: int, maximum_message_bytes: int) -> None:
    """Raises MissingParameter, InvalidMessageContents or InvalidParameterValue for the body of one entry."""
    rules.check_body(entry.message_body)
    if size > maximum_message_bytes:
        raise InvalidParameterValue(
            "One or more parameters cannot be validated. Reason: Message must be shorter than "
            f"{maximum_message_bytes} bytes."
        )


def attribute_digests(request: Outgoing) -> dict[str, str]:
    """The MD5 members of the answer, for what attributes there are."""
    digests = {}
    if request.message_attributes:
        digests["md5_of_message_attributes"] = rules.attributes_md5(request.message_attributes)
    if request.message_system_attributes:
        digests["md5_of_message_system_attributes"] = rules.attributes_md5(request.message_system_attributes)
    return digests


def plain_request_bytes(request: pb.SendMessageBatchRequest, ids: list[str], messages_bytes: int) -> int:
    """The size of a request whose entries have an id and fields that take ``messages_bytes`` with their entry's own tag
    and length: what else an entry had would show in the request's size. Where an id makes the length of its entry a
    byte longer, the request is larger than this, and seen as one that has more."""
    url_bytes = len(request.queue_url.encode())
    if url_bytes:  # an empty one is left out
        url_bytes += 1 + (1 if url_bytes < 0x80 else 2 if url_bytes < 0x4000 else 3)
    return url_bytes + messages_bytes + sum(map(len, ids)) + 2 * len(ids)
