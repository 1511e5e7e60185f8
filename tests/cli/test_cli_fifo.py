"""FIFO queues, dead-letter queues, redrives, permissions and live counts on the command line, against a real broker."""

import json
import threading
from collections.abc import Iterator

import heddle
import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.cli.demo.process import RunningBroker, running_broker


@pytest.fixture(scope="module")
def server() -> Iterator[RunningBroker]:
    with running_broker("--purge-interval-seconds", "0", "--queue-deleted-recently-seconds", "0") as running:
        yield running


def queue(server: RunningBroker, *arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["queue", *arguments, "--server", server.grpc], input=stdin)


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def json_lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done(result).stdout.splitlines()]


@pytest.fixture
def dead_letters(server: RunningBroker) -> Iterator[tuple[str, str]]:
    """A queue whose two messages were moved to its dead-letter queue; the names of both."""
    orders, dead = "orders.fifo", "dead-orders.fifo"
    done(queue(server, "create", dead, "--fifo"))
    fifo = ("--fifo", "--content-based-dedup")
    done(queue(server, "create", orders, *fifo, "--dlq", dead, "--max-receive-count", "1"))
    done(queue(server, "send", orders, "one", "two", "--group", "g"))
    done(queue(server, "receive", orders, "--max", "2", "--visibility-timeout", "0"))
    assert "no messages" in done(queue(server, "receive", orders)).stderr
    yield orders, dead
    for name in (orders, dead):
        queue(server, "delete", name, "--yes")


