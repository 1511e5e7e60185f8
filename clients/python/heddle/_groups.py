"""The message groups of what a consumer of a FIFO queue holds: what goes back together, what may be settled. No I/O.

The broker pushes further messages of a group to the stream that holds the earlier ones, in order. When one of them goes
back (a nack, or its visibility timeout), the broker takes back what the stream holds of the group after it as well, and
delivers all of that again, in order. This module does the same on the client's side, at once: what is taken back is not
handed out any more, and settling it does nothing.

A nack names the delivery that it answers, and the broker passes over those that come too late: the message's timeout
was over, and it is another consumer's, or gone, or was delivered again. So a message that arrives while a nack of an
earlier one of its group is under way is one of two things: pushed before the broker heard of the nack, and the broker's
again; or ours, since the nack changed nothing. It is given back in any case, by its own delivery, which is right for
the second and nothing for the first. What the client returns with a nack is given back so as well: the nacked message
may be gone, and then the broker takes nothing along.

That ends. A message that arrives again was not held when it was pushed, nor was anything of its group after it, so that
nacks of these change nothing any more; and what the broker has confirmed is done. (What comes in one response with a
confirmation may have been pushed before it.)
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from heddle._delivery import Delivery
from heddle._ranges import RangeSet


class Arrival(NamedTuple):
    """What of a delivery is not ours, and what we lose by it."""

    lost: RangeSet  # let go without a word to the broker
    doubtful: RangeSet  # to be nacked


@dataclass(slots=True)
class _Return:
    """A group was given back from `sequence` on. `request_id`: the nacks'; None: not said yet."""

    sequence: int
    request_id: int | None = None


class Groups:
    """Cost is by message, unlike the ranges of a standard queue: order is per group, and groups are mixed."""

    def __init__(self) -> None:
        self._delivery_of: dict[int, Delivery] = {}  # sequence -> what it came with last
        self._line_of: dict[str, deque[int]] = {}  # group -> its held sequences, rising
        self._returning: dict[str, list[_Return]] = {}

    def arrive(self, delivery: Delivery) -> Arrival:
        """Take in a delivery."""
        arrival = Arrival(RangeSet(), RangeSet())
        for sequence, group in enumerate(delivery.groups(), delivery.base_sequence):
            if self._is_returning(group, sequence):
                delivery.returned.add(sequence)
                arrival.doubtful.add(sequence, sequence + 1)
                self._return(group, sequence)
                continue
            for _, lost in self._take(group, sequence):  # it was ours still: its visibility timeout was over
                if not delivery.base_sequence <= lost < delivery.end_sequence:
                    arrival.lost.add(lost, lost + 1)
            self._delivery_of[sequence] = delivery
            self._line_of.setdefault(group, deque()).append(sequence)
        return arrival

    def _is_returning(self, group: str, sequence: int) -> bool:
        """Whether a nack of an earlier message may still take this one along, which has just arrived."""
        if group not in self._returning:
            return False
        earlier = [each for each in self._returning[group] if each.sequence < sequence]
        if earlier:
            self._returning[group] = earlier
        else:
            del self._returning[group]
        return bool(earlier)

    def _return(self, group: str, sequence: int) -> None:
        returns = self._returning.setdefault(group, [])
        if returns and returns[-1].request_id is None:
            returns[-1].sequence = min(returns[-1].sequence, sequence)
        else:
            returns.append(_Return(sequence))

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

    def take_back(self, asked: RangeSet) -> list[tuple[Delivery, int]]:
        """Return these, and all that is held of their groups after them: the result, with what each came with. None of
        it is held any more."""
        taken: list[tuple[Delivery, int]] = []
        for first, end in asked:
            for sequence in range(first, end):
                delivery = self._delivery_of.get(sequence)
                if delivery is None:
                    continue  # went with an earlier one of its group
                group = delivery.group_of(sequence)
                self._return(group, sequence)
                taken.extend(self._take(group, sequence))
        return taken

    def _take(self, group: str, first: int) -> list[tuple[Delivery, int]]:
        """Lets go of the group from `first` on; falling."""
        line = self._line_of.get(group)
        taken = []
        while line and line[-1] >= first:
            sequence = line.pop()
            delivery = self._delivery_of.pop(sequence)
            delivery.returned.add(sequence)
            taken.append((delivery, sequence))
        if line is not None and not line:
            del self._line_of[group]
        return taken

    def nacks_said(self, request_id: int) -> None:
        """What was returned and not said yet is said with this request."""
        for returns in self._returning.values():
            if returns[-1].request_id is None:
                returns[-1].request_id = request_id

    def confirmed(self, request_id: int) -> None:
        """The broker has done what was said up to this request."""
        for group, returns in list(self._returning.items()):
            left = [each for each in returns if each.request_id is None or each.request_id > request_id]
            if left:
                self._returning[group] = left
            else:
                del self._returning[group]

    def clear(self) -> None:
        """The broker has everything back."""
        self._delivery_of.clear()
        self._line_of.clear()
        self._returning.clear()
