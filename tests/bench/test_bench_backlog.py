"""The backlog: both brokers hold what they should after every round, and its rows tell the median round."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from memory_broker import memory_broker

from broker.bench import backlog
from broker.bench.cli import bench
from broker.bench.measure import CountsDisagreeError, Measured, Plan
from broker.bench.rows import row_of

PLAN = Plan(messages=2_000, size_bytes=100, batch=100, in_flight=4, seconds=5.0, warm_up_seconds=0.05)


def measure(plan: Plan, loses_every: int = 0) -> backlog.Rounds:
    async def main() -> backlog.Rounds:
        async with asyncio.timeout(60), memory_broker() as empty, memory_broker(loses_every) as full:
            return await backlog.measure_rounds(empty, full, plan)

    return asyncio.run(main())


def window(messages: int, seconds: float = 1.0, rss_mb: float | None = None) -> Measured:
    return Measured(messages, seconds, server_cpu_seconds=0.5, client_cpu_seconds=0.25, rss_mb=rss_mb)


def test_the_backlog_waits_through_all_rounds() -> None:
    rounds = measure(PLAN)
    assert rounds.waiting == PLAN.messages
    for side in (rounds.empty, rounds.backlog):
        assert len(side.produce) == len(side.consume) == backlog.ROUNDS
        assert all(window.messages > 0 for window in (*side.produce, *side.consume))


def test_a_lost_message_fails_the_backlog() -> None:
    with pytest.raises(BaseException) as raised:
        measure(PLAN, loses_every=5)
    assert isinstance(raised.value, CountsDisagreeError) or raised.group_contains(CountsDisagreeError)


def test_windows_are_added_up() -> None:
    assert backlog.together([window(100, 1.0, 80.0), window(300, 2.0, 90.0)]) == Measured(
        400, 3.0, server_cpu_seconds=1.0, client_cpu_seconds=0.5, rss_mb=90.0
    )
    unknown = backlog.together([Measured(100, 1.0), Measured(100, 1.0)])
    assert (unknown.server_cpu_seconds, unknown.rss_mb) == (None, None)


def test_the_ratio_is_that_of_the_median_round() -> None:
    mine, its = [window(90), window(100), window(10), window(5)], [window(100), window(100), window(100), window(0)]
    row = row_of("backlog: produce", "", backlog.together(mine), 100)
    backlog.compare(row, mine, its)
    assert row.to_dict()["ratio_to_empty_queue"] == 0.9
    assert (row.extra["lowest_round"], row.extra["highest_round"]) == (0.1, 1.0)


def test_backlog_end_to_end() -> None:
    arguments = ["backlog", "--messages", "2000", "--batch", "100", "--in-flight", "4", "--json"]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in map(json.loads, result.output.splitlines())}
    for what in ("produce", "consume"):
        assert rows[f"backlog: {what}, empty"]["messages_per_second"] > 0
        full = rows[f"backlog: {what}, 2,000 waiting"]
        assert full["lowest_round"] <= full["ratio_to_empty_queue"] <= full["highest_round"]
        assert full["rss_mb"] > 0
    assert rows["backlog: restart"]["seconds_to_first_message"] > 0
