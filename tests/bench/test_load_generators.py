"""The load generators against a broker of memory: they count right, and a broker that loses messages fails them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from memory_broker import memory_broker

from broker.bench import idle, mixed
from broker.bench.measure import CountsDisagreeError, Measured, Plan
from broker.bench.processes import Server
from broker.bench.workloads import WORKLOADS

PLAN = Plan(messages=2_000, size_bytes=100, batch=100, in_flight=4, seconds=10.0, warm_up_seconds=0.05)
WIRE_WORKLOADS = ("produce", "consume", "unary", "latency", "wakeup")


def run(measure: Callable[[Server], Awaitable[Measured]], loses_every: int = 0) -> Measured:
    async def main() -> Measured:
        async with asyncio.timeout(30), memory_broker(loses_every) as server:
            return await measure(server)

    return asyncio.run(main())


def causes(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [cause for each in error.exceptions for cause in causes(each)]
    return [error]


@pytest.mark.parametrize("name", WIRE_WORKLOADS)
def test_a_workload_measures_what_was_acknowledged(name: str) -> None:
    plan = Plan(300, 100, 100, 4, 10.0, warm_up_seconds=0.05) if name in {"latency", "wakeup"} else PLAN
    measured = run(lambda server: WORKLOADS[name].run(server, plan))
    # the warm-up ends early when it reaches the plan's messages; consume takes a tenth of them before its window
    assert measured.messages >= (plan.messages - 400 if name == "consume" else plan.messages)
    assert measured.seconds > 0
    assert (measured.p50_ms is not None) == (name in {"unary", "latency", "wakeup"})


@pytest.mark.parametrize("name", ["produce", "unary", "latency"])
def test_a_lost_message_fails_the_workload(name: str) -> None:
    with pytest.raises(BaseException) as raised:
        run(lambda server: WORKLOADS[name].run(server, PLAN), loses_every=5)
    assert any(isinstance(cause, CountsDisagreeError) for cause in causes(raised.value))


def test_mixed_settles_every_message_once() -> None:
    measured = run(lambda server: mixed.measure_mixed(server, PLAN))
    assert measured.messages >= 1900
    assert measured.extra["settled"] == 2000
    assert measured.extra["given_back"] == 200
    assert measured.extra["left_to_expire"] == 100
    assert measured.extra["delivered_again"] == 300


def test_idle_wakes_consumers_of_queues_chosen_by_chance() -> None:
    async def measure(server: Server) -> Measured:
        plan = Plan(messages=40, size_bytes=100, batch=1, in_flight=1, seconds=0.3, warm_up_seconds=0.1)
        quiet, woken = await idle.measure_idle(server, plan, number_of_queues=5)
        assert quiet.extra == {"parked_consumers": 25, "queues": 5}
        return woken

    woken = run(measure)
    assert woken.messages > 0
    assert woken.p50_ms is not None
