"""A window over a queue's log that knows whose each message is: of which group, of which tenant.

It covers the log from its head on: as many visible messages as asked for, and everything that is in flight. What is
behind it is loaded as it empties, so memory is bounded whatever the backlog. It follows the run map (``Watcher``).

No wider than need be: with 100,000 groups, a window of 120,000 messages is 50 MB in which each of them misses the
processor's cache, 3.6 µs to load, take and delete it; with a window of 4,000 it takes 2.1. So it is narrow where it
has many members, of whom some may be served; with few it is wide, since nobody should wait behind a busy one.

A step per message is what the semantics of groups ask for; it is kept to a few tenths of a microsecond. Never: delivery
state (that is the run map's), time, or a write.
"""

from abc import ABC, abstractmethod
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from typing import Final, Generic, TypeVar

from sortedcontainers import SortedDict, SortedList

from broker.queues.runs import RunMap, State

_MANY: Final = 32  # messages that come back at once
_FEW: Final = 32  # numbers that are looked for one by one
_DEQUE_MAX: Final = 64  # numbers that may be moved aside for one
_MERGED_SHARE: Final = 32  # one in so many: then a merge takes less time than as many insertions
_BLOCK_APPENDED_MAX: Final = 500  # messages of a block that small sends still join
_SPARE_MAX: Final = 10_000  # members kept to be used again


class _Scattered(SortedList):  # type: ignore[misc]
    """What a deque offers, for numbers that come and go anywhere: 1 to 2 µs each, however many there are."""

    def append(self, value: int) -> None:
        self.add(value)

    appendleft = append

    def popleft(self) -> int:
        first: int = self.pop(0)
        return first

    def extend(self, values: Iterable[int]) -> None:
        self.update(values)


class Numbers:
    """Sequence numbers in order, mostly one or two: the first without a container (most groups have few messages, and a
    deque takes 600 bytes). The rest is a deque while they come and go at its ends."""

    __slots__ = ("first", "more")

    def __init__(self) -> None:
        self.first = 0  # 0: there are none
        self.more: deque[int] | None = None

    @property
    def last(self) -> int:
        return self.more[-1] if self.more else self.first

    def __len__(self) -> int:
        return (1 + len(self.more or ())) if self.first else 0

    def __iter__(self) -> Iterator[int]:
        if self.first:
            yield self.first
            yield from self.more or ()

    def after(self, number: int) -> list[int]:
        """Those above ``number``."""
        above = list(islice(takewhile(number.__lt__, reversed(self.more or ())), _FEW))
        if len(above) == _FEW:  # one by one, 100,000 take 5 ms
            more = list(self.more or ())
            above = more[bisect_right(more, number) :]
        return [self.first, *above] if self.first > number else above

    def add(self, number: int) -> None:
        """Mostly the highest, or the lowest."""
        first, more = self.first, self.more
        if not first:
            self.first = number
        elif more is None:
            self.first, self.more = min(first, number), deque((max(first, number),))
        elif number < first:
            self.first = number
            more.appendleft(first)
        elif not more:
            self.more = deque((number,))  # in order again
        elif number > more[-1]:
            more.append(number)
        else:
            more = self._scattered(more)
            if isinstance(more, _Scattered):
                more.add(number)
            else:
                insort(more, number)

    def add_last(self, number: int) -> None:
        """One above all that are there; some are."""
        if self.more:
            self.more.append(number)
        else:
            self.more = deque((number,))

    def add_all(self, numbers: list[int]) -> None:
        """Many, in order, none of which is there."""
        more = self.more
        if not self.first:
            self.first, self.more = numbers[0], deque(numbers[1:])
        elif numbers[0] > self.last:
            if more is None:
                self.more = deque(numbers)
            else:
                more.extend(numbers)
        elif numbers[-1] < self.first:
            if more is None:
                more = self.more = deque()
            more.appendleft(self.first)
            for number in reversed(numbers[1:]):
                more.appendleft(number)
            self.first = numbers[0]
        elif len(numbers) * _MERGED_SHARE > len(self):
            merged = sorted([*self, *numbers])  # two runs in order: one pass
            self.first, self.more = merged[0], deque(merged[1:])
        else:
            for number in numbers:
                self.add(number)

    def pop(self) -> int:
        """Takes the first out; there must be one."""
        first, more = self.first, self.more
        self.first = more.popleft() if more else 0
        return first

    def remove(self, number: int) -> bool:
        """Mostly the first or the last. Returns whether it was there."""
        if number == self.first:
            self.pop()
            return True
        more = self.more
        if not more or number < self.first:
            return False
        if number == more[-1]:
            more.pop()
            return True
        try:
            self._scattered(more).remove(number)
        except ValueError:
            return False
        return True

    def _scattered(self, more: deque[int]) -> "deque[int] | _Scattered":
        """``more``, for a change in its middle: one of many would move all the others aside."""
        if len(more) > _DEQUE_MAX and not isinstance(more, _Scattered):
            more = self.more = _Scattered(more)
        return more


