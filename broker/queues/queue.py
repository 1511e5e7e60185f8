"""A queue: what sends, receives, deletes, visibility changes, time and retention do to its messages.

``Queue`` is the standard queue; ``fifo.py`` is the one that keeps order.

A pure state machine: every method takes ``now_ms`` and changes memory and the open write batch, at once and in order.
Who answers a client waits for the commit. Never: I/O beyond the store's reads, a clock, or an await.

Source of the semantics: sections 1.4, 2 and 4 of the queue reference.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from heddle.v1.message_pb2 import MessageBatch

from broker import limits
from broker.errors import InvalidParameterValue, OverLimit, QueueDoesNotExist
from broker.log import Batches, Entry
from broker.queues import moving
from broker.queues.attributes import QueueAttributes
from broker.queues.groups import Holder
from broker.queues.identity import ReceiptHandle
from broker.queues.runs import NEVER_MS, Received, Run, State
from broker.queues.state import FIRST_SEQUENCE, QueueState
from broker.queues.tenants import Tenants
from broker.queues.values import Activity, Sent, Taken, Taker
from broker.queues.window import Window
from broker.store import Store


class Queue:
    """A queue by name. Its messages' state is loaded when first asked for and dropped after a failed commit."""

    fifo: ClassVar[bool] = False

    def __init__(
        self,
        store: Store,
        batches: Batches,
        *,
        on_due: Callable[["Queue", int], None],
        account: str,
        region: str,
        name: str,
        log_id: int,
        created_ms: int,
        modified_ms: int,
        attributes: QueueAttributes,
        tags: dict[str, str],
        purged_ms: int = 0,
    ) -> None:
        self._store, self._batches, self._on_due = store, batches, on_due
        self.account, self.region, self.name = account, region, name
        self.log_id = log_id
        self.created_ms, self.modified_ms = created_ms, modified_ms
        self.attributes = attributes
        self.tags = tags
        self.purged_ms = purged_ms
        self.activity = Activity()
        self.deleted = False
        self.resolve: Callable[[str], Queue | None] = lambda _arn: None
        """The queue of an ARN: where dead letters go. Set by the plane."""
        self.takers: deque[Taker] = deque()
        self.announced_due_ms = NEVER_MS
        """The time of the earliest call of ``on_due`` that stands."""
        self._state: QueueState | None = None
        self._window: Window[Any] | None = None  # whose the messages are, where any names a group
        self._sequence_floor = 0  # sequence numbers below it were given out, perhaps by a commit that failed
        self.flushing = False
        """Whether what this queue changes now is of the write batch that is being completed."""
        self._retention_due_ms = NEVER_MS
        self._now_ms = 0

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def state(self) -> QueueState:
        if self._state is None:
            if self.deleted:
                raise QueueDoesNotExist
            self._state = QueueState(self._store, self._batches, self.log_id, sequence_floor=self._sequence_floor)
            self._loaded_state(self._state)
            self._look_at_retention()
        return self._state

    def _loaded_state(self, state: QueueState) -> None:
        """Makes the window that belongs to a state: for one that was loaded or cleared, before anything else."""
        if state.grouped:
            self._window = Tenants(
                state.runs, start=max(state.log.start, FIRST_SEQUENCE), window=limits.LOOK_AHEAD_MESSAGES
            )

    def forget_state(self) -> None:
        """After a failed commit: what is in memory may be ahead of the disk."""
        if self._state is not None:
            self._sequence_floor = self._state.log.next_sequence
        self._state = self._window = None
        self.announced_due_ms = NEVER_MS

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
        base, batch_id, index = state.log.append(packed, count, now_ms, sender_id)
        if delay_ms is None:
            delay_ms = self.attributes.delay_ms
        state.runs.append(base, base + count, now_ms + delay_ms if delay_ms else 0)
        if groups is not None or self._window is not None:
            self._sent_by(groups or [""] * count, base, now_ms, visible=not delay_ms)
        self._retention_due_ms = min(self._retention_due_ms, now_ms + self.attributes.retention_ms)
        self.activity.sent_messages += count
        self.activity.sent_bytes += nbytes
        return Sent(base, count, batch_id, index)

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
        return [] if run is None else [(run.lo, min(run.hi, run.lo + count))]

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

    def _look_ahead(self, window: Window[Any]) -> None:
        """Loads whose the messages are that follow the window, a step's worth."""
        log, left = self.state.log, limits.GROUPS_LOADED_A_STEP_MAX
        while left > 0 and window.wants_more and window.end < log.next_sequence:
            entry = next((entry for entry, _, _ in log.slices(window.end, log.next_sequence)), None)
            if entry is None:
                window.skip_to(log.next_sequence)
                return
            names = self._groups_of(entry)
            skipped = max(0, window.end - entry.base)
            window.load(entry.base + skipped, names[skipped:])
            left -= entry.count
        if left <= 0:
            self._store.touch(self)  # whoever is in line finds more with the next commit

    def _groups_of(self, entry: Entry) -> list[str]:
        """The groups of an entry's messages, empty for those without."""
        batch = self._batches.read(entry.batch_id)
        if batch is None:
            raise AssertionError(f"{self.name}: entry {entry.base} names batch {entry.batch_id}, which is not there")
        messages = MessageBatch.FromString(batch.packed).messages
        return [message.message_group_id for message in messages[entry.first_index : entry.first_index + entry.count]]

    def new_identity(self) -> int:
        """An id that names new messages."""
        return self._batches.ids.new()

    def remove_moved(self, lo: int, hi: int, now_ms: int) -> None:
        """Takes out messages that another queue has got, or that came to their end on the way."""
        state = self.changing(now_ms)
        state.runs.delete(lo, hi)
        state.trim(lo, hi)

    def appended(self, entry: Entry) -> None:
        """An entry was moved here."""
        if self._window is not None and entry.base == self._window.end and self._window.has_room:
            self._window.append(entry.base, self._groups_of(entry), visible=True)
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

    # --- what becomes of received messages

    def delete(self, lo: int, hi: int, now_ms: int) -> int:
        """Deletes the messages of [lo, hi) that are left, whatever their state. Returns how many."""
        state = self.changing(now_ms)
        hi = min(hi, state.log.next_sequence)
        if lo >= hi:
            return 0
        deleted = state.runs.delete(lo, hi)
        if deleted:
            state.trim(lo, hi)
            self.activity.deleted_messages += deleted
        return deleted

    def acknowledge(self, lo: int, hi: int, now_ms: int, *, delivery_id: int | None = None) -> None:
        """Deletes the messages of [lo, hi) that have been received, whoever received them last; no others. With a
        ``delivery_id``: those that are in flight by that delivery."""
        state = self.changing(now_ms)
        for run in state.runs.overlapping(lo, hi):
            mine = delivery_id is None or (run.state == State.IN_FLIGHT and run.delivery_id == delivery_id)
            if run.receive_count and mine:
                start, end = max(lo, run.lo), min(hi, run.hi)
                self.activity.deleted_messages += state.runs.delete(start, end)
                state.trim(start, end)

    def delete_received(self, handle: ReceiptHandle, text: str, now_ms: int) -> None:  # noqa: ARG002
        """Deletes the message of a receipt handle; one that is gone already counts as deleted. ``text``: the handle as
        the caller wrote it."""
        if self._named_by(handle) is None or not self.delete(handle.sequence, handle.sequence + 1, now_ms):
            self.activity.deleted_messages += 1

    def _named_by(self, handle: ReceiptHandle) -> Run | None:
        """The run of the message that a handle was made for; None when it is gone."""
        run = self.state.runs.find(handle.sequence)
        if run is None:
            return None
        entry = self.state.log.entry_at(handle.sequence)
        return run if entry is not None and entry.name_id == handle.batch_id else None

    def change_visibility(self, handle: ReceiptHandle, text: str, timeout_seconds: int, now_ms: int) -> None:
        """Visible again ``timeout_seconds`` from now. Raises InvalidParameterValue for a message that is gone, or
        12 hours after its receive. ``text``: the handle as the caller wrote it."""
        state = self.changing(now_ms)
        run = self._named_by(handle)
        if run is None or not self._changeable(run, handle):
            raise InvalidParameterValue(
                f"Value {text} for parameter ReceiptHandle is invalid. "
                "Reason: Message does not exist or is not available for visibility timeout change."
            )
        if _beyond_total(run, timeout_seconds, now_ms):
            raise InvalidParameterValue(
                f"Value {timeout_seconds} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout "
                f"for the message is beyond the limit [{limits.VISIBILITY_TIMEOUT_SECONDS_MAX} seconds]"
            )
        self._set_timeout(state, handle.sequence, handle.sequence + 1, timeout_seconds * 1000)

    def _changeable(self, run: Run, handle: ReceiptHandle) -> bool:  # noqa: ARG002
        """Whether a handle of its message may still change its visibility."""
        return run.receive_count > 0

    def extend(self, lo: int, hi: int, timeout_ms: int, now_ms: int, *, delivery_id: int) -> int:
        """The same for what one delivery still has in flight of a range, as far as the 12 hours allow. Returns how
        many messages it changed."""
        state = self.changing(now_ms)
        changed = 0
        for run in state.runs.overlapping(lo, hi):
            if run.state != State.IN_FLIGHT or run.delivery_id != delivery_id:
                continue
            total_ms = limits.VISIBILITY_TIMEOUT_SECONDS_MAX * 1000
            allowed_ms = min(timeout_ms, max(0, run.received_ms + total_ms - now_ms))
            start, end = max(lo, run.lo), min(hi, run.hi)
            self._set_timeout(state, start, end, allowed_ms)
            changed += end - start
        return changed

    def give_back(
        self, lo: int, hi: int, now_ms: int, *, delivery_id: int, delay_ms: int = 0, handled: bool = True
    ) -> None:
        """Makes visible, at once or after ``delay_ms``, what one delivery still has in flight of [lo, hi); what others
        received meanwhile stays theirs. Unless ``handled``, nobody has looked at it, and the receive does not count (on
        messages that are delayed, the first one does)."""
        state = self.changing(now_ms)
        for run in state.runs.overlapping(lo, hi):
            if run.state == State.IN_FLIGHT and run.delivery_id == delivery_id:
                start, end = max(lo, run.lo), min(hi, run.hi)
                if not handled:
                    state.runs.uncount(start, end, least=1 if delay_ms else 0)
                self._set_timeout(state, start, end, delay_ms)

    def _set_timeout(self, state: QueueState, lo: int, hi: int, timeout_ms: int) -> None:
        if timeout_ms > 0:
            state.runs.set_state(lo, hi, State.IN_FLIGHT, self._now_ms + timeout_ms)
        else:
            state.runs.set_state(lo, hi, State.VISIBLE, 0)

    # --- time

    def advance(self, now_ms: int) -> None:
        """Does what time has brought: ends delays, visibility timeouts and retention, a slice of each."""
        state = self.state
        self._now_ms = max(self._now_ms, now_ms)
        if state.runs.next_due_ms() <= now_ms:
            state.runs.advance(now_ms, limits.EXPIRY_RUNS_MAX)
            self._touch()
        if self._retention_due_ms <= now_ms:
            self._expire(state, now_ms)

    def next_due_ms(self) -> int:
        """When ``advance`` has something to do; ``NEVER_MS`` when time brings nothing."""
        return min(self.state.runs.next_due_ms(), self._retention_due_ms)

    @property
    def loaded(self) -> bool:
        """Whether the state is in memory."""
        return self._state is not None

    def counts(self, now_ms: int) -> tuple[int, int, int]:
        """Messages visible, in flight and delayed; exact as of ``now_ms``."""
        self.advance(now_ms)
        counts = self.state.runs.counts
        return counts[State.VISIBLE], counts[State.IN_FLIGHT], counts[State.DELAYED]

    def oldest_sent_ms(self) -> int | None:
        """When the oldest message was sent, to within the entry that holds it; None when the queue is empty."""
        if not self.state.runs.total:
            return None
        run = next(iter(self.state.runs))
        entry = self.state.log.entry_at(run.lo)
        return None if entry is None else entry.appended_at_ms

    def set_attributes(self, attributes: QueueAttributes, now_ms: int) -> None:
        self.attributes = attributes
        self.modified_ms = now_ms
        self._look_at_retention()

    def _expire(self, state: QueueState, now_ms: int) -> None:
        horizon_ms = now_ms - self.attributes.retention_ms
        expired = state.log.moved_until(horizon_ms, limits.SWEEP_ENTRIES_MAX)
        for entry in state.log.first_entries(limits.SWEEP_ENTRIES_MAX):
            if entry.appended_at_ms > horizon_ms:
                break
            expired.append(entry)
        for entry in {entry.base: entry for entry in expired}.values():
            self.activity.expired_messages += state.runs.delete(entry.base, entry.end)
            state.log.trim(entry)
            self._touch()
        self._look_at_retention()

    def _look_at_retention(self) -> None:
        log = self.state.log
        oldest = [entry for entry in (log.first_entry(), *log.moved_until(NEVER_MS, 1)) if entry is not None]
        self._retention_due_ms = min(
            (entry.appended_at_ms + self.attributes.retention_ms for entry in oldest), default=NEVER_MS
        )

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
        self.flushing = True  # what serving changes is written right here
        try:
            progress = self._serve()
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
        received_before = self.activity.received_messages
        for _ in range(len(self.takers)):
            if not self._anything_deliverable() or self.at_in_flight_limit():
                break
            taker = self.takers.popleft()
            if taker.serve(self):
                self.takers.append(taker)
        return self.activity.received_messages > received_before

    def changing(self, now_ms: int) -> QueueState:
        """The state as of now, about to be changed."""
        self.advance(now_ms)
        self._touch()
        return self.state

    def _touch(self) -> None:
        if not self.flushing:
            self._store.touch(self)


def _beyond_total(run: Run, timeout_seconds: int, now_ms: int) -> bool:
    return now_ms - run.received_ms + timeout_seconds * 1000 > limits.VISIBILITY_TIMEOUT_SECONDS_MAX * 1000
