"""Which service, which operation, which protocol: read from a request before its body is parsed.

The protocol follows from the content type and the path. The service: from the scope of the signature, which names it
for certain; where there is none, from ``X-Amz-Target``, the host (``sqs.us-east-1.localhost``), the API version of a
Query request, and at last from which service has the action. Never: trust; whose request it is, ``sigv4`` finds out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from broker.api.aws.errors import AwsError
from broker.api.aws.protocols.protocol import WireProtocol
from broker.api.aws.protocols.query import wants_json
from broker.api.aws.service import Service, unknown_operation
from broker.api.aws.sigv4 import claimed
from broker.api.web.messages import Request

_RPC_PATH: Final = re.compile(r"/service/([A-Za-z0-9_.]{1,128})/operation/([A-Za-z0-9_]{1,128})")
_REGION_IN_HOST: Final = re.compile(r"[a-z0-9-]{1,63}\.([a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2})\.")
_JSON_TYPE: Final = re.compile(r"application/x-amz-json-1\.[01]", re.IGNORECASE)
_CBOR_TYPE: Final = "application/x-amz-cbor-1.1"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_PARAMETER_CHARACTERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Route:
    """``operation``: its name as the request has it, empty when it has none."""

    service: Service
    protocol: WireProtocol
    operation: str


class NoRoute(Exception):
    """No operation of any service is meant. ``error``: what to say, in ``protocol``."""

    def __init__(self, error: AwsError, protocol: WireProtocol) -> None:
        super().__init__(error.message)
        self.error, self.protocol = error, protocol


class Router:
    """``services``: those that are served; requests that name none go to the first that has the action."""

    def __init__(self, services: Iterable[Service], protocols: Iterable[WireProtocol]) -> None:
        self._services = list(services)
        self._protocols = {protocol.name: protocol for protocol in protocols}
        self._by_signing_name = {service.signing_name: service for service in self._services}
        self._by_name = self._by_signing_name | {service.name: service for service in self._services}
        self._by_target = {
            str(service.model.metadata["targetPrefix"]): service
            for service in self._services
            if "targetPrefix" in service.model.metadata
        }
        self._by_version: dict[str, Service] = {}
        for service in self._services:
            self._by_version.setdefault(str(service.model.api_version), service)

    def route(self, request: Request) -> Route:
        """Raises NoRoute."""
        claim = claimed(request)
        if claim is not None and claim.service and claim.service not in self._by_signing_name:
            raise NoRoute(_not_served(claim.service), self._protocols["query" if _is_query(request) else "json"])
        service = None if claim is None else self._by_signing_name.get(claim.service)
        content_type = request.headers.get("content-type", "")
        if rpc := _RPC_PATH.fullmatch(request.path):
            return self._route_rpc(service, rpc[1], rpc[2])
        if _JSON_TYPE.match(content_type):
            return self._route_target(service, request, self._protocols["json"])
        if content_type.startswith(_CBOR_TYPE):
            return self._route_target(service, request, self._protocols["cbor"])
        if "x-amz-target" in request.headers and not content_type.startswith(_FORM_TYPE):
            return self._route_target(service, request, self._protocols["json"])
        return self._route_query(service, request)

    # Each is told the service that the scope names, None where it names none.

    def _route_rpc(self, service: Service | None, shape: str, operation: str) -> Route:
        protocol = self._protocols["rpc-v2-cbor"]
        return self._checked(service or self._by_target.get(shape.rpartition(".")[2]), protocol, operation)

    def _route_target(self, service: Service | None, request: Request, protocol: WireProtocol) -> Route:
        prefix, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
        named = self._by_target.get(prefix)
        service = service or named
        if named is not service:  # the scope says one service, the target another
            service = None
        return self._checked(service, protocol, operation)

    def _route_query(self, service: Service | None, request: Request) -> Route:
        protocol = self._protocols["query-json" if request.method == "GET" and wants_json(request) else "query"]
        action = _parameter(request, "Action")
        service = (
            service
            or self._by_name.get(request.headers.get("host", "").partition(".")[0])
            or self._by_version.get(_parameter(request, "Version"))
            or next((service for service in self._services if action in service.operations), None)
        )
        if not action:
            raise NoRoute(unknown_operation(), protocol)
        return self._checked(service, protocol, action, AwsError("InvalidAction", "InvalidAction", _no_action(action)))

    def _checked(
        self, service: Service | None, protocol: WireProtocol, operation: str, error: AwsError | None = None
    ) -> Route:
        if service is None or protocol.name not in service.protocols:
            raise NoRoute(error or unknown_operation(), protocol)
        return Route(service, protocol, operation)


def region_of_host(request: Request) -> str:
    """That of ``sqs.eu-west-1.localhost`` and the like; empty where the host names none."""
    found = _REGION_IN_HOST.match(request.headers.get("host", ""))
    return found[1] if found is not None else ""


def _is_query(request: Request) -> bool:
    return "x-amz-target" not in request.headers


def _not_served(service: str) -> AwsError:
    text = f"The service {service} is not implemented by this broker."
    return AwsError("NotImplemented", "NotImplemented", text, status=501, sender_fault=False)


def _no_action(action: str) -> str:
    return f"The action {action} is not valid for this endpoint."


def _parameter(request: Request, name: str) -> str:
    """One parameter of a Query request, found without parsing the rest; the body before the query string."""
    found = _raw(request.body, name) if request.body else None
    if found is None:
        found = _raw(request.query.encode("latin-1", "replace"), name)
    return unquote_plus(found.decode("latin-1")) if found is not None else ""


def _raw(form: bytes, name: str) -> bytes | None:
    """Its first value. Searched for as plain bytes: 16 MiB of other parameters cost 10 ms so, and 150 by a pattern."""
    assignment = name.encode() + b"="
    if form.startswith(assignment):
        start = len(assignment)
    else:
        at = form.find(b"&" + assignment)
        if at < 0:
            return None
        start = at + 1 + len(assignment)
    return form[start : start + _PARAMETER_CHARACTERS_MAX].partition(b"&")[0]
