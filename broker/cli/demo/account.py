"""The demo's account: what became of every message, kept by the people who sent and worked on them, not by the broker.

A ledger is told each event as it happens; `close` adds it up. Pure arithmetic: no clock, no broker, no printing.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Account:
    """The closed account of one queue. Counts are of messages; `retries` and `returned` count attempts."""

    queue: str
    sent: int
    """Acknowledged by the broker to the sender."""
    processed_once: int
    processed_again_after_crash: int
    """Processed more than once after a worker crashed while it held them: what at-least-once delivery allows."""
    processed_again_unexplained: int
    lost: int
    unknown: int
    """Processed, but never sent."""
    retries: int
    returned: int
    """Deliveries that a crashed worker held, and that went back to the queue."""
    left_in_queue: int
    attempts_max: int
    """Deliveries that the most troublesome message needed."""

    @property
    def balances(self) -> bool:
        """Every message that was sent was processed, none without cause a second time, and nothing else appeared."""
        return not (self.lost or self.unknown or self.processed_again_unexplained or self.left_in_queue)


@dataclass(slots=True)
class Ledger:
    """The running account of one queue. Messages are named by what the application calls them (an order number)."""

    queue: str
    sent: set[int] = field(default_factory=set)
    processed: Counter[int] = field(default_factory=Counter)
    retried: Counter[int] = field(default_factory=Counter)
    returned: Counter[int] = field(default_factory=Counter)
    processed_total: int = 0
    retried_total: int = 0

    def record_sent(self, number: int) -> None:
        """The broker acknowledged this message to its sender."""
        assert number not in self.sent, number
        self.sent.add(number)

    def record_processed(self, number: int) -> None:
        """A worker did what the message asks for and acknowledged it."""
        self.processed[number] += 1
        self.processed_total += 1

    def record_retried(self, number: int) -> None:
        """A worker failed and gave the message back to be tried again."""
        self.retried[number] += 1
        self.retried_total += 1

    def record_returned(self, number: int) -> None:
        """A worker crashed while it held this message."""
        self.returned[number] += 1

    @property
    def outstanding(self) -> int:
        """Messages sent and not yet processed. Right while nothing unknown has been processed."""
        return len(self.sent) - len(self.processed)

    def close(self, left_in_queue: int) -> Account:
        """The account, given the broker's own count of what is still in the queue."""
        again = {number for number, times in self.processed.items() if times > 1}
        after_crash = {number for number in again if self.processed[number] - 1 <= self.returned[number]}
        attempts = self.processed + self.retried + self.returned
        return Account(
            queue=self.queue,
            sent=len(self.sent),
            processed_once=sum(self.processed[number] == 1 for number in self.sent),
            processed_again_after_crash=len(after_crash),
            processed_again_unexplained=len(again - after_crash),
            lost=len(self.sent - self.processed.keys()),
            unknown=len(self.processed.keys() - self.sent),
            retries=self.retried_total,
            returned=self.returned.total(),
            left_in_queue=left_in_queue,
            attempts_max=max(attempts.values(), default=0),
        )
