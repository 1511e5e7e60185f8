"""The message groups of what a consumer of a FIFO queue holds: what goes back together, what may be settled. No I/O.

The broker pushes further messages of a group to the stream that holds the earlier ones, in order. When one of them goes
back (a nack, or its visibility timeout), the broker takes back what the stream holds of the group after it as well, and
delivers all of that again, in order. This module does the same on the client's side, at once: what is taken back is not
handed out any more, and settling it does nothing.

What the broker had pushed before it heard of a nack arrives after it was said, and is the broker's again already: it is
stale. The group is *returning* until the returned message comes again, or until the broker confirms the nack: messages
that come after that are meant. Those that come in one response with the confirmation may be either, so that they are
given back once more.

A nack may come too late: the message's visibility timeout was over, and another consumer has had it. Then the broker
took nothing back, and what was dropped as stale is still ours. It mostly shows when a later message of the group comes
first: both are given back, and come again in order. Should nothing later come, the dropped one comes at its timeout.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from heddle._delivery import Delivery
from heddle._ranges import RangeSet


class Arrival(NamedTuple):
    """What of a delivery is not ours, and what we lose by it. `stale`, `lost`: let go without a word to the broker."""

    stale: RangeSet
    lost: RangeSet
    doubtful: RangeSet  # to be nacked


@dataclass(slots=True)
class _Return:
    """A group that comes again from `sequence` on. `request_id`: the nack's; None: not said yet."""

    sequence: int
    request_id: int | None = None


class Groups:
    """Cost is by message, unlike the ranges of a standard queue: order is per group, and groups are mixed."""

    def __init__(self) -> None:
        self._delivery_of: dict[int, Delivery] = {}  # sequence -> what it came with last
        self._line_of: dict[str, deque[int]] = {}  # group -> its held sequences, rising
        self._returning: dict[str, _Return] = {}
        self._dropped: dict[str, int] = {}  # group -> the first message that was stale and has not come again

    def arrive(self, delivery: Delivery, confirmed_request_id: int) -> Arrival:
        """Take in a delivery, in whose response the broker confirmed `confirmed_request_id`."""
        arrival = Arrival(RangeSet(), RangeSet(), RangeSet())
        for sequence, group in enumerate(delivery.groups(), delivery.base_sequence):
            returning = self._returning.get(group)
            if returning is not None and sequence > returning.sequence:
                delivery.returned.add(sequence)
                said = returning.request_id is not None and returning.request_id <= confirmed_request_id
                if said:  # from here on, the group comes again with this message
                    self._returning[group] = _Return(sequence)
                (arrival.doubtful if said else arrival.stale).add(sequence, sequence + 1)
                if not said:
                    self._dropped.setdefault(group, sequence)
                continue
            dropped = self._dropped.pop(group, None)
            if dropped is not None and dropped < sequence:
                delivery.returned.add(sequence)
                arrival.doubtful.add(dropped, dropped + 1)
                arrival.doubtful.add(sequence, sequence + 1)
                self._returning[group] = _Return(dropped)
                continue
            self._returning.pop(group, None)
            for lost in self._take(group, sequence):  # it was ours still: its visibility timeout was over
                if not delivery.base_sequence <= lost < delivery.end_sequence:
                    arrival.lost.add(lost, lost + 1)
            self._delivery_of[sequence] = delivery
            self._line_of.setdefault(group, deque()).append(sequence)
        return arrival

    def settle(self, delivery: Delivery, sequence: int) -> bool:
        """Whether this message is held as it came with this delivery; then it is no more."""
        if self._delivery_of.get(sequence) is not delivery:
            return False
        del self._delivery_of[sequence]
        group = delivery.group_of(sequence)
        line = self._line_of[group]
        line.remove(sequence)  # the first, where messages are settled in order
        if not line:
            del self._line_of[group]
        return True

    def held(self, delivery: Delivery, first: int, end: int) -> RangeSet:
        """What of [first, end) is held as it came with this delivery."""
        held = RangeSet()
        for sequence in range(first, end):
            if self._delivery_of.get(sequence) is delivery:
                held.add(sequence, sequence + 1)
        return held

    def take_back(self, asked: RangeSet) -> RangeSet:
        """Return these, and all that is held of their groups after them: the result. None of it is held any more."""
        taken = RangeSet()
        for first, end in asked:
            for sequence in range(first, end):
                delivery = self._delivery_of.get(sequence)
                if delivery is None:
                    continue  # went with an earlier one of its group
                group = delivery.group_of(sequence)
                self._returning[group] = _Return(sequence)
                for each in self._take(group, sequence):
                    taken.add(each, each + 1)
        return taken

    def _take(self, group: str, first: int) -> list[int]:
        """Lets go of the group from `first` on; falling."""
        line = self._line_of.get(group)
        taken = []
        while line and line[-1] >= first:
            sequence = line.pop()
            self._delivery_of.pop(sequence).returned.add(sequence)
            taken.append(sequence)
        if line is not None and not line:
            del self._line_of[group]
        return taken

    def nacks_said(self, request_id: int) -> None:
        """What was returned and not said yet is said in this request."""
        for returning in self._returning.values():
            if returning.request_id is None:
                returning.request_id = request_id

    def confirmed(self, request_id: int) -> None:
        """The broker has done what was said up to this request: whatever comes now is meant."""
        if self._returning:
            self._returning = {
                group: returning
                for group, returning in self._returning.items()
                if returning.request_id is None or returning.request_id > request_id
            }

    def clear(self) -> None:
        """The broker has everything back."""
        self._delivery_of.clear()
        self._line_of.clear()
        self._returning.clear()
        self._dropped.clear()
