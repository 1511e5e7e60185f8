"""The account of every message: what clients were told, and what they may therefore still see.

Clients write down what they do before they do it and what they learn after. Doubt is on the broker's side only where a
call was cut off: then both outcomes are allowed, but never a third. Never: a look into the broker.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from .entries import Attempts, Entry, Hold, QueueAccount, Receipt, Violation
from .order import Orders

LEARNS_SECONDS_MAX: Final = 7.0
"""The end of a stream may wait for two of the slowest commits."""


class Ledger:
    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.redriving = False
        """A move task was started, or may have been: from now on messages may become new ones."""
        self.redriven = 0
        """Messages that were seen to have become new ones."""
        self.acknowledged = self.received = self.deleted = self.repeated = self.dead_letters = 0
        self._ids: dict[str, Entry] = {}
        self._orders = Orders()
        self._left: dict[tuple[str, str], int] = {}  # (queue, message id) -> when its removal from there was confirmed
        self._suspicions: list[tuple[Hold, float, str]] = []

    # --- sends

    def sending(self, queue: QueueAccount, body: str, now_ms: int, attempts: Attempts | None = None) -> Entry:
        """``attempts``: those that the broker must take for the same message."""
        purges = -1 if queue.clearing else queue.purges
        entry = Entry(body, queue, now_ms, attempts=attempts, purges_seen=purges, place=queue.name)
        self.entries[body] = queue.entries[body] = entry
        if attempts is not None:
            attempts.entries.append(entry)
        return entry

    def sent(self, entry: Entry, message_id: str, now_ms: int, sequence: int = 0) -> None:
        """The send was acknowledged; on a FIFO queue perhaps as a repetition of another attempt."""
        entry.ended_ms = now_ms
        if entry.purges_seen != entry.queue.purges:  # a purge began meanwhile: it came before or after
            entry.doubts += 1
        owner = self._ids.get(message_id)
        if entry.attempts is not None and owner is not None and owner is not entry:
            if owner.attempts is not entry.attempts:
                raise Violation(f"{entry.body} was called a repetition of {owner.body}")
            self._repeats(entry, owner)
            return
        entry.acked_ms = now_ms
        self.acknowledged += 1
        if entry.message_id and entry.message_id != message_id and self.redriving:
            entry.former_ids.add(message_id)  # it was redriven before its sender was answered
            self._ids[message_id] = entry
            return
        entry.sequence = sequence
        self._identify(entry, message_id, now_ms)

    def refused(self, entry: Entry) -> None:
        """The broker said that nothing was kept."""
        if entry.message_id:
            raise Violation(f"the send of {entry.body} was refused, but the message was received")
        entry.refused = True

    def cut_off(self, entry: Entry, now_ms: int) -> None:
        """Nobody will say what became of the send, but nothing more will."""
        entry.ended_ms = now_ms

    def called_duplicate(self, entry: Entry, now_ms: int) -> None:
        """The broker said that the send repeats another, not which."""
        entry.ended_ms = now_ms
        if entry.message_id:
            raise Violation(f"{entry.body} was called a duplicate, but the message was received")
        assert entry.attempts is not None
        originals = entry.attempts.originals_of(entry)
        if not originals:
            raise Violation(f"{entry.body} was swallowed: it repeats nothing of the last five minutes")
        entry.repeated = True
        self.repeated += 1
        if len(originals) == 1 and originals[0].acked_ms is None:
            originals[0].acked_ms = now_ms

    def _repeats(self, entry: Entry, original: Entry) -> None:
        assert entry.attempts is not None
        if entry.message_id:
            raise Violation(f"{entry.body} was called a repetition of {original.body}, but was received")
        if entry.attempts.is_fresh_after(entry, original):
            raise Violation(
                f"{entry.body} was swallowed: {original.body} was accepted more than five minutes before it"
            )
        if original.acked_ms is None:
            original.acked_ms = entry.ended_ms
        entry.repeated = True
        self.repeated += 1

    def _identify(self, entry: Entry, message_id: str, now_ms: int) -> None:
        owner = self._ids.get(message_id)
        if owner is not None and owner is not entry:
            if entry.attempts is None or owner.attempts is not entry.attempts or owner.seen_ms is not None:
                raise Violation(f"message id {message_id} was given to {owner.body} and to {entry.body}")
            # ``owner`` was answered with the id of an attempt that had got no answer: it repeats this one.
            self._ids[message_id] = entry
            if entry.acked_ms is None:
                entry.acked_ms = owner.acked_ms
            entry.sequence = owner.sequence
            owner.message_id, owner.acked_ms, owner.sequence = "", None, 0
            self._repeats(owner, entry)
        if entry.message_id and entry.message_id != message_id:
            if not self.redriving:
                raise Violation(f"{entry.body} is message {entry.message_id} and message {message_id}")
            entry.former_ids.add(entry.message_id)
            entry.reborn_ms = now_ms
            entry.receive_count = entry.sequence = 0
            self.redriven += 1
        self._ids[message_id] = entry
        if not entry.message_id and entry.attempts is not None:
            entry.message_id = message_id
            entry.attempts.accepted(entry, now_ms, sure=not self.redriving)
        entry.message_id = message_id

    # --- receives

    def taken(self, receipt: Receipt) -> Entry:
        """A message was handed out. Receive counts tell the order of the receives, which is not that of the answers."""
        count = receipt.receive_count
        entry = self.entries.get(receipt.body)
        if entry is not None and receipt.message_id not in {entry.message_id, *entry.former_ids}:
            self._check_hold(entry, receipt)  # of what it was before it was redriven
        entry = self.seen(receipt.body, receipt.message_id, receipt.queue, receipt.called_ms, receipt.now_ms)
        self.received += 1
        if entry.message_id != receipt.message_id:
            return entry  # a late answer: it has been redriven since
        _check_dead_letter(entry, receipt)
        if receipt.queue.plan.fifo and entry.place == receipt.queue.name:
            self._check_order(entry, receipt)
        if count == entry.receive_count and not entry.uncounted:
            raise Violation(f"{entry.body} was handed out twice with receive count {count}")
        if count >= entry.receive_count:
            self._check_hold(entry, receipt)
            entry.receive_count, entry.hold = count, receipt.hold
            entry.takes += 1
            # What was given back just then may have been this receive already.
            entry.uncounted = entry.uncounted and receipt.called_ms <= entry.disturbed_ms
            entry.held_from_ms = receipt.now_ms
            entry.held_until_ms = receipt.until_ms if receipt.called_ms > entry.disturbed_ms else 0
        self.dead_letters += receipt.queue.is_dead_letter_queue
        return entry

    def _check_hold(self, entry: Entry, receipt: Receipt) -> None:
        if entry.hold is not None and receipt.called_ms > entry.disturbed_ms and receipt.now_ms < entry.held_until_ms:
            complaint = f"{entry.body} was handed out at {receipt.now_ms}, but a taker holds it until "
            self._suspect(entry.hold, receipt.loop_s, f"{complaint}{entry.held_until_ms}")

    def _check_order(self, entry: Entry, receipt: Receipt) -> None:
        if entry.sequence and entry.sequence != receipt.sequence:
            raise Violation(f"{entry.body} has the sequence numbers {entry.sequence} and {receipt.sequence}")
        entry.sequence = receipt.sequence
        for earlier in self._orders.taken(entry, receipt):
            assert earlier.hold is not None
            complaint = f"{entry.body} overtook {earlier.body} of its group, which a taker holds until "
            self._suspect(earlier.hold, receipt.loop_s, f"{complaint}{earlier.held_until_ms}")

    def _suspect(self, hold: Hold, loop_s: float, complaint: str) -> None:
        """Something is only right if ``hold`` had ended."""
        if not hold.returns:
            raise Violation(complaint)
        self._suspicions.append((hold, loop_s, complaint))

    def seen(self, body: str, message_id: str, queue: QueueAccount, called_ms: int, now_ms: int) -> Entry:
        """A message was shown in a queue by a call that began at ``called_ms``."""
        entry = self.entries.get(body)
        if entry is None:
            raise Violation(f"nobody sent {body}")
        if entry.refused:
            raise Violation(f"{body} was received, although its send was refused")
        if entry.repeated:
            raise Violation(f"{body} was accepted, although it repeats what was accepted before")
        if not entry.queue.may_reach(queue, redriving=self.redriving):
            raise Violation(f"{body} is in {queue.name}, where nobody sent it")
        if entry.gone and called_ms > entry.gone_ms:
            raise Violation(f"{body} came back: its removal was confirmed at {entry.gone_ms}, this is {called_ms}")
        if called_ms > self._left.get((queue.name, message_id), called_ms):
            raise Violation(f"{body} came back to {queue.name}, where its removal was confirmed")
        if message_id in entry.former_ids:
            if called_ms > entry.reborn_ms:
                raise Violation(f"{body} was redriven, and is there as what it was before")
            return entry
        first_stay = queue is entry.queue and (not self.redriving or entry.message_id == message_id)
        if first_stay and not entry.former_ids and entry.acked_ms is not None:
            expired_ms = entry.acked_ms + queue.retention_ms_max
            if called_ms >= expired_ms:
                raise Violation(f"{body} was received after its retention")
        is_new = entry.message_id != message_id
        self._identify(entry, message_id, now_ms)
        if entry.seen_ms is None:
            entry.seen_ms = now_ms
        # Under one id it only goes to the dead-letter queue: another place is that of a late answer.
        if entry.place != queue.name and (is_new or queue.is_dead_letter_queue):
            entry.place, entry.sequence = queue.name, 0
        return entry

    def let_go(self, entry: Entry, until_ms: int = 0) -> None:
        """Something may have made the message visible at ``until_ms`` already."""
        entry.held_until_ms = min(entry.held_until_ms, until_ms)

    # --- removals

    def removing(
        self, queue: QueueAccount, received: Iterable[tuple[Entry, str]], *, by_delivery: Hold | None = None
    ) -> "Removal":
        """A delete or an acknowledgement begins, of messages as they were received: with their ids. ``by_delivery``: it
        does nothing where what they were delivered to no longer holds them."""
        return Removal(self, queue, list(received), by_delivery)

    def purging(self, queue: QueueAccount) -> "Removal":
        """A purge, or the deletion of the queue, begins: it takes what was acknowledged by now."""
        queue.purges += 1
        reached = [entry for entry in self.entries.values() if entry.may_exist() and entry.may_be_in(queue)]
        return Removal(self, queue, [(entry, entry.message_id) for entry in reached], None)

    def left(self, queue: QueueAccount, message_id: str, now_ms: int) -> None:
        self._left.setdefault((queue.name, message_id), now_ms)

    # --- the reckoning

    def settle_suspicions(self) -> None:
        """A message that a stream held went to another taker: right only if the stream was breaking then."""
        for hold, taken_s, complaint in self._suspicions:
            if hold.ended_s is None or hold.ended_s > taken_s + LEARNS_SECONDS_MAX:
                raise Violation(complaint)

    def account(self, stored: Mapping[str, Mapping[str, str]], queues: Mapping[str, QueueAccount], now_ms: int) -> None:
        """``stored``: by queue, the message ids by body of all that it still has, in any state."""
        places: dict[str, str] = {}
        for name, bodies in stored.items():
            for body, message_id in bodies.items():
                if (other := places.setdefault(body, name)) != name:
                    raise Violation(f"{body} is in {other} and in {name}")
                entry = self.seen(body, message_id, queues[name], 0, now_ms)
                if entry.gone or (name, message_id) in self._left:
                    raise Violation(f"{body} came back: its removal was confirmed")
                if entry.message_id != message_id:
                    raise Violation(f"{body} was redriven, and is there as what it was before")
        for entry in self.entries.values():
            if entry.must_exist(now_ms) and entry.body not in places:
                raise Violation(f"{entry.body} is lost: acknowledged at {entry.acked_ms}, never removed")


class Removal:
    """A delete, acknowledgement or purge from its call to what its caller learns, which may be nothing."""

    def __init__(
        self, ledger: Ledger, queue: QueueAccount, received: list[tuple[Entry, str]], by_delivery: Hold | None
    ) -> None:
        self._ledger, self._queue, self._by_delivery = ledger, queue, by_delivery
        self._entries = [entry for entry, _ in received]
        self._known = [
            (entry, message_id, entry.takes)
            for entry, message_id in received
            if entry.acked_ms is not None or entry.message_id
        ]
        for entry in self._entries:
            entry.doubts += 1

    def done(self, now_ms: int) -> None:
        """What may have been elsewhere when the removal came is in doubt for ever, but never again in this queue."""
        for entry, message_id, takes in self._known:
            if entry.gone or entry.message_id != message_id or entry.place != self._queue.name:
                continue
            held = entry.takes == takes and now_ms < entry.held_until_ms
            if self._by_delivery is not None and not (held and entry.hold is self._by_delivery):
                continue
            if message_id:
                self._ledger.left(self._queue, message_id, now_ms)
            if held or not self._queue.leaks:
                self._ledger.deleted += 1
                entry.gone, entry.gone_ms = True, now_ms

    def refused(self) -> None:
        for entry in self._entries:
            entry.doubts -= 1


def _check_dead_letter(entry: Entry, receipt: Receipt) -> None:
    """Messages go to the dead-letter queue when they have been received as often as they may be, not before."""
    queue, count = receipt.queue, receipt.receive_count
    if (receipt.origin != "") != queue.is_dead_letter_queue:
        raise Violation(f"{entry.body} in {queue.name} says that it comes from {receipt.origin!r}")
    if queue.source is not None:
        if receipt.origin != queue.source.plan.arn:
            raise Violation(f"{entry.body} in {queue.name} says that it comes from {receipt.origin}")
        if count <= queue.source.plan.max_receive_count:
            raise Violation(f"{entry.body} was moved to {queue.name} after {count - 1} receives")
    if queue.always_redrives and count > queue.plan.max_receive_count:
        raise Violation(f"{entry.body} was received {count} times from {queue.name}, it should have been moved")
