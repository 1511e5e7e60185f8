"""TLS: ALPN decides between the versions; handshakes that do not end are ended."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from broker.api.web import Request, Response
from tests.web.http2_client import http2_client
from tests.web.serving import QUICK, Parking, client, echo, get, on_loop, post, serving, until


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server whose certificate for "localhost" vouches for itself, and of a client that trusts it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    folder: Path = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([openssl, *made.split(), *names], check=True, capture_output=True, timeout=30)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=str(cert))


def trusting(contexts: tuple[ssl.SSLContext, ssl.SSLContext], *protocols: str) -> ssl.SSLContext:
    client_side = contexts[1]
    client_side.set_alpn_protocols(list(protocols))
    return client_side


@pytest.mark.parametrize("protocols", [["http/1.1"], ["unknown"]])
@on_loop
async def test_http_1_1(contexts: tuple[ssl.SSLContext, ssl.SSLContext], protocols: list[str]) -> None:
    seen: list[Request] = []

    async def handler(request: Request) -> Response:
        seen.append(request)
        return await echo(request)

    async with serving(handler, tls=contexts[0]) as server, client(server, tls=trusting(contexts, *protocols)) as one:
        for _ in range(2):
            assert len((await one.ask(post(bytes(200_000)))).body) == 200_000
    assert [request.scheme for request in seen] == ["https"] * 2


@on_loop
async def test_http_2(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    tls = trusting(contexts, "h2", "http/1.1")
    async with serving(echo, tls=contexts[0]) as server, http2_client(server, tls=tls) as connection:
        assert connection.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        await connection.settled.wait()
        stream = await connection.ask(bytes(60_000))
        assert (stream.status, len(stream.body)) == ([200], 60_000)


@pytest.mark.parametrize("version", [1, 2])
@on_loop
async def test_a_client_that_goes_away_cancels_its_handler(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], version: int
) -> None:
    parking = Parking()
    async with serving(parking, tls=contexts[0]) as server:
        if version == 1:
            async with client(server, tls=trusting(contexts, "http/1.1")) as connection:
                connection.send(get())
                await parking.called.wait()
        else:
            async with http2_client(server, tls=trusting(contexts, "h2")) as connection2:
                connection2.start("GET", "/", end=True)
                await parking.called.wait()
        async with asyncio.timeout(0.5):
            await parking.cancelled.wait()


@on_loop
async def test_a_refusal_is_seen_over_tls_too(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    tls = trusting(contexts, "http/1.1")
    async with serving(echo, QUICK, tls=contexts[0]) as server, client(server, tls=tls) as connection:
        connection.send(b"nonsense\r\n\r\n")
        assert (await connection.answer()).status == 400
        assert await connection.ended() == b""


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n\r\n"])
@on_loop
async def test_no_handshake(contexts: tuple[ssl.SSLContext, ssl.SSLContext], sent: bytes) -> None:
    async with serving(echo, QUICK, tls=contexts[0]) as server:
        async with client(server) as connection:
            connection.send(sent)
            await connection.ended()
        async with client(server, tls=trusting(contexts, "http/1.1")) as connection:
            assert (await connection.ask(get())).status == 200


@on_loop
async def test_stopping(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    parking = Parking()
    async with (
        serving(parking, tls=contexts[0]) as server,
        client(server, tls=trusting(contexts, "http/1.1")) as idle,
        client(server, tls=trusting(contexts, "http/1.1")) as parked,
    ):
        parked.send(get())
        await until(lambda: server.statistics().requests == 1)
        stopping = asyncio.ensure_future(server.stop(0.2))
        assert await idle.ended() == b""
        await stopping
        assert parking.cancelled.is_set()
