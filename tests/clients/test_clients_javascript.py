"""The AWS SDKs for JavaScript, v3 and v2, and sqs-consumer. The programs tell what they saw; it is judged here."""

import json
from pathlib import Path
from typing import Any

import pytest

from .environments import needs_node, node, output, variables
from .served import Counts, ServedBroker

_SECONDS_MAX = 60.0

pytestmark = needs_node


def told_by(broker: ServedBroker, home: Path, program: str, *arguments: str) -> Any:
    """What a program says, read as JSON."""
    return json.loads(output(node(program, *arguments), variables(home, broker.endpoint), seconds_max=_SECONDS_MAX))


def test_the_sdk_does_real_work(broker: ServedBroker, tmp_path: Path) -> None:
    seen = told_by(broker, tmp_path, "sdk.mjs")

    batches = seen["batches"]
    assert len(set(batches["sent"])) == batches["deleted"] == 200
    assert sorted(batches["received"]) == sorted(batches["sent"])
    assert batches["wrong"] == []
    assert seen["visibility"] == {"counts": ["1", "2", "3"], "whileInFlight": 0}
    assert seen["fifo"] == {f"g{group}": list(range(group, 40, 4)) for group in range(4)}
    assert seen["endpointOfTheQueue"] == {"same": True, "body": "by its URL"}
    for name in ("js-batches", "js-visibility", "js.fifo", "js-by-url", "js-errors"):
        assert broker.counts(name) == Counts(), name

    errors = seen["errors"]
    for call in ("send", "receive", "find"):
        assert errors[call] == {
            "name": "QueueDoesNotExist",
            "ofItsClass": True,
            "ofTheService": True,
            "message": "The specified queue does not exist.",
            "status": 400,
            "fault": "client",
            "code": "AWS.SimpleQueueService.NonExistentQueue",
            "requestId": "string",
        }, call
    assert errors["batch"]["name"] == "BatchEntryIdsNotDistinct"
    assert errors["batch"]["message"] == "Id same repeated."
    assert (errors["handle"]["name"], errors["handle"]["status"]) == ("ReceiptHandleIsInvalid", 404)


@pytest.mark.parametrize(
    ("version", "content_type", "message"),
    [
        ("aws-sdk", "application/x-amz-json-1.0", "The specified queue does not exist."),
        (
            "aws-sdk-query",
            "application/x-www-form-urlencoded; charset=utf-8",
            "The specified queue does not exist for this wsdl version.",
        ),
    ],
)
def test_version_2_follows_the_url_of_the_queue(
    broker: ServedBroker, tmp_path: Path, version: str, content_type: str, message: str
) -> None:
    seen = told_by(broker, tmp_path, "sdk2.mjs", version)

    assert seen == {
        "sent": 50,
        "same": True,
        "asSent": True,
        "Tags": {"by": "v2"},
        "error": {
            "code": "AWS.SimpleQueueService.NonExistentQueue",
            "statusCode": 400,
            "message": message,
            "requestId": "string",
        },
        "types": [content_type],
    }
    assert broker.counts(f"{version}.fifo") == Counts()


@pytest.mark.parametrize("mode", ["single", "batch"])
def test_sqs_consumer_processes_all_that_can_be_processed(broker: ServedBroker, tmp_path: Path, mode: str) -> None:
    bodies = [f"ok {i}" for i in range(240)] + [f"once {i}" for i in range(40)] + [f"never {i}" for i in range(20)]
    sqs = broker.client()
    dead = sqs.create_queue(QueueName=f"js-consumer-{mode}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    # What a batch handler leaves out comes back when its visibility timeout ends; a handler that throws gives it back.
    attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "4" if mode == "batch" else "60"}
    url = sqs.create_queue(QueueName=f"js-consumer-{mode}", Attributes=attributes)["QueueUrl"]
    for first in range(0, len(bodies), 10):
        entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies[first : first + 10])]
        assert "Failed" not in sqs.send_message_batch(QueueUrl=url, Entries=entries)

    ledger = told_by(broker, tmp_path, "consumer.mjs", url, mode, "280")

    assert ledger["errors"] == []
    assert ledger["aborted"] is True
    assert sorted(ledger["processed"]) == sorted(body for body in bodies if not body.startswith("never"))
    assert ledger["failed"] == 40 + 20 * 3
    dead_bodies = []
    while messages := sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", []):
        dead_bodies += [message["Body"] for message in messages]
    assert sorted(dead_bodies) == sorted(body for body in bodies if body.startswith("never"))
    assert broker.counts(f"js-consumer-{mode}") == Counts()
    assert broker.counts(f"js-consumer-{mode}-dead") == Counts(in_flight=20)
