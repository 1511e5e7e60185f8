"""HTTP/1.1: what clients that mean well send, and what becomes of handlers that fail or are left alone."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from broker.api.web import Request, Response, WebLimits
from tests.web.serving import Parking, client, echo, get, on_loop, post, raw, serving, stop_reading, until


@on_loop
async def test_requests_of_one_connection_in_order() -> None:
    async with serving(echo) as server, client(server) as connection:
        for number in range(3):
            answer = await connection.ask(post(b"%d" % number, target=f"/a%20b?n={number}"))
            assert (answer.status, answer.body) == (200, b"%d" % number)
            assert answer.headers["x-target"] == f"/a%20b?n={number}"
            assert answer.headers["date"].endswith("GMT")
            assert "connection" not in answer.headers


@on_loop
async def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    running: list[bytes] = []

    async def slower_first(request: Request) -> Response:
        assert not running
        running.append(request.body)
        await asyncio.sleep(0.02 if request.body == b"0" else 0)
        running.remove(request.body)
        return Response(200, [], request.body)

    async with serving(slower_first) as server, client(server) as connection:
        connection.send(b"".join(post(b"%d" % number) for number in range(50)))
        assert [(await connection.answer()).body for _ in range(50)] == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
@on_loop
async def test_requests_in_pieces_of_any_size(step: int) -> None:
    sent = b"".join(
        [
            post(b"first", "X-Twice: 1", "X-Twice: 2"),
            get("Transfer-Encoding: chunked", method="POST")
            + b"4;ext=1\r\nseco\r\n2\r\nnd\r\n0\r\nX-Trailer: t\r\n\r\n",
            b"\r\n" + post(b"third", "Connection: close"),
        ]
    )
    async with serving(echo) as server, client(server) as connection:
        for start in range(0, len(sent), step):
            connection.send(sent[start : start + step])
            await connection.writer.drain()
            await asyncio.sleep(0)
        first, second, third = [await connection.answer() for _ in range(3)]
        assert (first.body, first.headers["x-x-twice"]) == (b"first", "1,2")
        assert second.body == b"second"
        assert "x-x-trailer" not in second.headers
        assert (third.body, third.headers["connection"]) == (b"third", "close")
        assert await connection.ended() == b""


@on_loop
async def test_the_request_as_handlers_see_it() -> None:
    seen: list[Request] = []

    async def remember(request: Request) -> Response:
        seen.append(request)
        return Response(200)

    async with serving(remember) as server, client(server) as connection:
        await connection.ask(post(b"x", "AUTHORIZATION: caf\xe9", target="/%2F/q?a=%20&b"))
        await connection.ask(b"GET http://other.test:81/p?q HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await connection.ask(get(method="OPTIONS", target="*"))
        peer = "{}:{}".format(*connection.writer.get_extra_info("sockname"))
    first, second, third = seen
    assert (first.method, first.path, first.query, first.scheme) == ("POST", "/%2F/q", "a=%20&b", "http")
    assert (first.headers["authorization"], first.headers["host"]) == ("caf\xe9", "localhost")
    assert (first.peer, first.sent_body) == (peer, None)
    assert (second.target, second.headers["host"]) == ("/p?q", "other.test:81")
    assert third.target == "*"


@on_loop
async def test_a_client_that_waits_for_100_continue() -> None:
    async with serving(echo) as server, client(server) as connection:
        request = post(b"body", "Expect: 100-continue")
        connection.send(request[:-4])
        assert (await connection.answer()).status == 100
        connection.send(b"body")
        assert (await connection.answer()).body == b"body"
        assert (await connection.ask(request)).body == b"body"  # which does not wait: no 100
        assert (await connection.ask(post(b"", "Expect: 100-continue"))).status == 200
        assert (await connection.ask(post(b"x", "Expect: tea"))).status == 417


@on_loop
async def test_100_continue_waits_for_the_answer_before_it() -> None:
    go = asyncio.Event()

    async def wait(request: Request) -> Response:
        await go.wait()
        return Response(200, [], request.body)

    async with serving(wait) as server, client(server) as connection:
        connection.send(post(b"1") + post(b"2", "Expect: 100-continue")[:-1])
        await until(lambda: server.statistics().requests == 1)
        go.set()
        assert [(await connection.answer()).status for _ in range(2)] == [200, 100]
        assert (await connection.ask(b"2")).body == b"2"


@on_loop
async def test_head_and_statuses_without_a_body() -> None:
    async def handler(request: Request) -> Response:
        return Response(int(request.path[1:]), [("x-a", "b")], b"body")

    async with serving(handler) as server, client(server) as connection:
        connection.send(get(method="HEAD", target="/200"))
        answer = await connection.answer(head=True)
        assert (answer.status, answer.headers["content-length"]) == (200, "4")
        for status in (204, 304):
            answer = await connection.ask(get(target=f"/{status}"))
            assert (answer.status, answer.headers.get("content-length")) == (status, None)
        assert (await connection.ask(get(target="/599"))).body == b"body"


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(b"text" * 100_000)),
        ("GZIP", gzip.compress(b"text" * 100_000)),
        ("deflate", zlib.compress(b"text" * 100_000)),
        ("deflate", zlib.compress(b"text" * 100_000, wbits=-15)),
        ("identity", b"text" * 100_000),
    ],
)
@on_loop
async def test_content_encodings_are_undone(encoding: str, encoded: bytes) -> None:
    sent: list[bytes | None] = []

    async def handler(request: Request) -> Response:
        sent.append(request.sent_body)
        return Response(200, [], request.body)

    async with serving(handler) as server, client(server) as connection:
        assert (await connection.ask(post(encoded, f"Content-Encoding: {encoding}"))).body == b"text" * 100_000
    assert sent == [None if encoding == "identity" else encoded]


@on_loop
async def test_http_1_0_is_answered_and_closed() -> None:
    async def handler(_request: Request) -> Response:
        return Response(200, [], pieces())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with serving(handler) as server:
        head, _, body = (await raw(server, b"GET / HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
        assert (b"chunked" in head, body) == (False, b"onetwo")


@pytest.mark.parametrize("body", [b"", b"five5"])
@on_loop
async def test_an_offer_to_upgrade_is_declined(body: bytes) -> None:
    """As java.net.http makes it with its first request; llhttp would lose the body."""
    offer = post(body, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    async with serving(echo) as server, client(server) as connection:
        connection.send(offer + post(b"next"))
        assert (await connection.answer()).body == body
        assert (await connection.answer()).body == b"next"


@on_loop
async def test_a_failing_handler_is_a_500_and_the_connection_goes_on() -> None:
    async def handler(request: Request) -> Response:
        match request.path:
            case "/raise":
                raise RuntimeError("secret")
            case "/cancel":
                raise asyncio.CancelledError
            case "/split":
                return Response(200, [("x-a", "1\r\nx-b: 2")], b"")
            case "/wide":
                return Response(200, [("x-a", "\u20ac")], b"")
        return Response(200)

    async with serving(handler) as server, client(server) as connection:
        for path in ("/raise", "/cancel", "/split", "/wide"):
            answer = await connection.ask(get(target=path))
            assert (path, answer.status, answer.body) == (path, 500, b"")
            assert answer.headers.keys() == {"date", "content-length"}
        assert (await connection.ask(get())).status == 200


@on_loop
async def test_a_client_that_goes_away_cancels_its_handler_at_once() -> None:
    for half in (False, True):
        parking = Parking()
        async with serving(parking) as server, client(server) as connection:
            connection.send(post(b"x" * 100))
            await parking.called.wait()
            if half:
                connection.writer.write_eof()
            else:
                connection.writer.close()
            async with asyncio.timeout(0.5):
                await parking.cancelled.wait()
                await until(lambda: server.statistics().connections == 0)


@on_loop
async def test_a_request_that_arrives_with_its_clients_end_does_not_leak() -> None:
    async with serving(Parking()) as server:
        for _ in range(20):
            async with client(server) as connection:
                connection.send(post(b"x" * 1000))
                connection.writer.close()
        await until(lambda: server.statistics().requests == 0)


@on_loop
async def test_pieces_are_sent_as_they_come() -> None:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        while (piece := await queue.get()) is not None:
            yield piece

    async def handler(_request: Request) -> Response:
        return Response(200, [], pieces())

    async with serving(handler) as server, client(server) as connection:
        connection.send(get())
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        for piece in (b"one", b"", b"three"):
            queue.put_nowait(piece)
        assert await connection.reader.readexactly(18) == b"3\r\none\r\n5\r\nthree\r\n"
        queue.put_nowait(None)
        assert await connection.reader.readexactly(5) == b"0\r\n\r\n"
        connection.send(get(method="HEAD"))
        assert (await connection.answer(head=True)).status == 200


class Endless:
    """An answer without an end; ``sent`` pieces of 64 KiB were asked for."""

    def __init__(self) -> None:
        self.sent = 0
        self.closed = asyncio.Event()

    async def __call__(self, _request: Request) -> Response:
        return Response(200, [], self.pieces())

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            while True:
                self.sent += 1
                yield bytes(65_536)
        finally:
            self.closed.set()


@on_loop
async def test_a_slow_reader_holds_up_its_answer_and_nothing_else() -> None:
    endless = Endless()
    async with serving(endless) as server, client(server) as connection:
        stop_reading(connection.writer)
        connection.send(get())
        before = -1
        while before != endless.sent:
            before = endless.sent
            await asyncio.sleep(0.1)
        assert 0 < endless.sent < 500  # what the kernel buffers of both sides take, about 4 MB
        stop_reading(connection.writer, stop=False)
        await connection.reader.readexactly(100 * 65_536)
        await until(lambda: endless.sent > before)
        connection.writer.transport.abort()
        await endless.closed.wait()


@on_loop
async def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    async def pieces(error: BaseException) -> AsyncIterator[bytes]:
        yield b"one"
        raise error

    for error in (RuntimeError("secret"), asyncio.CancelledError()):

        async def handler(_request: Request, error: BaseException = error) -> Response:
            return Response(200, [], pieces(error))

        async with serving(handler) as server:
            assert (await raw(server, get())).endswith(b"\r\n\r\n3\r\none\r\n")


@on_loop
async def test_parked_requests_hold_up_nobody() -> None:
    parking = Parking()

    async def handler(request: Request) -> Response:
        return await (echo if request.body else parking)(request)

    limits = WebLimits(connections_max=401)
    async with serving(handler, limits) as server:
        parked = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(400)]
        for _, writer in parked:
            writer.write(get())
        await until(lambda: server.statistics().requests == 400)
        async with client(server) as connection:
            assert (await connection.ask(post(b"x"))).body == b"x"
        for _, writer in parked:
            writer.transport.abort()
        await until(lambda: server.statistics().requests == 0)
