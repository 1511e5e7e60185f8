"""The doors through which conformance rows reach a broker, and what a refusal looks like behind each.

Rows speak AWS: operation names, members in AWS spelling, query error codes. A face turns that into one protocol and
back. A face never decides what is right: it knows no limits, no defaults and no error texts but those that its
protocol changes.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from heddle.v1 import queues_pb2, queues_pb2_grpc

CALL_SECONDS_MAX: Final = 30
RESPONSE_BYTES_MAX: Final = 16 * 2**20  # ten messages of 1 MiB and their frames

CAPITAL_WORDS: Final = {"md5": "MD5", "aws": "AWS"}
"""Words of field names that AWS writes in capitals."""

MEMBERS_IN_LOWER_CASE: Final = {"ListDeadLetterSourceQueuesResponse": {"queue_urls": "queueUrls"}}
"""What AWS itself writes with a small letter; required, so there even when it is empty."""

NUMBERS: Final = {
    *(FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_BOOL),
    *(FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64),
}


class AwsError(Exception):
    """The broker refused a call: query code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


Outcome = dict[str, Any] | AwsError
"""The output's members, empty ones left out (text is ``str``, binary values are ``bytes``), or the refusal."""


Metadata = tuple[tuple[str, str], ...]


class Call(Protocol):
    """A call that is under way."""

    def done(self) -> bool:
        """Whether ``ended`` would return at once."""

    def ended(self) -> tuple[float, Outcome]:
        """Waits for its end. The seconds that it took, and what came of it. Any failure but a refusal raises."""


class Face(Protocol):
    """One protocol, spoken by a client."""

    @property
    def name(self) -> str:
        """In test ids, and in rows that concern one protocol only."""

    @property
    def virtual_time(self) -> bool:
        """Whether a pause takes no time, so that rows may wait for days."""

    @property
    def queue_does_not_exist(self) -> str:
        """The text of NonExistentQueue, which differs by protocol."""

    def start(self, operation: str, members: Mapping[str, Any], account: str = "") -> Call:
        """Makes a call beside those that follow; as another account than the broker's own when one is named."""

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        """The output. Raises ``AwsError`` when the broker refuses."""

    def pause(self, seconds: float) -> None: ...

    def now_s(self) -> float:
        """Seconds since 1970, by the broker's clock."""


class GrpcFace:
    """The native API, over a channel."""

    name = "grpc"
    virtual_time = False
    queue_does_not_exist = "The specified queue does not exist."

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_receive_message_length", RESPONSE_BYTES_MAX)]
        )
        self._stub = queues_pb2_grpc.QueuesStub(self._channel)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._channel.close()

    def start(self, operation: str, members: Mapping[str, Any], account: str = "") -> Call:
        return _GrpcCall(getattr(self._stub, operation), request_of(operation, members), metadata_of(account))

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        return output_of(self.start(operation, members))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def now_s(self) -> float:
        return time.time()


class _GrpcCall:
    def __init__(self, method: Any, request: Message, metadata: Metadata) -> None:
        self._ended = threading.Event()
        self._started_s = time.monotonic()
        self._ended_s = 0.0
        self._future = method.future(request, timeout=CALL_SECONDS_MAX, metadata=metadata)
        self._future.add_done_callback(self._end)

    def _end(self, _future: object) -> None:
        self._ended_s = time.monotonic()
        self._ended.set()

    def done(self) -> bool:
        return self._ended.is_set()

    def ended(self) -> tuple[float, Outcome]:
        assert self._ended.wait(CALL_SECONDS_MAX + 5), "no answer, and no end of the call at its deadline"
        try:
            outcome: Outcome = members_of(self._future.result())
        except grpc.RpcError as refusal:
            outcome = aws_error(self._future.code(), self._future.details(), self._future.trailing_metadata() or ())
            outcome.__cause__ = refusal
        return self._ended_s - self._started_s, outcome


def output_of(call: Call) -> dict[str, Any]:
    """The output of a call that is under way. Raises ``AwsError`` when the broker refuses."""
    _, outcome = call.ended()
    if isinstance(outcome, AwsError):
        raise outcome
    return outcome


def metadata_of(account: str) -> Metadata:
    return (("heddle-account", account),) if account else ()


def request_of(operation: str, members: Mapping[str, Any]) -> Message:
    request: Message = getattr(queues_pb2, f"{operation}Request")()
    _fill(request, members)
    return request


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


def members_of(message: Message) -> dict[str, Any]:
    """What is set, and what is 0 or false: protobuf leaves those out, AWS does not."""
    small = MEMBERS_IN_LOWER_CASE.get(message.DESCRIPTOR.name, {})
    output: dict[str, Any] = {member: [] for member in small.values()}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence:
            there = message.HasField(field.name)
        else:
            there = bool(value) or (field.cpp_type in NUMBERS and not field.is_repeated)
        if not there:
            continue
        words = (CAPITAL_WORDS.get(word, word.capitalize()) for word in field.name.split("_"))
        member = small.get(field.name) or "".join(words)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            output[member] = {
                key: members_of(item) if isinstance(item, Message) else item for key, item in value.items()
            }
        elif field.message_type is not None:
            output[member] = [members_of(item) for item in value] if field.is_repeated else members_of(value)
        elif field.is_repeated:
            output[member] = list(value)
        elif field.name == "body":
            output[member] = value.decode()
        else:
            output[member] = value
    return output


def aws_error(code: grpc.StatusCode, details: str | None, trailing_metadata: Any) -> AwsError:
    """A refusal in AWS terms; any other failure fails the test."""
    packed = [value for key, value in trailing_metadata if key == "grpc-status-details-bin"]
    assert packed, f"no google.rpc.Status: {code}: {details}"
    status = Status.FromString(packed[0])
    info = ErrorInfo()
    assert len(status.details) == 1, status
    assert status.details[0].Unpack(info), status
    assert info.domain == "heddle", status
    assert status.message == details, status
    assert code not in {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}, status
    return AwsError(info.reason, status.message)
