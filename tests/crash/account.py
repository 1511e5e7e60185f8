"""The account of every message over all lives of the broker.

A call that a kill cut off leaves a doubt: both outcomes are allowed. Never: a look into the data directory.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


def family(body: str) -> str:
    """The queue that a body was sent to; its dead-letter queue is of the family."""
    return body.partition(":")[0]


def _short(body: str) -> str:
    return body[:40]


@dataclass(slots=True)
class Account:
    """``violations``: one sentence each. Bodies are unique; a message id belongs to one body."""

    attempted: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    """What the broker said was durable."""
    removing: set[str] = field(default_factory=set)
    """A delete or acknowledgement was sent: it may be gone. Added to by ``remove``."""
    removed: set[str] = field(default_factory=set)
    """The removal was confirmed: it must not come back."""
    redriven: set[str] = field(default_factory=set)
    """Families whose messages may have become new ones, with new ids."""
    violations: list[str] = field(default_factory=list)
    backlog: Counter[str] = field(default_factory=Counter)
    """By family: how many messages were sent and nobody tried to remove."""
    received: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    _body_by_id: dict[str, str] = field(default_factory=dict)
    _id_by_body: dict[str, str] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)
    """By message group: the highest number that was received."""
    _passed: set[str] = field(default_factory=set)
    """Numbered messages that were not received before a later one of their group."""

    def sent(self, body: str, message_id: str) -> None:
        """``message_id``: empty where the broker does not say it."""
        if body not in self.acknowledged:
            self.acknowledged.add(body)
            self.backlog[family(body)] += body not in self.removing
        if message_id:
            self._identify(body, message_id)

    def remove(self, bodies: Iterable[str]) -> None:
        """A delete or acknowledgement of these is sent now."""
        for body in bodies:
            if body not in self.removing:
                self.removing.add(body)
                self.backlog[family(body)] -= body in self.acknowledged

    def handed_out(self, body: str, message_id: str, *, dead_letter: bool = False) -> None:
        """Received by a call of this life of the broker that began after all confirmations of earlier lives."""
        self.received += 1
        self.dead_letters += dead_letter
        if body not in self.attempted:
            self.violations.append(f"nobody sent {_short(body)}")
        self._identify(body, message_id)
        if family(body).endswith(".fifo"):
            self._follow(body, dead_letter=dead_letter)

    def came_back(self, body: str) -> None:
        self.violations.append(f"{_short(body)} came back, although its removal was confirmed")

    def settle(self, left: list[str]) -> None:
        """``left``: the bodies drained at the end."""
        if len(set(left)) != len(left):
            twice = [_short(body) for body, times in Counter(left).items() if times > 1]
            self.violations.append(f"{len(left) - len(set(left))} messages were drained twice: {twice[:3]}")
        self.violations.extend(f"{_short(body)} came back at the end" for body in self.removed.intersection(left))
        lost = self.acknowledged - self.removing - set(left)
        self.violations.extend(
            f"{_short(body)} is lost: it was acknowledged and never removed" for body in sorted(lost)
        )

    def _follow(self, body: str, *, dead_letter: bool) -> None:
        """The messages of a group are sent in the order of their numbers, and so they come for the first time. A
        message that nobody saw before a later one came must be a dead letter."""
        _, group, number, _ = body.split(":")
        newest = self._newest.get(group, -1)
        stem = f"{group}:{number}"
        if dead_letter or int(number) <= newest:
            if stem in self._passed and not dead_letter:
                self.violations.append(f"{stem} was overtaken: number {newest} of its group came before it")
            self._passed.discard(stem)
            return
        self._passed.update(f"{group}:{between}" for between in range(newest + 1, int(number)))
        self._newest[group] = int(number)

    def _identify(self, body: str, message_id: str) -> None:
        if self._body_by_id.setdefault(message_id, body) != body:
            other = self._body_by_id[message_id]
            self.violations.append(f"message id {message_id} belongs to {_short(body)} and {_short(other)}")
        if self._id_by_body.setdefault(body, message_id) != message_id and family(body) not in self.redriven:
            self.violations.append(f"{_short(body)} has the message ids {message_id} and {self._id_by_body[body]}")
