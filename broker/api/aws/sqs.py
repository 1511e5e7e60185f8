"""Amazon SQS on the queue plane: the same operations that gRPC serves, by AWS's names and with AWS's errors.

What is written here by hand is where HTTP differs from gRPC: queue URLs (built for where the caller stands), the trace
header, bodies that are not text, and the statuses and texts of errors. Never: the semantics of an operation.
"""

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from heddle.v1 import message_pb2, queues_pb2

from broker import errors
from broker.api.aws import sigv4_errors
from broker.api.aws.binding import UnknownMember, answer_writer, request_reader
from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.service import Call, Members, Operation, Service
from broker.api.queue_calls import QueueCalls
from broker.errors import BrokerError
from broker.queues import Scope
from broker.queues.messages import is_aws_text

BODY_ENCODING: Final = "HeddleBodyEncoding"
"""System attribute of a message whose body is not AWS text: ``base64``."""

_GRPC: Final = queues_pb2.DESCRIPTOR.services_by_name["Queues"]
_NAMESPACE: Final = "com.amazonaws.sqs"
_UNMODELLED: Final = "com.amazon.coral.service"
_URL_MEMBERS: Final = ("QueueUrl", "QueueUrls", "queueUrls")
_ANONYMOUS: Final = "anonymous"
"""Account of a caller without a signature: owns nothing, and policies let it in where they let in anybody."""
_TRACE_HEADER: Final = "x-amzn-trace-id"
_NOT_ON_A_PATH: Final = frozenset({"CreateQueue", "ListQueues"})
_QUERY_TEXTS: Final[Mapping[type[BrokerError], str]] = {
    errors.QueueDoesNotExist: "The specified queue does not exist for this wsdl version.",
}

HTTP_STATUS: Final[Mapping[type[BrokerError], int]] = {
    errors.PurgeQueueInProgress: 403,
    errors.ReceiptHandleIsInvalid: 404,
    errors.OverLimit: 403,
    errors.ResourceNotFound: 404,
    errors.AccessDenied: 403,
    errors.StorageUnavailable: 500,
    errors.StorageFull: 503,
    errors.ShuttingDown: 503,
}
"""Of those that are not 400. SDKs try 500 and 503 again."""


def sqs(calls: QueueCalls) -> Service:
    """The service."""
    table: dict[str, Operation] = {name: _Bound(calls, name) for name in served()}
    return Service(service_model("sqs"), table, ("json", "query", "query-json"))


def served() -> list[str]:
    """The operations that are served: those of the model that the plane's calls have."""
    return [name for name in service_model("sqs").operation_names if hasattr(QueueCalls, name)]


class _Bound:
    """One operation: members to the request of ``heddle.v1``, the call, and back."""

    def __init__(self, calls: QueueCalls, name: str) -> None:
        operation, method = service_model("sqs").operation_model(name), _GRPC.methods_by_name[name]
        self._name = name
        self._calls = calls
        self._call: Callable[[Scope, Any], Awaitable[Message | bytes]] = getattr(calls, name)
        self._parse = GetMessageClass(method.output_type).FromString
        self._read = request_reader(operation.input_shape, method.input_type)
        self._write = answer_writer(operation.output_shape, method.output_type)
        input_members = operation.input_shape.members if operation.input_shape is not None else {}
        self._takes_url = "QueueUrl" in input_members
        self._gives_urls = operation.output_shape is not None and any(
            member in operation.output_shape.members for member in _URL_MEMBERS
        )

    async def __call__(self, call: Call, members: Members) -> Members:
        if call.protocol != "json":
            self._heed_path(call, members)
        if call.caller.is_anonymous and not self._takes_url:
            raise sigv4_errors.missing_authentication_token("sqs")
        try:
            request = self._read(members)
        except UnknownMember as unknown:
            raise _list_values(unknown.name) from unknown
        if _TRACE_HEADER in call.request.headers:
            _trace(request, call.request.headers[_TRACE_HEADER])
        try:
            answer = await self._call(Scope(call.caller.account or _ANONYMOUS, call.caller.region), request)
        except BrokerError as error:
            raise _aws_error(await self._calls.refused(error), call.protocol) from None
        if isinstance(answer, bytes):
            answer = self._parse(answer)
        if isinstance(answer, queues_pb2.ReceiveMessageResponse):
            _encode_what_is_no_text(answer)
        output = self._write(answer)
        if self._gives_urls:
            _reachable(output, call.base_url)
            if self._name == "ListDeadLetterSourceQueues":
                output.setdefault("queueUrls", [])  # the one list that is sent although it is empty
        return output

    def _heed_path(self, call: Call, members: Members) -> None:
        """A Query request may be sent to the queue: its path is the URL, unless a parameter says otherwise."""
        if call.request.path.strip("/"):
            if self._name in _NOT_ON_A_PATH:
                text = f"The action {self._name} is not valid for this endpoint."
                raise AwsError("InvalidAction", "InvalidAction", text)
            if self._takes_url:
                members.setdefault("QueueUrl", call.request.path)


def _list_values(member: str) -> AwsError:
    assert member in {"StringListValues", "BinaryListValues"}, f"{member} has no place in heddle.v1"
    text = "Message attribute list values in SendMessage operation are not supported."
    return _aws_error(errors.UnsupportedOperation(text), "json")


def _trace(request: Any, header: str) -> None:
    """AWS takes the trace of a send from the HTTP header where the message itself brings none."""
    messages = getattr(request, "entries", (request,))
    for message in messages:
        if isinstance(message, queues_pb2.SendMessageRequest | queues_pb2.SendMessageBatchRequestEntry):
            attributes = message.message_system_attributes
            if "AWSTraceHeader" not in attributes:
                value = message_pb2.MessageAttributeValue(data_type="String", string_value=header)
                attributes["AWSTraceHeader"].CopyFrom(value)


def _encode_what_is_no_text(answer: queues_pb2.ReceiveMessageResponse) -> None:
    """Over gRPC bodies are bytes; here they are text, and a message is never refused nor lost for it."""
    if is_aws_text(b"\n".join([message.body for message in answer.messages])):
        return  # all at once: 9 us for ten of 1 KB instead of 13
    for message in answer.messages:
        if not is_aws_text(message.body):
            message.body = base64.b64encode(message.body)
            message.md5_of_body = hashlib.md5(message.body, usedforsecurity=False).hexdigest()
            message.attributes[BODY_ENCODING] = "base64"


def _reachable(output: Members, base_url: str) -> None:
    """Queue URLs, of which the plane knows account and name, as this caller can use them."""
    for member in _URL_MEMBERS:
        urls = output.get(member)
        if isinstance(urls, str):
            output[member] = _moved(urls, base_url)
        elif urls is not None:
            output[member] = [_moved(url, base_url) for url in urls]


def _moved(url: str, base_url: str) -> str:
    _, account, name = url.rsplit("/", 2)
    return f"{base_url}/{account}/{name}"


def _aws_error(error: BrokerError, protocol: str) -> AwsError:
    message = error.message if protocol == "json" else _QUERY_TEXTS.get(type(error), error.message)
    return AwsError(
        error.shape,
        error.code,
        message,
        status=HTTP_STATUS.get(type(error), 400),
        sender_fault=error.sender_fault,
        namespace=_NAMESPACE if error.shape in _MODELLED else _UNMODELLED,
    )


_MODELLED: Final = frozenset(shape.name for shape in service_model("sqs").error_shapes)
