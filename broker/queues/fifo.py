"""A FIFO queue: order within message groups, and each message accepted once within the deduplication window.

Everything that is not order or deduplication is the standard queue's. Never: I/O beyond the store's reads, a clock, or
an await.

Source of the semantics: sections 4.3, 4.5 and 5 of the queue reference.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from heddle.v1.views_pb2 import MessageBatchView

from broker import limits
from broker.errors import InvalidParameterValue
from broker.log import PackedBatch
from broker.queues.attributes import QueueAttributes
from broker.queues.dedup import Dedup, Original
from broker.queues.groups import Groups, Holder
from broker.queues.identity import ReceiptHandle
from broker.queues.queue import Queue
from broker.queues.runs import Run, State
from broker.queues.state import FIRST_SEQUENCE, QueueState
from broker.queues.values import Sent, Taken


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the messages of one send. ``sent``: those that were appended, None when all are duplicates."""

    sent: Sent | None
    originals: dict[int, Original]
    """By index in the send: the message that a duplicate repeats."""
    count: int

    def places(self) -> list[Original]:
        """For each message of the send, the one that now stands for it."""
        found, fresh = [], 0
        for index in range(self.count):
            original = self.originals.get(index)
            if original is None:
                assert self.sent is not None
                original = Original(self.sent.base + fresh, self.sent.batch_id, self.sent.first_index + fresh)
                fresh += 1
            found.append(original)
        return found


@dataclass(slots=True)
class _Attempt:
    """What a receive with a ReceiveRequestAttemptId returned."""

    taken: list[Taken]
    timeout_ms: int
    expires_ms: int


