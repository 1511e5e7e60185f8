"""The AWS endpoint: from an HTTP request to the answer of an operation.

Route, verify who calls, parse, call, serialize; whatever is refused on the way is told as AWS tells it, in the protocol
of the request. Never: an operation's semantics.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import structlog

from broker.api.aws import sigv4
from broker.api.aws.cors import Cors
from broker.api.aws.errors import AwsError, serialization_error
from broker.api.aws.protocols.cbor import CborProtocol
from broker.api.aws.protocols.json import JsonProtocol
from broker.api.aws.protocols.protocol import WireProtocol
from broker.api.aws.protocols.query import QueryJsonProtocol, QueryProtocol
from broker.api.aws.protocols.rpc_cbor import RpcCborProtocol
from broker.api.aws.routing import NoRoute, Route, Router, region_of_host
from broker.api.aws.service import Call, Service
from broker.api.aws.sigv4_reading import is_unsigned
from broker.api.web.messages import Request, Response

log = structlog.get_logger("broker.aws")

ITEMS_MAX: Final = 20_000
"""Members, list items and structures in a body of JSON. The largest sensible request, PutRecords of Kinesis, has 2,500;
this many cost up to 100 ms until an operation has refused them, at which the loop stands still."""

_METHODS: Final = ("GET", "POST")
_STRING: Final = re.compile(rb'"[^"]*"?')
_UNKNOWN_OPERATION: Final = "UnknownOperationException"


class Gate(Protocol):
    """Who calls. Raises AwsError."""

    def verify(self, request: Request, service: str = "") -> sigv4.Caller: ...


@dataclass(slots=True)
class Statistics:
    """Calls answered, by service, operation and outcome (``ok`` or the error's code); names are those of the models."""

    calls: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def count(self, service: str, operation: str, outcome: str) -> None:
        key = (service, operation, outcome)
        self.calls[key] = self.calls.get(key, 0) + 1


class AwsApp:
    """``base_url``: of the endpoint as callers reach it; None: as each request's Host header says."""

    def __init__(
        self,
        services: Iterable[Service],
        gate: Gate,
        *,
        cors: Cors,
        base_url: str | None,
        default_region: str,
        new_request_id: Callable[[], str] | None = None,
    ) -> None:
        self._services = list(services)
        self._gate = gate
        self._cors = cors
        self._base_url, self._default_region = base_url, default_region
        self._new_request_id = new_request_id or _request_id
        protocols: tuple[WireProtocol, ...] = (
            JsonProtocol(),
            CborProtocol(),
            RpcCborProtocol(),
            QueryProtocol(),
            QueryJsonProtocol(),
        )
        self._router = Router(self._services, protocols)
        self.statistics = Statistics()

    async def handle(self, request: Request) -> Response:
        """The answer to any request. Is cancelled when the caller goes away; raises nothing else."""
        request_id = self._new_request_id()
        refusal = self._cors.refusal(request)
        if refusal is not None:
            return refusal
        if request.method not in _METHODS:
            return Response(405, (("allow", ", ".join(_METHODS)), ("x-amzn-requestid", request_id)))
        try:
            route = self._router.route(request)
        except NoRoute as no_route:
            response = self._unrouted(no_route, request_id)
        else:
            response = await self._answer(request, route, request_id)
        return self._cors.allow(request, response)

    async def _answer(self, request: Request, route: Route, request_id: str) -> Response:
        service, protocol = route.service, route.protocol
        outcome = "ok"
        try:
            caller = self._caller(request, service)
            model, operation = service.find(route.operation, protocol.name)
            codec = protocol.codec(model)
            if len(request.body) > ITEMS_MAX and protocol.name == "json":
                _count_items(request.body)
            call = Call(caller, request, self._base_url or _base_url(request), protocol.name)
            output = await operation(call, codec.parse(request))
            response = codec.serialize(output, request_id)
        except AwsError as error:
            outcome = error.code
            response = protocol.error(service.model, error, request_id)
        except Exception:  # a defect is this caller's 500 and a line in the log, never the inside of the broker
            log.exception("an internal error", service=service.name, operation=route.operation, request_id=request_id)
            outcome = _INTERNAL.code
            response = protocol.error(service.model, _INTERNAL, request_id)
        self.statistics.count(service.name, route.operation if route.operation in service.operations else "", outcome)
        return response

    def _caller(self, request: Request, service: Service) -> sigv4.Caller:
        if not is_unsigned(request):
            return self._gate.verify(request, service.signing_name)
        region = region_of_host(request) or self._default_region
        try:
            return replace(self._gate.verify(request, service.signing_name), region=region)
        except AwsError:  # what the anonymous may do, the operation decides
            return sigv4.Caller.anonymous(region, service.signing_name)

    def _unrouted(self, no_route: NoRoute, request_id: str) -> Response:
        error = no_route.error
        self.statistics.count("", "", error.code)
        if error.code == _UNKNOWN_OPERATION and no_route.protocol.name.startswith("query"):
            headers = (("x-amzn-requestid", request_id), ("content-type", "application/xml"))
            return Response(404, headers, b"<UnknownOperationException/>\n")
        return no_route.protocol.error(self._services[0].model, error, request_id)


_INTERNAL: Final = AwsError(
    "InternalFailure",
    "InternalFailure",
    "The request processing has failed because of an unknown error, exception or failure.",
    status=500,
    sender_fault=False,
)


def _count_items(body: bytes) -> None:
    """Raises AwsError for too many. What stands in strings does not count: a message may be JSON itself."""
    if _items(body) > ITEMS_MAX:
        unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        outside, strings = _STRING.subn(b"", unescaped, 2 * ITEMS_MAX + 1)  # an item is a key and a value at most
        if strings > 2 * ITEMS_MAX or _items(outside) > ITEMS_MAX:
            raise serialization_error(f"The request body has more than {ITEMS_MAX} members and list items")


def _items(body: bytes) -> int:
    return body.count(b",") + body.count(b"{") + body.count(b"[")


def _request_id() -> str:
    """In the form of AWS's. A third of what ``str(uuid4())`` takes: 0.8 of 2.6 us."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _base_url(request: Request) -> str:
    """As the caller wrote it; HTTP/1.1 lets it be empty."""
    return f"{request.scheme}://{request.headers.get('host') or 'localhost'}"
