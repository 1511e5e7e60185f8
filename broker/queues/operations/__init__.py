"""The message operations of the SQS API on one queue: check, change the queue, say what to answer.

Requests and answers are the messages of ``heddle.v1``: plain typed data that both front doors build. An answer may go
out only after the commit (``Store.durable``). Never: I/O, a clock, or an await.
"""

from broker.queues.operations.batches import check_entries
from broker.queues.operations.outgoing import check_delay
from broker.queues.operations.peeking import peek, peeked_messages
from broker.queues.operations.receiving import SYSTEM_ATTRIBUTE_NAMES, check_receive, received_messages
from broker.queues.operations.sending import send_message, send_message_batch
from broker.queues.operations.settling import (
    change_visibility,
    change_visibility_batch,
    delete_message,
    delete_message_batch,
)

__all__ = [
    "SYSTEM_ATTRIBUTE_NAMES",
    "change_visibility",
    "change_visibility_batch",
    "check_delay",
    "check_entries",
    "check_receive",
    "delete_message",
    "delete_message_batch",
    "peek",
    "peeked_messages",
    "received_messages",
    "send_message",
    "send_message_batch",
]
