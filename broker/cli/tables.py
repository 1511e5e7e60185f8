"""Tables on standard output: columns that fit the terminal, plain and unshortened text in a pipe."""

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS: Final = 10_000  # wide enough that nothing in a pipe is wrapped or cut


def console(*, stderr: bool = False) -> Console:
    """A console that never wraps what goes into a pipe or a file."""
    stream = sys.stderr if stderr else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their headings; numbers, and dashes for none, are aligned right. Cells are never markup."""
    console().print(_table(headings, rows))


@contextmanager
def live_table() -> Iterator[Callable[[Sequence[str], Iterable[Sequence[object]]], None]]:
    """What shows a table in the place of the one before; in a pipe, after it."""
    if not sys.stdout.isatty():

        def show(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
            print_table(headings, rows)
            sys.stdout.flush()

        yield show
        return
    with Live(console=console(), auto_refresh=False) as live:
        yield lambda headings, rows: live.update(_table(headings, rows), refresh=True)


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    kept = [tuple(row) for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, heading in enumerate(headings):
        numeric = bool(kept) and all(isinstance(row[column], int | float) or row[column] == "-" for row in kept)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int | float) else str(cell)) for cell in row))
    return table
