"""What a worker writes of every task that it executes, read as it happens. Never: a guess when a worker is done."""

import json
import os
import selectors
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


class Ledger:
    """A named pipe; each execution is a line ``[number, outcome]``, shorter than what a pipe takes as a whole."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        # For writing too: a pipe that nobody holds open for writing would be at its end.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self.outcomes: dict[int, list[str]] = defaultdict(list)
        """Of each task: the outcomes of its executions, in order."""
        self.executions = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._pipe)

    def wait_executions(self, count: int, *, seconds_max: float) -> None:
        """Until ``count`` executions have been written in all; raises TimeoutError."""
        deadline = time.monotonic() + seconds_max
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while self.executions < count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"{self.executions} of {count} executions after {seconds_max} seconds")
                self.read_nowait()

    def read_nowait(self) -> None:
        """All that has been written by now."""
        while True:
            try:
                written = os.read(self._pipe, 65536)
            except BlockingIOError:
                return
            *lines, self._rest = (self._rest + written).split(b"\n")
            self._take(lines)

    def _take(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            number, outcome = json.loads(line)
            self.outcomes[number].append(outcome)
            self.executions += 1
