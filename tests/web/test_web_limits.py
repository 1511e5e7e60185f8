"""HTTP/1.1: what is malformed, too large, too slow or too much is refused with a reason, and leaves nothing behind."""

import asyncio
import gzip
import zlib
from dataclasses import replace

import pytest

from broker.api.web import Request, Response, WebLimits
from tests.web.serving import QUICK, Parking, client, echo, get, on_loop, post, raw, serving, stop_reading, until

SMALL = WebLimits(body_bytes_max=1_000, header_bytes_max=1_000, headers_max=10, linger_seconds=0.2)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"EAT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (post(b"", "Content-Length: 5"), 400),
        (get("Content-Length: -1"), 400),
        (get("Content-Length: 99999999999999999999"), 400),
        (get("Content-Length: 0x10"), 400),
        (get("Content-Length: " + "0" * 500), 413),
        (get("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
        (get("Transfer-Encoding: gzip, chunked"), 501),
        (get("Transfer-Encoding: chunked, gzip"), 400),
        (get("Transfer-Encoding: chunked") + b"xyz\r\n", 400),
        (get("Transfer-Encoding: chunked") + b"5\r\nabcdefgh\r\n", 400),
        (get("Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n", 400),
        (get("Transfer-Encoding: chunked") + b"1;" + b"e" * 3_000, 431),
        (get("Transfer-Encoding: chunked") + b"0\r\nT: " + b"t" * 3_000, 431),
        (get("Transfer-Encoding: chunked") + b"0\r\n" + b"T: t\r\n" * 12, 431),
        (get("Transfer-Encoding: chunked") + b"3e9\r\n" + bytes(1_001), 413),
        (post(bytes(1_001)), 413),
        (get(target="/" + "t" * 1_000), 431),
        (get("X: " + "x" * 1_000), 431),
        (get(*["X: x"] * 10), 431),
        (get("X: " + "x" * 5_000)[:-4], 431),
        (post(b"x", "Content-Encoding: br"), 415),
    ],
    ids=lambda value: repr(value)[:60],
)
@on_loop
async def test_refusals(sent: bytes, expected: int) -> None:
    """Sent in pieces: what llhttp holds back between them is counted as well."""
    async with serving(echo, SMALL) as server, client(server) as connection:
        for start in range(0, len(sent), 900):
            connection.send(sent[start : start + 900])
            await connection.writer.drain()
            await asyncio.sleep(0.002)
        answer = await connection.answer()
        assert answer.status == expected
        if expected != 415:  # the only one after which the connection can go on
            assert answer.headers["connection"] == "close"
            assert await connection.ended() == b""


@on_loop
async def test_a_header_of_one_endless_value_is_not_gathered() -> None:
    async with serving(echo, SMALL) as server, client(server) as connection:
        connection.send(get("X: ")[:-4])
        for _ in range(4):
            connection.send(b"x" * 600)
            await connection.writer.drain()
            await asyncio.sleep(0.01)
        assert (await connection.answer()).status == 431


@on_loop
async def test_bodies_of_the_largest_size_are_taken() -> None:
    async with serving(echo, SMALL) as server, client(server) as connection:
        assert len((await connection.ask(post(bytes(1_000)))).body) == 1_000
        chunked = get("Transfer-Encoding: chunked", method="POST") + b"1f4\r\n" + bytes(500) + b"\r\n"
        connection.send(chunked + b"1f4\r\n" + bytes(500) + b"\r\n0\r\n\r\n")
        assert len((await connection.answer()).body) == 1_000


@on_loop
async def test_a_client_that_sends_on_sees_why_it_was_refused() -> None:
    """A close at once would reset the connection, and the answer with it."""
    async with serving(echo, SMALL) as server, client(server) as connection:
        connection.send(post(bytes(3_000_000)))
        assert (await connection.answer()).status == 413


@on_loop
async def test_one_byte_chunks_are_not_a_way_to_burn_the_cpu() -> None:
    async with serving(echo) as server, client(server) as connection:
        connection.send(get("Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 10_000)
        assert (await connection.answer()).status == 400


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (gzip.compress(bytes(1_001)), "gzip", 413),
        (zlib.compress(bytes(500_000)), "deflate", 413),
        (gzip.compress(b"cut off" * 100)[:-9], "gzip", 400),
        (gzip.compress(b"one") + gzip.compress(b"two"), "gzip", 400),
        (b"nothing of the kind", "gzip", 400),
        (b"nothing of the kind", "deflate", 400),
        (gzip.compress(bytes(1_000)), "gzip", 200),
    ],
)
@on_loop
async def test_content_encodings_are_bounded(body: bytes, encoding: str, expected: int) -> None:
    async with serving(echo, SMALL) as server, client(server) as connection:
        assert (await connection.ask(post(body, f"Content-Encoding: {encoding}"))).status == expected
        assert (await connection.ask(post(b"next"))).body == b"next"


@on_loop
async def test_a_gzip_bomb_does_not_hold_up_the_loop() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    async with serving(echo) as server, client(server) as connection, client(server) as other:
        connection.send(post(bomb, "Content-Encoding: gzip"))
        answered = 0
        bombed = asyncio.ensure_future(connection.answer())
        while not bombed.done():
            assert (await other.ask(get())).status == 200
            answered += 1
        assert bombed.result().status == 413
        assert answered > 5


@on_loop
async def test_the_bytes_of_all_bodies_together_are_bounded() -> None:
    parking = Parking()
    limits = replace(QUICK, buffered_bytes_max=10_000)
    async with serving(parking, limits) as server, client(server) as first, client(server) as second:
        first.send(post(bytes(6_000)))
        await parking.called.wait()
        assert server.statistics().body_bytes == 6_000
        answer = await second.ask(post(bytes(6_000)))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        async with client(server) as third:
            answer = await third.ask(post(gzip.compress(bytes(6_000)), "Content-Encoding: gzip"))
            assert answer.status == 503
            first.writer.transport.abort()
            await until(lambda: server.statistics().body_bytes == 0)
            third.send(post(bytes(6_000)))
            await until(lambda: server.statistics().body_bytes == 6_000)


@on_loop
async def test_the_number_of_connections_is_bounded() -> None:
    async with serving(echo, WebLimits(connections_max=2)) as server, client(server) as first, client(server) as second:
        assert (await first.ask(get())).status == 200
        assert (await second.ask(get())).status == 200
        async with client(server) as third:
            answer = await third.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert await third.ended() == b""
        first.writer.close()
        await until(lambda: server.statistics().connections == 1)
        async with client(server) as third:
            assert (await third.ask(get())).status == 200


@on_loop
async def test_more_pipelined_requests_than_any_client_sends() -> None:
    parking = Parking()
    limits = replace(QUICK, pipelined_max=20)
    async with serving(parking, limits) as server, client(server) as connection:
        connection.send(get() * 200)
        await parking.called.wait()
        assert server.statistics().requests == 1
    async with serving(echo, limits) as server:
        answers = (await raw(server, get() * 200)).split(b"HTTP/1.1 ")[1:]
        assert [answer[:3] for answer in answers] == [b"200"] * (len(answers) - 1) + [b"429"]
        assert len(answers) >= 20


@pytest.mark.parametrize(
    ("start", "rest", "expected"),
    [
        (b"", b"", 0),
        (b"PRI * HTTP", b"", 0),
        (b"GET / HTTP/1.1\r\n", b"X-Slow: ", 408),
        (post(bytes(100))[:-90], b"", 408),
        (get("Transfer-Encoding: chunked") + b"5\r\n", b"", 408),
        (get(), b"", 200),
        (get(), b"\r\n", 200),
    ],
    ids=lambda value: repr(value)[:60],
)
@on_loop
async def test_slow_clients_are_not_waited_for(start: bytes, rest: bytes, expected: int) -> None:
    """Nothing at all; half a preface; a header that trickles; a body that stops; a connection that is not used."""
    loop = asyncio.get_running_loop()
    async with serving(echo, QUICK) as server, client(server) as connection:
        connection.send(start)

        async def trickle() -> None:
            for number in range(1_000):
                connection.send(rest[number % len(rest) :][:1] if rest else b"")
                await asyncio.sleep(0.01)

        trickling = asyncio.ensure_future(trickle())
        since = loop.time()
        # Before the end: what is sent to a connection that closes may reset it.
        seen = (await connection.answer()).status if expected == 200 else 0
        refusal = await connection.ended()
        assert 0.1 < loop.time() - since < 1.5
        assert (status(refusal) if refusal else seen) == expected
        trickling.cancel()


@on_loop
async def test_a_body_that_trickles_is_too_slow_on_average() -> None:
    limits = replace(QUICK, body_bytes_per_second_min=1_000)
    async with serving(echo, limits) as server, client(server) as connection:
        connection.send(post(bytes(1_000))[:-1_000])
        answer = asyncio.ensure_future(connection.answer())
        sent = 0
        while not answer.done() and sent < 1_000:
            connection.send(b"x")
            sent += 1
            await asyncio.sleep(0.01)
        assert (await answer).status == 408
        assert sent < 500


@on_loop
async def test_a_reader_that_stops_is_cut_off() -> None:
    async def large(_request: Request) -> Response:
        return Response(200, [], bytes(30_000_000))

    async with serving(large, QUICK) as server, client(server) as connection:
        stop_reading(connection.writer)
        connection.send(get())
        await until(lambda: server.statistics().requests == 1)
        await until(lambda: server.statistics().connections == 0)


@on_loop
async def test_stopping_lets_requests_end_and_then_cuts() -> None:
    go = asyncio.Event()
    parking = Parking()

    async def handler(request: Request) -> Response:
        if request.path == "/park":
            return await parking(request)
        await go.wait()
        return Response(200, [], b"done")

    async with (
        serving(handler) as server,
        client(server) as idle,
        client(server) as busy,
        client(server) as arriving,
        client(server) as parked,
    ):
        busy.send(get() + get())
        parked.send(get(target="/park"))
        arriving.send(post(b"late")[:-2])
        await until(lambda: server.statistics().requests == 2)
        await until(lambda: server.statistics().body_bytes == 2)
        loop = asyncio.get_running_loop()
        since = loop.time()
        stopping = asyncio.ensure_future(server.stop(1))
        assert await idle.ended() == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", server.port)
        arriving.send(b"te")
        go.set()
        for connection in (busy, arriving):
            answer = await connection.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
            assert await connection.ended() == b""
        assert not parking.cancelled.is_set()
        await stopping
        assert parking.cancelled.is_set()
        assert loop.time() - since >= 1
        assert await parked.ended() == b""
