"""The doors through which conformance rows reach a broker, and what a refusal looks like behind each.

Rows speak AWS: operation names, members in AWS spelling, query error codes. A face turns that into one protocol and
back. A face never decides what is right: it knows no limits, no defaults and no error texts but those that its
protocol changes.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from heddle.v1 import queues_pb2, queues_pb2_grpc

CALL_SECONDS_MAX: Final = 10
RESPONSE_BYTES_MAX: Final = 16 * 2**20  # ten messages of 1 MiB and their frames

CAPITAL_WORDS: Final = {"md5": "MD5", "aws": "AWS"}
"""Words of field names that AWS writes in capitals."""


class AwsError(Exception):
    """The broker refused a call: query code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Face(Protocol):
    """One protocol, spoken by a client."""

    @property
    def name(self) -> str:
        """In test ids, and in rows that concern one protocol only."""

    @property
    def queue_does_not_exist(self) -> str:
        """The text of NonExistentQueue, which differs by protocol."""

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """The output's members, empty ones left out. Text is ``str``, binary values are ``bytes``.

        Raises ``AwsError`` when the broker refuses; any other failure is an ``AssertionError``.
        """


class GrpcFace:
    """The native API, over a synchronous channel."""

    name = "grpc"
    queue_does_not_exist = "The specified queue does not exist."

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", RESPONSE_BYTES_MAX)]
        )
        self._stub = queues_pb2_grpc.QueuesStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._channel.close()

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        request = getattr(queues_pb2, f"{operation}Request")()
        _fill(request, members)
        try:
            response: Message = getattr(self._stub, operation)(request, timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as refusal:
            raise _aws_error(refusal) from refusal
        return _members(response)


def _fill(message: Message, members: Mapping[str, Any]) -> None:
    fields = {field.name.replace("_", ""): field for field in message.DESCRIPTOR.fields}
    for member, value in members.items():
        field = fields[member.lower()]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(message, field.name)
            for key, item in value.items():
                if isinstance(item, Mapping):
                    _fill(entries[key], item)
                    entries[key].SetInParent()
                else:
                    entries[key] = item
        elif field.message_type is not None:
            for item in value:
                _fill(getattr(message, field.name).add(), item)
        elif field.is_repeated:
            getattr(message, field.name).extend(value)
        elif field.type == field.TYPE_BYTES and isinstance(value, str):
            setattr(message, field.name, value.encode())
        else:
            setattr(message, field.name, value)


def _members(message: Message) -> dict[str, Any]:
    output: dict[str, Any] = {}
    for field, value in message.ListFields():
        member = "".join(CAPITAL_WORDS.get(word, word.capitalize()) for word in field.name.split("_"))
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            output[member] = {key: _members(item) if isinstance(item, Message) else item for key, item in value.items()}
        elif field.message_type is not None:
            output[member] = [_members(item) for item in value]
        elif field.is_repeated:
            output[member] = list(value)
        elif field.name == "body":
            output[member] = value.decode()
        else:
            output[member] = value
    return output


def _aws_error(refusal: Any) -> AwsError:
    """The refusal (a ``grpc.RpcError`` that is a ``grpc.Call``) in AWS terms; any other failure fails the test."""
    packed = [value for key, value in refusal.trailing_metadata() or () if key == "grpc-status-details-bin"]
    assert packed, f"no google.rpc.Status: {refusal.code()}: {refusal.details()}"
    status = Status.FromString(packed[0])
    info = ErrorInfo()
    assert len(status.details) == 1, status
    assert status.details[0].Unpack(info), status
    assert info.domain == "heddle", status
    assert status.message == refusal.details(), status
    assert refusal.code() not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, status
    return AwsError(info.reason, status.message)
