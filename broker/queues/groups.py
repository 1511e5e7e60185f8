"""The order of a FIFO queue's groups: which visible messages may be delivered now, and to whom.

Within a group, a message may be delivered when it is visible and no earlier message of the group is in flight; so a
group gives its longest visible prefix and then waits. A consumer's stream (``Holder``) may have more of a group while
it holds all that is in flight of it, in order: nobody else can get ahead of it.

The index follows the run map (``Watcher``) and covers a window of the log, from its head on: as many visible messages
as ``window``, and everything that is in flight. Amazon SQS looks as far ahead. What is behind the window is loaded as
the window empties, so memory is bounded whatever the backlog, and a group with a million waiting messages hides others
no more than it does on SQS.

A step per message here is what the semantics ask for: about 0.2 µs to append, to take and to delete each (CPython's
deques and integers; no object per message). Never: delivery state (that is the run map's), time, or a write.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sortedcontainers import SortedDict

from broker.queues.runs import RunMap, State

_SPARE_MAX: Final = 10_000  # groups kept to be used again
_SKIPPED_MAX: Final = 1_000  # messages of groups that others hold, looked at in one take


class Holder:
    """Someone who may go on with the groups that it holds: a consumer's stream."""

    __slots__ = ("groups", "line")

    def __init__(self) -> None:
        self.groups: Groups | None = None  # what ``line`` speaks of: a failed commit makes another
        self.line: deque[Group] = deque()
        """Groups all of whose messages in flight are here, and that have more."""


class _Numbers:
    """Sequence numbers in order, mostly one or two: the first without a container (most groups have few messages, and a
    deque takes 600 bytes)."""

    __slots__ = ("first", "more")

    def __init__(self) -> None:
        self.first = 0  # 0: there are none
        self.more: deque[int] | None = None

    @property
    def last(self) -> int:
        return self.more[-1] if self.more else self.first

    def __iter__(self) -> Iterator[int]:
        if self.first:
            yield self.first
            yield from self.more or ()

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
        elif not more or number > more[-1]:
            more.append(number)
        else:
            insort(more, number)

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
            more.remove(number)
        except ValueError:
            return False
        return True


class Group:
    """``waiting`` and ``flight``: its visible messages and those in flight."""

    __slots__ = ("flight", "holder", "left", "line", "name", "waiting")

    def __init__(self) -> None:
        self.name = ""
        self.waiting, self.flight = _Numbers(), _Numbers()
        self.left = 0  # messages of it in the window
        self.holder: Holder | None = None
        self.line: deque[Group] | None = None  # the line that it stands in

    def open_to(self, holder: Holder | None) -> bool:
        """Whether ``holder`` may have its next message."""
        first, flight = self.waiting.first, self.flight
        if not first:
            return False
        return (
            not flight.first
            or first < flight.first
            or (holder is not None and self.holder is holder and first > flight.last)
        )


class _Block:
    """The groups of messages [base, base + len(groups)) of the log; None for a message that is gone."""

    __slots__ = ("base", "groups", "left")

    def __init__(self, base: int, groups: list[Group | None], left: int) -> None:
        self.base, self.groups, self.left = base, groups, left

    @property
    def end(self) -> int:
        return self.base + len(self.groups)