class Member:
    """A group or a tenant: ``waiting`` are its visible messages, ``flight`` those in flight, ``left`` is how many are
    of it in the window at all."""

    __slots__ = ("flight", "left", "name", "waiting")

    def __init__(self) -> None:
        self.name = ""
        self.waiting, self.flight = Numbers(), Numbers()
        self.left = 0

    def reset(self) -> bool:
        """Nothing is left of it. Returns whether it may be used again, under another name."""
        return True


M = TypeVar("M", bound=Member)


class _Block(Generic[M]):
    """Whose messages [base, base + len(members)) of the log are; None for a message that is gone."""

    __slots__ = ("base", "left", "members")

    def __init__(self, base: int, members: list[M | None], left: int) -> None:
        self.base, self.members, self.left = base, members, left

    @property
    def end(self) -> int:
        return self.base + len(self.members)


class Window(ABC, Generic[M]):
    """``start``: the first sequence number of the log; ``window``: visible messages to look ahead, but ``ahead`` where
    these are of ``many`` members, and any of them may be delivered, or where nobody looks.

    What it means for a member that a message waits, flies, lands or is gone, is said by the classes derived from this.
    """

    def __init__(self, runs: RunMap, member: type[M], *, start: int, window: int, ahead: int, many: int) -> None:
        self._runs, self._member = runs, member
        self._window, self._ahead, self._many = window, ahead, many
        self.end = start
        """The first sequence number that is not in the window yet."""
        self._members: dict[str, M] = {}
        self._spare: list[M] = []
        self._blocks: SortedDict = SortedDict()  # base -> _Block
        self._last_block: _Block[M] | None = None  # while more may be appended to it
        self._left = 0  # messages in the window, in whatever state
        self._unasked = 0  # messages appended since somebody last looked for some
        self.waiting = 0
        """Visible messages in the window."""
        runs.watcher = self

    def __len__(self) -> int:
        return len(self._members)

    # --- what derived classes say

    @abstractmethod
    def _waits(self, member: M) -> None:
        """One more message of ``member`` is visible."""

    @abstractmethod
    def _flies(self, member: M, sequence: int) -> None:
        """A message is in flight."""

    @abstractmethod
    def _lands(self, member: M, sequence: int) -> bool:
        """A message is no longer in flight. Returns whether it was."""

    # --- its extent

    @property
    def has_room(self) -> bool:
        """Whether what is appended to the log joins it: not after ``ahead`` that did so since somebody last looked. A
        FIFO queue that nobody receives from needs no wide window, and 120,000 messages take 15 MB."""
        return self._unasked < self._ahead and self.waiting < self._reach and self._left < 2 * self._window

    def asked(self) -> None:
        """Somebody looks for what may be delivered."""
        self._unasked = 0

    @property
    def wants_more(self) -> bool:
        """Less than half of what it looks ahead is there: it is time to load what follows."""
        return self.waiting <= self._reach // 2 and self._left < 2 * self._window

    @property
    def may_widen(self) -> bool:
        """It may look further, where nothing that it has may be delivered."""
        return self.waiting < self._window and self._left < 2 * self._window

    @property
    def _reach(self) -> int:
        return self._window if len(self._members) < self._many else self._ahead

    def append(self, base: int, names: Sequence[str], *, visible: bool) -> None:
        """Messages just appended to the log, if the window reaches there and has room."""
        if base != self.end or not self.has_room:
            return
        self.end = base + len(names)
        self._unasked += len(names)
        members = self._named(names)
        block = self._last_block
        if block is not None and block.end == base and len(block.members) < _BLOCK_APPENDED_MAX:
            block.members += members
            block.left += len(members)
        else:
            self._last_block = self._blocks[base] = _Block(base, list(members), len(members))
        if visible:
            self._wait_behind(members, base)
            self.waiting += len(members)

    def _wait_behind(self, members: list[M], base: int) -> None:
        """New messages, visible and behind all others, from ``base`` on: one for each of ``members``."""
        for sequence, member in enumerate(members, base):
            member.waiting.add(sequence)
            self._waits(member)

    def load(self, base: int, names: Sequence[str]) -> None:
        """Messages of an entry further on in the log, as the run map knows them; those that are gone are left out."""
        self.end = base + len(names)
        members: list[M | None] = [None] * len(names)
        left = 0
        for run in self._runs.overlapping(base, self.end):
            lo, hi = max(base, run.lo), min(self.end, run.hi)
            left += hi - lo
            for sequence, member in enumerate(self._named(names[lo - base : hi - base]), lo):
                members[sequence - base] = member
                if run.state == State.VISIBLE:
                    member.waiting.add(sequence)
                    self.waiting += 1
                    self._waits(member)
                elif run.state == State.IN_FLIGHT:
                    self._flies(member, sequence)
        if left:
            self._blocks[base] = _Block(base, members, left)

    def skip_to(self, sequence: int) -> None:
        """There are no messages between the end of the window and ``sequence``."""
        self.end = max(self.end, sequence)

    def _named(self, names: Sequence[str]) -> list[M]:
        members = self._members
        found = [members.get(name) or self._new(name) for name in names]
        for member in found:
            member.left += 1
        self._left += len(found)
        return found

    def _new(self, name: str) -> M:
        # Used again where possible: with many small groups, making them would be most of the work.
        member = self._members[name] = self._spare.pop() if self._spare else self._member()
        member.name = name
        return member

    def name_of(self, sequence: int) -> str | None:
        """Whose a message in the window is."""
        for _, member in self._each(sequence, sequence + 1):
            return member.name
        return None

    def _each(self, lo: int, hi: int) -> Iterator[tuple[int, M]]:
        """The messages of [lo, hi) that are in the window, and whose they are."""
        position = self._blocks.bisect_right(lo) - 1
        if position >= 0 and self._blocks.peekitem(position)[1].end <= lo:
            position += 1
        for base in self._blocks.islice(max(position, 0)):
            if base >= hi:
                return
            block: _Block[M] = self._blocks[base]
            first = max(lo, base)
            for sequence, member in enumerate(block.members[first - base : hi - base], first):
                if member is not None:
                    yield sequence, member

    # --- what the run map tells

    def visible(self, lo: int, hi: int) -> None:
        found = list(self._each(lo, hi))
        if len(found) < _MANY:
            for sequence, member in reversed(found):  # each is the first of those that wait then
                self._lands(member, sequence)
                member.waiting.add(sequence)
        else:  # member by member: one by one, thousands of one group would be moved aside for each
            numbers: dict[M, list[int]] = {}
            for sequence, member in found:
                numbers.setdefault(member, []).append(sequence)
            for member, back in numbers.items():
                # The first of those in flight, mostly, or else the last.
                for sequence in back if back[0] == member.flight.first else reversed(back):
                    self._lands(member, sequence)
                member.waiting.add_all(back)
        self.waiting += len(found)
        for _, member in found:
            self._waits(member)

    def hidden(self, lo: int, hi: int) -> None:
        for sequence, member in self._each(lo, hi):
            if member.waiting.first and member.waiting.remove(sequence):
                self.waiting -= 1
                self._flies(member, sequence)
                if member.waiting.first:  # another is its first now
                    self._waits(member)

    def gone(self, lo: int, hi: int) -> None:
        position = self._blocks.bisect_right(lo) - 1
        emptied = []
        for base in self._blocks.islice(max(position, 0)):
            if base >= hi:
                break
            block: _Block[M] = self._blocks[base]
            members = block.members
            for index in range(max(lo - base, 0), min(hi - base, len(members))):
                member = members[index]
                if member is not None:
                    members[index] = None
                    block.left -= 1
                    self._leave(member, base + index)
            if not block.left:
                emptied.append(base)
        for base in emptied:
            if self._blocks.pop(base) is self._last_block:
                self._last_block = None

    def _leave(self, member: M, sequence: int) -> None:
        waiting = member.waiting
        if self._lands(member, sequence):
            if waiting.first:
                self._waits(member)
        elif waiting.first and waiting.remove(sequence):
            self.waiting -= 1
            if waiting.first:
                self._waits(member)
        self._left -= 1
        member.left -= 1
        if not member.left:
            del self._members[member.name]
            if len(self._spare) < _SPARE_MAX and member.reset():
                self._spare.append(member)


def as_ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted numbers as maximal ranges [lo, hi)."""
    ranges: list[tuple[int, int]] = []
    lo = hi = -1
    for number in numbers:
        if number == hi:
            hi += 1
        else:
            if lo >= 0:
                ranges.append((lo, hi))
            lo, hi = number, number + 1
    if lo >= 0:
        ranges.append((lo, hi))
    return ranges
