"""Order within message groups, as far as it follows from what clients were handed out.

Within a group nothing overtakes: first deliveries are in the order of sequence numbers, and while one taker holds a
message, nobody else gets a later one. Never: a look into the broker.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .entries import Entry, Receipt, Violation


@dataclass(slots=True)
class _Group:
    """``first_ms``: by sequence number, when the message was delivered for the first time at the latest."""

    entries: dict[int, Entry] = field(default_factory=dict)
    first_ms: dict[int, int] = field(default_factory=dict)


class Orders:
    def __init__(self) -> None:
        self._groups: dict[tuple[str, int, str], _Group] = {}

    def taken(self, entry: Entry, receipt: Receipt) -> Iterator[Entry]:
        """Yields the earlier messages of the group that others certainly held when this one was handed out. Raises
        Violation when this is a first delivery, and a later message had its own before."""
        if receipt.generation is None:
            return
        sequence = receipt.sequence
        group = self._groups.setdefault((receipt.queue.name, receipt.generation, entry.group), _Group())
        known = group.entries.setdefault(sequence, entry)
        if known is not entry:
            raise Violation(f"{known.body} and {entry.body} are both number {sequence} of {receipt.queue.name}")
        if receipt.receive_count == 1 and sequence not in group.first_ms:
            for later, delivered_ms in group.first_ms.items():
                if later > sequence and delivered_ms < receipt.called_ms:
                    raise Violation(f"{group.entries[later].body} overtook {entry.body} of its group")
            group.first_ms[sequence] = receipt.now_ms
        for earlier in list(group.entries.values()):
            if earlier.sequence < sequence and _holds(earlier, receipt):
                yield earlier


def _holds(earlier: Entry, receipt: Receipt) -> bool:
    """Whether another taker than that of the receipt certainly held a message all the while."""
    return (
        earlier.hold is not receipt.hold
        and earlier.place == receipt.queue.name
        and earlier.is_left(receipt.now_ms)
        and max(earlier.held_from_ms, earlier.disturbed_ms) < receipt.called_ms
        and receipt.now_ms < earlier.held_until_ms
    )
