"""Smithy RPC v2 CBOR: ``POST /service/{service}/operation/{operation}``, the body CBOR. Never: routing by path.

What newer SDKs choose where a service offers it. Timestamps are tag 1 with epoch **seconds**, whole or with a fraction.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import cbor2
from botocore.model import OperationModel, ServiceModel

from broker.api.aws.errors import AwsError
from broker.api.aws.protocols.cbor import decode, reader, writer
from broker.api.aws.protocols.json import error_headers, error_members
from broker.api.aws.protocols.values import wording
from broker.api.web.messages import Request, Response

CONTENT_TYPE: Final = "application/cbor"
_PROTOCOL: Final = ("smithy-protocol", "rpc-v2-cbor")  # clients refuse an answer without it


class RpcCborCodec:
    """One operation in RPC v2 CBOR."""

    def __init__(self, operation: OperationModel) -> None:
        words = wording(operation.service_model.service_name)
        self._read = reader(operation.input_shape, words, float)
        self._write = writer(operation.output_shape, _epoch_seconds)
        self._answers = operation.output_shape is not None

    def parse(self, request: Request) -> dict[str, Any]:
        """An empty body, which an operation without input has, is an empty map."""
        return self._read(decode(request.body)) if request.body else {}

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        """An operation without output answers with an empty body and, as Smithy wants it, no content type."""
        headers = [("x-amzn-requestid", request_id), _PROTOCOL]
        if not self._answers:
            return Response(200, headers)
        return Response(200, [*headers, ("content-type", CONTENT_TYPE)], cbor2.dumps(self._write(output)))


_codec = cache(RpcCborCodec)  # ``ServiceModel.operation_model`` always gives the same object


class RpcCborProtocol:
    """RPC v2 CBOR for any service whose operations are plain calls."""

    name = "rpc-v2-cbor"

    def codec(self, operation: OperationModel) -> RpcCborCodec:
        """Cached per operation."""
        return _codec(operation)

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response:
        """As in JSON, its body in CBOR."""
        headers = [*error_headers(service, error, request_id), _PROTOCOL, ("content-type", CONTENT_TYPE)]
        return Response(error.status, headers, cbor2.dumps(error_members(service, error)))


def _epoch_seconds(seconds: float) -> float:
    rounded = round(float(seconds), 3)
    return int(rounded) if rounded.is_integer() else rounded
