"""Reads google.rpc.ErrorInfo out of the trailing metadata of a failed RPC.

The three messages that it takes are declared here, wire-compatible and no wider than needed, in a descriptor pool of
their own: the client needs no googleapis-common-protos, and a process that has it loaded as well (the broker does)
sees no conflict of names.
"""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_DETAILS_KEY: Final = "grpc-status-details-bin"
_ERROR_INFO_TYPE: Final = "google.rpc.ErrorInfo"
_DOMAIN: Final = "heddle"

_Field = descriptor_pb2.FieldDescriptorProto


def _field(name: str, number: int, kind: Any, repeated_type: str | None = None) -> descriptor_pb2.FieldDescriptorProto:
    label = _Field.LABEL_OPTIONAL if repeated_type is None else _Field.LABEL_REPEATED
    return _Field(name=name, number=number, label=label, type=kind, type_name=repeated_type)


def _declare() -> tuple[type[Any], type[Any]]:
    """The classes of google.rpc.Status (its details) and google.rpc.ErrorInfo (its reason and domain)."""
    file = descriptor_pb2.FileDescriptorProto(name="heddle/client/rpc_status.proto", package="heddle.client")
    file.syntax = "proto3"
    file.message_type.add(
        name="Any", field=[_field("type_url", 1, _Field.TYPE_STRING), _field("value", 2, _Field.TYPE_BYTES)]
    )
    file.message_type.add(
        name="Status", field=[_field("details", 3, _Field.TYPE_MESSAGE, repeated_type=".heddle.client.Any")]
    )
    file.message_type.add(
        name="ErrorInfo", field=[_field("reason", 1, _Field.TYPE_STRING), _field("domain", 2, _Field.TYPE_STRING)]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    status, error_info = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"heddle.client.{name}"))
        for name in ("Status", "ErrorInfo")
    )
    return status, error_info


_Status, _ErrorInfo = _declare()


def error_reason(trailing_metadata: Any) -> str | None:
    """The reason of the first ErrorInfo of Heddle's domain; None where there is none that can be read."""
    packed = next((value for key, value in trailing_metadata or () if key == _DETAILS_KEY), None)
    if packed is None:
        return None
    try:
        for detail in _Status.FromString(packed).details:
            if detail.type_url.rpartition("/")[2] == _ERROR_INFO_TYPE:
                info = _ErrorInfo.FromString(detail.value)
                if info.domain == _DOMAIN:
                    return str(info.reason)
    except DecodeError:  # a proxy's own idea of details: the status and its text still tell the caller enough
        return None
    return None
