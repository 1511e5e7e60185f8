"""Queues that are each other's dead-letter queues, as lists of messages looked at one by one.

Written from section 6 of the queue reference, for standard and FIFO queues alike.
"""

from dataclasses import dataclass, field
from typing import Final

from .fifo_model import DAY_MS, ModelGroups, ModelMessage

HOME: Final = "arn:aws:sqs:us-east-1:000000000000"


@dataclass
class Letter(ModelMessage):
    """``receive_count`` is of this stay in the queue and decides when it moves on, ``receives_before`` of all stays
    before. ``origin``: the queue that it came from as a dead letter."""

    receives_before: int = 0
    origin: str = ""

    @property
    def receives(self) -> int:
        """ApproximateReceiveCount."""
        return self.receives_before + self.receive_count

    def sent_anew(self, sequence: int, message_id: str, now_ms: int) -> "Letter":
        """The new message that a move task makes of it; its body was its deduplication id."""
        return Letter(sequence, self.group, self.body, message_id, self.body.decode(), now_ms)


@dataclass
class ModelQueue:
    """``target`` and ``receives_max``: the redrive policy. ``sources``: who may name this as a dead-letter queue, None
    for all."""

    letters: list[Letter] = field(default_factory=list)
    visibility_ms: int = 30_000
    delay_ms: int = 0
    retention_ms: int = 4 * DAY_MS
    target: str = ""
    receives_max: int = 0
    sources: list[str] | None = None

    def tick(self, now_ms: int) -> None:
        self.letters = [letter for letter in self.letters if letter.sent_ms + self.retention_ms > now_ms]
        for letter in self.letters:
            if letter.hidden_until_ms <= now_ms:
                letter.hide(0, now_ms)

    def arrive(self, letter: Letter, *, fifo: bool) -> None:
        """One that is moved here has no delay of its own; on a FIFO queue it is not visible before the last one."""
        if fifo and self.letters and self.letters[-1].state() == "delayed":
            letter.hidden_until_ms = self.letters[-1].hidden_until_ms
        self.letters.append(letter)

    def counts(self) -> tuple[int, int, int]:
        states = [letter.state() for letter in self.letters]
        return states.count("visible"), states.count("in flight"), states.count("delayed")

    def deliverable(self, *, fifo: bool) -> list[Letter]:
        """What anyone may have, oldest first."""
        may = [letter for letter in self.letters if letter.state() == "visible"]
        if not fifo:
            return may
        free = [message for members in ModelGroups().deliverable(self.letters).values() for message in members]
        return [letter for letter in may if letter in free]


@dataclass
class ModelTask:
    """A message move task. ``destination``: empty when letters go back to where they came from."""

    source: str
    destination: str
    to_move: int
    moved: int = 0
    status: str = "RUNNING"


@dataclass
class ModelQueues:
    """By name. A queue that is not there is deleted."""

    fifo: bool
    queues: dict[str, ModelQueue] = field(default_factory=dict)
    task: ModelTask | None = None

    def tick(self, now_ms: int) -> None:
        for queue in self.queues.values():
            queue.tick(now_ms)

    def is_dead(self, name: str, letter: Letter) -> bool:
        """Whether a receive moves it on instead of returning it."""
        queue = self.queues[name]
        return queue.target in self.queues and queue.target != name and letter.receive_count >= queue.receives_max

    def bury(self, name: str, letter: Letter, sequence: int, now_ms: int) -> None:
        """Moves a dead letter; ``sequence`` is its new sequence number."""
        queue = self.queues[name]
        queue.letters.remove(letter)
        moved = Letter(
            sequence,
            letter.group,
            letter.body,
            letter.message_id,
            letter.message_id,
            now_ms if self.fifo else letter.sent_ms,
            receives_before=letter.receives,
            origin=name,
        )
        self.queues[queue.target].arrive(moved, fifo=self.fifo)