def test_a_fifo_queue_is_created_with_its_dead_letter_queue(
    server: RunningBroker, dead_letters: tuple[str, str]
) -> None:
    orders, dead = dead_letters
    attributes = json.loads(done(queue(server, "show", orders, "--json")).stdout)["attributes"]
    assert (attributes["FifoQueue"], attributes["ContentBasedDeduplication"]) == ("true", "true")
    policy = json.loads(attributes["RedrivePolicy"])
    assert policy == {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{dead}", "maxReceiveCount": 1}
    done(queue(server, "create", "default.fifo", "--fifo", "--dlq", dead))
    attributes = json.loads(done(queue(server, "show", "default.fifo", "--json")).stdout)["attributes"]
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 10
    done(queue(server, "delete", "default.fifo", "--yes"))


def test_messages_have_groups_sequences_and_deduplication_ids(server: RunningBroker) -> None:
    done(queue(server, "create", "f.fifo", "--fifo"))
    refused = queue(server, "send", "f.fifo", "no group")
    assert refused.exit_code == 1
    assert "MessageGroupId" in refused.stderr
    first, again = (
        json_lines(queue(server, "send", "f.fifo", body, "--group", "g", "--dedup-id", "d", "--json"))[0]
        for body in ("body", "other")
    )
    assert first == again
    assert first["sequence"] == 1
    [message] = json_lines(queue(server, "receive", "f.fifo", "--json", "--visibility-timeout", "0"))
    assert [message[key] for key in ("body", "group_id", "sequence", "deduplication_id")] == ["body", "g", 1, "d"]
    assert "group g  sequence 1" in done(queue(server, "receive", "f.fifo")).stdout
    assert "Group" in done(queue(server, "peek", "f.fifo")).stdout
    done(queue(server, "delete", "f.fifo", "--yes"))


def test_lines_that_repeat_others_are_counted(server: RunningBroker) -> None:
    done(queue(server, "create", "lines.fifo", "--fifo", "--content-based-dedup"))
    sent = queue(server, "send", "lines.fifo", "--lines", "--group", "g", "--json", stdin=b"a\nb\na\nc\n")
    assert json_lines(sent) == [{"sent": 4, "duplicates": 1}]
    received = done(queue(server, "receive", "lines.fifo", "--max", "10", "--ack", "--bodies")).stdout
    assert received.splitlines() == ["a", "b", "c"]
    assert (
        "1 of them duplicates"
        in done(queue(server, "send", "lines.fifo", "--lines", "--group", "g", stdin=b"a\n")).stderr
    )
    done(queue(server, "delete", "lines.fifo", "--yes"))


def test_dead_letters_go_back_where_they_came_from(server: RunningBroker, dead_letters: tuple[str, str]) -> None:
    orders, dead = dead_letters
    [letter] = json_lines(queue(server, "receive", dead, "--json", "--visibility-timeout", "0"))
    assert str(letter["dead_letter_queue_source_arn"]).endswith(f":{orders}")
    assert "from orders.fifo" in done(queue(server, "receive", dead, "--visibility-timeout", "0")).stdout
    [task] = json_lines(queue(server, "redrive", dead, "--wait", "--json"))
    assert (task["status"], task["moved"]) == ("COMPLETED", 2)
    received = json_lines(queue(server, "receive", orders, "--max", "2", "--json"))
    assert [message["body"] for message in received] == ["one", "two"]
    [listed] = json.loads(done(queue(server, "move", "status", dead, "--json")).stdout)
    assert (listed["status"], listed["moved"], listed["to_move"]) == ("COMPLETED", 2, 2)
    table = done(queue(server, "move", "status", dead)).stdout
    assert "where they came from" in table


def test_dead_letters_go_elsewhere_and_waiting_says_how_many(
    server: RunningBroker, dead_letters: tuple[str, str]
) -> None:
    _, dead = dead_letters
    done(queue(server, "create", "elsewhere.fifo", "--fifo"))
    assert "moved 2 messages" in done(queue(server, "redrive", dead, "--to", "elsewhere.fifo", "--wait")).stderr
    received = json_lines(queue(server, "receive", "elsewhere.fifo", "--max", "2", "--json"))
    assert [message["body"] for message in received] == ["one", "two"]
    done(queue(server, "delete", "elsewhere.fifo", "--yes"))


def test_a_slow_redrive_is_cancelled(server: RunningBroker) -> None:
    done(queue(server, "create", "dead"))
    done(queue(server, "create", "source", "--dlq", "dead"))
    done(queue(server, "send", "dead", "--lines", stdin=b"".join(b"%d\n" % number for number in range(500))))
    done(queue(server, "redrive", "dead", "--to", "source", "--rate", "1"))
    again = queue(server, "redrive", "dead", "--to", "source")
    assert again.exit_code == 1
    assert "already a task running" in again.stderr
    assert json_lines(queue(server, "move", "cancel", "dead", "--json"))[0]["moved"] in range(500)
    refused = queue(server, "move", "cancel", "dead")
    assert (refused.exit_code, refused.stderr) == (1, "Error: no redrive of dead is running\n")
    for name in ("source", "dead"):
        done(queue(server, "delete", name, "--yes"))


def test_a_queue_that_is_nobodys_dead_letter_queue_has_nothing_to_redrive(server: RunningBroker) -> None:
    done(queue(server, "create", "alone"))
    refused = queue(server, "redrive", "alone")
    assert refused.exit_code == 1
    assert "Source queue must be configured as a Dead Letter Queue." in refused.stderr
    done(queue(server, "delete", "alone", "--yes"))


def test_permissions_come_and_go(server: RunningBroker) -> None:
    done(queue(server, "create", "shared"))
    given = ("--account-id", "111122223333", "--action", "SendMessage", "--action", "GetQueueUrl")
    added = json_lines(queue(server, "permission", "add", "shared", "partners", *given, "--json"))
    assert added == [{"label": "partners", "accounts": ["111122223333"], "actions": ["SendMessage", "GetQueueUrl"]}]
    policy = json.loads(json.loads(done(queue(server, "show", "shared", "--json")).stdout)["attributes"]["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["partners"]
    assert queue(server, "permission", "add", "shared", "partners", *given).exit_code == 1
    assert "removed partners" in done(queue(server, "permission", "remove", "shared", "partners")).stderr
    assert queue(server, "permission", "remove", "shared", "partners").exit_code == 1
    done(queue(server, "delete", "shared", "--yes"))


def test_stats_once_are_the_depths(server: RunningBroker) -> None:
    done(queue(server, "create", "stats-a"))
    done(queue(server, "create", "stats-b"))
    done(queue(server, "send", "stats-a", "one", "two"))
    shown = json.loads(done(queue(server, "stats", "--prefix", "stats-", "--json")).stdout)
    assert [(each["name"], each["visible"]) for each in shown] == [("stats-a", 2), ("stats-b", 0)]
    table = done(queue(server, "stats", "stats-a")).stdout
    assert "stats-a" in table
    assert "stats-b" not in table
    missing = queue(server, "stats", "no-such-queue")
    assert missing.exit_code == 1
    for name in ("stats-a", "stats-b"):
        done(queue(server, "delete", name, "--yes"))


def test_watched_stats_have_rates(server: RunningBroker) -> None:
    done(queue(server, "create", "busy"))
    stop = threading.Event()

    def work() -> None:
        with heddle.Client(server.grpc) as client:
            busy = client.queue("busy")
            while not stop.wait(0.02):
                busy.send("work")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        watched = queue(
            server,
            *("stats", "busy", "--watch", "--interval", "0.5", "--samples", "3", "--metrics", server.http, "--json"),
        )
    finally:
        stop.set()
        worker.join(20)
    first, *others = json_lines(watched)
    rows = [sample["queues"] for sample in (first, *others)]
    assert len(rows) == 3
    assert rows[0][0]["sent_per_second"] is None  # type: ignore[index]
    assert rows[2][0]["sent_per_second"] > 0  # type: ignore[index]
    assert rows[2][0]["change_per_second"] > 0  # type: ignore[index]
    table = done(queue(server, "stats", "busy", "--watch", "--interval", "0.1", "--samples", "2")).stdout
    assert table.count("Sent/s") == 2
    done(queue(server, "delete", "busy", "--yes"))


def test_metrics_that_were_asked_for_and_are_not_there_are_a_failure(server: RunningBroker) -> None:
    result = queue(server, "stats", "--watch", "--samples", "1", "--metrics", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no metrics at http://127.0.0.1:1/metrics" in result.stderr
