"""The promises hold in every history; a planted bug breaks one of them and is caught."""

import os
from collections.abc import Callable
from typing import Any, Final

import pytest

from broker.api import desk
from broker.api.grpc import consume, queues_service
from broker.errors import QueueDoesNotExist, StorageUnavailable
from broker.log import Batches, Ids
from broker.queues import Queue, Queues, Taken
from broker.queues.runs import Run, RunMap, State
from broker.queues.state import QueueState
from broker.store import Commit, Store

from .node import SimulatedNode
from .run import SimulationFailed, simulate

EVERYDAY_SEEDS: Final = 100
SEEDS: Final = int(os.environ.get("HEDDLE_SIMULATION_SEEDS", "2000"))
"""Of the full part; any number may be asked for."""
_SLICE: Final = 100


def test_equal_seeds_tell_the_same_story() -> None:
    first, again, other = simulate(42), simulate(42), simulate(43)
    assert first == again
    assert first.trace != other.trace


def test_everyday_seeds() -> None:
    outcomes = [simulate(seed) for seed in range(EVERYDAY_SEEDS)]
    # An idle simulation proves nothing.
    assert sum(outcome.sent for outcome in outcomes) > 20 * EVERYDAY_SEEDS
    assert sum(outcome.received for outcome in outcomes) > 20 * EVERYDAY_SEEDS
    assert sum(outcome.deleted for outcome in outcomes) > 10 * EVERYDAY_SEEDS
    assert sum(outcome.crashes for outcome in outcomes) > EVERYDAY_SEEDS


@pytest.mark.full
@pytest.mark.parametrize("start", range(EVERYDAY_SEEDS, SEEDS, _SLICE))
def test_more_seeds(start: int) -> None:
    for seed in range(start, min(start + _SLICE, SEEDS)):
        simulate(seed)


# --- planted bugs

Plant = Callable[[pytest.MonkeyPatch], None]


def answer_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Store, "durable", lambda _store: None)


def answer_although_the_commit_failed(patch: pytest.MonkeyPatch) -> None:
    settled = desk.settled

    async def deaf(commit: Commit) -> None:
        try:
            await settled(commit)
        except StorageUnavailable:
            return

    for module in (desk, consume, queues_service):
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
        state = queue._changing(now_ms)
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
    patch.setattr(Queue, "_expire", lambda _queue, _state, _now_ms: None)
    patch.setattr(Queue, "_unexpired", _everything)


async def _nothing(_node: SimulatedNode) -> None:
    """A service that does not work."""


def _everything(_queue: Queue, state: QueueState, received: Any, delivery_id: int, until_ms: int) -> Any:
    for part in received:
        for entry, lo, hi in list(state.log.slices(part.lo, part.hi)):
            yield Taken(entry, lo, hi, part.receive_count, part.first_received_ms, delivery_id, until_ms)


PLANTED: Final[tuple[tuple[Plant, str], ...]] = (
    (answer_before_the_commit, "is lost"),
    (answer_although_the_commit_failed, "is lost|clients were told|came back"),
    (planes_not_reset_after_a_failed_commit, "its send was refused|is lost|has no entry|counters"),
    (ids_start_again_after_a_restart, "message id .* was given to"),
    (ids_come_again_after_a_failed_commit, "message id .* was given to"),
    (deletes_forget_to_trim, "no message of the entry"),
    (trims_too_much, "in no entry|has no entry"),
    (visible_heap_loses_expired_runs, "never received"),
    (removed_runs_stay_at_rest, "run .* overlaps"),
    (visibility_timeouts_end_early, "a taker holds it"),
    (returns_what_others_hold, "a taker holds it"),
    (acknowledgements_forget_the_first, "came back"),
    (purge_leaves_the_entries, "records are left"),
    (deleted_queues_keep_answering, "came back|clients were told"),
    (retention_is_forgotten, "livelock|after its retention"),
)
"""Each with what the simulation must say of it: another bug must not pass for it."""


@pytest.mark.parametrize(("plant", "complaint"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_a_planted_bug_is_caught(plant: Plant, complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(SimulationFailed, match=f"seed .*({complaint})"):
        for seed in range(3 * EVERYDAY_SEEDS):  # the rarest needs a hundred
            simulate(seed)
