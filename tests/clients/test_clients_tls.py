"""Clients that reach the broker by TLS, and trust its certificate because they were told to."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .environments import GOLANG, executable, needs_go, needs_node, needs_python, node, output, run, variables
from .served import ACCOUNT, CERTIFICATE, Counts, ServedBroker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    served = ServedBroker(tmp_path_factory.mktemp("tls"), tls=True)
    yield served
    served.stop()


@needs_python("awscli")
def test_aws_cli_by_tls(broker: ServedBroker, tmp_path: Path) -> None:
    aws = [executable("awscli", "aws"), "--endpoint-url", broker.endpoint, "sqs"]
    told = variables(tmp_path, broker.endpoint, AWS_CA_BUNDLE=str(CERTIFICATE))
    created = json.loads(output([*aws, "create-queue", "--queue-name", "tls"], told, seconds_max=30.0))
    assert created == {"QueueUrl": f"{broker.endpoint}/{ACCOUNT}/tls"}

    distrusting = run([*aws, "list-queues"], variables(tmp_path, broker.endpoint), seconds_max=60.0)
    assert distrusting.returncode == 255
    assert "SSL validation failed" in distrusting.stderr


@needs_go
def test_go_speaks_http2_by_itself(broker: ServedBroker, tmp_path: Path) -> None:
    """The polls that it gives up are streams that are reset, on a connection that goes on."""
    told = variables(tmp_path, broker.endpoint, AWS_CA_BUNDLE=str(CERTIFICATE))
    traffic = json.loads(output([str(GOLANG)], told, seconds_max=120.0))["traffic"]

    assert traffic == {"http": "HTTP/2.0", "sent": 400, "same": True, "wrong": None, "cancelled": True}
    assert broker.counts("go-traffic") == Counts()


@needs_node
def test_javascript_by_tls(broker: ServedBroker, tmp_path: Path) -> None:
    told = variables(tmp_path, broker.endpoint, NODE_EXTRA_CA_CERTS=str(CERTIFICATE))
    seen = json.loads(output(node("sdk.mjs"), told, seconds_max=60.0))

    assert seen["batches"]["deleted"] == len(seen["batches"]["sent"]) == 200
    assert seen["endpointOfTheQueue"] == {"same": True, "body": "by its URL"}
    for name in ("js-batches", "js-visibility", "js.fifo", "js-by-url", "js-errors"):
        assert broker.counts(name) == Counts(), name
