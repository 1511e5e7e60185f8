"""`heddle backup`, `restore` and `check`: what they refuse, and what a restore that fails leaves behind.

The store's copy and the checker are stood in for; test_cli_with_broker.py uses the real ones.
"""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

import broker.store
from broker.cli import main
from broker.errors import DataFileForeign
from broker.node.data_dir import DataDirectory

Progress = Callable[[int, int], None]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@dataclass
class Report:
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"queues": 2, "messages": 1_234_567})


@pytest.fixture(autouse=True)
def _copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def backup(data_dir: Path, destination: Path, progress: Progress) -> None:
        progress(0, 0)
        shutil.copy(data_dir / "data.mdb", destination / "data.mdb")
        progress(1, 1)

    monkeypatch.setattr(broker.store, "backup", backup, raising=False)


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Callable[[Report | Exception], None]:
    """Decides what a check finds."""

    def finds(outcome: Report | Exception) -> None:
        def check(data_dir: Path, progress: Progress) -> Report:
            progress(1, 2)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        module = ModuleType("broker.check")
        module.check = check  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "broker.check", module)

    return finds


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "data.mdb").write_text("new")
    return directory


def test_a_backup_makes_its_directory(source: Path, tmp_path: Path) -> None:
    result = run("backup", "--data-dir", source, tmp_path / "a/b")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a/b/data.mdb").read_text() == "new"


def test_a_backup_of_nothing_or_onto_something_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    nothing = run("backup", "--data-dir", tmp_path / "empty", tmp_path / "copy")
    assert (nothing.exit_code, "holds no data of a broker" in nothing.stderr) == (1, True)
    assert not (tmp_path / "copy").exists()
    onto = run("backup", "--data-dir", source, source)
    assert (onto.exit_code, "is not empty" in onto.stderr) == (1, True)


def test_a_restore_fills_a_new_directory(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    assert run("restore", source, target).exit_code == 0
    assert (target / "data.mdb").read_text() == "new"
    assert {entry.name for entry in target.iterdir()} == {"data.mdb", "heddle.lock"}


def test_a_restore_replaces_only_when_told_to(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "data.mdb").write_text("old")
    (target / "notes.txt").write_text("mine")
    refused = run("restore", source, target)
    assert (refused.exit_code, "--force" in refused.stderr) == (1, True)
    assert (target / "data.mdb").read_text() == "old"
    assert run("restore", source, target, "--force").exit_code == 0
    assert (target / "data.mdb").read_text() == "new"
    assert (target / "notes.txt").read_text() == "mine"


def test_a_restore_that_fails_half_way_leaves_what_was_there(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def backup(data_dir: Path, destination: Path, progress: Progress) -> None:
        (destination / "data.mdb").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broker.store, "backup", backup)
    target = tmp_path / "data"
    target.mkdir()
    (target / "data.mdb").write_text("old")
    failed = run("restore", source, target, "--force")
    assert failed.exit_code == 1
    assert "No space left on device" in failed.stderr
    assert {entry.name: entry.read_text() for entry in target.glob("*.mdb")} == {"data.mdb": "old"}
    assert {entry.name for entry in target.iterdir()} == {"data.mdb", "heddle.lock"}


def test_a_restore_onto_itself_from_nothing_or_under_a_broker_is_refused(source: Path, tmp_path: Path) -> None:
    itself = run("restore", source, source, "--force")
    assert (itself.exit_code, "onto itself" in itself.stderr) == (1, True)
    (tmp_path / "empty").mkdir()
    nothing = run("restore", tmp_path / "empty", tmp_path / "data")
    assert (nothing.exit_code, "is not a backup" in nothing.stderr) == (1, True)
    target = tmp_path / "busy"
    target.mkdir()
    (target / "data.mdb").write_text("old")
    with closing(DataDirectory(target)):
        busy = run("restore", source, target, "--force")
    assert (busy.exit_code, "in use" in busy.stderr) == (1, True)
    assert (target / "data.mdb").read_text() == "old"


def test_a_clean_check_is_told_with_its_counts(source: Path, checker: Callable[[Report | Exception], None]) -> None:
    checker(Report())
    result = run("check", source)
    assert result.exit_code == 0
    assert "1,234,567" in result.stdout
    assert result.stdout.endswith("no problems\n")


def test_problems_are_exit_code_1_and_shown(source: Path, checker: Callable[[Report | Exception], None]) -> None:
    checker(Report([f"run {number} overlaps" for number in range(60)]))
    result = run("check", source)
    assert result.exit_code == 1
    assert "problem: run 49 overlaps" in result.stdout
    assert "run 50 overlaps" not in result.stdout
    assert "and 10 more" in result.stdout
    as_json = run("check", source, "--json")
    assert as_json.exit_code == 1
    assert len(json.loads(as_json.stdout)["problems"]) == 60


def test_data_that_cannot_be_read_is_one_line(source: Path, checker: Callable[[Report | Exception], None]) -> None:
    checker(DataFileForeign("source/data.mdb is not a data file of Heddle, or is damaged"))
    result = run("check", source)
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: source/data.mdb is not a data file of Heddle, or is damaged\n",
    )
