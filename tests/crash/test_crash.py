"""``kill -9`` under load: no acknowledged send is lost, no confirmed delete comes back, the counts agree."""

from pathlib import Path

import pytest

from .run import crash


def test_one_kill(tmp_path: Path) -> None:
    summary = crash(tmp_path, rounds=1, seed=1)
    assert summary.violations == []
    assert summary.acknowledged > 0
    assert summary.rounds == 1


@pytest.mark.full
def test_five_kills(tmp_path: Path) -> None:
    summary = crash(tmp_path, rounds=5, seed=2)
    assert summary.violations == []
    assert summary.acknowledged > 0
    assert summary.removed > 0
    assert summary.dead_letters > 0
    assert summary.rounds == 5
