"""A connection that has said nothing yet: whether there is room for it, and which version of HTTP it speaks."""

import asyncio
import ssl
from typing import Final, cast

from broker.api.web.exchange import Exchanges, log
from broker.api.web.http1 import Http1Connection
from broker.api.web.http2 import Http2Connection
from broker.api.web.http2_state import PREFACE

_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class Door(asyncio.Protocol):
    """Hands the transport on to the protocol of the version as soon as the first bytes tell it."""

    def __init__(self, exchanges: Exchanges, scheme: str) -> None:
        self._exchanges, self._scheme = exchanges, scheme
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        exchanges = self._exchanges
        if len(exchanges.connections) >= exchanges.limits.connections_max:
            self._log_full()
            transport.write(_TOO_MANY)
            transport.close()
            return
        exchanges.connections.add(self)
        self._deadline_s = asyncio.get_running_loop().time() + exchanges.limits.idle_seconds

    def _log_full(self) -> None:
        """Once a second: clients that are turned away come back at once."""
        exchanges, now_s = self._exchanges, asyncio.get_running_loop().time()
        if now_s >= exchanges.full_logged_s + 1:
            exchanges.full_logged_s = now_s
            log.warning("too many connections", connections=len(exchanges.connections))

    def data_received(self, data: bytes) -> None:
        self._first += data
        first = self._first
        if self._alpn() == "h2" or first.startswith(PREFACE):
            self._enter(Http2Connection(self._exchanges, self._transport, self._scheme, self._peer()))
        elif not PREFACE.startswith(first):
            self._enter(Http1Connection(self._exchanges, self._transport, self._scheme, self._peer()))
        elif len(first) == len(data):
            self._deadline_s = asyncio.get_running_loop().time() + self._exchanges.limits.header_seconds

    def _alpn(self) -> str | None:
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return None if tls is None else tls.selected_alpn_protocol()

    def _enter(self, connection: Http1Connection | Http2Connection) -> None:
        self._exchanges.connections.add(connection)
        self._exchanges.leave(self)
        self._transport.set_protocol(connection)
        connection.data_received(self._first)

    def _peer(self) -> str:
        name = self._transport.get_extra_info("peername")
        if not isinstance(name, tuple):
            return ""
        host, port = name[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connection_lost(self, _exc: Exception | None) -> None:
        self._exchanges.leave(self)

    def check(self, now_s: float) -> None:
        if now_s >= self._deadline_s:
            self._transport.abort()

    def retire(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
