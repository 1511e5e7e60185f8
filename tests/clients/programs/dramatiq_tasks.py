"""A dramatiq application on dramatiq-sqs: `dramatiq dramatiq_tasks`, and `python dramatiq_tasks.py TASKS` to send.

Told by the environment: what every AWS SDK knows (endpoint, region, keys), and LEDGER, a named pipe that takes a line
for every execution.
"""

import json
import os
import sys
from pathlib import Path

import dramatiq
from dramatiq.middleware import AgeLimit, Callbacks, CurrentMessage, Retries, ShutdownNotifications, TimeLimit
from dramatiq_sqs import SQSBroker

middleware = [AgeLimit(), TimeLimit(), ShutdownNotifications(), Callbacks(), CurrentMessage()]
broker = SQSBroker(
    namespace="dramatiq",
    middleware=[*middleware, Retries(max_retries=2, min_backoff=100, max_backoff=200)],  # milliseconds
    dead_letter=True,
    visibility_timeout=120,
    tags={"owner": "dramatiq"},
)
dramatiq.set_broker(broker)


def record(number: int, outcome: str) -> None:
    with Path(os.environ["LEDGER"]).open("ab", buffering=0) as ledger:  # one write, whole or not at all
        ledger.write(f"{json.dumps([number, outcome])}\n".encode())


@dramatiq.actor(queue_name="work")
def work(number: int, kind: str) -> None:
    """`ok`; `flaky`: fails at the first attempt; `hopeless`: fails at every attempt, and is dead-lettered."""
    message = CurrentMessage.get_current_message()
    assert message is not None
    if kind == "hopeless" or (kind == "flaky" and message.options.get("retries", 0) == 0):
        record(number, "failed")
        raise ValueError(f"{kind} {number}")
    record(number, "ok")


if __name__ == "__main__":
    for task in json.loads(sys.argv[1]):
        work.send(*task)
