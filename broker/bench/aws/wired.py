"""The HTTP server's connections without sockets: bytes are handed in, and what is written is kept."""

import asyncio
from collections.abc import Sequence

from broker.api.web import Handler, WebLimits
from broker.api.web.body import Budget
from broker.api.web.exchange import Exchanges
from broker.api.web.http1 import Http1Connection


class Sink(asyncio.Transport):
    """Takes everything that is written, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._answered = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = bytes(data)
        self._answered.set()

    async def answer(self) -> bytes:
        """What was written for a request."""
        await self._answered.wait()
        self._answered.clear()
        return self.written

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        """Nothing is open."""

    close = pause_reading = resume_reading = abort


class Wired:
    """So many connections to one handler."""

    def __init__(self, handler: Handler, count: int) -> None:
        limits = WebLimits()
        exchanges = Exchanges(handler, limits, Budget(limits.buffered_bytes_max))
        self._sinks = [Sink() for _ in range(count)]
        self._connections = [Http1Connection(exchanges, sink, "http", "127.0.0.1:1") for sink in self._sinks]

    async def exchange(self, requests: Sequence[bytes]) -> list[bytes]:
        """A request on each connection, all at once, as they come out of sockets; the answers, head and body."""
        for connection, request in zip(self._connections, requests, strict=True):
            connection.data_received(request)
        return [await sink.answer() for sink in self._sinks]
