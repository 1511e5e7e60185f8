"""`heddle bench aws`: the load generator against the broker's own endpoint in this process, and against one that
loses messages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from broker.api.web import Request, Response, WebServer
from broker.bench.aws import cost, parked
from broker.bench.aws.calls import CONSUME, OPERATIONS, measure
from broker.bench.aws.in_process import InProcess
from broker.bench.aws.plans import AWS
from broker.bench.aws.queue import request_bytes
from broker.bench.aws.scenario import kinds, name_of
from broker.bench.aws.wired import Wired
from broker.bench.measure import CountsDisagreeError, Measured, Plan
from broker.bench.processes import Server

PLAN = Plan(messages=200, size_bytes=1000, batch=10, in_flight=4, seconds=10.0, warm_up_seconds=0.05)


@asynccontextmanager
async def endpoint(*, loses: str = "", closes: bool = False) -> AsyncIterator[Server]:
    """``loses``: an operation whose every third call is answered as the one before it, and not made."""
    with InProcess() as broker:
        calls = 0
        before = Response(200)

        async def handle(request: Request) -> Response:
            nonlocal calls, before
            if loses and request.headers["x-amz-target"].endswith(f".{loses}"):
                calls += 1
                if calls % 3 == 0:
                    return before
                before = await broker.app.handle(request)
                return before
            response = await broker.app.handle(request)
            if closes:
                response.headers = [*response.headers, ("connection", "close")]
            return response

        server = WebServer(handle, "127.0.0.1:0")
        await server.start()
        try:
            yield Server(f"127.0.0.1:{server.port}", None)
        finally:
            await server.stop(0.1)


def run(operation: str, connections: int, *, loses: str = "", closes: bool = False, exact: bool = True) -> Measured:
    async def main() -> Measured:
        async with asyncio.timeout(30), endpoint(loses=loses, closes=closes) as server:
            return await measure(server, operation, connections, PLAN, exact=exact)

    return asyncio.run(main())


def causes(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [cause for each in error.exceptions for cause in causes(each)]
    return [error]


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_row_counts_messages_and_calls(operation: str, connections: int) -> None:
    measured = run(operation, connections)
    assert measured.messages >= PLAN.messages
    assert measured.p50_ms is not None
    calls = measured.extra["calls_per_second"] * measured.seconds
    calls_per_message = {"SendMessage": 1, "SendMessageBatch": 0.1, CONSUME: 0.2}[operation]
    assert calls == pytest.approx(measured.messages * calls_per_message, rel=0.2)
    assert "connections_closed_by_server" not in measured.extra


@pytest.mark.parametrize("operation", ["SendMessage", "SendMessageBatch", "DeleteMessageBatch"])
def test_a_server_that_forgets_fails_the_row(operation: str) -> None:
    with pytest.raises(BaseException) as raised:
        run(CONSUME if operation == "DeleteMessageBatch" else operation, 2, loses=operation)
    assert any(isinstance(cause, CountsDisagreeError) for cause in causes(raised.value))


def test_a_peer_that_forgets_is_told_of_in_its_row() -> None:
    assert run("SendMessage", 2, loses="SendMessage", exact=False).extra["miscounted_by_server"] < 0


def test_a_server_that_closes_is_connected_to_again() -> None:
    measured = run("SendMessage", 2, closes=True)
    assert measured.messages >= PLAN.messages
    assert measured.extra["connections_closed_by_server"] >= 2


def test_the_issue_names_the_connections() -> None:
    assert [count for _, count in kinds(AWS)] == [1, 16, 64] * 3
    assert name_of(("SendMessage", 1), "moto") == "aws: SendMessage, 1 connection (moto)"


def test_a_request_is_one_of_http() -> None:
    head, _, body = request_bytes("127.0.0.1:1", "SendMessage", {"MessageBody": "€"}).partition(b"\r\n\r\n")
    assert orjson.loads(body) == {"MessageBody": "€"}
    assert head.endswith(b"Content-Length: %d" % len(body))


def test_parked_calls_are_woken_one_by_one() -> None:
    async def main() -> tuple[Measured, Measured]:
        plan = Plan(messages=20, size_bytes=100, batch=1, in_flight=12, seconds=0.3, warm_up_seconds=0.1)
        async with asyncio.timeout(30), endpoint() as server:
            return await parked.measure_parked(server, plan, number_of_queues=3)

    quiet, woken = asyncio.run(main())
    assert quiet.extra["parked_receives"] == 12
    assert quiet.extra["queues"] == 3
    assert woken.messages > 0
    assert woken.p50_ms is not None


def test_the_parts_of_a_call_make_up_its_cost() -> None:
    found = asyncio.run(cost.measure_costs(1000, 2))
    assert set(found) == set(cost.OPERATIONS)
    for costs in found.values():
        assert tuple(costs) == cost.STAGES
        parts = [value for stage, value in costs.items() if stage not in {"total_us", "sign_sigv4_us"}]
        assert sum(parts) == pytest.approx(costs["total_us"], abs=1)
        assert min(costs["http_parse_us"], costs["plane_us"], costs["sign_sigv4_us"]) > 0


def test_connections_without_sockets_answer_as_those_with() -> None:
    async def main() -> list[bytes]:
        async def handle(request: Request) -> Response:
            return Response(200, (), request.body)

        return await Wired(handle, 2).exchange([request_bytes("h", "A", {"n": number}) for number in (1, 2)])

    first, second = asyncio.run(main())
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (first[-7:], second[-7:]) == (b'{"n":1}', b'{"n":2}')
