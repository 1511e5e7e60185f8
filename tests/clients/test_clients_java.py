"""The AWS SDK for Java 2: sync, async over HTTP/1.1 and over HTTP/2 in cleartext, and its own batching."""

from pathlib import Path

from .environments import java, needs_java, output, variables
from .served import Counts, ServedBroker


@needs_java
def test_java_does_real_work(broker: ServedBroker, tmp_path: Path) -> None:
    lines = output([*java(), "clients.Sqs", broker.endpoint], variables(tmp_path, broker.endpoint), seconds_max=180.0)
    seen = dict(line.split("=", 1) for line in lines.splitlines())

    queues = ["java-sync"]
    for protocol in ("HTTP1_1", "HTTP2"):
        queues += [f"java-{protocol}", f"java-batched-{protocol}"]
    assert seen == {
        "sync.received": "200",
        "sync.same": "true",
        "error.code": "AWS.SimpleQueueService.NonExistentQueue",
        "error.message": "The specified queue does not exist.",
        "error.status": "400",
        **{f"{queue}.same": "true" for queue in queues[1:]},
    }
    for queue in queues:
        assert broker.counts(queue) == Counts(), queue
