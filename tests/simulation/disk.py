"""The disk of the simulation: commits take virtual time, fail, or are cut in two by a crash.

Its contract is that of ``broker.store.engine``: a failed ``apply`` has applied nothing. What a crash leaves is what was
applied; whether the batch under way was, is chance.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from broker.store import EngineError, EngineFull, WriteBatch
from broker.store.engine import Engine
from broker.store.store import Position, Report

from .loop import VirtualLoop

_COMMIT_S: Final = (0.0005, 0.004)
_SLOW_COMMIT_S: Final = (0.2, 3.0)


@dataclass(frozen=True, slots=True)
class DiskFaults:
    """Chances of each, per commit."""

    slow: float = 0.0
    full: float = 0.0
    fatal: float = 0.0


class SimulatedCommitter:
    """Applies each batch after a while and reports a while after that, as a thread does."""

    def __init__(
        self, engine: Engine, report: Report, *, loop: VirtualLoop, random: Random, faults: DiskFaults
    ) -> None:
        self._engine, self._report, self._loop = engine, report, loop
        self._random, self._faults = random, faults
        self._position = Position(engine)
        self._under_way: WriteBatch | None = None
        self._crashed = False

    def submit(self, batch: WriteBatch) -> None:
        if self._crashed:
            return
        assert self._under_way is None, "two batches at a time"
        self._under_way = batch
        span = _SLOW_COMMIT_S if self._random.random() < self._faults.slow else _COMMIT_S
        self._loop.call_later(self._random.uniform(*span), self._apply)

    def heal(self) -> None:
        """From now on every commit succeeds, quickly."""
        self._faults = DiskFaults()

    def crash(self) -> None:
        """The process is gone. The batch under way reached the disk or did not; nobody learns which."""
        self._crashed = True
        if self._under_way is not None and self._random.random() < 0.5:
            self._position.advance(self._under_way)
            self._engine.apply(self._under_way)

    def close(self) -> None:
        """There is no thread to end."""

    def _apply(self) -> None:
        if self._crashed or self._under_way is None:
            return
        batch, self._under_way = self._under_way, None
        error = self._error()
        if error is None:
            self._position.advance(batch)
            self._engine.apply(batch)
        self._loop.call_later(self._random.uniform(0, 0.001), self._tell, error)

    def _error(self) -> EngineError | None:
        chance = self._random.random()
        if chance < self._faults.full:
            return EngineFull("the simulated disk is full")
        if chance < self._faults.full + self._faults.fatal:
            return EngineError("the simulated disk failed", fatal=True)
        return None

    def _tell(self, error: EngineError | None) -> None:
        if not self._crashed:
            self._report(error)
