"""The node's clock: wall-clock milliseconds that never go backwards or stand still within a process.

Stored deadlines are wall-clock times. A step of the system's clock forward is followed; after one backward the clock
goes on at its own pace until the next start. Steps are counted and logged.
"""

import time
from collections.abc import Callable

import structlog

STEP_MS = 1000
"""A difference between wall and monotonic clock that grows by more than this since it was last looked at is a step."""


class Clock:
    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_s, self._monotonic_s = wall_s, monotonic_s
        self._offset_s = wall_s() - monotonic_s()
        self._watched_offset_s = self._offset_s
        self.steps = 0
        """How often the system's clock was set while the broker ran."""

    def now_ms(self) -> int:
        monotonic_s = self._monotonic_s()
        self._offset_s = max(self._offset_s, self._wall_s() - monotonic_s)
        return int((monotonic_s + self._offset_s) * 1000)

    def watch(self) -> None:
        """Notices a step of the system's clock since the last call."""
        offset_s = self._wall_s() - self._monotonic_s()
        step_ms = round((offset_s - self._watched_offset_s) * 1000)
        self._watched_offset_s = offset_s
        if abs(step_ms) > STEP_MS:
            self.steps += 1
            structlog.get_logger("broker.clock").warning("the system clock was set", step_ms=step_ms)
