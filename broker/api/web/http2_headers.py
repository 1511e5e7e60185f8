"""The headers of HTTP/2, to a request and from a response. Never: streams or frames."""

from collections.abc import Iterable
from typing import Final

from broker.api.web.body import Refused
from broker.api.web.clock import http_date
from broker.api.web.limits import WebLimits
from broker.api.web.messages import Request, Response

_PSEUDO: Final = frozenset({":method", ":path", ":authority", ":scheme"})


def request_of(fields: Iterable[tuple[bytes, bytes]], limits: WebLimits, scheme: str, peer: str) -> Request:
    """A request without its body. The library has checked the names and that none of the pseudo headers is missing or
    repeated. Raises Refused."""
    headers: dict[str, str] = {}
    size_bytes = count = 0
    for name, value in fields:
        size_bytes += len(name) + len(value)
        count += 1
        key, text = str(name, "latin-1"), str(value, "latin-1")
        headers[key] = text if key not in headers else f"{headers[key]},{text}"
    if size_bytes > limits.header_bytes_max or count > limits.headers_max + len(_PSEUDO):
        raise Refused(431, "the headers are too large")
    method, target = headers.pop(":method", ""), headers.pop(":path", "")
    authority = headers.pop(":authority", None)
    headers.pop(":scheme", None)
    if authority is not None:
        headers["host"] = authority
    if method == "CONNECT":
        raise Refused(405, "CONNECT is not served")
    if not target.startswith("/") and not (target == "*" and method == "OPTIONS"):
        raise Refused(400, "the target of the request is malformed")
    length = headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 19 or int(length) > limits.body_bytes_max):
        raise Refused(413, "the body is too large")
    return Request(method, target, headers, b"", scheme, peer)


def response_headers(response: Response, length: int | None) -> list[tuple[bytes, bytes]]:
    """``length``: of the body, None where it is not known. Raises ValueError for headers that no client would take."""
    headers = [(b":status", b"%d" % response.status), (b"date", http_date()[6:-2].encode())]
    for name, value in response.headers:
        if "\r" in value or "\n" in value:
            raise ValueError("a header contains a line break")
        headers.append((name.encode("latin-1"), value.encode("latin-1")))
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    return headers
