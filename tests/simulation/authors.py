"""What senders send: unique bodies, and on FIFO queues attempts that repeat earlier ones.

Never: what became of it (that is the ledger's).
"""

from heddle.v1.message_pb2 import Message

from .entries import Attempts, Entry, QueueAccount
from .world import World

_GROUPS = ("red", "green", "blue")
_REMEMBERED = 6


class Author:
    """One sender's memory. ``name`` is the beginning of its bodies."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._name = world, name
        self._bodies = self._ids = 0
        self._recent: dict[str, list[Attempts]] = {}

    def write(self, account: QueueAccount) -> Entry:
        """A message that is sent now, for the first time or, to a FIFO queue, perhaps again."""
        body = f"{self._name}-{self._bodies}"
        self._bodies += 1
        attempts = self._attempts(account) if account.plan.fifo else None
        return self._world.ledger.sending(account, body, self._world.now_ms(), attempts)

    def _attempts(self, account: QueueAccount) -> Attempts:
        random = self._world.random
        recent = self._recent.setdefault(account.name, [])
        unanswered = [each for each in recent if each.entries[-1].lost_its_answer]
        if unanswered and random.random() < 0.7:  # what else could it do
            return random.choice(unanswered)
        if recent and random.random() < 0.1:
            return random.choice(recent)
        if account.plan.per_group:  # one id in each group: no two of them are the same message
            group, number = _GROUPS[self._ids % len(_GROUPS)], self._ids // len(_GROUPS)
        else:
            group, number = random.choice(_GROUPS), self._ids
        self._ids += 1
        attempts = Attempts(account, group, f"id-{self._name}-{number}")
        recent.append(attempts)
        del recent[:-_REMEMBERED]
        return attempts


def message_of(entry: Entry) -> Message:
    message = Message(body=entry.body.encode())
    if entry.queue.plan.tenants:
        message.message_group_id = entry.body.partition("-")[0]  # the sender is the tenant
    if entry.attempts is not None:
        message.message_group_id = entry.attempts.group
        message.message_deduplication_id = entry.attempts.deduplication_id
    return message
