"""A queue: what sends, receives, deletes, visibility changes, time and retention do to its messages.

``Queue`` is the standard queue; ``fifo.py`` is the one that keeps order.

A pure state machine: every method takes ``now_ms`` and changes memory and the open write batch, at once and in order.
Who answers a client waits for the commit. Never: I/O beyond the store's reads, a clock, or an await.

Source of the semantics: sections 1.4, 2 and 4 of the queue reference.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from broker import limits
from broker.errors import OverLimit
from broker.log import Entry
from broker.queues import moving
from broker.queues.groups import Holder
from broker.queues.runs import NEVER_MS, Received, State
from broker.queues.settling import Settling
from broker.queues.state import FIRST_SEQUENCE, QueueState
from broker.queues.tenants import Tenants
from broker.queues.values import Sent, Taken, Taker
from broker.queues.window import Window


class Queue(Settling):
    """A standard queue: sending, receiving, and the line of those who wait."""

    def _loaded_state(self, state: QueueState) -> None:
        """Makes the window that belongs to a state: for one that was loaded or cleared, before anything else."""
        if state.grouped:
            self._window = Tenants(
                state.runs, start=max(state.log.start, FIRST_SEQUENCE), window=limits.LOOK_AHEAD_MESSAGES
            )

    # --- sending

    def send(
        self,
        packed: bytes,
        count: int,
        nbytes: int,
        *,
        delay_ms: int | None,
        now_ms: int,
        sender_id: str,
        groups: Sequence[str] | None = None,
    ) -> Sent:
        """Appends the checked messages of a packed batch: visible after the delay, the queue's when None. ``groups``:
        the message groups, where any message has one."""
        state = self.changing(now_ms)
        return self._append(state, packed, count, nbytes, delay_ms, now_ms, sender_id, groups)

    def _append(  # noqa: PLR0917
        self,
        state: QueueState,
        packed: bytes,
        count: int,
        nbytes: int,
        delay_ms: int | None,
        now_ms: int,
        sender_id: str,
        groups: Sequence[str] | None,
    ) -> Sent:
        base, batch_id, index = state.log.append(packed, count, now_ms, sender_id)
        if delay_ms is None:
            delay_ms = self.attributes.delay_ms
        until_ms = self.hidden_until_ms(now_ms + delay_ms if delay_ms else 0)
        state.runs.append(base, base + count, until_ms)
        if groups is not None or self._window is not None:
            self._sent_by(groups or [""] * count, base, now_ms, visible=not until_ms)
        self._retention_due_ms = min(self._retention_due_ms, now_ms + self.attributes.retention_ms)
        self.activity.sent_messages += count
        self.activity.sent_bytes += nbytes
        return Sent(base, count, batch_id, index)

    def hidden_until_ms(self, until_ms: int) -> int:
        """When new messages become visible that should at ``until_ms``; 0 for now."""
        return until_ms

    def _sent_by(self, groups: Sequence[str], base: int, now_ms: int, *, visible: bool) -> None:
        """Tells the tenants of messages just appended; from the first message with a group on, the queue is fair."""
        if self._window is None:
            self.state.grouped = True
            self._loaded_state(self.state)
        assert isinstance(self._window, Tenants)
        self._window.sent(base, groups, now_ms, visible=visible)

    # --- receiving

    def receive(
        self,
        count: int,
        *,
        visibility_ms: int | None,
        now_ms: int,
        holder: Holder | None = None,
    ) -> list[Taken]:
        """Puts up to ``count`` visible messages in flight, oldest first; none when the in-flight limit is reached.

        ``holder``: the consumer's stream that they go to (FIFO queues: it may have more of the groups that it holds).
        """
        self.advance(now_ms)
        state = self.state
        if not self.deliverable(holder) or self.at_in_flight_limit():
            return []
        self._touch()
        self._look_from_here()
        timeout_ms = self.attributes.visibility_timeout_ms if visibility_ms is None else visibility_ms
        count = min(count, limits.IN_FLIGHT_MESSAGES_MAX - state.runs.counts[State.IN_FLIGHT])
        redrive = moving.redrive_of(self)
        delivery_id = self._batches.ids.new()
        taken: list[Taken] = []
        passed = 0  # expired ones and dead letters, which are in the way
        while count > 0 and passed < limits.RECEIVE_PASSED_MAX:
            ranges = self._next(count, holder)
            if not ranges:
                break
            fresh = self._take(state, ranges, redrive, delivery_id, now_ms + timeout_ms)
            taken.extend(fresh)
            found = sum(map(len, fresh))
            passed += sum(hi - lo for lo, hi in ranges) - found
            count -= found
        else:
            if count > 0:
                self._store.touch(self)  # whoever is in line is served again with the next commit
        if timeout_ms == 0:  # they count as received, each once, and are visible again at once
            for part in taken:
                state.runs.set_state(part.lo, part.hi, State.VISIBLE, 0)
        self.activity.received_messages += sum(map(len, taken))
        return taken

    def _next(self, count: int, holder: Holder | None) -> list[tuple[int, int]]:  # noqa: ARG002
        """Visible messages that are received next, some, at most ``count``, as ranges; none when there are none."""
        if self._window is not None:
            assert isinstance(self._window, Tenants)
            self._look_ahead(self._window)
            ranges = self._window.take(count, self._now_ms)
            if ranges:
                return ranges
        run = self.state.runs.first_visible()
        if run is None:
            return []
        lo, hi = run.lo, min(run.hi, run.lo + count)
        if self._window is not None:
            self._window.hidden(lo, hi)  # taken without its say: what is visible is far apart, or behind the window
        return [(lo, hi)]

    def _take(
        self,
        state: QueueState,
        ranges: list[tuple[int, int]],
        redrive: moving.Redrive | None,
        delivery_id: int,
        until_ms: int,
    ) -> list[Taken]:
        """Puts visible messages in flight; those that were received too often are moved, and what has expired deleted
        instead."""
        now_ms = self._now_ms
        fresh: list[Taken] = []
        for lo, hi in ranges:
            alive = [(lo, hi)]
            if redrive is not None:
                alive = []
                for run in state.runs.overlapping(lo, hi):
                    start, end = max(lo, run.lo), min(hi, run.hi)
                    if run.receive_count >= redrive.max_receive_count:
                        moving.move_dead(self, start, end, redrive.target, now_ms=now_ms)
                    else:
                        alive.append((start, end))
            for start, end in alive:
                received = state.runs.take(start, end, now_ms, until_ms, delivery_id)
                fresh.extend(self._unexpired(state, received, delivery_id, until_ms))
        return fresh

    def _look_from_here(self) -> None:
        """A step begins. What is served at one seal is one step, however many are in line."""
        if not self.flushing:
            self._ahead_left = limits.LOOK_AHEAD_A_STEP_MAX

    def _look_ahead(self, window: Window[Any], blocked: Callable[[], bool] = lambda: False) -> None:
        """Loads whose the messages are that follow the window, as many as the step has left: further where it is
        ``blocked``."""
        log = self.state.log
        window.asked()
        while window.end < log.next_sequence and (window.wants_more or (window.may_widen and blocked())):
            if self._ahead_left <= 0:
                self._unfinished = True
                self._store.touch(self)  # the next commit goes on
                return
            entry = next((entry for entry, _, _ in log.slices(window.end, log.next_sequence)), None)
            if entry is None:
                window.skip_to(log.next_sequence)
                break
            names = self._groups_of(entry)
            skipped = max(0, window.end - entry.base)
            window.load(entry.base + skipped, names[skipped:])
            bytes_cost = entry.nbytes * limits.LOOK_AHEAD_A_STEP_MAX // limits.LOOK_AHEAD_BYTES_A_STEP_MAX
            self._ahead_left -= max(entry.count, limits.LOOK_AHEAD_ENTRY_COST, bytes_cost)
        self._unfinished = False

    @property
    def looks_further(self) -> bool:
        """Whether a receive that got nothing may get something in another step."""
        return False

    def _go_on_looking(self) -> None:
        """At the seal, after those in line were served: what a step left to the next one."""

    def _groups_of(self, entry: Entry) -> list[str]:
        """The groups of an entry's messages, empty for those without."""
        batch = self._batches.read(entry.batch_id)
        if batch is None:
            raise AssertionError(f"{self.name}: entry {entry.base} names batch {entry.batch_id}, which is not there")
        return batch.groups[entry.first_index : entry.first_index + entry.count]

    def new_identity(self) -> int:
        """An id that names new messages."""
        return self._batches.ids.new()

    def remove_moved(self, lo: int, hi: int, now_ms: int) -> None:
        """Takes out messages that another queue has got, or that came to their end on the way."""
        state = self.changing(now_ms)
        state.runs.delete(lo, hi)
        state.trim(lo, hi)

    def appended(self, entry: Entry, *, visible: bool) -> None:
        """An entry was moved here."""
        if self._window is not None and entry.base == self._window.end and self._window.has_room:
            self._window.append(entry.base, self._groups_of(entry), visible=visible)
        self._retention_due_ms = min(self._retention_due_ms, entry.appended_at_ms + self.attributes.retention_ms)

    def first_deliverable(self, count: int) -> list[tuple[int, int]]:
        """What a receive could get now, oldest first, up to ``count`` messages, as ranges. Changes nothing."""
        runs, ranges = self.state.runs, []
        first = runs.first_visible()
        for run in () if first is None else runs.starting_at(first.lo):
            if count <= 0:
                break
            if run.state == State.VISIBLE:
                ranges.append((run.lo, min(run.hi, run.lo + count)))
                count -= len(run)
        return ranges

    def _unexpired(
        self, state: QueueState, received: list[Received], delivery_id: int, until_ms: int
    ) -> Iterable[Taken]:
        """The received messages by entry; those whose retention has ended are deleted instead."""
        horizon_ms = self._now_ms - self.attributes.retention_ms
        for part in received:
            for entry, lo, hi in list(state.log.slices(part.lo, part.hi)):
                if entry.appended_at_ms <= horizon_ms:
                    self.activity.expired_messages += state.runs.delete(lo, hi)
                    state.trim(lo, hi)
                else:
                    count = entry.receives_before + part.receive_count
                    yield Taken(entry, lo, hi, count, part.first_received_ms, delivery_id, until_ms)

    def deliverable(self, holder: Holder | None = None) -> bool:  # noqa: ARG002
        """Whether a receive may find something: by ``holder``, or by someone who holds nothing."""
        return self.state.runs.visible > 0

    def head_of_line(self, holder: Holder | None = None) -> int:
        """How many messages of one entry, with one history, are first to be received; 0 when none is deliverable."""
        if not self.deliverable(holder):
            return 0
        run = self.state.runs.first_visible()
        if run is None:
            return 0
        entry = self.state.log.entry_at(run.lo)
        if entry is None:
            raise AssertionError(f"{self.name}: message {run.lo} is in no entry")
        return min(run.hi, entry.end) - run.lo

    def noisy_groups(self) -> int:
        """Tenants that others are delivered before (fair queues)."""
        return self._window.noisy if isinstance(self._window, Tenants) else 0

    def noisy_messages(self) -> tuple[int, int]:
        """Messages of those tenants: visible, and in flight."""
        return self._window.noisy_messages() if isinstance(self._window, Tenants) else (0, 0)

    def at_in_flight_limit(self) -> bool:
        return self.state.runs.counts[State.IN_FLIGHT] >= limits.IN_FLIGHT_MESSAGES_MAX

    def refuse_over_limit(self) -> None:
        """Raises OverLimit at the in-flight limit: what a short poll is told."""
        if self.at_in_flight_limit():
            raise OverLimit(
                f"Too many messages in flight for queue {self.name}: the limit is {limits.IN_FLIGHT_MESSAGES_MAX}."
            )

    def park(self, taker: Taker) -> None:
        """Puts a taker at the end of the line. It is served at the latest when the open batch is sealed."""
        self.takers.append(taker)
        if self._anything_deliverable():
            self._store.touch(self)

    def _anything_deliverable(self) -> bool:
        """Whether any of those in line may find something."""
        return self.deliverable()

    def leave(self, taker: Taker) -> None:
        """Takes a taker out of the line, if it is in it."""
        if taker in self.takers:
            self.takers.remove(taker)

    # --- clearing

    def purge(self, now_ms: int) -> int:
        """Removes all messages. Returns the sequence number below which entries are now garbage."""
        state = self.changing(now_ms)
        state.runs.clear()
        self._retention_due_ms = NEVER_MS
        end = state.log.forget()
        self._loaded_state(state)
        return end

    def end(self) -> None:
        """The queue was deleted: everyone parked is told."""
        self.deleted = True
        if self._state is not None:
            self._state.log.forget()
            self._state = None
        takers, self.takers = self.takers, deque()
        for taker in takers:
            taker.queue_deleted()

    # --- the seal

    def flush(self) -> None:
        """Serves those in line from what this commit brings, then writes the changed records."""
        if self.deleted or self._state is None:
            return
        self._look_from_here()
        self.flushing = True  # what serving changes is written right here
        try:
            progress = self._serve()
            self._go_on_looking()
        finally:
            self.flushing = False
        self._state.write()
        self.announce_due()
        if progress and self.takers and self._anything_deliverable():
            self._store.touch(self)  # who is still in line is served with the next commit

    def announce_due(self) -> None:
        """Tells when this queue next has something to do, if that is earlier than what was told before."""
        due_ms = self.next_due_ms()
        if due_ms < self.announced_due_ms:
            self.announced_due_ms = due_ms
            self._on_due(self, due_ms)

    def _serve(self) -> bool:
        """One turn for each taker; those that stay are at the end of the line for the next commit. True when any took
        something."""
        received_before = received = self.activity.received_messages
        more = self._anything_deliverable()
        for _ in range(len(self.takers)):
            if not more or self.at_in_flight_limit():
                break
            taker = self.takers.popleft()
            if taker.serve(self):
                self.takers.append(taker)
            if self.activity.received_messages != received:  # only then may there be less
                received, more = self.activity.received_messages, self._anything_deliverable()
        return self.activity.received_messages > received_before
