"""The backlog: both brokers hold what they should after every round."""

import asyncio
import json

import pytest
from click.testing import CliRunner
from memory_broker import memory_broker

from broker.bench import backlog
from broker.bench.cli import bench
from broker.bench.measure import CountsDisagreeError, Plan

PLAN = Plan(messages=2_000, size_bytes=100, batch=100, in_flight=4, seconds=5.0, warm_up_seconds=0.05)


def measure(plan: Plan, loses_every: int = 0) -> backlog.Rounds:
    async def main() -> backlog.Rounds:
        async with asyncio.timeout(60), memory_broker() as empty, memory_broker(loses_every) as full:
            return await backlog.measure_rounds(empty, full, plan)

    return asyncio.run(main())


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
