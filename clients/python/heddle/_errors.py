"""The errors that a caller can see, one class an error code, and how a gRPC status becomes one of them.

The codes are those of Amazon SQS (the query codes, which SDKs show) and a few of Heddle's own. A code that this
version of the client does not know becomes a plain `HeddleError`. Never: text that the broker did not send, except
where no broker was asked.
"""

from collections.abc import Mapping
from typing import Final

import grpc
import grpc.aio

from heddle._rpc_status import error_reason


class HeddleError(Exception):
    """A call, or a part of a batch, that failed. `code` is the AWS error code, `message` the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class Unavailable(HeddleError):
    """The broker could not be reached, or said that it cannot answer now. A later attempt may succeed."""


class DeadlineExceeded(HeddleError):
    """No answer within the timeout. What was asked may or may not have happened."""


class Overloaded(HeddleError):
    """The broker refuses work to protect itself, for example because its disk is nearly full."""


class PredecessorFailed(HeddleError):
    """A FIFO queue's producer did not send this message, because one of its group that was sent before failed."""


class AccessDenied(HeddleError):
    """The credentials or a policy do not allow the call."""


class BatchEntryIdsNotDistinct(HeddleError):
    """Two entries of a batch have the same id."""


class BatchRequestTooLong(HeddleError):
    """The entries of a batch are larger than 1 MiB in all."""


class EmptyBatchRequest(HeddleError):
    """A batch without entries."""


class InvalidAddress(HeddleError):
    """The queue URL is not one of this broker's."""


class InvalidAttributeName(HeddleError):
    """An attribute is unknown, or does not belong to this type of queue."""


class InvalidAttributeValue(HeddleError):
    """An attribute's value is out of its range."""


class InvalidBatchEntryId(HeddleError):
    """The id of a batch entry has forbidden characters or length."""


class InvalidMessageContents(HeddleError):
    """A body has characters outside of what AWS takes as text."""


class InvalidParameterValue(HeddleError):
    """A parameter is out of its range."""


class MessageNotInFlight(HeddleError):
    """The message is not in flight."""


class MissingParameter(HeddleError):
    """A required parameter is absent or empty."""


class OverLimit(HeddleError):
    """A limit is reached, for example that of messages in flight."""


class PurgeQueueInProgress(HeddleError):
    """The queue was purged less than 60 seconds ago."""


class QueueDeletedRecently(HeddleError):
    """A queue of this name was deleted less than 60 seconds ago."""


class QueueDoesNotExist(HeddleError):
    """The queue is unknown, or was deleted."""


class QueueNameExists(HeddleError):
    """A queue of this name exists, with other attributes."""


class ReceiptHandleIsInvalid(HeddleError):
    """The receipt handle is not one of this queue's."""


class RequestThrottled(HeddleError):
    """Too many calls."""


class ResourceNotFound(HeddleError):
    """What the call names does not exist."""


class TooManyEntriesInBatchRequest(HeddleError):
    """More than 10 entries in a batch call."""


class UnsupportedOperation(HeddleError):
    """The broker does not do this."""


_SQS: Final = "AWS.SimpleQueueService."

ERROR_CLASSES: Final[Mapping[str, type[HeddleError]]] = {
    "AccessDenied": AccessDenied,
    _SQS + "BatchEntryIdsNotDistinct": BatchEntryIdsNotDistinct,
    _SQS + "BatchRequestTooLong": BatchRequestTooLong,
    _SQS + "EmptyBatchRequest": EmptyBatchRequest,
    "InvalidAddress": InvalidAddress,
    "InvalidAttributeName": InvalidAttributeName,
    "InvalidAttributeValue": InvalidAttributeValue,
    _SQS + "InvalidBatchEntryId": InvalidBatchEntryId,
    "InvalidMessageContents": InvalidMessageContents,
    "InvalidParameterValue": InvalidParameterValue,
    _SQS + "MessageNotInflight": MessageNotInFlight,
    "MissingParameter": MissingParameter,
    "OverLimit": OverLimit,
    _SQS + "PurgeQueueInProgress": PurgeQueueInProgress,
    _SQS + "QueueDeletedRecently": QueueDeletedRecently,
    _SQS + "NonExistentQueue": QueueDoesNotExist,
    "QueueAlreadyExists": QueueNameExists,
    "ReceiptHandleIsInvalid": ReceiptHandleIsInvalid,
    "RequestThrottled": RequestThrottled,
    "ResourceNotFoundException": ResourceNotFound,
    _SQS + "TooManyEntriesInBatchRequest": TooManyEntriesInBatchRequest,
    _SQS + "UnsupportedOperation": UnsupportedOperation,
    "heddle.StorageFull": Overloaded,
    "InternalFailure": Unavailable,
    "ServiceUnavailable": Unavailable,
}

# Statuses whose meaning does not depend on the reason that came with them.
_STATUS_CLASSES: Final[Mapping[grpc.StatusCode, type[HeddleError]]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: AccessDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
}


def error_of_code(code: str, message: str) -> HeddleError:
    """The error for an AWS error code, as batch results carry it."""
    return ERROR_CLASSES.get(code, HeddleError)(code, message)


def error_of_rpc(failure: grpc.aio.AioRpcError) -> HeddleError:
    """The error for a failed RPC: by its reason where the class of that is known, else by its status."""
    status = failure.code()
    message = failure.details() or ""
    reason = error_reason(failure.trailing_metadata())
    if reason is not None and reason in ERROR_CLASSES:
        return ERROR_CLASSES[reason](reason, message)
    return _STATUS_CLASSES.get(status, HeddleError)(reason or f"heddle.{status.name}", message)


def deadline_exceeded(what: str, timeout: float | None) -> DeadlineExceeded:
    """The error for a wait in the client itself that was longer than `timeout` seconds."""
    return DeadlineExceeded("heddle.DEADLINE_EXCEEDED", f"{what} took longer than {timeout} s")
