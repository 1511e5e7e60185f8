"""`heddle serve --ephemeral`: nothing is left at the end, and POST /reset empties the broker, there alone."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from broker.cli import main
from tests.api.running import broker, environment, first_line

PORTS = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", "127.0.0.1:0", "--print-ports"]


@contextmanager
def ephemeral(**variables: str) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "broker", "serve", "--ephemeral", *PORTS, "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment() | variables) as process:
        try:
            yield json.loads(first_line(process, 30))
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def client(address: str) -> Any:
    return boto3.session.Session().client(
        "sqs",
        endpoint_url=f"http://{address}",
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="anything",
    )


def post(address: str, **headers: str) -> int:
    request = urllib.request.Request(f"http://{address}/reset", method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_a_reset_empties_the_broker_and_nothing_stands_in_the_way_of_a_new_start() -> None:
    with ephemeral() as ports:
        sqs = client(ports["aws"])
        for name in ("a", "b.fifo"):
            url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if "." in name else {})["QueueUrl"]
            group = {"MessageGroupId": "g", "MessageDeduplicationId": "d"} if "." in name else {}
            sqs.send_message(QueueUrl=url, MessageBody="x", **group)
        sqs.create_queue(QueueName="deleted")
        sqs.delete_queue(QueueUrl="deleted")
        assert post(ports["http"]) == 200
        assert "QueueUrls" not in sqs.list_queues()
        for name in ("a", "b.fifo", "deleted"):
            url = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if "." in name else {})["QueueUrl"]
            assert "Messages" not in sqs.receive_message(QueueUrl=url)
        again = sqs.send_message(QueueUrl="b.fifo", MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
        assert sqs.receive_message(QueueUrl="b.fifo")["Messages"][0]["MessageId"] == again["MessageId"]
        sqs.close()


def test_a_web_page_of_somebody_else_cannot_reset() -> None:
    with ephemeral() as ports:
        sqs = client(ports["aws"])
        sqs.create_queue(QueueName="stays")
        for origin in ("null", "http://evil.example", f"http://evil.example:{ports['http'].rpartition(':')[2]}"):
            assert post(ports["http"], Origin=origin) == 403
        assert len(sqs.list_queues()["QueueUrls"]) == 1
        assert post(ports["http"], Origin="http://localhost:3000") == 200
        assert "QueueUrls" not in sqs.list_queues()
        sqs.close()


def test_the_data_is_gone_with_the_broker(tmp_path: Path) -> None:
    with ephemeral(TMPDIR=str(tmp_path)) as ports:
        with urllib.request.urlopen(f"http://{ports['http']}/healthz", timeout=10) as answer:
            assert json.load(answer)["durability"] == "relaxed"
        assert list(tmp_path.glob("heddle-*/data.mdb"))
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_keeps_its_data_has_no_reset(tmp_path: Path) -> None:
    with broker(tmp_path / "data") as running:
        assert post(running.http) == 404


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--data-dir", "somewhere"], "--ephemeral and data_dir (from flag --data-dir) contradict each other"),
        (["--durability", "fsync"], "--ephemeral and durability (from flag --durability) contradict each other"),
        (["--profile", "production", "--aws", "off"], "--ephemeral is refused in production"),
    ],
)
def test_what_contradicts_it(flags: list[str], reason: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--ephemeral", *flags])
    assert result.exit_code == 2
    assert reason in result.stderr


def test_production_refuses_to_trust_anybody() -> None:
    result = CliRunner().invoke(main, ["serve", "--profile", "production"])
    assert result.exit_code == 2
    assert "is refused in production: use sigv4, or aws = off" in result.stderr
    nobody = CliRunner().invoke(main, ["serve", "--aws-auth", "sigv4"])
    assert nobody.exit_code == 2
    assert "needs aws_credentials_file" in nobody.stderr
