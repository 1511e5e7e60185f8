"""The commands against a real broker: a process of its own on a temporary directory, ports chosen by the system."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import broker.node
import broker.store
from broker.cli import main
from broker.cli.demo.process import RunningBroker, running_broker
from broker.cli.failures import Failure

pytestmark = pytest.mark.skipif(not hasattr(broker.node, "serve"), reason="needs the node")

needs_backup = pytest.mark.skipif(not hasattr(broker.store, "backup"), reason="needs the store's backup")

COMMAND_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def server() -> Iterator[RunningBroker]:
    with running_broker("--purge-interval-seconds", "0", "--queue-deleted-recently-seconds", "0") as running:
        yield running


@pytest.fixture
def orders(server: RunningBroker, request: pytest.FixtureRequest) -> Iterator[str]:
    """A queue of the test's own."""
    name = request.node.name[:70].replace("[", "-").replace("]", "")
    assert queue(server, "create", name).exit_code == 0
    yield name
    queue(server, "delete", name, "--yes")


def queue(server: RunningBroker, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["queue", *arguments, "--server", server.grpc], input=stdin)


def counts(server: RunningBroker, name: str) -> tuple[int, int, int]:
    [row] = [r for r in json.loads(queue(server, "list", "--json").stdout) if r["name"] == name]
    return row["visible"], row["in_flight"], row["delayed"]


def json_lines(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_message_goes_in_and_comes_out(server: RunningBroker, orders: str) -> None:
    sent = queue(server, "send", orders, "one", "two", "--json")
    assert len({entry["message_id"] for entry in json_lines(sent)}) == 2
    assert counts(server, orders) == (2, 0, 0)
    received = json_lines(queue(server, "receive", orders, "--max", "5", "--json"))
    assert sorted(str(message["body"]) for message in received) == ["one", "two"]
    assert {message["receive_count"] for message in received} == {1}
    assert counts(server, orders) == (0, 2, 0)
    assert queue(server, "ack", orders, *(str(message["receipt_handle"]) for message in received)).exit_code == 0
    assert counts(server, orders) == (0, 0, 0)


def test_bodies_come_from_standard_input_and_files_as_they_are(
    server: RunningBroker, orders: str, tmp_path: Path
) -> None:
    file = tmp_path / "order.json"
    file.write_bytes('{"café": 1}\n'.encode())
    assert queue(server, "send", orders, "--file", str(file)).exit_code == 0
    assert queue(server, "send", orders, stdin=b"from\nstdin").exit_code == 0
    bodies = {str(m["body"]) for m in json_lines(queue(server, "receive", orders, "-n", "2", "--ack", "--json"))}
    assert bodies == {'{"café": 1}\n', "from\nstdin"}
    assert counts(server, orders) == (0, 0, 0)


def test_lines_become_messages_and_come_back_as_lines(server: RunningBroker, orders: str) -> None:
    lines = [f"line {number}" for number in range(2_500)]
    sent = queue(server, "send", orders, "--lines", "--json", stdin="\n\n".join(lines).encode())
    assert json_lines(sent) == [{"sent": 2_500, "duplicates": 0}]
    assert counts(server, orders) == (2_500, 0, 0)
    received = queue(server, "receive", orders, "--max", "2500", "--ack", "--bodies")
    assert received.exit_code == 0
    assert sorted(received.stdout.splitlines()) == sorted(lines)
    assert counts(server, orders) == (0, 0, 0)


def test_a_delayed_message_is_counted_apart_and_can_be_peeked(server: RunningBroker, orders: str) -> None:
    assert queue(server, "send", orders, "later", "--delay", "900").exit_code == 0
    assert queue(server, "send", orders, "now").exit_code == 0
    assert counts(server, orders) == (1, 0, 1)
    peeked = {str(m["body"]): m["state"] for m in json_lines(queue(server, "peek", orders, "--json"))}
    assert peeked == {"later": "delayed", "now": "visible"}
    assert counts(server, orders) == (1, 0, 1)
    table = queue(server, "peek", orders).stdout
    assert "later" in table
    assert "Receives" in table


def test_show_tells_attributes_and_tags(server: RunningBroker) -> None:
    made = queue(server, "create", "shown", "-a", "VisibilityTimeout=77", "-t", "team=web=shop", "--json")
    assert json.loads(made.stdout)["url"].endswith("/shown")
    shown = json.loads(queue(server, "show", "shown", "--json").stdout)
    assert shown["attributes"]["VisibilityTimeout"] == "77"
    assert shown["tags"] == {"team": "web=shop"}
    table = queue(server, "show", "shown").stdout
    assert "VisibilityTimeout" in table
    assert "web=shop" in table


def test_nothing_to_receive_is_said_and_is_no_failure(server: RunningBroker, orders: str) -> None:
    result = queue(server, "receive", orders)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"no messages in {orders}\n")


