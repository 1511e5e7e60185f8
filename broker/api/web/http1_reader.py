"""HTTP/1.1 requests out of bytes: httptools (llhttp) parses, this adds the bounds that it lacks. Never: sockets.

llhttp is strict here: both a length and chunks, bare line feeds, spaces before colons and the like are refused.
"""

import re
from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final

import httptools

from broker.api.web.body import Body, Budget, Refused
from broker.api.web.limits import WebLimits
from broker.api.web.messages import Request

_CHUNK_OVERHEAD_BYTES: Final = 64  # a chunk's size line; more, on average, is somebody's extensions
_LENGTH_DIGITS_MAX: Final = 19
_CHUNKS_BURST: Final = 4_096
HOST: Final = re.compile(r"(?:[A-Za-z0-9._~%!$&'()*+;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""A host and a port as URLs have them (RFC 3986), but for the comma, which joins repeated headers; or nothing."""

_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "host"})
_CHUNK_BYTES_MIN: Final = 16  # on average, after the burst: a body of one-byte chunks costs 100 times its size in CPU


class Phase(Enum):
    BETWEEN = "between requests"
    HEADER = "in a header"
    BODY = "in a body"


@dataclass(slots=True)
class Arrival:
    """A request that is complete. ``body``: to be released once the request is answered."""

    request: Request
    body: Body
    keep_alive: bool
    chunks_understood: bool


