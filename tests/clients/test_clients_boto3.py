"""boto3 from many threads, by the protocol of today and by the one that older releases speak."""

import json
from pathlib import Path

import pytest

from .environments import PROGRAMS, executable, needs_python, output, variables
from .served import Counts, ServedBroker


@pytest.mark.parametrize(
    ("environment", "protocol", "no_queue"),
    [
        pytest.param(
            "boto3",
            "json",
            ["QueueDoesNotExist", "The specified queue does not exist."],
            marks=needs_python("boto3"),
        ),
        pytest.param(
            "boto3-query",
            "query",
            ["QueueDoesNotExist", "The specified queue does not exist for this wsdl version."],
            marks=needs_python("boto3-query"),
        ),
    ],
)
def test_boto3_does_real_work(
    broker: ServedBroker, tmp_path: Path, environment: str, protocol: str, no_queue: list[str]
) -> None:
    command = [executable(environment), str(PROGRAMS / "boto3_work.py"), environment, broker.endpoint]
    seen = json.loads(output(command, variables(tmp_path, broker.endpoint), seconds_max=120.0))

    assert seen["protocol"] == protocol
    assert seen["wrong_md5s"] == []
    assert seen["many_threads"] == {"same": True, "received": 500, "wrong": []}
    assert seen["pages"] == {"sizes": [3, 3, 1], "same": True, "tags": True, "left": []}
    groups = {"g0": [0, 2, 4, 6, 8], "g1": [1, 3, 5, 7, 9]}
    assert seen["fifo"] == {"groups": groups, "growing": True, "duplicates": True}
    assert seen["dead_letters"] == {"empty": True, "same": True, "sources": True}
    kind, text = no_queue
    errors = seen["errors"]
    assert errors["no queue"] == [kind, 400, "AWS.SimpleQueueService.NonExistentQueue", text]
    assert errors["twice"][1:] == [400, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id a repeated."]
    assert errors["handle"][1:3] == [404, "ReceiptHandleIsInvalid"]
    assert errors["character"][1:3] == [400, "InvalidMessageContents"]
    assert errors["batch"] == [["good"], "InvalidParameterValue"]
    for name in ("-threads", ".fifo", "-dead", "-source", "-errors"):
        assert broker.counts(environment + name) == Counts(), name
