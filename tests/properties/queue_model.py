"""A standard queue as a dict: every message by itself, looked at one by one. Slow, and too simple to be wrong."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

DAY_MS: Final = 86_400_000


@dataclass
class ModelMessage:
    """``hidden_until_ms``: 0 when it may be received. ``group``: the tenant that sent it, empty for none."""

    body: bytes
    sent_ms: int
    hidden_until_ms: int
    receive_count: int = 0
    first_received_ms: int = 0
    received_ms: int = 0
    delivery: int = 0
    group: str = ""

    def state(self) -> str:
        if not self.hidden_until_ms:
            return "visible"
        return "in flight" if self.receive_count else "delayed"


@dataclass
class ModelQueue:
    """By sequence number, which is the order of the sends."""

    messages: dict[int, ModelMessage] = field(default_factory=dict)
    next_sequence: int = 1
    visibility_ms: int = 30_000
    delay_ms: int = 0
    retention_ms: int = 4 * DAY_MS

    def tick(self, now_ms: int) -> None:
        for sequence, message in list(self.messages.items()):
            if message.sent_ms + self.retention_ms <= now_ms:
                del self.messages[sequence]
            elif message.hidden_until_ms <= now_ms:
                message.hidden_until_ms = 0

    def send(self, body: bytes, delay_ms: int | None, now_ms: int, group: str = "") -> None:
        delay_ms = self.delay_ms if delay_ms is None else delay_ms
        hidden_until_ms = now_ms + delay_ms if delay_ms else 0
        self.messages[self.next_sequence] = ModelMessage(body, now_ms, hidden_until_ms, group=group)
        self.next_sequence += 1

    def visible(self) -> list[int]:
        """Oldest first."""
        return [sequence for sequence, message in sorted(self.messages.items()) if not message.hidden_until_ms]

    def in_flight_by_group(self) -> Counter[str]:
        """Of the tenants that have a name."""
        return Counter(m.group for m in self.messages.values() if m.group and m.state() == "in flight")

    def receive(self, sequence: int, timeout_ms: int, now_ms: int, delivery: int) -> ModelMessage:
        message = self.messages[sequence]
        self.hide(sequence, timeout_ms, now_ms)
        message.receive_count += 1
        message.first_received_ms = message.first_received_ms or now_ms
        message.received_ms = now_ms
        message.delivery = delivery
        return message

    def hide(self, sequence: int, timeout_ms: int, now_ms: int) -> None:
        self.messages[sequence].hidden_until_ms = now_ms + timeout_ms if timeout_ms else 0

    def counts(self) -> tuple[int, int, int]:
        states = [message.state() for message in self.messages.values()]
        return states.count("visible"), states.count("in flight"), states.count("delayed")
