"""ReceiveMessage: its checks, and messages as the caller asked to see them."""

from collections.abc import Mapping, Sequence
from typing import Final

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message

from broker import limits
from broker.errors import InvalidAttributeName, InvalidParameterValue
from broker.log import PackedBatch
from broker.queues import messages as rules
from broker.queues.identity import Identity, ReceiptHandle, sequence_number
from broker.queues.produced import content_id
from broker.queues.queue import Queue
from broker.queues.values import Taken

SYSTEM_ATTRIBUTE_NAMES: Final = frozenset(
    {
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "MessageGroupId",
        "MessageDeduplicationId",
        "SequenceNumber",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
    }
)


def check_receive(queue: Queue, request: pb.ReceiveMessageRequest) -> None:
    """Raises InvalidParameterValue, InvalidAttributeName."""
    _check_range("MaxNumberOfMessages", request, "max_number_of_messages", 1, limits.RECEIVE_MESSAGES_MAX)
    _check_range("WaitTimeSeconds", request, "wait_time_seconds", 0, limits.WAIT_TIME_SECONDS_MAX)
    _check_range("VisibilityTimeout", request, "visibility_timeout", 0, limits.VISIBILITY_TIMEOUT_SECONDS_MAX)
    if queue.fifo and request.HasField("receive_request_attempt_id"):
        rules.check_attempt_id(request.receive_request_attempt_id)
    for names in (request.message_system_attribute_names, request.attribute_names):
        for name in names:
            if name != "All" and name not in SYSTEM_ATTRIBUTE_NAMES:
                raise InvalidAttributeName(f"Unknown Attribute {name}.")


def _check_range(parameter: str, request: pb.ReceiveMessageRequest, field: str, lowest: int, highest: int) -> None:
    value = getattr(request, field)
    if request.HasField(field) and not lowest <= value <= highest:
        bounds = f"between {lowest} and {highest}" if lowest else f">= {lowest} and <= {highest}"
        raise InvalidParameterValue(
            f"Value {value} for parameter {parameter} is invalid. Reason: Must be {bounds}, if provided."
        )


def received_messages(
    queue: Queue,
    request: pb.ReceiveMessageRequest,
    taken: Sequence[Taken],
    payloads: Mapping[int, PackedBatch],
    identity: Identity,
) -> list[pb.ReceivedMessage]:
    """What was taken, as the caller asked to see it. ``payloads`` by batch id; a batch that is gone is left out."""
    system_names = {*request.message_system_attribute_names, *request.attribute_names}
    found = []
    for part in taken:
        payload = payloads.get(part.entry.batch_id)
        if payload is None:  # purged or expired between the receive and now
            continue
        message_ids = identity.message_ids(part.entry.name_id, part.first_index, len(part))
        for offset, message_id in enumerate(message_ids):
            message = payload.message(part.first_index + offset)
            handle = ReceiptHandle(queue.log_id, part.lo + offset, part.entry.name_id, part.delivery_id)
            received = pb.ReceivedMessage(
                message_id=message_id,
                receipt_handle=identity.encode_handle(handle),
                md5_of_body=rules.body_md5(message.body),
                body=message.body,
            )
            if system_names:
                every = _system_attributes(part, message)
                if queue.fifo:
                    every.update(_fifo_attributes(part, message, part.lo + offset, message_id))
                names = every if "All" in system_names else system_names & every.keys()
                for name in names:
                    received.attributes[name] = every[name]
            selected = rules.selected_attributes(message.message_attributes, request.message_attribute_names)
            if selected:
                for name, value in selected.items():
                    received.message_attributes[name].CopyFrom(value)
                received.md5_of_message_attributes = rules.attributes_md5(selected)
            found.append(received)
    return found


def _system_attributes(part: Taken, message: Message) -> dict[str, str]:
    attributes = {
        "SenderId": part.entry.sender_id,
        "SentTimestamp": str(part.entry.appended_at_ms),
        "ApproximateReceiveCount": str(part.receive_count),
        "ApproximateFirstReceiveTimestamp": str(part.first_received_ms),
    }
    if message.message_group_id:
        attributes["MessageGroupId"] = message.message_group_id
    if message.aws_trace_header:
        attributes["AWSTraceHeader"] = message.aws_trace_header
    if part.entry.origin_arn:
        attributes["DeadLetterQueueSourceArn"] = part.entry.origin_arn
    return attributes


def _fifo_attributes(part: Taken, message: Message, sequence: int, message_id: str) -> dict[str, str]:
    if part.entry.origin_arn:  # a dead letter: a new id keeps the other queue's duplicates out of it
        deduplication_id = message_id
    else:
        deduplication_id = message.message_deduplication_id or content_id(message.body)
    return {"MessageDeduplicationId": deduplication_id, "SequenceNumber": sequence_number(sequence)}
