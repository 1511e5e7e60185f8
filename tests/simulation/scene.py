"""What there is in one run of the simulation: which queues, and where their dead letters go. The seed says which scene.

Never: chance of its own, so that bugs of one kind of queue are looked for in the scenes that have it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_ARN_PREFIX: Final = "arn:aws:sqs:us-east-1:000000000000:"


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """``dead_letters``: the queue that gets what was received ``max_receive_count`` times; empty without a policy.

    ``per_group``: deduplication ids count within their message group (FIFO queues). ``tenants``: messages have groups
    (standard queues). ``retention_s``: the longest that the queue has.
    """

    name: str
    dead_letters: str = ""
    max_receive_count: int = 0
    per_group: bool = False
    tenants: bool = False
    retention_s: int = 345_600

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def arn(self) -> str:
        return _ARN_PREFIX + self.name

    def attributes(self) -> dict[str, str]:
        """Those that the queue is created with."""
        found = {"MessageRetentionPeriod": str(self.retention_s)}
        if self.fifo:
            found["FifoQueue"] = "true"
        if self.per_group:
            found["DeduplicationScope"] = "messageGroup"
        if self.dead_letters:
            arn = _ARN_PREFIX + self.dead_letters
            found["RedrivePolicy"] = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{self.max_receive_count}}}'
        return found


@dataclass(frozen=True, slots=True)
class Scene:
    """The queues, dead-letter queues first: they must be there before what names them."""

    name: str
    queues: tuple[QueuePlan, ...]
    lasting_dead_letters: bool = True
    """Nobody deletes the dead-letter queue: then every message that is due there gets there."""

    @property
    def dead_letter_queues(self) -> frozenset[str]:
        return frozenset(plan.dead_letters for plan in self.queues if plan.dead_letters)

    @property
    def redrives(self) -> bool:
        """Clients give messages back more often than they delete them, so that some become dead letters."""
        return bool(self.dead_letter_queues)

    @property
    def senders_queues(self) -> tuple[str, ...]:
        """The queues that clients send to."""
        return tuple(plan.name for plan in self.queues if plan.name not in self.dead_letter_queues)


STANDARD, STANDARD_REDRIVE, FIFO, FIFO_REDRIVE = "standard", "standard redrive", "fifo", "fifo redrive"
_TURNS: Final = (STANDARD, FIFO, STANDARD_REDRIVE, FIFO_REDRIVE)


def scene_of(seed: int) -> Scene:
    name = _TURNS[seed % len(_TURNS)]
    variant = seed // len(_TURNS)
    receives = (1, 2, 1, 3)[variant % 4]
    lasting = variant % 3 != 0
    match name:
        case "standard":
            return Scene(
                name, (QueuePlan("one", retention_s=(345_600, 60, 300)[variant % 3]), QueuePlan("two", tenants=True))
            )
        case "standard redrive":
            plans = (QueuePlan("dead"), QueuePlan("one", "dead", receives, tenants=not lasting), QueuePlan("two"))
            return Scene(name, plans, lasting)
        case "fifo":
            return Scene(
                name,
                (QueuePlan("a.fifo", retention_s=(345_600, 300)[variant % 2]), QueuePlan("b.fifo", per_group=True)),
            )
        case _:
            plans = (QueuePlan("dead.fifo"), QueuePlan("a.fifo", "dead.fifo", receives), QueuePlan("b.fifo"))
            return Scene(name, plans, lasting)


def seeds_of(*scenes: str, count: int) -> Iterator[int]:
    """The first ``count`` seeds of these scenes."""
    turns = [turn for turn, name in enumerate(_TURNS) if name in scenes]
    for number in range(count):
        yield len(_TURNS) * (number // len(turns)) + turns[number % len(turns)]
