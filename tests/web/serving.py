"""A server on this process's loop, and raw ways to speak with it.

Every server is looked at when its test ends: no connection, no handler and no byte of a body may be left.
"""

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import uvloop

from broker.api.web import Handler, Request, Response, WebLimits, WebServer, WebStatistics

TEST_SECONDS_MAX: Final = 10.0
NOTHING: Final = WebStatistics(connections=0, requests=0, body_bytes=0)
QUICK: Final = WebLimits(header_seconds=0.2, idle_seconds=0.3, stall_seconds=0.2, linger_seconds=0.2)


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test on the loop that the broker uses, for a bounded time."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(TEST_SECONDS_MAX):
                await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(bounded())

    return run


@asynccontextmanager
async def serving(
    handler: Handler, limits: WebLimits | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[WebServer]:
    server = WebServer(handler, "127.0.0.1:0", tls=tls, limits=limits)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0)
    assert server.statistics() == NOTHING


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what no event tells; the test's own time bounds it."""
    while not condition():  # noqa: ASYNC110  # nothing is set when a kernel or a closed socket changes
        await asyncio.sleep(0.002)


async def echo(request: Request) -> Response:
    """The request's body; what else there was in headers."""
    told = [("x-method", request.method), ("x-target", request.target)]
    told += [(f"x-{name}", value) for name, value in request.headers.items()]
    return Response(200, told, request.body)


@dataclass
class Parking:
    """A handler that never answers, and says when it was called and when it was cancelled."""

    called: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _request: Request) -> Response:
        self.called.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError("unreachable")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection of HTTP/1.1, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, head: bool = False) -> Answer:
        start, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        body = b""
        if not head and headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                assert await self.reader.readline() == b"\r\n"
            assert await self.reader.readline() == b"\r\n"
        elif not head:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(start.split(" ")[1]), headers, body)

    async def ask(self, data: bytes) -> Answer:
        self.send(data)
        return await self.answer()

    async def ended(self) -> bytes:
        """What is left until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


@asynccontextmanager
async def client(server: WebServer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    name = None if tls is None else "localhost"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def post(body: bytes, *headers: str, target: str = "/") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def get(*headers: str, target: str = "/", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: localhost", *headers]).encode("latin-1") + b"\r\n\r\n"


async def raw(server: WebServer, data: bytes) -> bytes:
    """All that the server sends until it closes."""
    async with client(server) as connection:
        connection.send(data)
        return await connection.ended()


def stop_reading(writer: asyncio.StreamWriter, *, stop: bool = True) -> None:
    """Leaves what comes in the kernel, or takes it again."""
    transport = cast("asyncio.Transport", writer.transport)
    (transport.pause_reading if stop else transport.resume_reading)()
