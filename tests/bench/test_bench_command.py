"""The command: its names, its comparisons, and each comparison end to end where it is installed."""

import json
from typing import Any

import pytest
from click.testing import CliRunner

from broker.bench import compare
from broker.bench.ceilings import NoSuchCeilingError, measure_lmdb
from broker.bench.cli import bench, rows_of
from broker.bench.echo import echo_queue, shape_of
from broker.bench.measure import CountsDisagreeError, Plan
from broker.bench.payload import payload_of
from broker.bench.peers.client import DRIVERS
from broker.bench.peers.servers import PEERS, PeerNotInstalledError, client_python
from broker.bench.rows import Row, skipped_row

TINY = Plan(messages=1_000, size_bytes=100, batch=100, in_flight=4, seconds=5.0, warm_up_seconds=0.05)


def test_every_peer_has_a_driver() -> None:
    assert {peer.driver for peer in PEERS.values()} == set(DRIVERS)


def test_groups_expand_once_and_in_order() -> None:
    assert compare.expand(["ceilings", "redis", "echo"]) == ("echo", "lmdb", "redis")
    assert set(compare.expand(["peers", "ceilings"])) == set(compare.COMPARISONS)


@pytest.mark.parametrize("arguments", [["nonsense"], ["produce", "--compare", "nonsense"], ["produce", "--batch", "0"]])
def test_what_is_not_known_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(bench, arguments).exit_code == 2


def test_some_need_a_broker_of_their_own() -> None:
    for name in ("backlog", "steady", "aws-cost"):
        result = CliRunner().invoke(bench, [name, "--target", "127.0.0.1:1"])
        assert result.exit_code == 2, result.output


def test_large_messages_come_in_batches_of_500(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def remember(_name: str, plan: Plan, *_: object) -> list[Any]:
        plans.append(plan)
        return []

    monkeypatch.setattr("broker.bench.cli.run_workload", remember)
    setting = compare.Setting(None, "fsync", ())
    for changes in ({}, {"size_bytes": 1000}, {"size_bytes": 1000, "batch": 7}):
        list(rows_of("produce", {"messages": None, **changes}, setting, {}))
    assert [plan.batch for plan in plans] == [1000, 500, 7]


def test_a_comparison_is_run_once_for_workloads_that_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    row = skipped_row("produce (moto)", "not here")
    monkeypatch.setattr(compare, "compared_row", lambda *_: row)
    monkeypatch.setattr(compare, "broker_row", lambda name, *_: skipped_row(name, "no broker in this test"))
    setting = compare.Setting("127.0.0.1:1", "fsync", ("moto",))
    compared: dict[tuple[str, str, Plan], Row] = {}
    names = [
        each.name
        for workload in ("producer", "producer-asyncio")
        for each in compare.run_workload(workload, TINY, setting, compared)
    ]
    assert names == ["produce (moto)", "producer", "producer-asyncio"]


def test_a_lost_message_ends_the_command_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(*_: object) -> list[Any]:
        raise ExceptionGroup("streams", [CountsDisagreeError("expected 2 messages, counted 1")])

    monkeypatch.setattr("broker.bench.cli.run_workload", lose)
    result = CliRunner().invoke(bench, ["produce"])
    assert result.exit_code == 1
    assert "expected 2 messages, counted 1" in result.output


def test_a_payload_is_counted_by_its_length_and_looked_into() -> None:
    payload = payload_of(100, 10)
    assert payload.count_of(payload.packed) == 10
    payload.check(payload.packed)
    with pytest.raises(CountsDisagreeError, match="never sent"):
        payload.count_of(payload.packed[:-1])
    with pytest.raises(CountsDisagreeError, match="never sent"):
        payload.check(payload.packed.replace(b"quick", b"quack"))


def test_the_echo_is_told_its_payload() -> None:
    assert shape_of(echo_queue(1000, 500)) == (1000, 500)


@pytest.mark.parametrize("workload", ["produce", "consume", "unary", "latency"])
def test_echo_end_to_end(workload: str) -> None:
    row = compare.compared_row(workload, "echo", TINY)
    assert "skipped" not in row.extra
    assert row.figures["messages_per_second"]
    assert row.durability.startswith("none")


def test_lmdb_end_to_end() -> None:
    measured, durability = measure_lmdb("produce", TINY)
    assert measured.messages >= TINY.messages
    assert durability == "fsync every 4 batches (one commit)"
    with pytest.raises(NoSuchCeilingError):
        measure_lmdb("consume", TINY)


@pytest.mark.full
@pytest.mark.parametrize("workload", ["produce", "consume"])
@pytest.mark.parametrize("name", PEERS)
def test_peer_end_to_end(name: str, workload: str) -> None:
    try:
        client_python(PEERS[name])
    except PeerNotInstalledError as reason:
        pytest.skip(str(reason))
    row = compare.compared_row(workload, name, TINY)
    if "is not installed" in (skipped := row.extra.get("skipped", "")):
        pytest.skip(skipped)
    assert not skipped
    printed = json.loads(row.to_json())
    assert printed["messages_per_second"] > 0
    assert printed["durability"] == PEERS[name].durability
