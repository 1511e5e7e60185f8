"""Hostile input, to both versions: whatever comes, the server answers the next client and keeps nothing."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
import structlog
from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.api.web import WebLimits
from broker.api.web.body import Budget
from broker.api.web.flood import HEADER_BYTES, Flood, FrameGate
from broker.api.web.http1_reader import RequestReader
from broker.api.web.http2_state import PREFACE
from tests.web.http2_client import http2_client
from tests.web.serving import client, echo, get, on_loop, post, serving

SMALL: Final = WebLimits(
    header_seconds=5, stall_seconds=5, linger_seconds=0.05, body_bytes_max=10_000, header_bytes_max=2_000
)
VALID: Final = [
    post(b"body"),
    post(b"", "Connection: close"),
    get("Transfer-Encoding: chunked", method="POST") + b"4;a=b\r\nbody\r\n0\r\nT: t\r\n\r\n",
    post(b"body", "Expect: 100-continue", "Content-Encoding: gzip"),
    get("Connection: Upgrade", "Upgrade: h2c", "Content-Length: 3") + b"abc",
]
REQUEST_HEADERS: Final = [(":method", "POST"), (":path", "/"), (":authority", "a"), (":scheme", "http"), ("x", "y")]


def http2_request(stream_id: int, body: bytes) -> bytes:
    head = HeadersFrame(stream_id, Encoder().encode(REQUEST_HEADERS), flags=["END_HEADERS"])
    return bytes(head.serialize() + DataFrame(stream_id, body, flags=["END_STREAM"]).serialize())


HTTP2: Final = [
    SettingsFrame(0, settings={4: 70_000}).serialize() + http2_request(1, b"body") + http2_request(3, b""),
    SettingsFrame(0).serialize() + HeadersFrame(1, Encoder().encode(REQUEST_HEADERS), flags=[]).serialize(),
]


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One or more of the originals, with bytes changed, cut out, repeated or put in."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(originals), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["change", "cut", "repeat", "insert"])):
            case "change":
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del data[at : at + draw(st.integers(1, 20))]
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(1, 20))] * draw(st.integers(1, 50))
            case _:
                data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


HOSTILE: Final = st.one_of(
    st.binary(max_size=200),
    mutated(VALID),
    st.binary(max_size=200).map(PREFACE.__add__),
    mutated(HTTP2).map(PREFACE.__add__),
    mutated([PREFACE, *HTTP2]),
)


@given(inputs=st.lists(HOSTILE, min_size=20, max_size=20))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_server_that_is_sent_anything(inputs: list[bytes]) -> None:
    """No failure is logged, the loop sees no exception, and the next well-behaved client is served."""

    @on_loop
    async def run() -> None:
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
        async with serving(echo, SMALL) as server:
            for sent in inputs:
                async with client(server) as hostile:
                    hostile.send(sent)
                    hostile.writer.write_eof()
                    await hostile.ended()
            async with client(server) as connection, http2_client(server) as connection2:
                assert (await connection.ask(post(b"x"))).body == b"x"
                assert bytes((await connection2.ask(b"x")).body) == b"x"
        assert failures == []

    with structlog.testing.capture_logs() as logged:
        run()
    assert [entry for entry in logged if entry["log_level"] in {"error", "critical"}] == []


@given(data=st.one_of(st.binary(max_size=300), mutated(VALID)), cuts=st.lists(st.integers(1, 50), min_size=1))
@example(data=post(b"x" * 300), cuts=[1])
@settings(max_examples=300, deadline=None)
def test_a_reader_keeps_its_books_whatever_comes(data: bytes, cuts: list[int]) -> None:
    """The same requests however the bytes are cut, and every byte taken from the budget is given back."""
    readers = [read_in(data, [len(data) or 1]), read_in(data, cuts)]
    whole, cut = [[(arrival.request, arrival.keep_alive) for arrival in reader.complete] for reader in readers]
    assert whole == cut
    assert (readers[0].refused is None) == (readers[1].refused is None)
    for reader in readers:
        reader.close()
        assert budget_of(reader).bytes == 0


def read_in(data: bytes, cuts: list[int]) -> RequestReader:
    reader = RequestReader(WebLimits(), Budget(1_000_000), "http", "")
    start = number = 0
    while start < len(data):
        end = start + cuts[number % len(cuts)]
        reader.feed(data[start:end])
        start, number = end, number + 1
    return reader


def budget_of(reader: RequestReader) -> Budget:
    budget = reader._budget
    assert isinstance(budget, Budget)
    return budget


@given(data=st.binary(max_size=500), frames_max=st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_a_gate_passes_whole_frames_only(data: bytes, frames_max: int) -> None:
    passed = FrameGate(WebLimits(), 0.0).whole_frames(data, frames_max, 0.0)
    assert 0 <= passed <= len(data)
    offset = count = 0
    while offset < passed:
        size_bytes = int.from_bytes(data[offset : offset + 3], "big")
        if size_bytes > 16_384:
            assert passed == len(data)
            return
        offset += HEADER_BYTES + size_bytes
        count += 1
    assert offset == passed
    assert count <= frames_max


@pytest.mark.parametrize("refill", [0.0, 10.0])
def test_an_allowance_fills_again(refill: float) -> None:
    gate = FrameGate(WebLimits(control_frames_burst=5, control_frames_per_second=refill), 0.0)
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
    assert gate.whole_frames(ping * 5, 10, 0.0) == 5 * len(ping)
    raises_flood(lambda: gate.whole_frames(ping, 10, 0.0))
    if refill:
        assert gate.whole_frames(ping * 4, 10, 0.6) == 4 * len(ping)
    else:
        raises_flood(lambda: gate.whole_frames(ping, 10, 1_000.0))


def raises_flood(call: Callable[[], int]) -> None:
    with pytest.raises(Flood):
        call()
