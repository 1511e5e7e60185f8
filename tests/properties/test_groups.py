"""The order of groups beside a naive model, in windows of a few messages: looking ahead, streams, restarts."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from unittest import mock

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.queues import window as window_module
from broker.queues.groups import Group, Groups, Holder
from broker.queues.runs import RunMap, State

from .fifo_model import ModelGroups, ModelMessage, check_taken
from .histories import Action, actions, histories

_HOLDERS = 2
_ROUND_MS = 10

_who = st.sampled_from([None, None, *range(_HOLDERS)])
_names = st.lists(st.sampled_from(["a", "a", "a", "b", "b", "c", "d", "e", "f", "g"]), min_size=1, max_size=8)
_picks = st.integers(0, 1 << 30)

_ACTIONS = actions(
    {
        "append": (6, {"names": _names, "delay_ms": st.sampled_from([0, 0, 0, 15]), "moved": st.booleans()}),
        "skip_sequence_numbers": (1, {}),
        "take": (
            8,
            {
                "count": st.integers(1, 12),
                "who": _who,
                "timeout_ms": st.sampled_from([0, 10, 10, 25, 60, 60]),
                "fates": st.lists(st.booleans(), min_size=12, max_size=12),
            },
        ),
        "delete": (3, {"pick": _picks, "length": st.integers(1, 4)}),
        "change_visibility": (
            5,
            {"pick": _picks, "length": st.integers(1, 4), "timeout_ms": st.sampled_from([0, 0, 10, 40])},
        ),
        "end_a_stream": (1, {"who": st.integers(0, _HOLDERS - 1)}),
        "pass_time": (2, {"rounds": st.integers(1, 3)}),
        "restart": (2, {}),
    }
)


class GroupsMachine(RuleBasedStateMachine):
    """A run map with its groups, used as a queue uses them. ``entries``: the names of the messages of each."""

    @initialize(
        window=st.integers(5, 20),
        ahead=st.sampled_from([2, 5, 20]),
        many=st.sampled_from([0, 2, 100]),
        block=st.sampled_from([1, 4, 500]),
    )
    def start(self, window: int, ahead: int, many: int, block: int) -> None:
        self.patch = mock.patch.object(window_module, "_BLOCK_APPENDED_MAX", block)
        self.patch.start()
        self.window, self.ahead, self.many = window, min(ahead, window), many
        self.now_ms = 1_000
        self.runs = RunMap([])
        self.entries: dict[int, list[str]] = {}
        self.model = ModelGroups()
        self.messages: dict[int, ModelMessage] = {}
        self.next_sequence = 1
        self.deliveries = 0
        self.turn = 0
        # The turn at which a group was last served by a single call, or came back after that. None: a stream has had
        # some of it, or it lost its messages; then it may have kept its place.
        self.since: dict[str, int | None] = {}
        self.holders = [Holder() for _ in range(_HOLDERS)]
        self.groups = Groups(self.runs, start=1, window=window, ahead=ahead, many=many)

    def teardown(self) -> None:
        self.patch.stop()

    # --- what the queue does

    def _look_ahead(self, holder: Holder | None = None) -> None:
        self.groups.asked()
        while self.groups.end < self.next_sequence and (
            self.groups.wants_more or (self.groups.may_widen and not self.groups.any_open(holder))
        ):
            at = self.groups.end
            following = [base for base, names in self.entries.items() if base + len(names) > at]
            if not following:
                self.groups.skip_to(self.next_sequence)
                return
            base = min(following)
            skipped = max(0, at - base)
            self.groups.load(base + skipped, self.entries[base][skipped:])
            self.model.found(self._in_window())

    def _forget(self, sequence: int) -> None:
        del self.messages[sequence]
        for base, names in list(self.entries.items()):
            if not any(other in self.messages for other in range(base, base + len(names))):
                del self.entries[base]

    def _tick(self) -> None:
        while self.runs.advance(self.now_ms, 3):
            assert self.runs.next_due_ms() <= self.now_ms
        for message in self.messages.values():
            if message.hidden_until_ms <= self.now_ms:
                message.hide(0, self.now_ms)

    def _in_window(self) -> list[ModelMessage]:
        return [message for sequence, message in self.messages.items() if sequence < self.groups.end]

    def _note_turn(self, served: Iterable[str] = (), lost: Iterable[str] = ()) -> None:
        """Who may be served, and since when."""
        self.turn += 1
        self.since.update(dict.fromkeys(lost))
        for name in served:
            self.since.pop(name, None)
        for name in self.model.deliverable(self._in_window()):
            self.since.setdefault(name, self.turn)

    # --- messages

    @rule(action=_ACTIONS)
    def act(self, action: Action) -> None:
        method, arguments = action
        getattr(self, method)(**arguments)

    def append(self, names: list[str], delay_ms: int, moved: bool) -> None:
        """``moved``: as dead letters come, which look for room first."""
        base, self.next_sequence = self.next_sequence, self.next_sequence + len(names)
        until_ms = self.now_ms + delay_ms if delay_ms else 0
        self.runs.append(base, base + len(names), until_ms)
        self.entries[base] = names
        for sequence, name in enumerate(names, base):
            self.messages[sequence] = ModelMessage(sequence, name, hidden_until_ms=until_ms)
        if not moved or (base == self.groups.end and self.groups.has_room):
            self.groups.append(base, names, visible=not delay_ms)
        self._note_turn()

    def skip_sequence_numbers(self) -> None:
        """As after a failed commit."""
        self.next_sequence += 3

    def take(self, count: int, who: int | None, timeout_ms: int, fates: list[bool]) -> None:
        """``fates``: whether a message turns out to be a dead letter or expired."""
        holder = None if who is None else self.holders[who]
        self._look_ahead(holder)
        self._note_turn()
        may = self.model.deliverable(self._in_window(), who)
        ranges = self.groups.take(count, holder, in_order=holder is not None)
        taken = [self.messages[sequence] for lo, hi in ranges for sequence in range(lo, hi)]
        by_group = check_taken(taken, may, count, by_group=who is None)
        if who is None:
            self._check_turns([*by_group], may)
        self.deliveries += 1
        until_ms = self.now_ms + timeout_ms
        for message in taken:
            self.model.took(self._in_window(), message, who)
            message.hide(timeout_ms or 1, self.now_ms)
        if len(taken) < count:
            assert not self.model.deliverable(self._in_window(), who)
        for message, dies in zip(taken, fates, strict=False):
            lo, hi = message.sequence, message.sequence + 1
            if dies and timeout_ms == 25:
                self.runs.delete(lo, hi)
                self._forget(lo)
            else:
                self.runs.take(lo, hi, self.now_ms, until_ms, self.deliveries)
        if timeout_ms == 0:
            for message in taken:
                self.runs.set_state(message.sequence, message.sequence + 1, State.VISIBLE, 0)
                message.hide(0, self.now_ms)
        if who is None:
            self._note_turn(served=by_group)
        else:
            self._note_turn(lost=by_group)

    def _check_turns(self, served: list[str], may: dict[str, list[ModelMessage]]) -> None:
        """Those are served who have waited longest."""
        passed_over = [name for name in may if name not in served]
        waits = [since for name in served if (since := self.since[name]) is not None]
        assert waits == sorted(waits)
        for name in passed_over:
            since = self.since[name]
            assert since is None or not waits or waits[-1] <= since

    def delete(self, pick: int, length: int) -> None:
        if not self.messages:
            return
        first = list(self.messages)[pick % len(self.messages)]
        self.runs.delete(first, first + length)
        lost = [sequence for sequence in range(first, first + length) if sequence in self.messages]
        names = [self.messages[sequence].group for sequence in lost]
        for sequence in lost:
            self._forget(sequence)
        self._note_turn(lost=names)

    def change_visibility(self, pick: int, length: int, timeout_ms: int) -> None:
        flight = sorted(sequence for sequence, message in self.messages.items() if message.in_flight)
        if not flight:
            return
        first = flight[pick % len(flight)]
        for sequence in range(first, first + length):
            message = self.messages.get(sequence)
            if message is None or not message.in_flight:
                break
            if timeout_ms:
                self.runs.set_state(sequence, sequence + 1, State.IN_FLIGHT, self.now_ms + timeout_ms)
                message.hide(timeout_ms, self.now_ms)
            else:
                self.runs.set_state(sequence, sequence + 1, State.VISIBLE, 0)
                message.hide(0, self.now_ms)
        self._note_turn()

    # --- streams, time and restarts

    def end_a_stream(self, who: int) -> None:
        self.groups.release(self.holders[who])
        self.model.leave(who)
        self.holders[who] = Holder()
        self._note_turn()

    def pass_time(self, rounds: int) -> None:
        self.now_ms += rounds * _ROUND_MS
        self._tick()
        self._note_turn()

    def restart(self) -> None:
        """The streams live on, as they do after a failed commit."""
        self.runs = RunMap([replace(run) for run in self.runs])
        self.groups = Groups(self.runs, start=1, window=self.window, ahead=self.ahead, many=self.many)
        self.model = ModelGroups()
        for message in self.messages.values():
            message.holder = None
        self.since = {}
        self._note_turn()

    # --- what always holds

    @invariant()
    def groups_are_as_the_model_has_them(self) -> None:
        if hasattr(self, "groups"):
            self._check_counts()
            self._check_reach()
            self._check_deliverable()
            self._check_later_of_groups()

    def _check_counts(self) -> None:
        here = self._in_window()
        assert self.groups.waiting == sum(message.state() == "visible" for message in here)
        assert self.groups.in_flight == len({message.group for message in here if message.in_flight})
        assert len(self.groups) == len({message.group for message in here})
        for message in here:
            assert self.groups.name_of(message.sequence) == message.group

    def _check_reach(self) -> None:
        """The window is bounded, and reaches far enough."""
        self._look_ahead()
        self._note_turn()
        here = self._in_window()
        if self.groups.end < self.next_sequence:
            visible = sum(message.state() == "visible" for message in here)
            if self.groups.any_open():
                reach = self.ahead if len(self.groups) >= self.many else self.window
                assert 2 * visible > reach or len(here) >= 2 * self.window
            else:
                assert visible >= self.window or len(here) >= 2 * self.window
        assert len(here) < 3 * self.window + 12

    def _check_deliverable(self) -> None:
        here = self._in_window()
        anyone = self.model.deliverable(here)
        assert self.groups.any_open() == bool(anyone)
        for who, holder in enumerate(self.holders):
            assert self.groups.any_open(holder) == bool(self.model.deliverable(here, who))
        oldest = sorted(message.sequence for members in anyone.values() for message in members)
        for count in (1, 4, 100):
            assert [s for lo, hi in self.groups.peek(count) for s in range(lo, hi)] == oldest[:count]

    def _check_later_of_groups(self) -> None:
        here = self._in_window()
        lo, hi = self.turn % 7 + self.next_sequence - 12, self.turn % 5 + self.next_sequence - 6
        expected = [message.sequence for message in self.model.later(here, lo, hi)]
        ranges = self.groups.later_of_groups([(lo, hi)], set())
        assert [s for start, end in ranges for s in range(start, end)] == expected


GroupsMachine.TestCase.settings = histories(100, steps=60)
TestGroups = GroupsMachine.TestCase


def test_a_look_past_blocked_messages_is_bounded_and_goes_on() -> None:
    """A hundred groups are blocked, with 40,000 messages; one that is not comes behind them, then one before them."""
    runs = RunMap([])
    groups = Groups(runs, start=1, window=100_000, ahead=100_000, many=0)

    def append(base: int, names: list[str]) -> None:
        runs.append(base, base + len(names), 0)
        groups.append(base, names, visible=True)

    def take(count: int) -> list[tuple[int, int]]:
        ranges = groups.take(count, None, in_order=False)
        for lo, hi in ranges:
            runs.take(lo, hi, 1, 1_000_000, 1)
        return ranges

    blocked = [f"b{number % 100}" for number in range(40_100)]
    append(1, blocked)
    for _ in range(100):  # each group's turn: its first message, that of the next group, and so on
        take(1)
    assert runs.counts[State.IN_FLIGHT] == 100
    append(40_101, ["open"])
    looks = looked_at = 0
    each = Groups._each

    def counting(self: Groups, lo: int, hi: int) -> Iterator[tuple[int, Group]]:
        nonlocal looked_at
        for found in each(self, lo, hi):
            looked_at += 1
            yield found

    with mock.patch.object(Groups, "_each", counting):
        while not (found := groups.peek(1)):
            assert groups.any_open()
            looks += 1
            assert looks < 10
        assert found == [(40_101, 40_102)]
        assert 40_000 <= looked_at <= 40_200
        for _ in range(50):
            looked_at = 0
            assert groups.peek(1) == [(40_101, 40_102)]
            assert looked_at == 1
        runs.set_state(7, 8, State.VISIBLE, 0)
        looked_at = 0
        assert groups.peek(1) == [(7, 8)]
        assert looked_at == 1


def test_a_blocked_window_reaches_as_far_as_it_is_wide() -> None:
    """Ninety messages of a group in flight, and the one message behind them that may be had."""
    runs, names = RunMap([]), ["a"] * 90 + ["b"]
    groups = Groups(runs, start=1, window=100, ahead=10, many=0)
    for sequence, name in enumerate(names, 1):
        runs.append(sequence, sequence + 1, 0)
        groups.append(sequence, [name], visible=True)
    ((lo, hi),) = groups.take(1, None, in_order=False)
    runs.take(lo, hi, 1, 1_000_000, 1)
    assert groups.end <= len(names)
    while groups.end <= len(names) and groups.may_widen and not groups.any_open():
        groups.load(groups.end, [names[groups.end - 1]])
    assert groups.take(1, None, in_order=False) == [(91, 92)]
