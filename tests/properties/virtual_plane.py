"""The queue plane on an engine in memory: its commits happen step by step, its clock stands until it is told to go on.

``heddle check`` holds after every commit.
"""

from collections.abc import Callable
from typing import Any, Final

from simulation.invariants import problems

from broker.log import Batches, Sweeper
from broker.queues import Queue, Queues, Scope
from broker.store import EngineFull, InlineCommitter, Store, WriteBatch
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

SCOPE: Final = Scope("000000000000", "us-east-1")


class VirtualPlane:
    """``on_commit``: told when what was done until now has reached the engine. ``on_reset``: told when all that has not
    is forgotten, after a failed commit."""

    def __init__(self, *, on_commit: Callable[[], None], on_reset: Callable[[], None]) -> None:
        self.engine = MemoryEngine()
        initialise(self.engine, new_store_id=bytes(range(16)))
        self.now_ms = 1_000_000
        self.on_commit, self._on_reset = on_commit, on_reset
        self.open()

    def open(self) -> None:
        """A new process on the same engine: what has not reached it is lost."""
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        self.batches = Batches(self.store, cache_bytes=500)
        self.sweeper = Sweeper(self.store, self.batches)
        self.queues = Queues(self.store, self.batches, self.sweeper, deleted_recently_ms=0)
        self.store.on_reset(self.batches.reset)
        self.store.on_reset(self.queues.reset)
        self.store.on_reset(self._on_reset)
        self.store.start(_NotingCommitter(self, call_soon=self.steps.append))
        self.warm()

    def warm(self) -> None:
        """What the engine room does after a start and after a failed commit."""
        for queue in self.queues:
            self.queues.warm(queue)

    def __getitem__(self, name: str) -> Queue:
        return self.queues.find(SCOPE, name)

    def settle(self) -> None:
        """All commits."""
        while self.steps:
            self.steps.pop(0)()

    def run_a_little(self, steps: int) -> None:
        for step in self.steps[:steps]:
            self.steps.remove(step)
            step()

    def run_timers(self) -> None:
        while self.queues.advance(self.now_ms):
            assert self.queues.next_due_ms() <= self.now_ms

    def come_to_rest(self) -> None:
        """All that is due, and the commits of it."""
        self.settle()
        while self.queues.next_due_ms() <= self.now_ms:
            self.run_timers()
            self.settle()

    def fail_the_commit(self) -> None:
        self.engine.fail_next = EngineFull("the disk is full")
        self.settle()
        self.engine.fail_next = None
        self.warm()
        self.settle()

    def check_at_rest(self) -> None:
        """Nothing is wrong, and nothing is left to sweep."""
        self.settle()
        while self.sweeper.sweep():
            self.settle()
        self.settle()
        assert problems(self.engine) == []


class _NotingCommitter(InlineCommitter):
    """Tells when a batch reached the engine."""

    def __init__(self, plane: VirtualPlane, **arguments: Any) -> None:
        super().__init__(plane.engine, plane.store.committed, **arguments)
        self._plane = plane

    def submit(self, batch: WriteBatch) -> None:
        fails = self._plane.engine.fail_next is not None
        super().submit(batch)
        if not fails:
            self._plane.on_commit()
            assert problems(self._plane.engine) == []
