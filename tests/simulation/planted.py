"""Bugs to plant: each breaks one promise, and the simulation must say which.

Never: a bug that something else than the promise it breaks would give away.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import pytest

from broker.api import desk, queue_calls
from broker.api.desk import Desk
from broker.api.queue_calls import QueueCalls
from broker.api.receive import ReceiveCall
from broker.errors import QueueDoesNotExist, StorageUnavailable
from broker.log import Batches, Ids
from broker.queues import Queue, Queues, Taken, moving
from broker.queues.dedup import Dedup
from broker.queues.groups import Group, Groups, Holder
from broker.queues.move_tasks import MoveTask, MoveTasks
from broker.queues.runs import NEVER_MS, Run, RunMap, State
from broker.queues.state import QueueState
from broker.store import Commit, Store

from .node import SimulatedNode
from .scene import FIFO, FIFO_REDRIVE, STANDARD, STANDARD_REDRIVE

Plant = Callable[[pytest.MonkeyPatch], None]


def sends_are_answered_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    _answer_at_once(patch, "SendMessage", "SendMessageBatch")


def deletes_are_answered_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    _answer_at_once(patch, "DeleteMessage", "DeleteMessageBatch")


def _answer_at_once(patch: pytest.MonkeyPatch, *operations: str) -> None:
    durable, at_once = Desk.durable, ContextVar("at_once", default=False)

    async def durable_or_not(its_desk: Desk) -> None:
        if not at_once.get():
            await durable(its_desk)

    def hasty(operation: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            before = at_once.set(True)
            try:
                return await operation(*arguments)
            finally:
                at_once.reset(before)

        return call

    patch.setattr(Desk, "durable", durable_or_not)
    for name in operations:
        patch.setattr(QueueCalls, name, hasty(getattr(QueueCalls, name)))


def receives_are_answered_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReceiveCall, "commit", property(lambda _call: None, lambda _call, _commit: None), raising=False)


def answer_although_the_commit_failed(patch: pytest.MonkeyPatch) -> None:
    settled = desk.settled

    async def deaf(commit: Commit) -> None:
        try:
            await settled(commit)
        except StorageUnavailable:
            return

    for module in (desk, queue_calls):
        patch.setattr(module, "settled", deaf)


def planes_not_reset_after_a_failed_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queues, "reset", lambda _queues: None)


def ids_start_again_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    init = Ids.__init__

    def forgetful(ids: Ids, store: Store) -> None:
        init(ids, store)
        ids._last = 0

    patch.setattr(Ids, "__init__", forgetful)


def ids_come_again_after_a_failed_commit(patch: pytest.MonkeyPatch) -> None:
    def reset(batches: Batches) -> None:
        batches.ids._last = max(0, batches.ids._last - 2)

    patch.setattr(Batches, "reset", reset)


def deletes_forget_to_trim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(QueueState, "trim", lambda _state, _lo, _hi: None)


def trims_too_much(patch: pytest.MonkeyPatch) -> None:
    def trim(state: QueueState, lo: int, hi: int) -> None:
        for entry, _, _ in list(state.log.slices(lo, hi)):
            state.log.trim(entry)

    patch.setattr(QueueState, "trim", trim)


def visible_heap_loses_expired_runs(patch: pytest.MonkeyPatch) -> None:
    announce = RunMap._announce

    def forgetful(runs: RunMap, run: Run) -> None:
        if not (run.state == State.VISIBLE and run.receive_count):
            announce(runs, run)

    patch.setattr(RunMap, "_announce", forgetful)


def removed_runs_stay_at_rest(patch: pytest.MonkeyPatch) -> None:
    write = QueueState.write

    def keeping(state: QueueState) -> None:
        for lo in [lo for lo in state.runs.changed if state.runs.at_start(lo) is None]:
            state.runs.changed.discard(lo)
        write(state)

    patch.setattr(QueueState, "write", keeping)


def visibility_timeouts_end_early(patch: pytest.MonkeyPatch) -> None:
    advance = RunMap.advance
    patch.setattr(RunMap, "advance", lambda runs, now_ms, limit: advance(runs, now_ms + 400, limit))


def returns_what_others_hold(patch: pytest.MonkeyPatch) -> None:
    def give_back(queue: Queue, lo: int, hi: int, now_ms: int, **_: Any) -> None:
        state = queue.changing(now_ms)
        state.runs.set_state(lo, hi, State.VISIBLE, 0)

    patch.setattr(Queue, "give_back", give_back)


def acknowledgements_forget_the_first(patch: pytest.MonkeyPatch) -> None:
    acknowledge = Queue.acknowledge
    patch.setattr(Queue, "acknowledge", lambda queue, lo, hi, now_ms: acknowledge(queue, lo + 1, hi, now_ms))


def purge_leaves_the_entries(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimulatedNode, "_sweep", _nothing)


def deleted_queues_keep_answering(patch: pytest.MonkeyPatch) -> None:
    def delete(queues: Queues, scope: Any, queue_url: str, now_ms: int) -> None:
        if queues.find(scope, queue_url).deleted:
            raise QueueDoesNotExist

    patch.setattr(Queues, "delete", delete)


def retention_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "_expire", lambda queue, _state, _now_ms: setattr(queue, "_retention_due_ms", NEVER_MS))
    patch.setattr(Queue, "_unexpired", _everything)


async def _nothing(_node: SimulatedNode) -> None:
    """A service that does not work."""


def _everything(_queue: Queue, state: QueueState, received: Any, delivery_id: int, until_ms: int) -> Any:
    for part in received:
        for entry, lo, hi in list(state.log.slices(part.lo, part.hi)):
            count = entry.receives_before + part.receive_count
            yield Taken(entry, lo, hi, count, part.first_received_ms, delivery_id, until_ms)


# --- FIFO queues


def groups_are_not_blocked_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Groups, "_flies", lambda _groups, _group, _sequence: None)


def groups_go_on_while_others_hold_them(patch: pytest.MonkeyPatch) -> None:
    def open_to(group: Group, _holder: Holder | None) -> bool:
        return bool(group.waiting.first)

    patch.setattr(Group, "open_to", open_to)


def deduplication_ids_are_not_written(patch: pytest.MonkeyPatch) -> None:
    def flush(dedup: Dedup) -> None:
        dedup._open = None

    patch.setattr(Dedup, "flush", flush)


def deduplication_lasts_too_long(patch: pytest.MonkeyPatch) -> None:
    init = Dedup.__init__

    def patient(dedup: Dedup, store: Store, log_id: int) -> None:
        init(dedup, store, log_id, window_ms=1_000_000)

    patch.setattr(Dedup, "__init__", patient)


def purge_keeps_the_deduplication_ids(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Dedup, "clear", lambda _dedup: None)


# --- dead letters and redrive


def dead_letters_stay_in_the_source(patch: pytest.MonkeyPatch) -> None:
    def move_dead(source: Queue, lo: int, hi: int, target: Queue, *, now_ms: int) -> None:
        for entry, start, end in list(source.state.log.slices(lo, hi)):
            moving._append(source, entry, start, end, target, now_ms=now_ms, as_new=False)
        source.state.runs.set_state(lo, hi, State.DELAYED, now_ms + 5_000)

    patch.setattr(moving, "move_dead", move_dead)


def dead_letters_take_two_commits(patch: pytest.MonkeyPatch) -> None:
    append = moving._append

    def late(source: Queue, *parts: Any, **options: Any) -> None:
        flushing, source.flushing = source.flushing, False
        append(source, *parts, **options)
        source.flushing = flushing

    patch.setattr(moving, "_append", late)


def dead_letters_are_moved_too_early(patch: pytest.MonkeyPatch) -> None:
    redrive_of = moving.redrive_of

    def hasty(queue: Queue) -> moving.Redrive | None:
        redrive = redrive_of(queue)
        return redrive and moving.Redrive(redrive.target, max(1, redrive.max_receive_count - 1))

    patch.setattr(moving, "redrive_of", hasty)


def moved_messages_are_counted_in_another_commit(patch: pytest.MonkeyPatch) -> None:
    save, advance = MoveTasks._save, MoveTasks.advance
    late: dict[MoveTasks, MoveTask] = {}

    def advance_late(tasks: MoveTasks, now_ms: int) -> int:
        task = late.pop(tasks, None)
        if task is not None:
            save(tasks, task)
        return advance(tasks, now_ms)

    patch.setattr(
        MoveTasks, "_save", lambda tasks, task: late.__setitem__(tasks, task) if task.moved else save(tasks, task)
    )
    patch.setattr(MoveTasks, "advance", advance_late)


def redriven_messages_stay_as_well(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "remove_moved", lambda _queue, _lo, _hi, _now_ms: None)


ANY: Final = (STANDARD, FIFO, STANDARD_REDRIVE, FIFO_REDRIVE)
PLANTED: Final[tuple[tuple[Plant, tuple[str, ...], str], ...]] = (
    (sends_are_answered_before_the_commit, ANY, "is lost"),
    (deletes_are_answered_before_the_commit, ANY, "came back"),
    (receives_are_answered_before_the_commit, ANY, "was handed out twice|was refused"),
    (answer_although_the_commit_failed, ANY, "is lost|clients were told|came back"),
    (
        planes_not_reset_after_a_failed_commit,
        ANY,
        "its send was refused|is lost|has no entry|counters|belongs to no queue",
    ),
    (ids_start_again_after_a_restart, ANY, "message id .* was given to"),
    (ids_come_again_after_a_failed_commit, ANY, "message id .* was given to"),
    (deletes_forget_to_trim, ANY, "no message of the entry"),
    (trims_too_much, ANY, "in no entry|has no entry"),
    (visible_heap_loses_expired_runs, (STANDARD,), "never received"),
    (removed_runs_stay_at_rest, ANY, "run .* overlaps"),
    (visibility_timeouts_end_early, ANY, "a taker holds it"),
    (returns_what_others_hold, (STANDARD, STANDARD_REDRIVE), "a taker holds it"),
    (acknowledgements_forget_the_first, (STANDARD,), "came back"),
    (purge_leaves_the_entries, ANY, "records are left"),
    (deleted_queues_keep_answering, ANY, "came back|clients were told"),
    (retention_is_forgotten, (STANDARD,), "after its retention"),
    (groups_are_not_blocked_after_a_restart, (FIFO, FIFO_REDRIVE), "overtook"),
    (groups_go_on_while_others_hold_them, (FIFO, FIFO_REDRIVE), "overtook"),
    (deduplication_ids_are_not_written, (FIFO, FIFO_REDRIVE), "although it repeats|deduplication id of message"),
    (deduplication_lasts_too_long, (FIFO, FIFO_REDRIVE), "swallowed"),
    (purge_keeps_the_deduplication_ids, (FIFO,), "swallowed"),
    (dead_letters_stay_in_the_source, (STANDARD_REDRIVE, FIFO_REDRIVE), "is in .* and in|came back"),
    (dead_letters_take_two_commits, (STANDARD_REDRIVE, FIFO_REDRIVE), "no message of the entry|is lost|overlap"),
    (dead_letters_are_moved_too_early, (STANDARD_REDRIVE, FIFO_REDRIVE), "was moved to .* after"),
    (moved_messages_are_counted_in_another_commit, (STANDARD_REDRIVE, FIFO_REDRIVE), "move tasks say"),
    (redriven_messages_stay_as_well, (STANDARD_REDRIVE, FIFO_REDRIVE), "as what it was before|is in .* and in|twice"),
)
"""Each with the scenes that can show it, and with what the simulation must say of it: another bug must not pass."""
