"""How refusals look over gRPC: one status code an error, with the AWS code in ``google.rpc.ErrorInfo``."""

from collections.abc import Mapping
from typing import Final, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from broker import errors
from broker.errors import BrokerError

DOMAIN: Final = "heddle"
_MESSAGE_BYTES_MAX: Final = 1_500  # in the headers twice, once percent-encoded; clients take 8 KiB by default
_DETAILS_KEY: Final = "grpc-status-details-bin"

GRPC_STATUS: Final[Mapping[type[BrokerError], grpc.StatusCode]] = {
    errors.QueueDoesNotExist: grpc.StatusCode.NOT_FOUND,
    errors.QueueNameExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.QueueDeletedRecently: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PurgeQueueInProgress: grpc.StatusCode.FAILED_PRECONDITION,
    errors.InvalidAttributeName: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidAttributeValue: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidParameterValue: grpc.StatusCode.INVALID_ARGUMENT,
    errors.MissingParameter: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidMessageContents: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ReceiptHandleIsInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.OverLimit: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.EmptyBatchRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.TooManyEntriesInBatchRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BatchEntryIdsNotDistinct: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidBatchEntryId: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BatchRequestTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedOperation: grpc.StatusCode.UNIMPLEMENTED,
    errors.ResourceNotFound: grpc.StatusCode.NOT_FOUND,
    errors.AccessDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.StorageUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.StorageFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ShuttingDown: grpc.StatusCode.UNAVAILABLE,
}


def bare(error: BrokerError) -> BrokerError:
    """The error without its traceback, whose frames hold the request."""
    return type(error)(error.message)


async def abort(context: grpc.aio.ServicerContext[object, object], error: BrokerError) -> NoReturn:
    """Ends the call with the error's status and details."""
    code = GRPC_STATUS[type(error)]
    message = error.message
    encoded = message.encode()
    if len(encoded) > _MESSAGE_BYTES_MAX:  # it quotes what the client sent, and headers have a limit
        message = encoded[:_MESSAGE_BYTES_MAX].decode(errors="ignore") + "..."
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN))
    status = status_pb2.Status(code=code.value[0], message=message, details=[info])
    await context.abort(code, message, ((_DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort returned")
