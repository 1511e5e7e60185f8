"""What takes turns: windows are added up, the ratio is that of the median round, and calls are counted on each side."""

import json

import pytest
from click.testing import CliRunner

from broker.bench import unary
from broker.bench.cli import bench
from broker.bench.measure import Measured
from broker.bench.rounds import compare, together
from broker.bench.rows import row_of


def window(messages: int, seconds: float = 1.0, rss_mb: float | None = None) -> Measured:
    return Measured(messages, seconds, server_cpu_seconds=0.5, client_cpu_seconds=0.25, rss_mb=rss_mb)


def test_windows_are_added_up() -> None:
    assert together([window(100, 1.0, 80.0), window(300, 2.0, 90.0)]) == Measured(
        400, 3.0, server_cpu_seconds=1.0, client_cpu_seconds=0.5, rss_mb=90.0
    )
    unknown = together([Measured(100, 1.0), Measured(100, 1.0)])
    assert (unknown.server_cpu_seconds, unknown.rss_mb) == (None, None)


def test_the_ratio_is_that_of_the_median_round() -> None:
    mine, its = [window(90), window(100), window(10), window(5)], [window(100), window(100), window(100), window(0)]
    row = row_of("backlog: produce", "", together(mine), 100)
    compare(row, "empty_queue", mine, its)
    assert row.to_dict()["ratio_to_empty_queue"] == 0.9
    assert (row.extra["lowest_round"], row.extra["highest_round"]) == (0.1, 1.0)


def test_calls_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unary, "ROUNDS", 2)
    arguments = ["calls", "--seconds", "0.2", "--warm-up", "0.05", "--in-flight", "4", "--json"]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in map(json.loads, result.output.splitlines())}
    assert all(row["messages_per_second"] > 0 for row in rows.values())
    assert rows["calls: standard queue"]["ratio_to_echo"] > 0
    ordered = rows["calls: FIFO queue"]
    assert ordered["lowest_round"] <= ordered["ratio_to_standard"] <= ordered["highest_round"]


def test_ordered_requests_differ_in_their_ids_alone() -> None:
    requests = unary.OrderedRequests("q.fifo", b"body")
    parsed = [unary.SendMessageBatchRequest.FromString(requests.next()) for _ in range(3)]
    ids = [entry.message_deduplication_id for request in parsed for entry in request.entries]
    assert len(set(ids)) == 30
    for request in parsed:
        for entry in request.entries:
            entry.ClearField("message_deduplication_id")
    assert parsed[0] == parsed[1] == parsed[2]
