"""The promises hold in every history; a planted bug breaks one of them and is caught."""

import os
from typing import Final

import pytest

from . import planted
from .planted import PLANTED, Plant
from .run import SimulationFailed, simulate
from .scene import seeds_of

EVERYDAY_SEEDS: Final = 100
SEEDS: Final = int(os.environ.get("HEDDLE_SIMULATION_SEEDS", "2000"))
"""Of the full part; any number may be asked for."""
_SLICE: Final = 100
_SLOW: Final = {
    planted.visibility_timeouts_end_early,
    planted.ids_come_again_after_a_failed_commit,
    planted.deduplication_lasts_too_long,
}
"""Bugs that show in one seed of some dozens."""


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
    assert sum(outcome.repeated for outcome in outcomes) > 2 * EVERYDAY_SEEDS
    assert sum(outcome.dead_letters for outcome in outcomes) > EVERYDAY_SEEDS
    assert sum(outcome.redriven for outcome in outcomes) > EVERYDAY_SEEDS // 4


@pytest.mark.full
@pytest.mark.parametrize("start", range(EVERYDAY_SEEDS, SEEDS, _SLICE))
def test_more_seeds(start: int) -> None:
    for seed in range(start, min(start + _SLICE, SEEDS)):
        simulate(seed)


@pytest.mark.parametrize(
    ("plant", "scenes", "complaint"),
    [pytest.param(*row, id=row[0].__name__, marks=pytest.mark.full if row[0] in _SLOW else ()) for row in PLANTED],
)
def test_a_planted_bug_is_caught(
    plant: Plant, scenes: tuple[str, ...], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(SimulationFailed, match=f"seed .*({complaint})"):
        for seed in seeds_of(*scenes, count=4 * EVERYDAY_SEEDS):  # the rarest need a hundred
            simulate(seed)
