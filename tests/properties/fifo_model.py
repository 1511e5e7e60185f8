"""A FIFO queue as a list of messages, looked at one by one: order in groups, deduplication, receive attempts.

Written from sections 4 and 5 of the queue reference. Slow, and too simple to be wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

DAY_MS: Final = 86_400_000
TOTAL_MS: Final = 43_200_000  # a visibility timeout and all that extend it
WINDOW_MS: Final = 300_000  # of deduplication, and of receive attempts


@dataclass
class ModelMessage:
    """``hidden_until_ms``: 0 when it is visible. ``in_flight``: a receive hid it, not a delay. ``holder``: the stream
    that the last receive was of, None for a single call; streams are numbers."""

    sequence: int
    group: str
    body: bytes = b""
    message_id: str = ""
    deduplication_id: str = ""
    sent_ms: int = 0
    hidden_until_ms: int = 0
    in_flight: bool = False
    receive_count: int = 0
    first_received_ms: int = 0
    received_ms: int = 0
    delivery_id: int = 0
    holder: int | None = None

    def state(self) -> str:
        if not self.hidden_until_ms:
            return "visible"
        return "in flight" if self.in_flight else "delayed"

    def hide(self, timeout_ms: int, now_ms: int) -> None:
        """In flight for this long; not at all for 0."""
        self.hidden_until_ms, self.in_flight = (now_ms + timeout_ms, True) if timeout_ms else (0, False)

    def receive(self, timeout_ms: int, now_ms: int, delivery_id: int) -> None:
        self.hide(timeout_ms, now_ms)
        self.receive_count += 1
        self.first_received_ms = self.first_received_ms or now_ms
        self.received_ms, self.delivery_id = now_ms, delivery_id


@dataclass
class ModelGroups:
    """Who may have which messages. ``holders``: for a group, the stream that took all of it that is in flight; None
    where several did, and after a restart."""

    holders: dict[str, int | None] = field(default_factory=dict)

    def deliverable(self, messages: Iterable[ModelMessage], holder: int | None = None) -> dict[str, list[ModelMessage]]:
        """For each group that ``holder`` may have something of, what it may have, in order.

        The longest visible prefix, up to what is in flight. A stream that holds all that is in flight may have what
        follows as well, as long as nothing that came back lies in between.
        """
        groups: dict[str, list[ModelMessage]] = {}
        for message in sorted(messages, key=lambda message: message.sequence):
            groups.setdefault(message.group, []).append(message)
        found = {}
        for name, members in groups.items():
            visible = [message for message in members if message.state() == "visible"]
            flight = [message.sequence for message in members if message.state() == "in flight"]
            may = [message for message in visible if not flight or message.sequence < flight[0]]
            rest = visible[len(may) :]
            if flight and rest and holder is not None and self.holders.get(name) == holder:
                may += rest if rest[0].sequence > flight[-1] else []
            if may:
                found[name] = may
        return found

    def took(self, messages: Iterable[ModelMessage], taken: ModelMessage, holder: int | None) -> None:
        """Notes who took a message, before it is in flight."""
        others = any(other.group == taken.group and other.in_flight for other in messages)
        if not others:
            self.holders[taken.group] = holder
        elif self.holders.get(taken.group) != holder:
            self.holders[taken.group] = None
        taken.holder = holder

    def found(self, messages: Iterable[ModelMessage]) -> None:
        """Notes what is in flight already, after a restart."""
        for message in messages:
            if message.in_flight and self.holders.get(message.group) != message.holder:
                self.holders[message.group] = None

    def leave(self, holder: int) -> None:
        """A stream is gone."""
        for name, other in self.holders.items():
            if other == holder:
                self.holders[name] = None

    def withhold(self, messages: Iterable[ModelMessage]) -> None:
        """They come back later: until then nobody goes on behind them."""
        for message in messages:
            self.holders[message.group] = None

    def later(self, messages: Iterable[ModelMessage], lo: int, hi: int) -> list[ModelMessage]:
        """What is in flight of the groups of [lo, hi), after the first message of each there."""
        members = sorted(messages, key=lambda message: message.sequence)
        found = []
        for name in {message.group for message in members}:
            sequences = [message.sequence for message in members if message.group == name]
            first = next((sequence for sequence in sequences if lo <= sequence < hi), None)
            if first is not None:
                found += [m for m in members if m.group == name and m.sequence > first and m.in_flight]
        return sorted(found, key=lambda message: message.sequence)


def check_taken(
    taken: Sequence[ModelMessage], may: dict[str, list[ModelMessage]], count: int, *, by_group: bool
) -> dict[str, list[ModelMessage]]:
    """What any receive of ``count`` messages keeps to, given what the caller may have. ``by_group``: as single calls
    get it, all that one group has and then the next. Returns the messages by group, in the order of their groups."""
    groups: dict[str, list[ModelMessage]] = {}
    for message in taken:
        groups.setdefault(message.group, []).append(message)
    assert len(taken) <= count
    assert bool(taken) == bool(may and count)
    for name, members in groups.items():
        assert members == may[name][: len(members)]
    if by_group:
        assert len(taken) == min(count, sum(map(len, may.values())))
        assert [name for name, members in groups.items() if len(members) < len(may[name])] in ([], [*groups][-1:])
    return groups


class Accepted(NamedTuple):
    """A message in the history of deduplication."""

    deduplication_id: str
    group: str
    sequence: int
    message_id: str
    accepted_ms: int


@dataclass
class Attempt:
    """``received``: of each message, its sequence number, receipt handle, delivery, and when it is visible again."""

    received: list[tuple[int, str, int, int]]
    timeout_ms: int
    expires_ms: int


@dataclass
class ModelFifoQueue:
    """``messages`` by sequence number, which is the order of the sends."""

    messages: dict[int, ModelMessage] = field(default_factory=dict)
    groups: ModelGroups = field(default_factory=ModelGroups)
    history: list[Accepted] = field(default_factory=list)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    next_sequence: int = 1
    visibility_ms: int = 30_000
    delay_ms: int = 0
    retention_ms: int = 4 * DAY_MS
    content_based: bool = False
    per_group: bool = False

    def tick(self, now_ms: int) -> None:
        for sequence, message in list(self.messages.items()):
            if message.sent_ms + self.retention_ms <= now_ms:
                del self.messages[sequence]
            elif message.hidden_until_ms <= now_ms:
                message.hide(0, now_ms)

    def original(self, deduplication_id: str, group: str, now_ms: int) -> Accepted | None:
        """The newest message within the window that a send repeats."""
        for accepted in reversed(self.history):
            if (
                accepted.deduplication_id == deduplication_id
                and (not self.per_group or accepted.group == group)
                and now_ms - accepted.accepted_ms < WINDOW_MS
            ):
                return accepted
        return None

    def accept(self, accepted: Accepted, body: bytes) -> None:
        sequence, now_ms = accepted.sequence, accepted.accepted_ms
        self.history.append(accepted)
        self.messages[sequence] = ModelMessage(
            sequence,
            accepted.group,
            body,
            accepted.message_id,
            accepted.deduplication_id,
            now_ms,
            hidden_until_ms=now_ms + self.delay_ms if self.delay_ms else 0,
        )
        self.next_sequence = sequence + 1

    def set_delay(self, delay_ms: int, now_ms: int) -> None:
        """It holds for messages that are delayed already."""
        self.delay_ms = delay_ms
        for message in self.messages.values():
            if message.state() == "delayed":
                message.hidden_until_ms = message.sent_ms + delay_ms
        self.tick(now_ms)

    def forget_callers(self) -> None:
        """After a restart or a failed commit: attempts, and who holds what, are not at rest."""
        self.attempts.clear()
        self.groups = ModelGroups()
        for message in self.messages.values():
            message.holder = None

    def counts(self) -> tuple[int, int, int]:
        states = [message.state() for message in self.messages.values()]
        return states.count("visible"), states.count("in flight"), states.count("delayed")
