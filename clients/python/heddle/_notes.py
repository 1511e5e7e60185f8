"""What the application said of messages, before the broker is told. No locks, no I/O."""

from enum import IntEnum
from typing import Final


class Kind(IntEnum):
    """Done, not done, or still at work."""

    ACK = 1
    NACK = 2
    EXTEND = 3


class Note:
    """What is to be said of [first, end). `delivery_id`: as it came with this delivery; 0: as it is held. `unhandled`:
    nobody has looked at it."""

    __slots__ = ("delivery_id", "end", "first", "kind", "seconds", "unhandled")

    def __init__(
        self, kind: Kind, first: int, end: int, seconds: int, *, delivery_id: int = 0, unhandled: bool = False
    ) -> None:
        self.kind = kind
        self.first = first
        self.end = end
        self.seconds = seconds
        self.delivery_id = delivery_id
        self.unhandled = unhandled

    def part(self, first: int, end: int) -> "Note":
        """The same of [first, end)."""
        return Note(self.kind, first, end, self.seconds, delivery_id=self.delivery_id, unhandled=self.unhandled)


NOTHING: Final = Note(Kind.NACK, 0, 0, 0)  # never extended: only acks are


def without_nacks(notes: list[Note], first: int, end: int) -> list[Note]:
    """The notes without nacks of [first, end): it came again by another delivery, and they would change nothing."""
    left: list[Note] = []
    for note in notes:
        if note.kind is not Kind.NACK or note.end <= first or end <= note.first:
            left.append(note)
        else:
            left.extend(note.part(*rest) for rest in ((note.first, first), (end, note.end)) if rest[0] < rest[1])
    return left
