"""What every wire protocol offers to the AWS endpoint. Never: a decision about a service."""

from collections.abc import Mapping
from typing import Any, Protocol

from botocore.model import OperationModel, ServiceModel

from broker.api.aws.errors import AwsError
from broker.api.web.messages import Request, Response


class Codec(Protocol):
    """How one operation reads and writes in one protocol: compiled once from the model, not walked per request."""

    def parse(self, request: Request) -> dict[str, Any]:
        """The input by its members' names in the model, nested alike.

        string -> str, blob -> bytes, integer and long -> int, float and double -> float, boolean -> bool, timestamp ->
        float epoch seconds, list -> list, map -> dict, structure -> dict. Absent or null members are absent, unknown
        ones ignored. Types are checked (``AwsError``: a wrong type, a malformed body, bad base64, a number outside its
        type, nesting too deep); required members, lengths and ranges are not: the planes check those.
        """

    def serialize(self, output: Mapping[str, Any], request_id: str) -> Response:
        """The answer, with ``x-amzn-requestid`` and ``content-type``. None and absent members are left out."""


class WireProtocol(Protocol):
    """One protocol. ``name``: ``json``, ``query``, ``cbor``, ``rpc-v2-cbor`` or ``rest-json``."""

    name: str

    def codec(self, operation: OperationModel) -> Codec:
        """Cached per operation."""

    def error(self, service: ServiceModel, error: AwsError, request_id: str) -> Response: ...