def test_destruction_needs_a_yes_when_nobody_can_be_asked(server: RunningBroker, orders: str) -> None:
    queue(server, "send", orders, "precious")
    for command in ("purge", "delete"):
        refused = queue(server, command, orders)
        assert refused.exit_code == 2
        assert "--yes" in refused.stderr
    assert counts(server, orders) == (1, 0, 0)
    assert queue(server, "purge", orders, "--yes").exit_code == 0
    assert counts(server, orders) == (0, 0, 0)


def test_a_refusal_of_the_broker_is_one_line_with_its_code(server: RunningBroker, orders: str) -> None:
    result = queue(server, "show", "no-such-queue")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The specified queue does not exist")
    assert "NonExistentQueue" in result.stderr
    assert queue(server, "ack", orders, "nonsense").exit_code == 1
    assert queue(server, "create", "q", "-a", "NoSuchAttribute=1").exit_code == 1


def test_following_ends_with_an_interruption(server: RunningBroker, orders: str) -> None:
    command = [sys.executable, "-m", "broker", "queue", "receive", orders, "--follow", "--ack", "--bodies"]
    with subprocess.Popen([*command, "--server", server.grpc], stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        queue(server, "send", orders, "first")
        assert following.stdout.readline() == "first\n"
        queue(server, "send", orders, "second")
        assert following.stdout.readline() == "second\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(COMMAND_SECONDS_MAX) == 130


def test_a_second_broker_on_the_same_directory_or_port_is_refused_in_one_line(server: RunningBroker) -> None:
    here, other, free = str(server.data_dir), str(server.data_dir.with_name("other")), "127.0.0.1:0"
    for data_dir, grpc, http in ((here, free, free), (other, server.grpc, free), (other, free, server.http)):
        flags = ["--data-dir", data_dir, "--grpc", grpc, "--http", http, "--aws", "off"]
        result = subprocess.run(
            [sys.executable, "-m", "broker", "serve", *flags, "--log-level", "error"],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        assert result.returncode == 1, result.stderr
        [line] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert "Traceback" not in result.stderr
        assert "use" in line


def test_a_broker_that_cannot_start_is_told_to_whoever_waits_for_it() -> None:
    expected = pytest.raises(Failure, match=r"did not start \(exit code 2\): .*cache_bytes")
    with expected, running_broker("--cache-bytes=1"):
        pytest.fail("a broker started with a configuration that cannot be used")


def test_a_termination_is_a_clean_stop() -> None:
    with running_broker() as running:
        endpoints = json.loads((running.data_dir / "endpoints.json").read_text())
        assert endpoints.keys() == {"grpc", "http", "aws"}
        assert (endpoints["grpc"], endpoints["http"]) == (running.grpc, running.http)
        with urllib.request.urlopen(f"http://{endpoints['aws']}/?Action=GetCallerIdentity", timeout=5) as answer:
            assert b"<Account>000000000000</Account>" in answer.read()
        with urllib.request.urlopen(f"http://{running.http}/healthz", timeout=5) as answer:
            assert answer.status == 200
        os.kill(running.pid, signal.SIGTERM)
        _, status = os.waitpid(running.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@needs_backup
def test_a_backup_of_a_running_broker_can_be_checked_restored_and_served(
    server: RunningBroker, orders: str, tmp_path: Path
) -> None:
    queue(server, "send", orders, "--lines", stdin=b"a\nb\nc\n")
    copy, restored = tmp_path / "copy", tmp_path / "restored"
    backup = CliRunner().invoke(main, ["backup", "--data-dir", str(server.data_dir), str(copy)])
    assert backup.exit_code == 0, backup.output
    queue(server, "purge", orders, "--yes")
    again = CliRunner().invoke(main, ["backup", "--data-dir", str(server.data_dir), str(copy)])
    assert again.exit_code == 1
    assert "is not empty" in again.stderr
    check = CliRunner().invoke(main, ["check", str(copy), "--json"])
    assert check.exit_code == 0, check.output
    assert json.loads(check.stdout)["problems"] == []

    assert CliRunner().invoke(main, ["restore", str(copy), str(restored)]).exit_code == 0
    refused = CliRunner().invoke(main, ["restore", str(copy), str(restored)])
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert CliRunner().invoke(main, ["restore", "--force", str(copy), str(restored)]).exit_code == 0
    with running_broker("--data-dir", str(restored)) as revived:
        assert counts(revived, orders) == (3, 0, 0)
    assert CliRunner().invoke(main, ["check", str(restored)]).exit_code == 0


@needs_backup
def test_data_in_use_is_not_replaced(server: RunningBroker, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert CliRunner().invoke(main, ["backup", "--data-dir", str(server.data_dir), str(copy)]).exit_code == 0
    refused = CliRunner().invoke(main, ["restore", "--force", str(copy), str(server.data_dir)])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: ")
    assert queue(server, "list").exit_code == 0


def test_the_demo_accounts_for_every_message() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "broker", "demo", "--seconds", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    accounts = json.loads(result.stdout)
    assert [account["queue"] for account in accounts] == ["orders", "catalog-updates"]
    for account in accounts:
        assert account["balances"]
        assert account["sent"] == account["processed_once"] + account["processed_again_after_crash"] > 0
    assert accounts[0]["retries"] > 0
    assert accounts[0]["returned"] > 0
