"""`heddle check`, `backup` and `restore`: data directories, with or without a broker at work on them."""

import json
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Final

import click

from broker.cli.failures import FAILED, Failure
from broker.cli.progress import progress_bar

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "heddle.lock"  # stays when a broker is gone: says nothing about whether there is data
PROBLEMS_SHOWN: Final = 50

_directory = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(short_help="Verify a data directory.")
@click.argument("directory", metavar="DIR", type=_directory)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(directory: Path, as_json: bool) -> None:
    """Verify that what is in DIR is whole: every message in one state, counts right, nothing dangling.

    The broker of this directory should be stopped. Exit code 1 when there are problems.
    """
    from broker.check import check as check_data

    with progress_bar("checking") as progress:
        report = check_data(directory, progress)
    if as_json:
        click.echo(json.dumps({"problems": report.problems, "counts": report.counts}, indent=2))
    else:
        from broker.cli.tables import print_table

        print_table(("What", "Count"), list(report.counts.items()))
        for problem in report.problems[:PROBLEMS_SHOWN]:
            click.secho(f"problem: {problem}", fg="red")
        if (more := len(report.problems) - PROBLEMS_SHOWN) > 0:
            click.secho(f"and {more:,} more (--json shows all)", fg="red")
        click.echo(f"{len(report.problems):,} problems" if report.problems else "no problems")
    if report.problems:
        raise click.exceptions.Exit(FAILED)


@click.command(short_help="Copy a data directory, also while a broker runs on it.")
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@click.option(
    "--data-dir",
    type=_directory,
    default=Path("data"),
    envvar="HEDDLE_DATA_DIR",
    show_default=True,
    help="What to copy.",
)
def backup(destination: Path, data_dir: Path) -> None:
    """Write a consistent, compacted copy of a data directory to the new or empty directory DEST.

    A broker may go on serving meanwhile; the copy is the state of one moment. DEST can be served as it is, and
    `heddle check DEST` verifies it.
    """
    from broker.store import backup as copy_data

    if _has_entries(destination):
        raise Failure(f"{destination} is not empty: a backup goes to a new or empty directory")
    if not (data_dir / DATA_FILE).is_file():
        raise Failure(f"{data_dir} holds no data of a broker ({DATA_FILE} is missing)")
    destination.mkdir(parents=True, exist_ok=True)
    with progress_bar("copying") as progress:
        copy_data(data_dir, destination, progress)
    size = (destination / DATA_FILE).stat().st_size
    click.echo(f"{data_dir} copied to {destination}: {size / 2**20:,.1f} MiB", err=True)


@click.command(short_help="Put a backup where a broker can serve it.")
@click.argument("source", metavar="SRC", type=_directory)
@click.argument("data_dir", metavar="DATA_DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the data that is in DATA_DIR.")
def restore(source: Path, data_dir: Path, force: bool) -> None:
    """Copy the backup SRC to DATA_DIR, for a broker that is not running.

    DATA_DIR must be new or empty; with --force the data in it is replaced, in one step at the end of the copy.
    """
    from broker.node.data_dir import DataDirectory
    from broker.store import backup as copy_data

    if not (source / DATA_FILE).is_file():
        raise Failure(f"{source} is not a backup ({DATA_FILE} is missing)")
    if _has_entries(data_dir):
        if source.samefile(data_dir):
            raise Failure(f"{source} cannot be restored onto itself")
        if not force:
            raise Failure(f"{data_dir} is not empty: --force replaces the data in it")
    # Locked against brokers, and beside the data and not over it: what stops half-way leaves what was there.
    with (
        closing(DataDirectory(data_dir)),
        tempfile.TemporaryDirectory(prefix=".restore-", dir=data_dir) as copied,
        progress_bar("restoring") as progress,
    ):
        copy_data(source, Path(copied), progress)
        _sync(Path(copied, DATA_FILE))
        Path(copied, DATA_FILE).replace(data_dir / DATA_FILE)
        (data_dir / "lock.mdb").unlink(missing_ok=True)  # LMDB's table of readers of the file that is gone
        _sync(data_dir)
    click.echo(f"{source} restored to {data_dir}", err=True)


def _has_entries(directory: Path) -> bool:
    return directory.is_dir() and any(entry.name != LOCK_FILE for entry in directory.iterdir())


def _sync(path: Path) -> None:
    """Makes a file, or the entries of a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
