"""The account of every message: what clients were told, and what they may therefore still see.

Clients write down what they do before they do it and what they learn after. Doubt is on the broker's side only where a
call was cut off: then both outcomes are allowed, but never a third. Never: a look into the broker.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

LEARNS_SECONDS_MAX: Final = 7.0
"""The end of a stream may wait for two of the slowest commits."""


class Violation(AssertionError):
    """The broker broke a promise."""


@dataclass(slots=True, eq=False)
class Hold:
    """One stream as a holder. ``returns``: what it holds goes back when it breaks, which its client learns later.

    ``ended_s``: when the client learned it, on the loop's clock.
    """

    returns: bool
    ended_s: float | None = None


@dataclass(slots=True)
class Entry:
    """One message. ``doubts``: operations under way, or cut off, that may have removed it.

    ``disturbed_ms``: when somebody last changed its visibility, perhaps by a handle or a delivery that was not
    the last: of a receive before that nothing follows.
    """

    body: str
    queue: "QueueAccount"
    attempted_ms: int
    acked_ms: int | None = None
    message_id: str = ""
    refused: bool = False
    gone: bool = False
    gone_ms: int = 0
    doubts: int = 0
    held_until_ms: int = 0
    hold: Hold | None = None
    receive_count: int = 0
    disturbed_ms: int = 0
    purges_seen: int = 0

    def may_exist(self) -> bool:
        return not self.refused and not self.gone

    def must_exist(self, now_ms: int) -> bool:
        safe = self.acked_ms is not None and not self.gone and not self.doubts
        # Retention counts from the send, which was at the attempt or later.
        return safe and now_ms < self.attempted_ms + self.queue.retention_ms_min


@dataclass(slots=True)
class QueueAccount:
    """All queues of one name. ``purges``: purges and deletions begun so far. ``exists``: None while in doubt."""

    name: str
    retention_ms_min: int
    retention_ms_max: int
    entries: dict[str, Entry] = field(default_factory=dict)
    purges: int = 0
    exists: bool | None = False

    def saw_retention(self, retention_ms: int) -> None:
        self.retention_ms_min = min(self.retention_ms_min, retention_ms)
        self.retention_ms_max = max(self.retention_ms_max, retention_ms)


class Ledger:
    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._ids: dict[str, str] = {}
        self.acknowledged = 0
        self.received = 0
        self.deleted = 0
        self._suspicions: list[tuple[Hold, float, str]] = []

    # --- sends

    def sending(self, queue: QueueAccount, body: str, now_ms: int) -> Entry:
        entry = Entry(body, queue, now_ms, purges_seen=queue.purges)
        self.entries[body] = queue.entries[body] = entry
        return entry

    def sent(self, entry: Entry, message_id: str, now_ms: int) -> None:
        if entry.purges_seen != entry.queue.purges:  # a purge began meanwhile: it came before or after
            entry.doubts += 1
        entry.acked_ms = now_ms
        self.acknowledged += 1
        self._identify(entry, message_id)

    def refused(self, entry: Entry) -> None:
        """The broker said that nothing was kept."""
        if entry.message_id:
            raise Violation(f"the send of {entry.body} was refused, but the message was received")
        entry.refused = True

    def _identify(self, entry: Entry, message_id: str) -> None:
        if entry.message_id and entry.message_id != message_id:
            raise Violation(f"{entry.body} is message {entry.message_id} and message {message_id}")
        owner = self._ids.setdefault(message_id, entry.body)
        if owner != entry.body:
            raise Violation(f"message id {message_id} was given to {owner} and to {entry.body}")
        entry.message_id = message_id

    # --- receives

    def taken(
        self,
        body: str,
        message_id: str,
        receive_count: int,
        *,
        called_ms: int,
        now_ms: int,
        until_ms: int,
        loop_s: float,
        hold: Hold | None = None,
    ) -> Entry:
        """A message was handed out by a call that began at ``called_ms``. Held until ``until_ms`` at the least.

        Receive counts tell the order of the receives, which is not that of the answers. ``hold``: of a stream whose
        messages go back when it breaks.
        """
        entry = self.seen(body, message_id, called_ms)
        if receive_count == entry.receive_count:
            raise Violation(f"{body} was handed out twice with receive count {receive_count}")
        if receive_count > entry.receive_count:
            if called_ms > entry.disturbed_ms and now_ms < entry.held_until_ms:
                complaint = f"{body} was handed out at {now_ms}, but a taker holds it until {entry.held_until_ms}"
                if entry.hold is None or not entry.hold.returns:
                    raise Violation(complaint)
                self._suspicions.append((entry.hold, loop_s, complaint))
            entry.receive_count, entry.hold = receive_count, hold
            entry.held_until_ms = until_ms if called_ms > entry.disturbed_ms else 0
        self.received += 1
        return entry

    def seen(self, body: str, message_id: str, called_ms: int) -> Entry:
        """A message was shown by a call that began at ``called_ms``."""
        entry = self.entries.get(body)
        if entry is None:
            raise Violation(f"nobody sent {body}")
        if entry.refused:
            raise Violation(f"{body} was received, although its send was refused")
        if entry.gone and called_ms > entry.gone_ms:
            raise Violation(f"{body} came back: its removal was confirmed at {entry.gone_ms}, this is {called_ms}")
        if entry.acked_ms is not None and called_ms >= entry.acked_ms + entry.queue.retention_ms_max:
            raise Violation(f"{body} was received after its retention")
        self._identify(entry, message_id)
        return entry

    def let_go(self, entry: Entry, until_ms: int = 0) -> None:
        """Something may have made the message visible at ``until_ms`` already."""
        entry.held_until_ms = min(entry.held_until_ms, until_ms)

    # --- removals

    def removing(self, entries: Iterable[Entry]) -> "Removal":
        """A delete or an acknowledgement of received messages begins."""
        return Removal(self, list(entries))

    def purging(self, queue: QueueAccount) -> "Removal":
        """A purge, or the deletion of the queue, begins: it takes what was acknowledged by now."""
        queue.purges += 1
        return Removal(self, [entry for entry in queue.entries.values() if entry.may_exist()])

    # --- the reckoning

    def settle_suspicions(self) -> None:
        """A message that a stream held went to another taker: right only if the stream was breaking then."""
        for hold, taken_s, complaint in self._suspicions:
            if hold.ended_s is None or hold.ended_s > taken_s + LEARNS_SECONDS_MAX:
                raise Violation(complaint)

    def account(self, queue: QueueAccount, stored: dict[str, str], now_ms: int) -> None:
        """``stored``: message ids by body of all that the queue still has, in any state."""
        for body, message_id in stored.items():
            if body not in queue.entries:
                raise Violation(f"{body} is in {queue.name}, where nobody sent it")
            self.seen(body, message_id, 0)
            if queue.entries[body].gone:
                raise Violation(f"{body} came back: its removal was confirmed")
        for entry in queue.entries.values():
            if entry.must_exist(now_ms) and entry.body not in stored:
                raise Violation(f"{entry.body} is lost: acknowledged at {entry.acked_ms}, never removed")


class Removal:
    """A delete, acknowledgement or purge from its call to what its caller learns, which may be nothing."""

    def __init__(self, ledger: Ledger, entries: list[Entry]) -> None:
        self._ledger, self._entries = ledger, entries
        self._acked = [entry for entry in entries if entry.acked_ms is not None or entry.message_id]
        for entry in entries:
            entry.doubts += 1

    def done(self, now_ms: int) -> None:
        for entry in self._acked:
            if not entry.gone:
                self._ledger.deleted += 1
                entry.gone, entry.gone_ms = True, now_ms

    def refused(self) -> None:
        for entry in self._entries:
            entry.doubts -= 1
