"""Refusals that a client may see: a small closed family, one class an AWS error code.

Planes raise them; each front end maps them once (``api/grpc/status.py``). What derives from ``StartupError`` stops the
process before it serves. Nothing here knows gRPC or HTTP.
"""

from typing import ClassVar


class BrokerError(Exception):
    """A refusal with an AWS code (the query code, which SDK users see as ``Error.Code``) and an exact message."""

    code: ClassVar[str]
    shape: ClassVar[str]
    """The error's name in the AWS JSON protocol."""
    sender_fault: ClassVar[bool] = True

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class QueueDoesNotExist(BrokerError):
    code = "AWS.SimpleQueueService.NonExistentQueue"
    shape = "QueueDoesNotExist"

    def __init__(self, message: str = "The specified queue does not exist.") -> None:
        super().__init__(message)


class QueueNameExists(BrokerError):
    code = "QueueAlreadyExists"
    shape = "QueueNameExists"


class QueueDeletedRecently(BrokerError):
    code = "AWS.SimpleQueueService.QueueDeletedRecently"
    shape = "QueueDeletedRecently"


class PurgeQueueInProgress(BrokerError):
    code = "AWS.SimpleQueueService.PurgeQueueInProgress"
    shape = "PurgeQueueInProgress"


class InvalidAttributeName(BrokerError):
    code = "InvalidAttributeName"
    shape = "InvalidAttributeName"


class InvalidAttributeValue(BrokerError):
    code = "InvalidAttributeValue"
    shape = "InvalidAttributeValue"


class InvalidParameterValue(BrokerError):
    code = "InvalidParameterValue"
    shape = "InvalidParameterValueException"


class MissingParameter(BrokerError):
    code = "MissingParameter"
    shape = "MissingRequiredParameterException"

    @classmethod
    def named(cls, parameter: str) -> "MissingParameter":
        return cls(f"The request must contain the parameter {parameter}.")


class InvalidMessageContents(BrokerError):
    code = "InvalidMessageContents"
    shape = "InvalidMessageContents"


class ReceiptHandleIsInvalid(BrokerError):
    code = "ReceiptHandleIsInvalid"
    shape = "ReceiptHandleIsInvalid"


class OverLimit(BrokerError):
    code = "OverLimit"
    shape = "OverLimit"


class EmptyBatchRequest(BrokerError):
    code = "AWS.SimpleQueueService.EmptyBatchRequest"
    shape = "EmptyBatchRequest"


class TooManyEntriesInBatchRequest(BrokerError):
    code = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
    shape = "TooManyEntriesInBatchRequest"


class BatchEntryIdsNotDistinct(BrokerError):
    code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"
    shape = "BatchEntryIdsNotDistinct"


class InvalidBatchEntryId(BrokerError):
    code = "AWS.SimpleQueueService.InvalidBatchEntryId"
    shape = "InvalidBatchEntryId"


class BatchRequestTooLong(BrokerError):
    code = "AWS.SimpleQueueService.BatchRequestTooLong"
    shape = "BatchRequestTooLong"


class UnsupportedOperation(BrokerError):
    code = "AWS.SimpleQueueService.UnsupportedOperation"
    shape = "UnsupportedOperation"


class ResourceNotFound(BrokerError):
    """An ARN or task handle of a message move task names nothing."""

    code = "ResourceNotFoundException"
    shape = "ResourceNotFoundException"


class AccessDenied(BrokerError):
    """Another account calls what the queue's policy does not allow it, or what only the owner may call."""

    code = "AccessDenied"
    shape = "AccessDeniedException"


class StorageUnavailable(BrokerError):
    """The commit that would have made this request durable failed: nothing of the request was kept."""

    code = "InternalFailure"
    shape = "InternalFailure"
    sender_fault = False


class StorageFull(BrokerError):
    """The disk is past its watermark or the store at its largest size: nothing new is taken, deletes go on."""

    code = "heddle.StorageFull"
    shape = "InternalFailure"
    sender_fault = False


class ShuttingDown(BrokerError):
    """The broker is stopping: nothing of the request was kept; another attempt may find it running again."""

    code = "ServiceUnavailable"
    shape = "ServiceUnavailable"
    sender_fault = False


class StartupError(Exception):
    """Why the broker does not start, in a sentence for people that says what to do."""


class DataDirectoryLocked(StartupError):
    """Another process has the data directory open."""


class DataFileForeign(StartupError):
    """The data file is not Heddle's, or damaged."""


class SchemaTooNew(StartupError):
    """A newer Heddle wrote the data directory."""


class AddressInUse(StartupError):
    """A configured address cannot be listened on."""


class ConfigurationError(StartupError):
    """A configured value (a certificate, for instance) cannot be used."""
