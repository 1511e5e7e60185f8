"""A Celery application on kombu's SQS transport: `celery -A celery_tasks worker`, and `python celery_tasks.py send`.

Told by the environment: CELERY_BROKER_URL, CELERY_TRANSPORT (transport options, JSON), CELERY_QUEUE, LEDGER (a named
pipe that takes a line for every execution).
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject

app = Celery("tasks", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(
    broker_transport_options=json.loads(os.environ["CELERY_TRANSPORT"]),
    broker_connection_retry_on_startup=False,
    task_default_queue=os.environ["CELERY_QUEUE"],
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
)
for queue in app.conf.broker_transport_options.get("predefined_queues", {}).values():
    if "backoff_policy" in queue:  # JSON knows no numbers as keys
        queue["backoff_policy"] = {int(receives): delay for receives, delay in queue["backoff_policy"].items()}


def record(number: int, outcome: str) -> None:
    with Path(os.environ["LEDGER"]).open("ab", buffering=0) as ledger:  # one write, whole or not at all
        ledger.write(f"{json.dumps([number, outcome])}\n".encode())


@app.task(name="tasks.work", bind=True, max_retries=2)
def work(self: "Task[..., None]", number: int, kind: str) -> None:
    """`ok`; `flaky`: fails at the first attempt; `hopeless`: fails at every attempt."""
    if kind == "hopeless" or (kind == "flaky" and self.request.retries == 0):
        last = self.request.retries == self.max_retries
        record(number, "failed" if last else "retried")
        raise self.retry(countdown=0, exc=ValueError(f"{kind} {number}"))
    record(number, "ok")


@app.task(name="tasks.rejected", bind=True)
def rejected(self: "Task[..., None]", number: int) -> None:
    """Not wanted here: the queue's redrive policy decides."""
    record(number, "rejected")
    raise Reject(f"not wanted: {number}", requeue=False)


def send(tasks: list[tuple[int, str]]) -> None:
    for number, kind in tasks:
        if kind == "rejected":
            rejected.delay(number)
        else:
            work.delay(number, kind)


if __name__ == "__main__":
    tasks: Any = json.loads(sys.argv[1])
    send(tasks)
