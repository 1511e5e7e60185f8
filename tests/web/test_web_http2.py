"""HTTP/2 with prior knowledge: streams side by side, windows, resets, floods, and going away."""

import asyncio
import gzip
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from broker.api.web import Request, Response, WebLimits
from broker.api.web.body import Budget
from broker.api.web.exchange import Exchanges
from broker.api.web.http2 import Http2Connection
from broker.api.web.http2_state import PREFACE
from tests.web.http2_client import Http2Client, Stream, http2_client
from tests.web.serving import QUICK, Parking, client, echo, get, on_loop, serving, stop_reading, until

SMALL = WebLimits(body_bytes_max=100_000, header_bytes_max=1_000, headers_max=10, linger_seconds=0.2)


@on_loop
async def test_streams_side_by_side() -> None:
    go = asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.path == "/wait":
            await go.wait()
        return await echo(request)

    async with serving(handler) as server, http2_client(server) as connection:
        waiting = connection.start("GET", "/wait", end=True)
        for number in range(20):
            stream = await connection.ask(b"%d" % number, ("authorization", "a"), ("x-two", "1"), ("x-two", "2"))
            assert (stream.status, bytes(stream.body)) == ([200], b"%d" % number)
            assert (stream.headers["x-host"], stream.headers["x-x-two"]) == ("localhost", "1,2")
            assert stream.headers["content-length"] == str(len(stream.body))
            assert stream.headers["date"].endswith("GMT")
            assert not any(name.startswith("x-:") for name in stream.headers)
        assert not waiting.done.is_set()
        go.set()
        await waiting.done.wait()
        assert waiting.status == [200]
        assert server.statistics().connections == 1


@on_loop
async def test_large_bodies_both_ways() -> None:
    """Larger than any window: windows are opened as data is taken, on both sides, which is no flood."""
    body = bytes(range(256)) * 12_000
    limits = WebLimits(control_frames_burst=50, control_frames_per_second=0)
    async with serving(echo, limits) as server, http2_client(server) as connection:
        await connection.settled.wait()
        streams = [connection.start("POST", f"/{number}", end=False) for number in range(3)]
        for stream in streams:
            sent = 0
            while sent < len(body):
                stream_id = connection.id_of(stream)
                window = min(connection.h2.local_flow_control_window(stream_id), 16_384, len(body) - sent)
                if not window:
                    await asyncio.sleep(0.001)
                    continue
                connection.data(stream, body[sent : sent + window], end=sent + window == len(body))
                sent += window
        for stream in streams:
            await stream.done.wait()
            assert bytes(stream.body) == body


@on_loop
async def test_100_continue_head_gzip_and_options() -> None:
    async with serving(echo) as server, http2_client(server) as connection:
        stream = connection.start("POST", "/", [("expect", "100-continue")], end=False)
        await until(lambda: stream.status == [100])
        connection.data(stream, b"body", end=True)
        await stream.done.wait()
        assert (stream.status, bytes(stream.body)) == ([100, 200], b"body")
        stream = await connection.ask(gzip.compress(b"text"), ("content-encoding", "gzip"))
        assert bytes(stream.body) == b"text"
        stream = await connection.ask(b"", method="HEAD")
        assert (stream.status, stream.headers["content-length"], bytes(stream.body)) == ([200], "0", b"")
        stream = await connection.ask(b"", method="OPTIONS", target="*")
        assert stream.headers["x-target"] == "*"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ([("x", "x" * 1_000)], b"", 431),
        ([("x", "x")] * 20, b"", 431),
        ([("content-length", "100001")], b"x", 413),
        ([("content-length", "9" * 20)], b"", 413),
        ([], bytes(100_001), 413),
        ([("content-encoding", "br")], b"x", 415),
        ([("content-encoding", "gzip")], gzip.compress(bytes(200_000), mtime=0), 413),
        ([("content-encoding", "gzip")], b"x", 400),
    ],
    ids=lambda value: repr(value)[:40],
)
@on_loop
async def test_refusals(headers: list[tuple[str, str]], body: bytes, expected: int) -> None:
    async with serving(echo, SMALL) as server, http2_client(server) as connection:
        await connection.settled.wait()
        stream = connection.start("POST", "/", headers, end=False)
        if body and headers[:1] != [("content-length", "100001")]:
            connection.data(stream, body, end=bool(headers))
        await until(lambda: bool(stream.status))
        assert stream.status == [expected]
        assert (await connection.ask(b"next")).status == [200]