class Groups:
    """``start``: the first sequence number of the log; ``window``: visible messages to look ahead."""

    def __init__(self, runs: RunMap, *, start: int, window: int) -> None:
        self._runs, self._window = runs, window
        self.end = start
        """The first sequence number that is not in the window yet."""
        self._groups: dict[str, Group] = {}
        self._spare: list[Group] = []  # without messages; one may still stand in a line, which does no harm
        self._blocks: SortedDict = SortedDict()  # base -> _Block
        self._ready: deque[Group] = deque()
        self._left = 0  # messages in the window, in whatever state
        self.waiting = 0
        """Visible messages in the window."""
        self.in_flight = 0
        """Groups with messages in flight."""
        runs.watcher = self

    def __len__(self) -> int:
        return len(self._groups)

    # --- the window

    @property
    def has_room(self) -> bool:
        return self.waiting < self._window and self._left < 2 * self._window

    @property
    def wants_more(self) -> bool:
        """Less than half of the window is full: it is time to load what follows."""
        return self.waiting <= self._window // 2 and self._left < 2 * self._window

    def append(self, base: int, names: Sequence[str], *, visible: bool) -> None:
        """Messages just appended to the log, if the window reaches there and has room."""
        if base != self.end or not self.has_room:
            return
        self.end = base + len(names)
        groups = self._members(names)
        self._blocks[base] = _Block(base, groups, len(groups))  # type: ignore[arg-type]
        if visible:
            for sequence, group in enumerate(groups, base):
                group.waiting.add(sequence)
                if group.line is None:
                    self._place(group)
            self.waiting += len(groups)

    def load(self, base: int, names: Sequence[str]) -> None:
        """Messages of an entry further on in the log, as the run map knows them; those that are gone are left out."""
        self.end = base + len(names)
        members: list[Group | None] = [None] * len(names)
        left = 0
        for run in self._runs.overlapping(base, self.end):
            lo, hi = max(base, run.lo), min(self.end, run.hi)
            left += hi - lo
            for sequence, group in enumerate(self._members(names[lo - base : hi - base]), lo):
                members[sequence - base] = group
                if run.state == State.VISIBLE:
                    group.waiting.add(sequence)
                    self.waiting += 1
                elif run.state == State.IN_FLIGHT:
                    self.in_flight += not group.flight.first
                    group.flight.add(sequence)
                self._place(group)
        if left:
            self._blocks[base] = _Block(base, members, left)

    def skip_to(self, sequence: int) -> None:
        """There are no messages between the end of the window and ``sequence``."""
        self.end = max(self.end, sequence)

    def _members(self, names: Sequence[str]) -> list[Group]:
        groups, found = self._groups, []
        for name in names:
            group = groups.get(name)
            if group is None:
                # Used again where possible: with many small groups, making them would be most of the work.
                group = groups[name] = self._spare.pop() if self._spare else Group()
                group.name = name
            group.left += 1
            found.append(group)
        self._left += len(found)
        return found

    def name_of(self, sequence: int) -> str | None:
        """The group of a message in the window."""
        for _, group in self._each(sequence, sequence + 1):
            return group.name
        return None

    def _each(self, lo: int, hi: int) -> Iterator[tuple[int, Group]]:
        """The messages of [lo, hi) that are in the window, with their groups."""
        position = self._blocks.bisect_right(lo) - 1
        if position >= 0 and self._blocks.peekitem(position)[1].end <= lo:
            position += 1
        for base in self._blocks.islice(max(position, 0)):
            if base >= hi:
                return
            block: _Block = self._blocks[base]
            first = max(lo, base)
            for sequence, group in enumerate(block.groups[first - base : hi - base], first):
                if group is not None:
                    yield sequence, group

    # --- who is next

    def any_open(self, holder: Holder | None = None) -> bool:
        """Whether there is something for ``holder``, or for anyone."""
        if holder is not None:
            self._greet(holder)
        return self._first(self._ready) is not None or (holder is not None and self._first(holder.line) is not None)

    def take(self, count: int, holder: Holder | None, *, in_order: bool) -> list[tuple[int, int]]:
        """Up to ``count`` messages that may be delivered now, as ranges in order. They are in flight from here on: the
        caller puts them in flight in the run map, or gives them up (``visible``, ``gone``).

        By group, those that waited longest first and each with all that it has; or ``in_order`` of the log, as far as
        it goes without skipping much, so that whole batches stay together.
        """
        if holder is not None:
            self._greet(holder)
        taken: list[int] = []
        if in_order:
            self._take_in_order(count, holder, taken)
        while len(taken) < count:
            group = (self._first(holder.line) if holder is not None else None) or self._first(self._ready)
            if group is None:
                break
            self._take_group(group, count - len(taken), holder, taken)
        taken.sort()
        self.waiting -= len(taken)
        return _ranges(taken)

    def peek(self, count: int) -> list[tuple[int, int]]:
        """The first messages of the window that anyone may have, up to ``count``, as ranges in order."""
        found: list[int] = []
        first = self._runs.first_visible()
        for run in () if first is None else self._runs.starting_at(first.lo):
            if run.state != State.VISIBLE:
                continue
            for sequence, group in self._each(run.lo, run.hi):
                if not group.flight.first or sequence < group.flight.first:
                    found.append(sequence)
                    if len(found) == count:
                        return _ranges(found)
        return _ranges(found)

    def _greet(self, holder: Holder) -> None:
        if holder.groups is not self:
            holder.groups = self
            holder.line.clear()

    def _take_in_order(self, count: int, holder: Holder | None, taken: list[int]) -> None:
        first = self._runs.first_visible()
        if first is None:
            return
        left = count + _SKIPPED_MAX  # looked at
        for run in self._runs.starting_at(first.lo):
            if run.state != State.VISIBLE:
                continue
            for sequence, group in self._each(run.lo, min(run.hi, run.lo + left)):
                if group.waiting.first == sequence and group.open_to(holder):
                    group.waiting.pop()
                    self._fly(group, sequence, holder)
                    taken.append(sequence)
                    count -= 1
                    if not count:
                        return
            left -= len(run)
            if left <= 0:
                return

    def _take_group(self, group: Group, count: int, holder: Holder | None, taken: list[int]) -> None:
        waiting, low = group.waiting, group.flight.first
        # Its prefix: up to what is in flight already, which may be behind messages that came back.
        stop = low if waiting.first < low else 0
        while count and (sequence := waiting.first) and (not stop or sequence < stop):
            waiting.pop()
            self._fly(group, sequence, holder)
            taken.append(sequence)
            count -= 1
        self._place(group)

    def _fly(self, group: Group, sequence: int, holder: Holder | None) -> None:
        flight = group.flight
        if not flight.first:
            self.in_flight += 1
            group.holder = holder
        elif group.holder is not holder:
            group.holder = None  # what is in flight is with several: nobody goes on until all of it is back
        flight.add(sequence)

    def _first(self, line: "deque[Group]") -> Group | None:
        """The first of a line who still belongs there; who does not, leaves."""
        while line:
            group = line[0]
            if group.line is line and self._line_of(group) is line:
                return group
            line.popleft()
            if group.line is line:
                group.line = None
                self._place(group)
        return None

    def _line_of(self, group: Group) -> "deque[Group] | None":
        first, flight = group.waiting.first, group.flight
        if not first:
            return None
        if not flight.first or first < flight.first:
            return self._ready
        if group.holder is not None and first > flight.last:
            return group.holder.line
        return None

    def _place(self, group: Group) -> None:
        """Puts a group at the end of the line that it belongs in, unless it stands there."""
        line = self._line_of(group)
        if line is not None and line is not group.line:
            group.line = line
            line.append(group)

    # --- what the run map tells

    def visible(self, lo: int, hi: int) -> None:
        for sequence, group in reversed(list(self._each(lo, hi))):
            flight = group.flight
            if flight.first and flight.remove(sequence) and not flight.first:
                self._landed(group)
            group.waiting.add(sequence)
            self.waiting += 1
            self._place(group)

    def gone(self, lo: int, hi: int) -> None:
        position = self._blocks.bisect_right(lo) - 1
        emptied = []
        for base in self._blocks.islice(max(position, 0)):
            if base >= hi:
                break
            block: _Block = self._blocks[base]
            groups = block.groups
            for index in range(max(lo - base, 0), min(hi - base, len(groups))):
                group = groups[index]
                if group is not None:
                    groups[index] = None
                    block.left -= 1
                    self._leave(group, base + index)
            if not block.left:
                emptied.append(base)
        for base in emptied:
            del self._blocks[base]

    def _leave(self, group: Group, sequence: int) -> None:
        flight, waiting = group.flight, group.waiting
        if flight.first and flight.remove(sequence):
            if not flight.first:
                self._landed(group)
            if waiting.first:
                self._place(group)
        elif waiting.first and waiting.remove(sequence):
            self.waiting -= 1
        self._left -= 1
        group.left -= 1
        if not group.left:
            del self._groups[group.name]
            if len(self._spare) < _SPARE_MAX:
                self._spare.append(group)

    def release(self, holder: Holder) -> None:
        """``holder`` is gone: its groups wait for what is in flight of them."""
        for group in self._groups.values():
            if group.holder is holder:
                group.holder = None
        holder.line.clear()

    def later_of_groups(self, lo: int, hi: int, holder: Holder) -> list[tuple[int, int]]:
        """What else ``holder`` has in flight of the groups of [lo, hi), from there on: as ranges."""
        first_of: dict[Group, int] = {}
        for sequence, group in self._each(lo, hi):
            if group.holder is holder:
                first_of.setdefault(group, sequence)
        later = [sequence for group, first in first_of.items() for sequence in group.flight if sequence > first]
        return _ranges(sorted(later))

    def _landed(self, group: Group) -> None:
        self.in_flight -= 1
        group.holder = None


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
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
