"""The HTTP server of the AWS endpoint: a listener on the loop that runs, and the connections that it accepts.

Speaks HTTP/1.1 and HTTP/2 on one port: in cleartext a client that begins with HTTP/2's preface gets HTTP/2 (prior
knowledge, as the Kinesis client of JavaScript v3 and Java's async clients do), over TLS ALPN decides.

Own code around the parsers httptools and h2, because no server that can be had meets all of it: uvicorn has no HTTP/2,
hypercorn costs 280 µs of CPU a request where this one costs 31, granian runs threads of its own and does not cancel
handlers. The measurements are in docs/aws-http-server.md. Never: what a request means.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from broker.api.web.body import Budget
from broker.api.web.door import Door
from broker.api.web.exchange import Exchanges, log
from broker.api.web.limits import WebLimits
from broker.api.web.messages import Handler

_BACKLOG: Final = 4_096
_CHECKS_PER_LIMIT: Final = 4  # a time limit is met to a quarter of itself, and
_CHECK_SECONDS_MAX: Final = 1.0  # to a second: looking at 10,000 connections takes about 2 ms
_CANCELLED_SECONDS: Final = 5.0  # what a handler may take to end once it is cancelled


@dataclass(frozen=True, slots=True)
class WebStatistics:
    """``requests``: whose handlers run. ``body_bytes``: held for requests that arrive or are in progress."""

    connections: int
    requests: int
    body_bytes: int


class WebServer:
    """Serves ``handler`` at ``address`` (HOST:PORT, an IPv6 host in brackets; port 0: the system chooses).

    Started and stopped on the loop on which it serves; a server that has stopped does not start again.
    """

    def __init__(
        self,
        handler: Handler,
        address: str,
        *,
        tls: ssl.SSLContext | None = None,
        limits: WebLimits | None = None,
    ) -> None:
        self._limits = limits or WebLimits()
        self._tls = tls
        host, _, port = address.rpartition(":")
        self._host, self._wanted_port = host.strip("[]"), int(port)
        self._exchanges = Exchanges(handler, self._limits, Budget(self._limits.buffered_bytes_max))
        self._listener: asyncio.Server | None = None
        self._checking: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listens. Raises OSError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        if self._tls is not None:
            self._tls.set_alpn_protocols(["h2", "http/1.1"])
        scheme = "http" if self._tls is None else "https"
        self._listener = await self._loop.create_server(
            lambda: Door(self._exchanges, scheme),
            self._host,
            self._wanted_port,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else self._limits.header_seconds,
            backlog=_BACKLOG,
        )
        self._port: int = self._listener.sockets[0].getsockname()[1]
        limits = self._limits
        shortest_s = min(limits.header_seconds, limits.idle_seconds, limits.stall_seconds, limits.linger_seconds)
        self._check_seconds = min(_CHECK_SECONDS_MAX, shortest_s / _CHECKS_PER_LIMIT)
        self._check()

    @property
    def port(self) -> int:
        """Where it listens, or has listened."""
        assert self._listener is not None, "not started"
        return self._port

    def statistics(self) -> WebStatistics:
        return WebStatistics(
            connections=len(self._exchanges.connections),
            requests=len(self._exchanges.tasks),
            body_bytes=self._exchanges.budget.bytes,
        )

    async def stop(self, grace_seconds: float) -> None:
        """Accepts nothing more, lets requests under way be answered, cuts what is left after ``grace_seconds``.

        Handlers that are cut are cancelled, and have ended when this returns.
        """
        assert self._listener is not None, "not started"
        self._listener.close()
        exchanges = self._exchanges
        for connection in list(exchanges.connections):
            connection.retire()
        await self._connections_gone(grace_seconds)
        for connection in list(exchanges.connections):
            connection.abort()
        await self._connections_gone(_CANCELLED_SECONDS)
        if exchanges.tasks:
            await self._end_tasks()
        if self._checking is not None:
            self._checking.cancel()

    async def _connections_gone(self, seconds: float) -> None:
        exchanges = self._exchanges
        if exchanges.connections:
            exchanges.empty.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(exchanges.empty.wait(), seconds)

    async def _end_tasks(self) -> None:
        tasks = list(self._exchanges.tasks)
        for task in tasks:
            task.cancel()
        _, running = await asyncio.wait(tasks, timeout=_CANCELLED_SECONDS)
        if running:
            log.error("handlers ignore their cancellation", handlers=len(running))

    def _check(self) -> None:
        self._checking = self._loop.call_later(self._check_seconds, self._check)
        now_s = self._loop.time()
        for connection in list(self._exchanges.connections):
            try:
                connection.check(now_s)
            except Exception:  # of one connection must not end the checks of all
                log.exception("a connection could not be checked")
                connection.abort()