PSEUDO = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "localhost")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (PSEUDO, 200),
        (PSEUDO[:3], 200),
        ([*PSEUDO[:3], ("host", "a")], 200),
        ([*PSEUDO, ("host", "localhost"), ("te", "trailers")], 200),
        ([*PSEUDO, ("host", "another")], 400),
        ([*PSEUDO, ("te", "gzip")], 400),
        (PSEUDO[1:], 400),
        ([PSEUDO[0], *PSEUDO[2:]], 400),
        ([*PSEUDO[:2], PSEUDO[3]], 400),
        ([*PSEUDO, (":method", "POST")], 400),
        ([*PSEUDO, (":status", "200")], 400),
        ([PSEUDO[0], ("x", "y"), *PSEUDO[1:]], 400),
        ([*PSEUDO, ("Upper", "y")], 400),
        ([*PSEUDO, ("", "y")], 400),
        ([*PSEUDO, ("x y", "y")], 400),
        ([*PSEUDO, ("x", "a\r\nb: c")], 400),
        ([*PSEUDO, ("x", "a\0")], 400),
        ([*PSEUDO, ("connection", "close")], 400),
        ([*PSEUDO, ("transfer-encoding", "chunked")], 400),
        ([(":method", "CONNECT"), (":authority", "a:1")], 405),
        ([(":method", "GET"), (":path", ""), *PSEUDO[2:]], 400),
        ([(":method", "GET"), (":path", "http://a/"), *PSEUDO[2:]], 400),
    ],
    ids=lambda value: repr(value)[-60:],
)
@on_loop
async def test_malformed_headers(headers: list[tuple[str, str]], expected: int) -> None:
    async with serving(echo) as server, http2_client(server) as connection:
        stream = connection.start_with(headers, end=True)
        await stream.done.wait()
        assert stream.status == [expected]
        assert (await connection.ask(b"next")).status == [200]


@on_loop
async def test_a_refused_stream_is_reset_after_a_moment() -> None:
    async with serving(echo, SMALL) as server, http2_client(server) as connection:
        stream = connection.start("POST", "/", [("x", "x" * 1_000)], end=False)
        await until(lambda: stream.reset is not None)
        assert (stream.status, stream.reset) == ([431], ErrorCodes.NO_ERROR)


@on_loop
async def test_too_many_bytes_of_all_bodies_and_malformed_targets() -> None:
    parking = Parking()
    limits = replace(QUICK, buffered_bytes_max=10_000)
    async with serving(parking, limits) as server, http2_client(server) as connection:
        first = connection.start("POST", "/", end=False)
        connection.data(first, bytes(6_000), end=True)
        await parking.called.wait()
        second = connection.start("POST", "/", end=False)
        connection.data(second, bytes(6_000), end=True)
        await until(lambda: second.status == [503])
        assert second.headers["retry-after"] == "1"
        third = connection.start("GET", "*", end=True)
        await until(lambda: third.status == [400])


@on_loop
async def test_a_failing_handler_is_a_500() -> None:
    async def handler(request: Request) -> Response:
        match request.path:
            case "/raise":
                raise RuntimeError("secret")
            case "/cancel":
                raise asyncio.CancelledError
            case "/split":
                return Response(200, [("x-a", "1\nx-b: 2")], b"body")
            case "/broken":
                return Response(200, [], broken(RuntimeError("secret")))
            case "/broken-by-cancel":
                return Response(200, [], broken(asyncio.CancelledError()))
        return Response(200)

    async def broken(error: BaseException) -> AsyncIterator[bytes]:
        yield b"one"
        raise error

    async with serving(handler) as server, http2_client(server) as connection:
        for path in ("/raise", "/cancel", "/split"):
            stream = await connection.ask(b"", target=path)
            assert (path, stream.status, bytes(stream.body)) == (path, [500], b"")
            assert stream.headers.keys() == {":status", "date", "content-length"}
        for path in ("/broken", "/broken-by-cancel"):
            stream = await connection.ask(b"", target=path)
            assert (bytes(stream.body), stream.reset) == (b"one", ErrorCodes.INTERNAL_ERROR)
        assert (await connection.ask(b"")).status == [200]


