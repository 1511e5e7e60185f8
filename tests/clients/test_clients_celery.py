"""Celery with kombu's SQS transport: a worker of two processes executes 1,000 tasks, of which some fail."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any, Final

from .environments import PROGRAMS, executable, needs_python, output, variables
from .ledger import Ledger
from .served import KEY, REGION, SECRET, Counts, ServedBroker
from .worker import killed_worker, running_worker

pytestmark = needs_python("celery")

_SECONDS_MAX: Final = 120.0
_OUTCOMES: Final = {
    "ok": ["ok"],
    "flaky": ["retried", "ok"],
    "hopeless": ["retried", "retried", "failed"],
    "rejected": ["rejected", "rejected"],
}
"""Of a task of each kind: every execution. A rejected one comes twice, its queue's redrive policy allows no more."""


def kind_of(number: int) -> str:
    return {3: "flaky", 13: "flaky", 17: "hopeless"}.get(number % 20, "ok")


def environment(broker: ServedBroker, home: Path, ledger: Ledger, queue: str, **transport: Any) -> dict[str, str]:
    """Of the worker and of the sender. Keys and endpoint are in the broker's URL, as Celery's documentation says."""
    options = {"region": REGION, "visibility_timeout": 120, "wait_time_seconds": 5, "polling_interval": 0} | transport
    return variables(home) | {
        "CELERY_BROKER_URL": f"sqs://{KEY}:{SECRET}@{broker.endpoint.removeprefix('http://')}//",
        "CELERY_TRANSPORT": json.dumps(options),
        "CELERY_QUEUE": queue,
        "LEDGER": str(ledger.path),
        "PYTHONPATH": str(PROGRAMS),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def worker() -> list[str]:
    command = [executable("celery", "celery"), "-A", "celery_tasks", "worker"]
    return [*command, "--concurrency", "2", "--loglevel", "WARNING"]


def send(told: dict[str, str], tasks: list[tuple[int, str]]) -> None:
    command = [executable("celery"), str(PROGRAMS / "celery_tasks.py"), json.dumps(tasks)]
    output(command, told, seconds_max=_SECONDS_MAX)


def test_a_thousand_tasks_on_a_queue_that_celery_makes(broker: ServedBroker, tmp_path: Path) -> None:
    tasks = [(number, kind_of(number)) for number in range(1000)]
    expected = {number: _OUTCOMES[kind] for number, kind in tasks}
    with Ledger(tmp_path / "ledger") as ledger:
        told = environment(broker, tmp_path, ledger, "celery-made")
        with running_worker(worker(), told, tmp_path / "log"):
            send(told, tasks)
            ledger.wait_executions(sum(map(len, expected.values())), seconds_max=_SECONDS_MAX)
        ledger.read_nowait()

        assert ledger.outcomes == expected
    assert broker.counts("celery-made") == Counts()


def test_what_a_killed_worker_held_comes_back(broker: ServedBroker, tmp_path: Path) -> None:
    tasks = [(number, "ok") for number in range(400)]
    with Ledger(tmp_path / "ledger") as ledger:
        told = environment(broker, tmp_path, ledger, "celery-killed", visibility_timeout=5)
        send(told, tasks)
        with killed_worker(worker(), told, tmp_path / "log"):
            ledger.wait_executions(100, seconds_max=_SECONDS_MAX)
        ledger.read_nowait()
        assert len(ledger.outcomes) < len(tasks)
        left = broker.counts("celery-killed")
        assert left.in_flight > 0  # executed or not, not acknowledged

        with running_worker(worker(), told, tmp_path / "log"):
            ledger.wait_executions(ledger.executions + left.visible + left.in_flight, seconds_max=_SECONDS_MAX)
        ledger.read_nowait()

        assert sorted(ledger.outcomes) == [number for number, _ in tasks]
        again = sum(len(outcomes) - 1 for outcomes in ledger.outcomes.values())
        assert again <= left.in_flight
    assert broker.counts("celery-killed") == Counts()


def test_predefined_queues_dead_letter_what_is_rejected(broker: ServedBroker, tmp_path: Path) -> None:
    sqs = broker.client()
    dead = sqs.create_queue(QueueName="celery-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "120"}
    url = sqs.create_queue(QueueName="celery-predefined", Attributes=attributes)["QueueUrl"]
    predefined = {
        "url": url,
        "region": REGION,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "backoff_policy": {"1": 1, "2": 1},  # seconds to the next delivery, by deliveries so far
        "backoff_tasks": ["tasks.rejected"],
    }
    tasks = [(number, "rejected" if number % 10 == 5 else kind_of(number)) for number in range(200)]
    expected = {number: _OUTCOMES[kind] for number, kind in tasks}
    rejected = sorted(number for number, kind in tasks if kind == "rejected")
    dead_numbers: list[int] = []
    with Ledger(tmp_path / "ledger") as ledger:
        told = environment(
            broker, tmp_path, ledger, "celery-predefined", predefined_queues={"celery-predefined": predefined}
        )
        with running_worker(worker(), told, tmp_path / "log"):
            send(told, tasks)
            ledger.wait_executions(sum(map(len, expected.values())), seconds_max=_SECONDS_MAX)
            for _ in rejected:  # the worker's polls are what moves them
                (message,) = sqs.receive_message(QueueUrl=dead, WaitTimeSeconds=20)["Messages"]
                dead_numbers.append(number_in(message["Body"]))
                sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        ledger.read_nowait()

        assert ledger.outcomes == expected
    assert sorted(dead_numbers) == rejected
    assert broker.counts("celery-predefined") == broker.counts("celery-dead") == Counts()


def number_in(body: str) -> int:
    """The task's number: its arguments stand in Base64 in a message that stands in Base64."""
    message = json.loads(b64decode(body))
    arguments, _, _ = json.loads(b64decode(message["body"]))
    return int(arguments[0])
