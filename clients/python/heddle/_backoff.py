"""How long to wait before a stream is opened again: exponential, capped, with full jitter."""

from random import Random
from typing import Final

FIRST_SECONDS_MAX: Final = 0.1
SECONDS_MAX: Final = 5.0


class Backoff:
    """Each wait is drawn from [0, limit]; the limit doubles with every failure in a row.

    Full jitter (and not a fixed part plus some) because a broker that restarts meets all of its clients at once.
    """

    __slots__ = ("_limit_seconds", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._limit_seconds = FIRST_SECONDS_MAX

    def next_seconds(self) -> float:
        """The wait after one more failure."""
        seconds = self._random.uniform(0.0, self._limit_seconds)
        self._limit_seconds = min(SECONDS_MAX, self._limit_seconds * 2)
        return seconds

    def reset(self) -> None:
        """The broker has answered: the next failure is a first one."""
        self._limit_seconds = FIRST_SECONDS_MAX
