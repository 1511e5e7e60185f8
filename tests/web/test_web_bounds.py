"""What all connections together may cost, whatever each of them does, and what is left of those that are gone."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest

from broker.api.web import Request, Response, WebLimits
from broker.api.web.body import Budget, Refused
from broker.api.web.exchange import Connection
from tests.web.http2_client import Stream, http2_client
from tests.web.serving import QUICK, Parking, client, echo, get, on_loop, serving, stop_reading, until

MIB = 2**20


async def large(_request: Request) -> Response:
    return Response(200, [], bytes(30 * MIB))


@on_loop
async def test_answers_that_nobody_reads_are_bounded_together() -> None:
    limits = WebLimits(unread_bytes_max=100 * MIB)
    async with serving(large, limits) as server, client(server) as first, client(server) as second:
        for connection in (first, second):
            stop_reading(connection.writer)
            connection.send(get())
        await until(lambda: server.statistics().requests == 2)
        async with client(server) as third:
            answer = await third.ask(get())
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            first.writer.transport.abort()
            await until(lambda: server.statistics().requests == 1)
            assert (await third.ask(get())).status == 200


@on_loop
async def test_answers_of_http2_that_nobody_reads_are_bounded_too() -> None:
    limits = WebLimits(unread_bytes_max=100 * MIB)
    async with serving(large, limits) as server, http2_client(server) as connection:
        connection.crediting = False
        streams = [connection.start("GET", "/", end=True) for _ in range(2)]
        await until(lambda: all(stream.status for stream in streams))
        refused = connection.start("GET", "/", end=True)
        await refused.done.wait()
        assert refused.status == [503]


@on_loop
async def test_requests_are_bounded_over_all_connections() -> None:
    parking = Parking()
    limits = replace(QUICK, requests_max=2)
    async with serving(parking, limits) as server, client(server) as first, client(server) as second:
        first.send(get())
        second.send(get())
        await until(lambda: server.statistics().requests == 2)
        async with client(server) as third:
            assert (await third.ask(get())).status == 503
            first.writer.transport.abort()
            await until(lambda: server.statistics().requests == 1)
            third.send(get())
            await until(lambda: server.statistics().requests == 2)


def test_large_bodies_leave_room_for_small_ones() -> None:
    budget = Budget(8 * MIB)
    budget.take(4 * MIB)
    budget.take(2 * MIB - 1, MIB)
    with pytest.raises(Refused):
        budget.take(2, 2 * MIB)
    budget.take(MIB)
    budget.take(MIB, 0)
    with pytest.raises(Refused):
        budget.take(2, 0)
    budget.give(8 * MIB - 1)
    assert budget.bytes == 0


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_a_client_that_leaves_is_forgotten_at_once(version: str) -> None:
    """Not with the next full collection: until then it would keep the answer that it did not want."""

    @on_loop
    async def test() -> None:
        parking = Parking()
        left: list[weakref.ref[Connection]] = []
        async with serving(parking) as server:
            if version == "2":
                async with http2_client(server) as two:
                    two.start("GET", "/", end=True)
                    await parking.called.wait()
                    left += map(weakref.ref, server._exchanges.connections)
            else:
                async with client(server) as one:
                    one.send(get())
                    await parking.called.wait()
                    left += map(weakref.ref, server._exchanges.connections)
            await parking.cancelled.wait()
            await until(lambda: server.statistics().connections == server.statistics().requests == 0)
            await until(lambda: len(left) == 1 and left[0]() is None)

    test()


@on_loop
async def test_a_connection_that_fails_to_be_checked_is_the_only_one_to_end() -> None:
    class Broken:
        aborted = asyncio.Event()

        def check(self, now_s: float) -> None:
            raise ValueError(now_s)

        def retire(self) -> None: ...

        def abort(self) -> None:
            self.aborted.set()
            server._exchanges.leave(self)

    async with serving(echo, QUICK) as server:
        broken = Broken()
        server._exchanges.connections.add(broken)
        async with client(server) as connection:
            connection.send(b"GET / HTTP/1.1\r\nHo")
            assert (await connection.answer()).status == 408
        assert broken.aborted.is_set()


HOSTS = [
    ("localhost:4566", 200), ("sqs.us-east-1.localhost", 200), ("[::1]:4566", 200), ("[fe80::1%eth0]", 400),
    ("a_b", 200), ("127.0.0.1", 200), ("a b", 400), ("a/b", 400), ('evil"<x>', 400), ("a@b", 400), ("a?b", 400),
    ("a#b", 400), ("\xff", 400), ("a:b", 400), ("a:123456", 400), ("a:1:2", 400), ("[::1", 400),
    ("a\\b", 400), ("a,b", 400),
]  # fmt: skip


@on_loop
async def test_the_host_is_one_that_an_url_can_have() -> None:
    for host, status in [*HOSTS, ("", 200), ("\x01", 400)]:
        async with serving(echo) as server, client(server) as connection:
            head = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
            assert (host, (await connection.ask(head)).status) == (host, status)
    async with serving(echo) as server, client(server) as connection:
        assert (await connection.ask(b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n")).status == 400


FIELDS = [(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http")]


@on_loop
async def test_the_authority_is_one_that_an_url_can_have() -> None:
    async with serving(echo) as server, http2_client(server) as connection:
        for host, status in HOSTS:
            stream_id = connection.h2.get_next_available_stream_id()
            connection.h2.send_headers(stream_id, [*FIELDS, (b":authority", host.encode("latin-1"))], end_stream=True)
            connection.streams[stream_id] = stream = Stream()
            connection.flush()
            await stream.done.wait()
            assert (host, stream.status) == (host, [status])