class FifoQueue(Queue):
    fifo: ClassVar[bool] = True

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._dedup = Dedup(self._store, self.log_id)
        self._holders: list[Holder] = []
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._in_flight_end = 0  # no message from here on was in flight when the state was loaded

    @property
    def groups(self) -> Groups:
        """The order of the groups; loaded with the state."""
        _ = self.state
        assert isinstance(self._window, Groups)
        return self._window

    def groups_in_flight(self) -> int:
        """Groups that have messages in flight."""
        groups, end = self.groups, self._in_flight_end
        if groups.end < end and self.state.runs.counts[State.IN_FLIGHT]:  # only after a start: metrics ask for this
            self._look_from_here()
            self._look_ahead(groups, lambda: groups.end < end)
        return groups.in_flight

    def load_more(self, now_ms: int) -> bool:
        return self._dedup.load(now_ms, per_group=self.attributes.deduplication_per_group)

    def _loaded_state(self, state: QueueState) -> None:
        self._window = Groups(
            state.runs,
            start=max(state.log.start, FIRST_SEQUENCE),
            window=limits.LOOK_AHEAD_MESSAGES,
            ahead=limits.UNBLOCKED_AHEAD_MESSAGES,
            many=limits.UNBLOCKED_AHEAD_GROUPS,
        )
        self._in_flight_end = max((run.hi for run in state.runs if run.state is State.IN_FLIGHT), default=0)

    def forget_state(self) -> None:
        super().forget_state()
        for holder in list(self._holders):
            holder.on_lost()
        self._dedup.forget()
        self._attempts.clear()

    # --- sending

    def send_ordered(
        self, packed: bytes, groups: Sequence[str], deduplication_ids: Sequence[str], *, now_ms: int, sender_id: str
    ) -> Accepted:
        """Appends the checked messages of a packed batch, but those that repeat one of the last five minutes."""
        state = self.changing(now_ms)
        per_group = self.attributes.deduplication_per_group
        repeated = self._dedup.find(deduplication_ids, groups, now_ms, per_group=per_group)
        count = len(groups)
        if repeated:
            fresh = [index for index in range(count) if index not in repeated]
            messages = PackedBatch(packed).messages
            packed = MessageBatchView(messages=[messages[index] for index in fresh]).SerializeToString()
            groups = [groups[index] for index in fresh]
            deduplication_ids = [deduplication_ids[index] for index in fresh]
            self.activity.deduplicated_messages += len(repeated)
        sent = None
        if groups:
            sent = self._append(state, packed, len(groups), len(packed), None, now_ms, sender_id, groups)
            self._dedup.add(sent.base, sent.batch_id, sent.first_index, deduplication_ids, groups, now_ms)
        return Accepted(sent, self._resolved(repeated, sent, count) if repeated else {}, count)

    def _resolved(self, repeated: dict[int, Original | int], sent: Sent | None, count: int) -> dict[int, Original]:
        """Duplicates of a message of the same send are of what became of that one."""
        originals: dict[int, Original] = {}
        fresh: dict[int, int] = {}  # by index in the send, the place among those that were appended
        if any(isinstance(earlier, int) for earlier in repeated.values()):
            kept = (index for index in range(count) if index not in repeated)
            fresh = {index: place for place, index in enumerate(kept)}
        for index in sorted(repeated):
            earlier = repeated[index]
            if isinstance(earlier, Original):
                originals[index] = earlier
            elif earlier in originals:
                originals[index] = originals[earlier]
            else:
                assert sent is not None
                place = fresh[earlier]
                originals[index] = Original(sent.base + place, sent.batch_id, sent.first_index + place)
        return originals

    def hidden_until_ms(self, until_ms: int) -> int:
        """No message is visible before those sent earlier. Only the queue has a delay, so this tells for one that was
        moved here: it comes without a delay, but behind the delayed messages of its group; and for a clock that went
        back."""
        return max(until_ms, self.state.runs.last_delay_ms())

    def _sent_by(self, groups: Sequence[str], base: int, now_ms: int, *, visible: bool) -> None:  # noqa: ARG002
        self.groups.append(base, groups, visible=visible)

    # --- receiving

    def receive(
        self, count: int, *, visibility_ms: int | None, now_ms: int, holder: Holder | None = None
    ) -> list[Taken]:
        # A call by itself holds what it takes for as long as it lasts: it goes on in a group behind dead letters.
        caller = holder or Holder(in_order=False)
        return super().receive(count, visibility_ms=visibility_ms, now_ms=now_ms, holder=caller)

    def _next(self, count: int, holder: Holder | None) -> list[tuple[int, int]]:
        """By group, each with as many as it has; for a ``holder`` in the order of the log, so that whole batches stay
        together."""
        groups = self.groups
        self._look_ahead(groups, lambda: not groups.any_open(holder))
        return groups.take(count, holder, in_order=holder is not None and holder.in_order)

    def deliverable(self, holder: Holder | None = None) -> bool:
        if not self.state.runs.visible:
            return False
        groups = self.groups
        return groups.any_open(holder) or (groups.may_widen and groups.end < self.state.log.next_sequence)

    def _anything_deliverable(self) -> bool:
        return self.deliverable() or any(self.groups.any_open(holder) for holder in self._holders)

    def first_deliverable(self, count: int) -> list[tuple[int, int]]:
        groups = self.groups
        self._look_from_here()
        self._look_ahead(groups, lambda: not groups.any_open())
        return groups.peek(count)

    @property
    def looks_further(self) -> bool:
        return self._unfinished and not self.at_in_flight_limit() and self.deliverable()

    def _go_on_looking(self) -> None:
        if self._unfinished:
            groups = self.groups
            self._look_ahead(groups, lambda: not groups.any_open())

    def refuse_over_limit(self) -> None:
        """A FIFO queue at its in-flight limit answers with nothing."""

    def join(self, holder: Holder) -> None:
        """A stream that consumes."""
        self._holders.append(holder)

    def part(self, holder: Holder) -> None:
        """The stream is gone; what it leaves in flight blocks its groups until it is back."""
        if holder in self._holders:
            self._holders.remove(holder)
        if isinstance(self._window, Groups):
            self._window.release(holder)

    # --- receive attempts

    def receive_attempt(self, attempt_id: str, now_ms: int) -> list[Taken] | None:
        """What a receive with this id returned within the last five minutes, in flight anew; None for a new id. Raises
        InvalidParameterValue when any of it has been touched since."""
        self.advance(now_ms)
        self._forget_attempts(now_ms)
        attempt = self._attempts.get(attempt_id)
        if attempt is None:
            return None
        runs = self.state.runs
        for part in attempt.taken:
            held = runs.overlapping(part.lo, part.hi)
            left = sum(min(run.hi, part.hi) - max(run.lo, part.lo) for run in held)
            if left < len(part) or any(
                run.state != State.IN_FLIGHT or run.delivery_id != part.delivery_id or run.until_ms != part.until_ms
                for run in held
            ):
                raise InvalidParameterValue(
                    f"Value {attempt_id} for parameter ReceiveRequestAttemptId is invalid. Reason: The "
                    "receiveRequestAttemptId is not valid anymore since the receive call is not retryable."
                )
        self._touch()
        until_ms = now_ms + attempt.timeout_ms
        for part in attempt.taken:
            runs.set_state(part.lo, part.hi, State.IN_FLIGHT, until_ms)
        attempt.taken = [replace(part, until_ms=until_ms) for part in attempt.taken]
        return attempt.taken

    def remember_attempt(self, attempt_id: str, taken: list[Taken], now_ms: int) -> None:
        if taken:
            timeout_ms = taken[0].until_ms - now_ms
            expires_ms = now_ms + limits.RECEIVE_ATTEMPT_SECONDS * 1000
            self._attempts[attempt_id] = _Attempt(taken, timeout_ms, expires_ms)
            while len(self._attempts) > limits.RECEIVE_ATTEMPTS_MAX:
                self._attempts.popitem(last=False)

    def _forget_attempts(self, now_ms: int) -> None:
        while self._attempts:
            attempt_id, attempt = next(iter(self._attempts.items()))
            if attempt.expires_ms > now_ms:
                return
            del self._attempts[attempt_id]

    # --- what becomes of received messages

    def delete_received(self, handle: ReceiptHandle, text: str, now_ms: int) -> None:
        """Deletes the message of a receipt handle while its receive stands. Raises InvalidParameterValue afterwards."""
        self.advance(now_ms)
        run = self._named_by(handle)
        if run is not None and not self._changeable(run, handle):
            raise InvalidParameterValue(
                f"Value {text} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
            )
        super().delete_received(handle, text, now_ms)

    def _changeable(self, run: Run, handle: ReceiptHandle) -> bool:
        return run.state == State.IN_FLIGHT and run.delivery_id == handle.delivery_id

    def _withheld(self, lo: int, hi: int) -> None:
        self.groups.withhold(lo, hi)

    # --- time

    def set_attributes(self, attributes: QueueAttributes, now_ms: int) -> None:
        """A changed delay holds for messages that are delayed already."""
        longer_ms = attributes.delay_ms - self.attributes.delay_ms
        super().set_attributes(attributes, now_ms)
        if longer_ms and self.state.runs.counts[State.DELAYED]:
            self.changing(now_ms).runs.delay_shift_ms += longer_ms
            self.advance(now_ms)

    def advance(self, now_ms: int) -> None:
        super().advance(now_ms)
        if self._dedup.next_due_ms() <= now_ms:
            self._dedup.expire(now_ms)

    def next_due_ms(self) -> int:
        return min(super().next_due_ms(), self._dedup.next_due_ms())

    # --- clearing

    def purge(self, now_ms: int) -> int:
        """Removes all messages and forgets what would be a duplicate."""
        end = super().purge(now_ms)
        self._dedup.clear()
        self._attempts.clear()
        return end

    def end(self) -> None:
        self._dedup.clear()
        super().end()
