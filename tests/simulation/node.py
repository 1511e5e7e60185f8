"""One life of a simulated broker: the real store, plane and front desk, from opening the engine to a crash.

The engine room is a copy of ``broker.node.engine_room`` in asyncio tasks: trio's guest mode waits in a real thread,
which no seed can replay. Never: anything that survives the crash, but the engine.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from random import Random
from typing import Final, cast

from broker.api.desk import Desk
from broker.api.grpc.queues_service import QueuesService
from broker.log import Batches, Sweeper
from broker.queues import Queues, Scope, operations
from broker.queues.move_tasks import RESULTS_MAX
from broker.queues.runs import NEVER_MS, State
from broker.store import Commit, Store
from broker.store.engine import Engine
from broker.store.store import Flushable

from .disk import DiskFaults, SimulatedCommitter
from .entries import Violation
from .loop import SlowReader, VirtualLoop

SCOPE: Final = Scope("000000000000", "us-east-1")
DELETED_RECENTLY_MS: Final = 300
PURGE_INTERVAL_MS: Final = 200
_TOUCHES_MAX: Final = 20_000
_EVERY_MESSAGE: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class NodeFaults:
    """``cache_bytes`` and ``bytes_in_flight_max`` are small, so that the limits are met. ``slow_reads``: chance."""

    disk: DiskFaults = field(default_factory=DiskFaults)
    cache_bytes: int = 1 << 20
    bytes_in_flight_max: int = 1 << 20
    slow_reads: float = 0.0


class SimulatedNode:
    def __init__(
        self,
        engine: Engine,
        *,
        loop: VirtualLoop,
        random: Random,
        faults: NodeFaults,
        now_ms: Callable[[], int],
        on_fatal: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._loop, self._random, self._now_ms, self._on_failure = loop, random, now_ms, on_failure
        self._faults = faults
        self.crashed = False
        self.store = _WatchedStore(engine, call_soon=self._call_soon)
        self.store.bytes_in_flight_max = faults.bytes_in_flight_max
        self.store.on_fatal(lambda _error: on_fatal())
        self.batches = Batches(self.store, cache_bytes=faults.cache_bytes)
        self.sweeper = Sweeper(self.store, self.batches)
        self.queues = Queues(
            self.store,
            self.batches,
            self.sweeper,
            deleted_recently_ms=DELETED_RECENTLY_MS,
            purge_interval_ms=PURGE_INTERVAL_MS,
        )
        self.store.on_reset(self.batches.reset)
        self.store.on_reset(self.queues.reset)
        self.committer = SimulatedCommitter(engine, self.store.committed, loop=loop, random=random, faults=faults.disk)
        self.store.start(self.committer)
        self.desk = Desk(
            store=self.store,
            batches=self.batches,
            queues=self.queues,
            now_ms=now_ms,
            default_scope=SCOPE,
            reader=cast("Executor", SlowReader(self._read_delay_s)),
            queue_url=lambda scope, name: f"http://simulation/{scope.account}/{name}",
        )
        self.service = QueuesService(self.desk)
        self.tasks: dict[asyncio.Task[object], None] = {}
        self._on_end: list[Callable[[], None]] = []
        self._start_engine_room()

    # --- life and death

    def spawn(self, task: "asyncio.Task[object]") -> None:
        """The task is part of this process: it does not outlive a crash."""
        self.tasks[task] = None
        task.add_done_callback(lambda done: self.tasks.pop(done, None))

    def crash(self) -> None:
        """The process is gone with all that it remembered."""
        self.crashed = True
        self.committer.crash()
        for task in list(self.tasks):
            task.cancel()
        for callback in self._on_end:
            callback()

    def on_end(self, callback: Callable[[], None]) -> None:
        """``callback`` learns of the crash, if there is one."""
        self._on_end.append(callback)

    def heal(self) -> None:
        self.committer.heal()
        self.store.full = None

    def _call_soon(self, step: Callable[[], None]) -> object:
        def run() -> None:
            if not self.crashed:
                self.store.touches = 0
                step()

        return self._loop.call_soon(run)

    def _read_delay_s(self) -> float:
        return self._random.uniform(0.01, 2.0) if self._random.random() < self._faults.slow_reads else 0.0001

    # --- what it holds

    def stored(self, name: str) -> dict[str, str] | None:
        """Message ids by body of all that a queue has, in any state; None when there is no such queue.

        Checks that nothing is there twice and that the counts are those of what is there.
        """
        queue = next((queue for queue in self.queues if queue.name == name), None)
        if queue is None:
            return None
        visible, in_flight, delayed = queue.counts(self._now_ms())
        found: dict[str, str] = {}
        by_state = [0, 0, 0]
        for part, state in operations.peek(queue, 0, _EVERY_MESSAGE):
            batch = self.batches.read(part.entry.batch_id)
            if batch is None:
                raise Violation(f"{name}: batch {part.entry.batch_id} is missing")
            ids = self.queues.identity.message_ids(part.entry.name_id, part.first_index, len(part))
            by_state[state] += len(part)
            for offset, message_id in enumerate(ids):
                body = batch.message(part.first_index + offset).body.decode()
                if body in found:
                    raise Violation(f"{body} is in {name} twice")
                found[body] = message_id
        if by_state != [visible, delayed, in_flight]:
            raise Violation(
                f"{name}: counts {visible} visible, {in_flight} in flight, {delayed} delayed; the queue holds "
                f"{by_state[State.VISIBLE]}, {by_state[State.IN_FLIGHT]}, {by_state[State.DELAYED]}"
            )
        return found

    def moving(self) -> bool:
        """Whether a move task has something left to do."""
        return self.queues.move_tasks.next_due_ms() < NEVER_MS

    def moved(self, name: str) -> int | None:
        """How many messages the move tasks say that they have taken from a queue; None where there may have been more
        tasks than are kept."""
        queue = next((queue for queue in self.queues if queue.name == name), None)
        if queue is None:
            return 0
        tasks = self.queues.move_tasks.list(SCOPE, queue.arn, RESULTS_MAX)
        return None if len(tasks) == RESULTS_MAX else sum(task.moved for task in tasks)

    # --- the engine room

    def _start_engine_room(self) -> None:
        self._due, self._moves = asyncio.Event(), asyncio.Event()
        self._garbage, self._cold = asyncio.Event(), asyncio.Event()
        self.queues.on_due = self._on_due
        self.queues.move_tasks.on_due = self._moves.set
        self.sweeper.on_garbage = self._garbage.set
        self.store.on_reset(self._cold.set)
        self._cold.set()
        self._garbage.set()
        for service in (self._timers, self._move, self._warm_up, self._sweep, self._watch):
            task = self._loop.create_task(service())
            task.add_done_callback(self._ended)
            self.spawn(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.crashed:
            self._on_failure(error)

    def _on_due(self, due_ms: int) -> None:
        if due_ms == self.queues.next_due_ms():
            self._due.set()

    async def _timers(self) -> None:
        while True:
            self._due.clear()
            wait_s = (self.queues.next_due_ms() - self._now_ms()) / 1000
            if wait_s > 0:
                try:
                    async with asyncio.timeout(min(wait_s, 60.0)):
                        await self._due.wait()
                except TimeoutError:
                    pass
                continue
            while self.queues.advance(self._now_ms()):
                if self._random.random() < 0.3:  # a slice is over
                    break
            await self._settled(self.store.last_commit())

    async def _move(self) -> None:
        tasks = self.queues.move_tasks
        while True:
            self._moves.clear()
            wait_s = (tasks.next_due_ms() - self._now_ms()) / 1000
            if wait_s > 0:
                try:
                    async with asyncio.timeout(min(wait_s, 60.0)):
                        await self._moves.wait()
                except TimeoutError:
                    pass
                continue
            tasks.advance(self._now_ms())
            await self._settled(self.store.durable())

    async def _warm_up(self) -> None:
        while True:
            await self._cold.wait()
            self._cold.clear()
            for queue in list(self.queues):
                self.queues.warm(queue)
                if self._random.random() < 0.3:
                    await asyncio.sleep(0.002)

    async def _sweep(self) -> None:
        while True:
            await self._garbage.wait()
            self._garbage.clear()
            while self.sweeper.sweep():
                await self._settled(self.store.durable())

    async def _settled(self, commit: Commit | None) -> None:
        if commit is None:
            await asyncio.sleep(0.002)
            return
        done = asyncio.Event()
        commit.add_done_callback(lambda _commit: done.set())
        await done.wait()

    async def _watch(self) -> None:
        while True:
            self.queues.forget_tombstones(self._now_ms())
            self.store.full = None
            await asyncio.sleep(1.0)


class _WatchedStore(Store):
    """A store that notices when one step of the loop changes things without end."""

    touches = 0

    def touch(self, flushable: Flushable) -> None:
        self.touches += 1
        if self.touches > _TOUCHES_MAX:
            raise Violation("livelock: one step of the loop does not end")
        super().touch(flushable)
