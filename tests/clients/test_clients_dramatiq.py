"""dramatiq with dramatiq-sqs: a worker executes 300 tasks, of which some fail; it makes its queues by itself."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Final

from .environments import PROGRAMS, executable, needs_python, output, variables
from .ledger import Ledger
from .served import Counts, ServedBroker
from .worker import running_worker

pytestmark = needs_python("dramatiq")

_SECONDS_MAX: Final = 120.0
_OUTCOMES: Final = {"ok": ["ok"], "flaky": ["failed", "ok"], "hopeless": ["failed"] * 3}
"""Of a task of each kind: every execution."""


def test_three_hundred_tasks_with_retries_and_a_dead_letter_queue(broker: ServedBroker, tmp_path: Path) -> None:
    tasks = [(number, {4: "flaky", 9: "hopeless"}.get(number % 10, "ok")) for number in range(300)]
    expected = {number: _OUTCOMES[kind] for number, kind in tasks}
    hopeless = [number for number, kind in tasks if kind == "hopeless"]
    sqs = broker.client()
    dead_numbers: list[int] = []
    with Ledger(tmp_path / "ledger") as ledger:
        told = variables(tmp_path, broker.endpoint) | {
            "LEDGER": str(ledger.path),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        send = [executable("dramatiq"), str(PROGRAMS / "dramatiq_tasks.py"), json.dumps(tasks)]
        output(send, told, seconds_max=_SECONDS_MAX)
        assert broker.counts("dramatiq_work") == Counts(visible=300)

        command = [executable("dramatiq", "dramatiq"), "dramatiq_tasks", "--processes", "1", "--threads", "4"]
        with running_worker(command, told, tmp_path / "log"):
            ledger.wait_executions(sum(map(len, expected.values())), seconds_max=_SECONDS_MAX)
            dead = sqs.get_queue_url(QueueName="dramatiq_work_dlq")["QueueUrl"]
            for _ in hopeless:
                (message,) = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=20)["Messages"]
                dead_numbers.append(json.loads(b64decode(message["Body"]))["args"][0])
                sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        ledger.read_nowait()

        assert ledger.outcomes == expected
    assert sorted(dead_numbers) == hopeless
    assert broker.counts("dramatiq_work") == broker.counts("dramatiq_work_dlq") == Counts()
    assert sqs.list_queue_tags(QueueUrl=dead)["Tags"] == {"owner": "dramatiq"}
