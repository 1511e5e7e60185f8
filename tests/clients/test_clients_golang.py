"""The AWS SDK for Go v2: goroutines that send and long-poll at once, half of the polls given up early."""

import json
from pathlib import Path

from .environments import GOLANG, needs_go, output, variables
from .served import Counts, ServedBroker


@needs_go
def test_go_does_real_work(broker: ServedBroker, tmp_path: Path) -> None:
    seen = json.loads(output([str(GOLANG)], variables(tmp_path, broker.endpoint), seconds_max=120.0))

    assert seen["traffic"] == {
        "http": "HTTP/1.1",
        "sent": 400,
        "same": True,
        "wrong": None,
        "cancelled": True,
    }
    assert seen["failures"] == {
        "typed": True,
        "general": True,
        "code": "AWS.SimpleQueueService.NonExistentQueue",
        "message": "The specified queue does not exist.",
        "fault": "client",
    }
    assert broker.counts("go-traffic") == Counts()
