"""One life of the broker, and what its clients share: the queues, the account, and what was left unanswered before.

Never: a retry within a life, which would blur what was acknowledged.
"""

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from heddle.v1 import queues_pb2 as pb
from heddle.v1.queues_pb2_grpc import QueuesStub

from .account import Account, family

PLAIN, RETRIED, RETRIED_DEAD = "plain", "retried", "retried-dead"
ORDERED, ORDERED_DEAD = "ordered.fifo", "ordered-dead.fifo"
QUEUES: Final = (RETRIED_DEAD, ORDERED_DEAD, PLAIN, RETRIED, ORDERED)
"""Dead-letter queues first: they must be there before what names them."""
_RECEIVES_MAX: Final = {RETRIED: (RETRIED_DEAD, 2), ORDERED: (ORDERED_DEAD, 3)}
_ARN_PREFIX: Final = "arn:aws:sqs:us-east-1:000000000000:"
_BACKLOG: Final = 400
"""Producers are slow when this many messages are left of what was sent: a round is about crashes, not throughput."""
_SIZES: Final = (1, 30, 100, 2000)


def arn(queue: str) -> str:
    return _ARN_PREFIX + queue


def creation(queue: str) -> pb.CreateQueueRequest:
    request = pb.CreateQueueRequest(queue_name=queue)
    if queue.endswith(".fifo"):
        request.attributes["FifoQueue"] = "true"
    if queue in _RECEIVES_MAX:
        target, times = _RECEIVES_MAX[queue]
        request.attributes["RedrivePolicy"] = f'{{"deadLetterTargetArn":"{arn(target)}","maxReceiveCount":{times}}}'
    return request


@dataclass(slots=True)
class Outbox:
    """What one sender to the FIFO queue has written, over all lives: the broker must take each message once, though it
    is sent again when its answer was lost. ``groups``: its own, so that it knows their order."""

    groups: tuple[str, ...]
    unanswered: deque[list[str]] = field(default_factory=deque)
    numbers: dict[str, int] = field(default_factory=dict)

    def write(self, random: Random, most: int) -> list[str]:
        bodies = []
        for _ in range(random.randint(1, most)):
            group = random.choice(self.groups)
            number = self.numbers[group] = self.numbers.get(group, -1) + 1
            bodies.append(f"{ORDERED}:{group}:{number}:" + "x" * random.choice(_SIZES))
        self.unanswered.append(bodies)
        return bodies


@dataclass(slots=True)
class Life:
    """``removed_before``: removals that were confirmed before it began."""

    stub: QueuesStub
    account: Account
    random: Random
    names: "count[int]"
    removed_before: frozenset[str]
    outboxes: dict[str, Outbox]

    def outbox(self, name: str) -> Outbox:
        return self.outboxes.setdefault(name, Outbox(tuple(f"{name}{number}" for number in range(20))))

    def new_body(self, queue: str) -> str:
        """A unique body that may be sent from now on. Sizes vary, so that batches span pages and cross them."""
        number = next(self.names)
        body = f"{queue}:{number}:" + "x" * self.random.choice(_SIZES)
        self.account.attempted.add(body)
        return body

    def received(self, queue: str, body: str, message_id: str) -> None:
        if queue not in {family(body), _RECEIVES_MAX.get(family(body), ("", 0))[0]}:
            self.account.violations.append(f"{body[:40]} came from {queue}")
        self.account.handed_out(body, message_id, dead_letter=queue != family(body))
        if body in self.removed_before:
            self.account.came_back(body)

    async def breathe(self, queue: str) -> None:
        slow = self.account.backlog[queue] > _BACKLOG
        await asyncio.sleep(self.random.uniform(0, 0.2 if slow else 0.002))


def wall_ms() -> int:
    """The broker's clock: both run on this machine."""
    return time.time_ns() // 1_000_000


def message_ids(first: bytes, number: int) -> list[str]:
    low = int.from_bytes(first[12:], "big")
    return [str(uuid.UUID(bytes=first[:12] + ((low + i) & 0xFFFFFFFF).to_bytes(4, "big"))) for i in range(number)]
