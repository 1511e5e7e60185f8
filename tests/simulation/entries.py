"""What the account is made of: messages, queues, holds, and attempts to send one message.

Never: a look into the broker.
"""

from dataclasses import dataclass, field
from typing import Final

from .scene import QueuePlan

DEDUPLICATION_WINDOW_MS: Final = 300_000


class Violation(AssertionError):
    """The broker broke a promise."""


@dataclass(slots=True, eq=False)
class Hold:
    """One receive or one stream as a holder. ``returns``: what it holds goes back when it breaks, which its client
    learns later.

    ``ended_s``: when the client learned it, on the loop's clock.
    """

    returns: bool = False
    ended_s: float | None = None


@dataclass(slots=True, eq=False)
class QueueAccount:
    """All queues of one name. ``purges``: purges and deletions begun so far; ``clearing``: those under way.

    ``cleared``: when each confirmed one began and ended. ``generation``: deletions begun so far. ``exists``: None while
    in doubt. ``leaks``: messages may go from here to another queue. ``source``: whose dead-letter queue it is.
    """

    plan: QueuePlan
    retention_ms_min: int = 1 << 62
    retention_ms_max: int = 0
    entries: dict[str, "Entry"] = field(default_factory=dict)
    purges: int = 0
    clearing: int = 0
    cleared: list[tuple[int, int]] = field(default_factory=list)
    generation: int = 0
    exists: bool | None = False
    leaks: bool = False
    source: "QueueAccount | None" = None
    always_redrives: bool = False
    others: list["QueueAccount"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def is_dead_letter_queue(self) -> bool:
        return self.source is not None

    def saw_retention(self, retention_ms: int) -> None:
        self.retention_ms_min = min(self.retention_ms_min, retention_ms)
        self.retention_ms_max = max(self.retention_ms_max, retention_ms)

    def shortest_retention_ms(self) -> int:
        """Of what was sent here, wherever it is now."""
        return min(queue.retention_ms_min for queue in (self, *self.others)) if self.leaks else self.retention_ms_min

    def may_reach(self, queue: "QueueAccount", *, redriving: bool) -> bool:
        """Whether what was sent here may be in ``queue``."""
        return queue is self or queue.name == self.plan.dead_letters or (redriving and self.leaks)


@dataclass(slots=True, eq=False)
class Entry:
    """One message, or one attempt to send it. ``doubts``: operations under way, or cut off, that may have removed it.

    ``disturbed_ms``: when somebody last changed its visibility, perhaps by a handle or a delivery that was not
    the last: of a receive before that nothing follows. ``place``: the queue where it was seen last. ``former_ids``:
    its message ids before it was redriven; ``reborn_ms``: by when it was. ``repeated``: it repeats another attempt.
    ``takes``: receives that clients learned of; ``uncounted``: the last of them may not count, since it was given back
    unhandled.
    """

    body: str
    queue: QueueAccount
    attempted_ms: int
    attempts: "Attempts | None" = None
    ended_ms: int | None = None
    acked_ms: int | None = None
    seen_ms: int | None = None
    message_id: str = ""
    refused: bool = False
    repeated: bool = False
    gone: bool = False
    gone_ms: int = 0
    doubts: int = 0
    held_from_ms: int = 0
    held_until_ms: int = 0
    hold: Hold | None = None
    receive_count: int = 0
    takes: int = 0
    uncounted: bool = False
    disturbed_ms: int = 0
    purges_seen: int = 0
    place: str = ""
    sequence: int = 0
    former_ids: set[str] = field(default_factory=set)
    reborn_ms: int = 0

    @property
    def group(self) -> str:
        assert self.attempts is not None
        return self.attempts.group

    @property
    def lost_its_answer(self) -> bool:
        """The send was cut off: it may have been accepted."""
        return self.ended_ms is not None and self.acked_ms is None and not self.repeated

    def may_exist(self) -> bool:
        return not self.refused and not self.repeated and not self.gone

    def may_be_in(self, queue: QueueAccount) -> bool:
        return self.queue is queue or self.queue.leaks

    def must_exist(self, now_ms: int) -> bool:
        return self.acked_ms is not None and self.is_left(now_ms)

    def is_left(self, now_ms: int) -> bool:
        """Whether the message, if it was accepted, certainly still exists."""
        # Retention counts from the send, which was at the attempt or later.
        expires_ms = self.sent_ms_min() + self.queue.shortest_retention_ms()
        return not self.gone and not self.doubts and now_ms < expires_ms

    def sent_ms_min(self) -> int:
        """When the message was accepted at the earliest: it may be that of an earlier attempt that got no answer."""
        if self.attempts is None or self.seen_ms is not None:
            return self.attempted_ms
        return min([self.attempted_ms, *(entry.attempted_ms for entry in self.attempts.unanswered_before(self))])

    def accepted_ms_max(self, now_ms: int) -> int:
        """When the message was accepted at the latest."""
        known = [at_ms for at_ms in (self.ended_ms, self.seen_ms) if at_ms is not None]
        return min(known, default=now_ms)


@dataclass(slots=True, eq=False)
class Attempts:
    """All attempts to send a message with one deduplication id: of those within the window one is accepted."""

    queue: QueueAccount
    group: str
    deduplication_id: str
    entries: list[Entry] = field(default_factory=list)

    def unanswered_before(self, entry: Entry) -> list[Entry]:
        earlier = self.entries[: self.entries.index(entry)]
        return [other for other in earlier if other.may_exist() and not other.message_id]

    def originals_of(self, entry: Entry) -> list[Entry]:
        """The attempts that ``entry`` may repeat."""
        earlier = self.entries[: self.entries.index(entry)]
        return [
            other
            for other in earlier
            if not other.refused and not other.repeated and not self.is_fresh_after(entry, other)
        ]

    def is_fresh_after(self, entry: Entry, original: Entry) -> bool:
        """Whether ``entry`` is certainly a new message, although ``original`` was accepted before."""
        accepted_ms = original.accepted_ms_max(entry.attempted_ms)
        if entry.attempted_ms > accepted_ms + DEDUPLICATION_WINDOW_MS:
            return True
        return any(
            accepted_ms < begun_ms and ended_ms < entry.attempted_ms for begun_ms, ended_ms in self.queue.cleared
        )

    def accepted(self, entry: Entry, now_ms: int, *, sure: bool) -> None:
        """``entry`` is known by its message id now: no other message may have been accepted within the window.
        ``sure``: the id is that under which it was accepted."""
        if not sure:
            return
        for other in self.entries:
            if other is entry or not other.message_id or self.queue.purges > min(entry.purges_seen, other.purges_seen):
                continue
            last_ms = max(each.accepted_ms_max(now_ms) for each in (entry, other))
            first_ms = min(entry.sent_ms_min(), other.sent_ms_min())
            if last_ms - first_ms < DEDUPLICATION_WINDOW_MS:
                raise Violation(f"{entry.body} was accepted although it repeats {other.body}, accepted as well")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message as it was handed out, by a call that began at ``called_ms``. Held until ``until_ms`` at the least.

    ``generation``: of the queue; None when it may have been deleted meanwhile. ``sequence``: FIFO queues.
    """

    body: str
    message_id: str
    receive_count: int
    queue: QueueAccount
    hold: Hold
    called_ms: int
    now_ms: int
    until_ms: int
    loop_s: float
    generation: int | None
    sequence: int = 0
    origin: str = ""
