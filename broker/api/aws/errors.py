"""Refusals as the AWS endpoint tells them. Never: bytes of a protocol (see ``protocols``)."""

from dataclasses import dataclass


@dataclass(slots=True)
class AwsError(Exception):
    """One refusal, whatever the protocol.

    ``shape``: its name in JSON and CBOR (``QueueDoesNotExist``). ``namespace``: what stands before ``#`` in
    ``__type``, empty for none. ``code``: its name in Query, XML and for SDK users (``Error.Code``); sent along in
    JSON as ``x-amzn-query-error`` by services that have known Query (``query_compatible`` of the service).
    ``status``: of HTTP. ``sender_fault``: the caller's, not the server's.
    """

    shape: str
    code: str
    message: str
    status: int = 400
    sender_fault: bool = True
    namespace: str = ""


def serialization_error(message: str) -> AwsError:
    """The body is not of the protocol, or a member has another type than its shape."""
    return AwsError("SerializationException", "MalformedInput", message, namespace="com.amazon.coral.service")
