"""A light HTTP client: whole requests in, whole bodies out, over connections that stay open.

What it spends on a call is in the row (``client_cpu_us_per_message``). Never: what a request means.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import httptools

from broker.bench.measure import CountsDisagreeError


class RefusedCallError(CountsDisagreeError):
    """An answer with another status than 200."""


class Connection(asyncio.Protocol):
    """One call at a time. Connects again where the server has closed: some do so after every answer."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self.connects = 0

    async def call(self, request: bytes) -> bytes:
        """The body of the answer. Raises RefusedCallError and ConnectionError."""
        if self._transport is None or self._transport.is_closing():
            await self._connect()
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    async def _connect(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self.connects += 1
        await asyncio.get_running_loop().create_connection(lambda: self, self._host, self._port)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- the loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed before it answered: {exc}"))

    # --- the parser's calls

    def on_message_begin(self) -> None:
        self._body = b""

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        answer, status = self._answer, self._parser.get_status_code()
        assert answer is not None
        if answer.done():  # cancelled
            return
        if status == 200:
            answer.set_result(self._body)
        else:
            answer.set_exception(RefusedCallError(f"HTTP {status}: {self._body[:300]!r}"))


@asynccontextmanager
async def connections_to(target: str, count: int) -> AsyncIterator[list[Connection]]:
    """``count`` of them; they connect with their first call."""
    connections = [Connection(target) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()