@on_loop
async def test_a_reset_or_a_lost_connection_cancels_handlers_at_once() -> None:
    async with serving(parking := Parking()) as server, http2_client(server) as connection:
        for end_of in ("stream", "connection"):
            parking.called.clear()
            parking.cancelled.clear()
            stream = connection.start("GET", "/", end=True)
            await parking.called.wait()
            if end_of == "stream":
                connection.h2.reset_stream(connection.id_of(stream), ErrorCodes.CANCEL)
                connection.flush()
            else:
                connection.writer.close()
            async with asyncio.timeout(0.5):
                await parking.cancelled.wait()
        await until(lambda: server.statistics().connections == 0)


@pytest.mark.parametrize("headers", [[("expect", "100-continue")], [("x", "x" * 1_000)], []])
@on_loop
async def test_a_request_that_comes_together_with_its_reset(headers: list[tuple[str, str]]) -> None:
    """The library tells of both at once, when nothing can be sent on the stream any more."""
    async with serving(echo, SMALL) as server, http2_client(server) as connection:
        await connection.settled.wait()
        for end in (True, False):
            pseudo = [(":method", "GET"), (":path", "/"), (":authority", "a"), (":scheme", "http")]
            stream_id = connection.h2.get_next_available_stream_id()
            connection.h2.send_headers(stream_id, [*pseudo, *headers], end_stream=end)
            connection.streams[stream_id] = Stream()
            connection.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            connection.flush()
            assert (await connection.ask(b"next")).status == [200]


@on_loop
async def test_answers_wait_for_windows() -> None:
    sent = 0
    closed = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        try:
            while True:
                sent += 1
                yield bytes(10_000)
        finally:
            closed.set()

    async def handler(request: Request) -> Response:
        return Response(200, [], pieces() if request.path == "/endless" else b"short")

    async with serving(handler) as server, http2_client(server) as connection:
        connection.crediting = False
        endless = connection.start("GET", "/endless", end=True)
        await until(lambda: len(endless.body) == 65_535)
        connection.h2.increment_flow_control_window(100)  # the connection's, for the other stream
        connection.flush()
        assert bytes((await connection.ask(b"")).body) == b"short"
        assert sent == 7
        connection.h2.increment_flow_control_window(100_000, connection.id_of(endless))
        connection.h2.increment_flow_control_window(100_000)
        connection.flush()
        await until(lambda: len(endless.body) == 165_535)
        assert sent == 17
        connection.h2.reset_stream(connection.id_of(endless))
        connection.flush()
        await closed.wait()


@on_loop
async def test_a_window_that_stays_shut_resets_the_stream() -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], bytes(100_000))

    async with serving(large, QUICK) as server, http2_client(server) as connection:
        connection.crediting = False
        stream = await connection.ask(b"")
        assert (len(stream.body), stream.reset) == (65_535, ErrorCodes.CANCEL)


@on_loop
async def test_a_socket_that_is_not_read_ends_the_connection() -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], bytes(30_000_000))

    async with serving(large, QUICK) as server, http2_client(server) as connection:
        connection.h2.increment_flow_control_window(2**30)
        connection.start("GET", "/", end=True)
        connection.h2.increment_flow_control_window(2**30, 1)
        connection.flush()
        await until(lambda: server.statistics().requests == 1)
        stop_reading(connection.writer)
        await until(lambda: server.statistics().connections == 0)


