"""Heddle's Python client. `heddle.Client` blocks, `heddle.aio.Client` is for asyncio; both do the same.

with heddle.Client("127.0.0.1:7420") as client:
    orders = client.create_queue("orders")
    with orders.producer() as producer:
        producer.send("hello")
    with orders.consumer() as consumer:
        for message in consumer:
            print(message.text)
            message.ack()
"""

from heddle._channel import Tls
from heddle._client import Client
from heddle._consumer import Consumer
from heddle._delivery import Delivery, Message
from heddle._errors import (
    AccessDenied,
    BatchEntryIdsNotDistinct,
    BatchRequestTooLong,
    DeadlineExceeded,
    EmptyBatchRequest,
    HeddleError,
    InvalidAddress,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MessageNotInFlight,
    MissingParameter,
    OverLimit,
    Overloaded,
    PredecessorFailed,
    PurgeQueueInProgress,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    RequestThrottled,
    ResourceNotFound,
    TooManyEntriesInBatchRequest,
    Unavailable,
    UnsupportedOperation,
)
from heddle._model import Attribute, BatchError, OutgoingMessage, PeekedMessage, ReceivedMessage, SentMessage
from heddle._move_task import MoveTask
from heddle._producer import Producer
from heddle._queue import Queue
from heddle._redrive import MoveTaskStatus
from heddle._ticket import Ticket

__all__ = [
    "AccessDenied",
    "Attribute",
    "BatchEntryIdsNotDistinct",
    "BatchError",
    "BatchRequestTooLong",
    "Client",
    "Consumer",
    "DeadlineExceeded",
    "Delivery",
    "EmptyBatchRequest",
    "HeddleError",
    "InvalidAddress",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "Message",
    "MessageNotInFlight",
    "MissingParameter",
    "MoveTask",
    "MoveTaskStatus",
    "OutgoingMessage",
    "OverLimit",
    "Overloaded",
    "PeekedMessage",
    "PredecessorFailed",
    "Producer",
    "PurgeQueueInProgress",
    "Queue",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
    "QueueNameExists",
    "ReceiptHandleIsInvalid",
    "ReceivedMessage",
    "RequestThrottled",
    "ResourceNotFound",
    "SentMessage",
    "Ticket",
    "Tls",
    "TooManyEntriesInBatchRequest",
    "Unavailable",
    "UnsupportedOperation",
]
