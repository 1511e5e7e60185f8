"""Hostile input at the AWS endpoint, the everyday part: some hundreds of new inputs, those that once did harm, and many
clients at once of whom each keeps within what is allowed."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.api.running import Broker, until
from tests.fuzz.aws_frames import frames_of
from tests.fuzz.aws_inputs import KINDS, AwsInput, inputs
from tests.fuzz.aws_target import AwsTarget, aws_target
from tests.fuzz.doors import DOORS

EVERYDAY = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsTarget]:
    with aws_target(tmp_path_factory.mktemp("fuzz") / "data") as it:
        yield it


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_does_harm(kind: str, attacked: AwsTarget) -> None:
    @EVERYDAY
    @given(inputs(kind))
    def strike(attack: AwsInput) -> None:
        attacked.strike(attack)

    attacked.renew()
    strike()
    attacked.renew()


@pytest.mark.parametrize("seed", DOORS["aws"].kept(), ids=lambda seed: seed.stem)
def test_what_once_did_harm_does_no_more(seed: Path, attacked: AwsTarget) -> None:
    attacked.renew()
    attacked.strike(AwsInput.load(seed.read_text()))
    attacked.renew()


MIB = 2**20


def call(operation: str, **members: object) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes]:
    headers = [(b"content-type", b"application/x-amz-json-1.0"), (b"x-amz-target", f"AmazonSQS.{operation}".encode())]
    return "POST", b"/", headers, json.dumps(members).encode()


def request(operation: str, **members: object) -> bytes:
    method, target, headers, body = call(operation, **members)
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"Host: h", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, *(b"%b: %b" % header for header in headers)]) + b"\r\n\r\n" + body


def connect(running: Broker, *, reads_little: bool = False) -> socket.socket:
    assert running.aws is not None
    host, _, port = running.aws.rpartition(":")
    connection = socket.socket()
    if reads_little:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(10)
    connection.connect((host, int(port)))
    return connection


CLIENTS = 70
RECEIVED = 'heddle_aws_calls_total{operation="ReceiveMessage",outcome="ok",service="sqs"}'


def gauge(running: Broker, name: str) -> float:
    """0 for what was not counted yet."""
    lines = running.get("/metrics")[1].splitlines()
    return float(next((line.split()[1] for line in lines if line.startswith(f"{name} ")), "0"))


def test_answers_that_nobody_reads_are_bounded_together(attacked: AwsTarget) -> None:
    """Each of 70 clients asks for 10 MB and takes nothing: 17 MB of memory each, when nothing bounded them."""
    running = attacked.running
    with connect(running) as feeder:
        feeder.sendall(request("CreateQueue", QueueName="large"))
        for _ in range(10):
            feeder.sendall(request("SendMessage", QueueUrl="large", MessageBody="x" * 1_000_000))
        asked = request("GetQueueAttributes", QueueUrl="large", AttributeNames=["All"])
        until(lambda: b'Messages":"10"' in answered(feeder, asked))
    before = running.anonymous_bytes()
    with ExitStack() as clients:
        received = gauge(running, RECEIVED)
        receive = request("ReceiveMessage", QueueUrl="large", MaxNumberOfMessages=10, VisibilityTimeout=0)
        for _ in range(CLIENTS):
            clients.enter_context(connect(running, reads_little=True)).sendall(receive)
        until(lambda: gauge(running, RECEIVED) == received + CLIENTS, 60)
        attacked.renew()
        assert running.anonymous_bytes() - before < 600 * MIB
    until(lambda: gauge(running, "heddle_aws_requests") == 0)
    attacked.renew()


def answered(connection: socket.socket, asked: bytes) -> bytes:
    connection.sendall(asked)
    return connection.recv(65_536)


def test_bodies_that_never_end_shut_nobody_out(attacked: AwsTarget) -> None:
    before = attacked.running.anonymous_bytes()
    begun = request("ListQueues", Nothing="x" * (16 * MIB - 1_000))[:-100]
    with ExitStack() as clients:
        for _ in range(20):
            connection = clients.enter_context(connect(attacked.running))
            with suppress(ConnectionError):  # refused while it sends
                connection.sendall(begun)
        until(lambda: gauge(attacked.running, "heddle_aws_body_bytes") > 100 * MIB)
        attacked.renew()
        assert attacked.running.anonymous_bytes() - before < 350 * MIB
    until(lambda: gauge(attacked.running, "heddle_aws_body_bytes") == 0)
    attacked.renew()


def test_polls_of_clients_that_leave_leave_nothing_behind(attacked: AwsTarget) -> None:
    polls = frames_of([call("ReceiveMessage", QueueUrl="polled", WaitTimeSeconds=20)] * 100)
    with connect(attacked.running) as connection:
        assert b"200 OK" in answered(connection, request("CreateQueue", QueueName="polled"))
    for _ in range(3):
        with ExitStack() as clients:
            for _ in range(10):
                clients.enter_context(connect(attacked.running)).sendall(polls)
            until(lambda: gauge(attacked.running, "heddle_waiters") >= 1_000)
            attacked.renew()
        until(lambda: gauge(attacked.running, "heddle_waiters") == 0)
    attacked.renew()