class Unread(asyncio.Transport):
    """A transport whose other side reads when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 100_000

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@on_loop
async def test_what_is_answered_waits_while_the_client_does_not_read() -> None:
    """Else the answers of a client that asks and never reads would pile up, however few streams it may have."""

    async def handler(_request: Request) -> Response:
        return Response(200, [], next(bodies))

    bodies = iter([b"answer", b"", b"answer"])
    transport, limits = Unread(), WebLimits()
    exchanges = Exchanges(handler, limits, Budget(limits.buffered_bytes_max))
    connection = Http2Connection(exchanges, transport, "http", "")
    connection.pause_writing()
    get_of_slash = b"\x82\x84\x86\x41\x01a"
    for stream_id in (1, 3, 5):
        start = PREFACE + SettingsFrame(0).serialize() if stream_id == 1 else b""
        asked = HeadersFrame(stream_id, get_of_slash, flags=["END_HEADERS", "END_STREAM"]).serialize()
        connection.data_received(start + asked)
    await asyncio.sleep(0.01)
    assert (transport.written.count(b"answer"), len(exchanges.tasks)) == (0, 3)
    connection.resume_writing()
    await until(lambda: not exchanges.tasks)
    assert transport.written.count(b"answer") == 2
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (PREFACE[:20], 0.2),
        (PREFACE, 0.3),
        (PREFACE + SettingsFrame(0).serialize(), 0.3),
        (PREFACE + SettingsFrame(0).serialize()[:5], 0.2),
        (PREFACE + SettingsFrame(0).serialize() + HeadersFrame(1, data=b"\x82").serialize(), 0.2),
    ],
    ids=lambda value: repr(value)[:60],
)
@on_loop
async def test_slow_clients_are_not_waited_for(sent: bytes, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    async with serving(echo, QUICK) as server, client(server) as connection:
        since = loop.time()
        connection.send(sent)
        await connection.ended()
        assert seconds * 0.9 < loop.time() - since < seconds + 1


@on_loop
async def test_a_body_that_stops_is_refused() -> None:
    async with serving(echo, QUICK) as server, http2_client(server) as connection:
        stream = connection.start("POST", "/", end=False)
        connection.data(stream, b"x", end=False)
        await until(lambda: bool(stream.status))
        assert stream.status == [408]
        assert (await connection.ask(b"x")).status == [200]


def frames(kind: str, number: int) -> Frame:
    match kind:
        case "ping":
            return PingFrame(0, b"12345678")
        case "settings":
            return SettingsFrame(0, {})
        case "window":
            return WindowUpdateFrame(0, 1)
        case "priority":
            return PriorityFrame(1 + 2 * number, depends_on=0, stream_weight=1)
        case "unknown":
            frame = PingFrame(0, b"12345678")
            frame.type = 0x55
            return frame
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["ping", "settings", "window", "priority", "unknown"])
@on_loop
async def test_floods_of_frames_that_ask_for_nothing(kind: str) -> None:
    limits = WebLimits(control_frames_burst=100, control_frames_per_second=1)
    async with serving(echo, limits) as server, http2_client(server) as connection:
        connection.writer.write(b"".join(frames(kind, number).serialize() for number in range(80)))
        assert (await connection.ask(b"x")).status == [200]
        # All at once: what came after the end would be answered with a reset, which may take the GOAWAY with it.
        connection.writer.write(b"".join(frames(kind, 80 + number).serialize() for number in range(60)))
        await asyncio.wait_for(connection.ended.wait(), 10)
        assert connection.goaway == ErrorCodes.ENHANCE_YOUR_CALM


@on_loop
async def test_floods_on_a_stream() -> None:
    """Resets right after requests, empty DATA frames, and a header in endless pieces."""
    limits = WebLimits(control_frames_burst=100, control_frames_per_second=1, resets_burst=50, resets_per_second=1)
    parking = Parking()

    def reset(connection: Http2Client) -> bytes:
        connection.start("GET", "/", end=True)
        return RstStreamFrame(connection.h2.get_next_available_stream_id() - 2, 8).serialize()

    def empty(connection: Http2Client) -> bytes:
        if not connection.streams:
            connection.start("POST", "/", end=False)
        return DataFrame(1, b"").serialize()

    def endless_header(_connection: Http2Client) -> bytes:
        return ContinuationFrame(3, b"\x00\x01a\x01b").serialize()

    flood: Callable[[Http2Client], bytes]
    for flood, started in ((reset, b""), (empty, b""), (endless_header, HeadersFrame(3, b"\x82").serialize())):
        async with serving(parking, limits) as server, http2_client(server) as connection:
            await connection.settled.wait()
            connection.writer.write(started)
            for _ in range(1_000):
                if connection.goaway is not None or connection.ended.is_set():
                    break
                connection.writer.write(flood(connection))
                await asyncio.sleep(0)
            await connection.ended.wait()
            assert connection.goaway in {ErrorCodes.ENHANCE_YOUR_CALM, ErrorCodes.PROTOCOL_ERROR, None}
            await until(lambda server=server: server.statistics().requests == 0)  # type: ignore[misc]


@on_loop
async def test_more_streams_than_allowed_end_the_connection() -> None:
    parking = Parking()
    async with serving(parking, WebLimits(streams_max=10)) as server, http2_client(server) as connection:
        await connection.settled.wait()
        assert connection.h2.remote_settings.max_concurrent_streams == 10
        for _ in range(10):
            connection.start("GET", "/", end=True)
        await until(lambda: server.statistics().requests == 10)
        get_of_slash = b"\x82\x84\x86\x41\x01a"
        connection.writer.write(HeadersFrame(21, get_of_slash, flags=["END_HEADERS", "END_STREAM"]).serialize())
        await connection.ended.wait()
        await until(lambda: server.statistics().requests == 0)


@on_loop
async def test_a_header_table_that_the_client_makes_huge_is_not_used() -> None:
    async def handler(_request: Request) -> Response:
        return Response(200, [("x-amzn-requestid", "unique" * 500)])

    async with serving(handler) as server, http2_client(server) as connection:
        connection.h2.update_settings({1: 2**30})
        connection.flush()
        for _ in range(3):
            assert (await connection.ask(b"")).status == [200]
        assert connection.h2.decoder.header_table_size <= 4_096


@on_loop
async def test_stopping_says_goaway_lets_streams_end_and_then_cuts() -> None:
    go = asyncio.Event()
    parking = Parking()

    async def handler(request: Request) -> Response:
        if request.path == "/park":
            return await parking(request)
        await go.wait()
        return Response(200, [], b"done")

    async with (
        serving(handler) as server,
        http2_client(server) as idle,
        http2_client(server) as busy,
        http2_client(server) as parked,
    ):
        await idle.settled.wait()
        stream = busy.start("GET", "/", end=True)
        left = parked.start("GET", "/park", end=True)
        await until(lambda: server.statistics().requests == 2)
        stopping = asyncio.ensure_future(server.stop(1))
        await idle.ended.wait()
        assert idle.goaway == ErrorCodes.NO_ERROR
        await until(lambda: busy.goaway is not None)
        go.set()
        await stream.done.wait()
        assert bytes(stream.body) == b"done"
        await busy.ended.wait()
        assert not parking.cancelled.is_set()
        await stopping
        assert parking.cancelled.is_set()
        await left.done.wait()
        assert left.status == []


@on_loop
async def test_a_client_that_says_goaway_is_still_answered() -> None:
    """As Node's session.close() does."""
    go = asyncio.Event()

    async def handler(request: Request) -> Response:
        await go.wait()
        return Response(200, [], bytes(200_000))

    async with serving(handler) as server, http2_client(server) as connection:
        stream = connection.start("GET", "/", end=True)
        await connection.settled.wait()
        connection.writer.write(GoAwayFrame(0).serialize() + PingFrame(0, b"12345678").serialize())
        await asyncio.sleep(0.01)
        go.set()
        await stream.done.wait()
        assert len(stream.body) == 200_000
        await connection.ended.wait()


@on_loop
async def test_both_versions_and_curl_on_one_port() -> None:
    async with serving(echo) as server, http2_client(server) as second, client(server) as first:
        assert (await first.ask(get())).status == 200
        assert (await second.ask(b"")).status == [200]
        if (curl := shutil.which("curl")) is not None:
            url = f"http://127.0.0.1:{server.port}/"
            for version in ("--http1.1", "--http2-prior-knowledge", "--http2"):
                command = [curl, version, "-sS", "-m", "5", "-d", "body", "-w", "%{http_version}", url]
                done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
                expected = b"body2" if "prior" in version else b"body1.1"
                assert (done.stdout, done.stderr) == (expected, b"")
