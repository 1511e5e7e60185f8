"""What becomes of messages that were received: deleted, acknowledged, given back, kept for longer.

Source of the semantics: sections 1.4 and 4 of the queue reference. Never: who receives a message, or when.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Final

from broker import limits
from broker.errors import InvalidParameterValue
from broker.queues.core import QueueCore
from broker.queues.identity import ReceiptHandle
from broker.queues.runs import Run, State
from broker.queues.state import QueueState

_LOOKED_AT_MAX: Final = 100  # runs
_MESSAGES_A_STEP: Final = 32  # where groups are kept: 0.4 µs to delete, 1.5 to give back


class Settling(QueueCore):
    """A queue, as those see it who have received messages of it."""

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

    def reach(self, lo: int, hi: int, steps: int) -> tuple[int, int]:
        """How far one gets in [lo, hi) who settles it from ``lo`` on and may touch ``steps`` runs and entries: the end
        of that, and how many it touches. A step takes 20 to 60 µs."""
        if hi - lo == 1:
            return hi, 1
        state, used = self.state, 0
        for run in state.runs.overlapping(lo, hi, steps):
            start, stop = max(lo, run.lo), min(hi, run.hi)
            if self._window is not None:  # there, each message takes its time
                stop = min(stop, start + (steps - used) * _MESSAGES_A_STEP)
            touched = 1
            if stop - start > steps - used:  # it may have that many entries
                entries = list(islice(state.log.slices(start, stop), steps - used))
                touched, stop = len(entries), entries[-1][2]
            used += max(touched, (stop - start) // _MESSAGES_A_STEP)
            if used >= steps:
                return stop, used
        return hi, max(1, used)

    def has_in_flight(self, lo: int, hi: int, delivery_id: int) -> bool:
        """Whether anything of [lo, hi) is still in flight by a delivery; also True where that takes long to tell."""
        runs = self.state.runs.overlapping(lo, hi, _LOOKED_AT_MAX)
        return len(runs) == _LOOKED_AT_MAX or any(
            run.state == State.IN_FLIGHT and run.delivery_id == delivery_id for run in runs
        )

    def acknowledge(self, lo: int, hi: int, now_ms: int, *, delivery_id: int | None = None) -> None:
        """Deletes the messages of [lo, hi) that have been received, whoever received them last; no others. With a
        ``delivery_id``: those that are in flight by that delivery."""
        state = self.changing(now_ms)
        for run in state.runs.overlapping(lo, hi):
            mine = delivery_id is None or (run.state == State.IN_FLIGHT and run.delivery_id == delivery_id)
            if run.receive_count and mine:
                start, end = max(lo, run.lo), min(hi, run.hi)
                state.runs.remove(run, start, end)
                state.trim(start, end)
                self.activity.deleted_messages += end - start

    def delete_received(self, handle: ReceiptHandle, text: str, now_ms: int) -> None:  # noqa: ARG002
        """Deletes the message of a receipt handle; one that is gone already counts as deleted. ``text``: the handle as
        the caller wrote it."""
        if self._named_by(handle) is None or not self.delete(handle.sequence, handle.sequence + 1, now_ms):
            self.activity.deleted_messages += 1

    def delete_all_received(self, handles: Sequence[ReceiptHandle], now_ms: int) -> None:
        """The same for several handles; those of neighbours, as one receive gives them, are deleted in one step."""
        state, deleted = self.state, 0
        named = {handle.sequence: handle.batch_id for handle in handles}
        for lo, hi, name_id in _neighbours(sorted(named.items())):
            if state.runs.overlapping(lo, hi, 1):
                for entry, first, end in list(state.log.slices(lo, hi)):
                    if entry.name_id == name_id:
                        deleted += self.delete(first, end, now_ms)
        self.activity.deleted_messages += len(handles) - deleted  # one that is gone already counts as deleted

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
                if delay_ms:
                    self._withheld(start, end)

    def _withheld(self, lo: int, hi: int) -> None:
        """[lo, hi) was given back, and is hidden for a while."""

    def _set_timeout(self, state: QueueState, lo: int, hi: int, timeout_ms: int) -> None:
        if timeout_ms > 0:
            state.runs.set_state(lo, hi, State.IN_FLIGHT, self._now_ms + timeout_ms)
        else:
            state.runs.set_state(lo, hi, State.VISIBLE, 0)


def _neighbours(named: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Of sequence numbers in order, each with the id that names its message: the ranges [lo, hi) that share one."""
    for _, group in groupby(enumerate(named), key=lambda item: (item[1][0] - item[0], item[1][1])):
        members = [member for _, member in group]
        yield members[0][0], members[-1][0] + 1, members[0][1]


def _beyond_total(run: Run, timeout_seconds: int, now_ms: int) -> bool:
    return now_ms - run.received_ms + timeout_seconds * 1000 > limits.VISIBILITY_TIMEOUT_SECONDS_MAX * 1000