class RequestReader:
    """Bytes in by ``feed``; requests out in ``complete``; after ``refused`` is set nothing more is read.

    ``started``: requests begun. ``continue_wanted``: the client waits for a 100 before it sends its body.
    """

    def __init__(self, limits: WebLimits, budget: Budget, scheme: str, peer: str) -> None:
        self._headers_max = limits.headers_max
        self._limits, self._budget, self._scheme, self._peer = limits, budget, scheme, peer
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.complete: deque[Arrival] = deque()
        self.refused: Refused | None = None
        self.phase = Phase.BETWEEN
        self.started = 0
        self.continue_wanted = False
        self._upgrade_offered = False
        self._no_body = Body(budget, 0)
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._fields: list[tuple[bytes, bytes]] = []
        self._unreported_bytes = 0
        self._chunks = 0
        self._body = Body(self._budget, self._limits.body_bytes_max)

    @property
    def body_bytes(self) -> int:
        """Of the body that is arriving."""
        return self._body.charged

    def feed(self, data: bytes) -> None:
        if self.refused is not None:
            return
        phase, started, before = self.phase, self.started, self._body.charged
        try:
            self._parse(data)
            if phase is self.phase is not Phase.BETWEEN and started == self.started:
                self._count_unreported(len(data) - (self._body.charged - before))
        except Refused as refused:
            self._end(refused)

    def _parse(self, data: bytes) -> None:
        while True:
            assert self._parser is not None
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._ignore_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                raise _refusal(error) from None
            else:
                return

    def _ignore_upgrade(self) -> bytes:
        """An offer of h2c or websocket is declined by answering the request as it is. llhttp takes what follows the
        header for the new protocol, httptools leaves no say in it: another parser, told the same, reads the body."""
        head = [f"POST / HTTP/{self._version}"]
        head += [f"{name}: {self._headers[name]}" for name in _FRAMING & self._headers.keys()]
        if "close" in self._headers.get("connection", "").lower():
            head.append("connection: close")
        self._parser = httptools.HttpRequestParser(self)
        return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")

    def _count_unreported(self, size_bytes: int) -> None:
        """What llhttp holds back until it is whole (a long header) or skips (chunk extensions) is bounded as well."""
        self._unreported_bytes += size_bytes
        if self._unreported_bytes > self._limits.header_bytes_max + self._chunks * _CHUNK_OVERHEAD_BYTES:
            raise Refused(431, "the headers are too large")

    def _end(self, refused: Refused) -> None:
        self.refused = refused
        self._body.release()
        self.phase = Phase.BETWEEN
        self.continue_wanted = False

    def close(self) -> None:
        """Gives back the bytes of bodies that nobody has taken. May be called again."""
        self._end(self.refused or Refused(400, "closed"))
        for arrival in self.complete:
            arrival.body.release()
        self.complete.clear()
        self._parser = None  # it refers to this object

    # --- called by the parser; what they raise stops it

    def on_message_begin(self) -> None:
        if self._upgrade_offered:
            return
        if len(self.complete) >= self._limits.pipelined_max:
            raise Refused(429, "too many requests at once")
        self._reset()
        self.phase = Phase.HEADER
        self.started += 1

    def on_url(self, part: bytes) -> None:
        if self._upgrade_offered:
            return
        self._target += part
        self._check_header_bytes(len(self._target))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))
        if len(self._fields) > self._headers_max:
            raise Refused(431, "too many headers")

    def _read_fields(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        size_bytes = len(self._target)
        for name, value in self._fields:
            size_bytes += len(name) + len(value)
            key = str(name, "latin-1").lower()
            text = str(value, "latin-1")
            headers[key] = text if key not in headers else f"{headers[key]},{text}"
        self._check_header_bytes(size_bytes)
        self._fields = []  # from here on: trailers, none of which says anything that SDKs need here
        return headers

    def _check_header_bytes(self, size_bytes: int) -> None:
        if size_bytes > self._limits.header_bytes_max:
            raise Refused(431, "the headers are too large")

    def on_headers_complete(self) -> None:
        if self._upgrade_offered:
            self._upgrade_offered = False
            self._fields = []
            return
        self._headers = headers = self._read_fields()
        parser = self._parser
        assert parser is not None
        self._version = parser.get_http_version()
        self._method = parser.get_method()
        if self._version not in {"1.1", "1.0"}:
            raise Refused(505, f"HTTP/{self._version} is not spoken here")
        if self._method == b"CONNECT":
            raise Refused(405, "CONNECT is not served")
        self._target_text = self._target.decode("latin-1")
        if not self._target_text.startswith("/"):
            self._take_whole_url()
        if not HOST.fullmatch(headers.get("host", "?" if self._version == "1.1" else "")):
            raise Refused(400, "one Host header is needed")
        length = headers.get("content-length", "0")  # its digits are checked by the parser
        if len(length) > _LENGTH_DIGITS_MAX or int(length) > self._limits.body_bytes_max:
            raise Refused(413, "the body is too large")
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise Refused(501, "this transfer encoding is not supported")
        self._unreported_bytes = 0
        self.phase = Phase.BODY
        self._upgrade_offered = parser.should_upgrade()
        expect = headers.get("expect")
        if expect is not None and self._version == "1.1":
            if expect.lower() != "100-continue":
                raise Refused(417, "this expectation cannot be met")
            self.continue_wanted = True

    def _take_whole_url(self) -> None:
        """``GET http://host/path``, as clients speak to proxies: its host counts (RFC 9112, 3.2.2)."""
        scheme, separator, rest = self._target_text.partition("://")
        if separator and scheme.lower() in {"http", "https"}:
            host, slash, path = rest.partition("/")
            self._headers["host"], self._target_text = host, f"/{path}" if slash else "/"
        elif not (self._target_text == "*" and self._method == b"OPTIONS"):
            raise Refused(400, "the target of the request is malformed")

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > _CHUNKS_BURST + self._body.charged // _CHUNK_BYTES_MIN:
            raise Refused(400, "the chunks are too small")

    def on_body(self, piece: bytes) -> None:
        self.continue_wanted = False
        self._body.add(piece)

    def on_message_complete(self) -> None:
        if self._upgrade_offered:
            return
        self.phase = Phase.BETWEEN
        self.continue_wanted = False
        parser, modern = self._parser, self._version == "1.1"
        assert parser is not None
        request = Request(
            self._method.decode("latin-1"),
            self._target_text,
            self._headers,
            self._body.complete(),
            self._scheme,
            self._peer,
        )
        self.complete.append(
            Arrival(request, self._body, modern and parser.should_keep_alive(), chunks_understood=modern)
        )
        self._body = self._no_body


def _refusal(error: httptools.HttpParserError) -> Refused:
    """What a callback raised, or the parser's own verdict."""
    if isinstance(error, httptools.HttpParserCallbackError) and error.__context__ is not None:
        if isinstance(error.__context__, Refused):
            return error.__context__
        raise error.__context__
    return Refused(400, f"malformed HTTP: {error}")
