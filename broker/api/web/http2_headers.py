"""The headers of HTTP/2, to a request and from a response. Never: streams or frames.

What RFC 9113 (8.2, 8.3) calls malformed is found here and not by the library, whose checks cost 50 to 100 µs a request,
a quarter of all that HTTP/2 costs.
"""

import re
from collections.abc import Iterable
from typing import Final

from broker.api.web.body import Refused
from broker.api.web.clock import http_date
from broker.api.web.http1_reader import HOST
from broker.api.web.limits import WebLimits
from broker.api.web.messages import Request, Response

_PSEUDO: Final = frozenset({":method", ":path", ":authority", ":scheme"})
_NEEDED: Final = frozenset({":method", ":path", ":scheme"})
_OF_HTTP1: Final = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NOT_IN_VALUES: Final = re.compile(r"[\0\r\n]")


def request_of(fields: Iterable[tuple[bytes, bytes]], limits: WebLimits, scheme: str, peer: str) -> Request:
    """A request without its body. Raises Refused."""
    pseudo: dict[str, str] = {}
    headers: dict[str, str] = {}
    size_bytes = count = 0
    for name, value in fields:
        size_bytes += len(name) + len(value)
        count += 1
        key, text = str(name, "latin-1"), str(value, "latin-1")
        if key[:1] == ":":
            if key in pseudo or key not in _PSEUDO or headers:
                raise Refused(400, "malformed pseudo headers")
            pseudo[key] = text
        elif key in headers:
            headers[key] += f",{text}"
        elif _NAME.fullmatch(key) is None or key in _OF_HTTP1:
            raise Refused(400, "a malformed header name")
        else:
            headers[key] = text
    if size_bytes > limits.header_bytes_max or count > limits.headers_max + len(_PSEUDO):
        raise Refused(431, "the headers are too large")
    _check_values(pseudo, headers, limits)
    headers["host"] = pseudo.get(":authority", headers.get("host", ""))
    if HOST.fullmatch(headers["host"]) is None:
        raise Refused(400, "the authority of the request is malformed")
    return Request(pseudo[":method"], pseudo[":path"], headers, b"", scheme, peer)


def _check_values(pseudo: dict[str, str], headers: dict[str, str], limits: WebLimits) -> None:
    if _NOT_IN_VALUES.search("".join([*pseudo.values(), *headers.values()])) is not None:
        raise Refused(400, "a malformed header value")
    if pseudo.get(":method") == "CONNECT":
        raise Refused(405, "CONNECT is not served")
    if not pseudo.keys() >= _NEEDED or headers.get("te", "trailers") != "trailers":
        raise Refused(400, "headers are missing or malformed")
    if "host" in headers and pseudo.get(":authority", headers["host"]) != headers["host"]:
        raise Refused(400, "two hosts")
    method, target = pseudo[":method"], pseudo[":path"]
    if not target.startswith("/") and not (target == "*" and method == "OPTIONS"):
        raise Refused(400, "the target of the request is malformed")
    length = headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > 19 or int(length) > limits.body_bytes_max):
        raise Refused(413, "the body is too large")


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
