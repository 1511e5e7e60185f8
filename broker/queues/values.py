"""What a queue hands out: what became of a send, what a receive took, and what is counted. Plain values."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from broker.log import Entry

if TYPE_CHECKING:
    from broker.queues.queue import Queue


@dataclass(frozen=True, slots=True)
class Sent:
    """Messages of one send: sequence numbers from ``base``, in batch ``batch_id`` from index ``first_index``."""

    base: int
    count: int
    batch_id: int
    first_index: int


@dataclass(frozen=True, slots=True)
class Taken:
    """Messages [lo, hi) of one entry, taken by one receive and all with the same history."""

    entry: Entry
    lo: int
    hi: int
    receive_count: int
    first_received_ms: int
    delivery_id: int
    until_ms: int

    @property
    def first_index(self) -> int:
        """Index in the entry's batch of message ``lo``."""
        return self.entry.first_index + self.lo - self.entry.base

    @property
    def nbytes(self) -> int:
        """About how many bytes these messages take: their share of the entry."""
        return self.entry.nbytes * len(self) // self.entry.count

    def __len__(self) -> int:
        return self.hi - self.lo


@dataclass(slots=True)
class Activity:
    """What has happened to a queue since this process started."""

    sent_messages: int = 0
    sent_bytes: int = 0
    received_messages: int = 0
    deleted_messages: int = 0
    deduplicated_messages: int = 0
    moved_messages: int = 0
    expired_messages: int = 0
    empty_receives: int = 0


class Taker(Protocol):
    """Someone parked at a queue for messages."""

    def serve(self, queue: "Queue") -> bool:
        """Called while the queue has visible messages: takes what it wants, by its own clock. True to stay in line, at
        its end."""

    def queue_deleted(self) -> None:
        """The queue is gone; the taker has left the line."""
