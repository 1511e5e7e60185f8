"""aioboto3 on aiobotocore: one event loop, many connections, long polls that are cut off. Nothing gets lost."""

import json
from pathlib import Path

import pytest

from .environments import PROGRAMS, executable, needs_python, output, variables
from .served import Counts, ServedBroker


@needs_python("aio")
@pytest.mark.parametrize("seed", [1, 2])
def test_polls_that_are_cut_off_lose_nothing(broker: ServedBroker, tmp_path: Path, seed: int) -> None:
    command = [executable("aio"), str(PROGRAMS / "aio_traffic.py")]
    name = f"aio-{seed}"
    url = broker.client().create_queue(QueueName=name, Attributes={"VisibilityTimeout": "5"})["QueueUrl"]

    told = output([*command, url, str(seed), broker.metrics], variables(tmp_path, broker.endpoint), seconds_max=120.0)
    seen = json.loads(told)

    assert len(seen["sent"]) == 2000
    assert seen["sent"] == seen["received"] == seen["deleted"]
    assert seen["wrong"] == []
    assert seen["cut_off"] > 0
    assert seen["received_after"] == 10
    assert broker.counts(name) == Counts()
