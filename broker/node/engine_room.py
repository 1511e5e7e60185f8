"""The engine room: everything that the broker does by itself, as trio tasks in one nursery.

Timers of queues, message move tasks, the sweeping of garbage, the watch over disk and clock, the measurement of loop
lag. Each works in slices and yields. Never: a task outside the nursery, or an answer to a client.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
import trio

from broker.log import Sweeper
from broker.node.clock import Clock
from broker.queues import Queues
from broker.store import Commit, EngineFull, Store

_SLICE_SECONDS: Final = 0.002
_DISK_CHECK_SECONDS: Final = 1.0
_LAG_PROBE_SECONDS: Final = 0.25
_FAILURE_SECONDS: Final = 1.0
_IDLE_CHECK_SECONDS: Final = 60.0

log = structlog.get_logger("broker.engine_room")


class Services:
    """``observe_lag``: learns the seconds by which each probe of the loop came late."""

    def __init__(
        self,
        *,
        store: Store,
        queues: Queues,
        sweeper: Sweeper,
        clock: Clock,
        data_dir: Path | None,
        disk_free_bytes_min: int,
        observe_lag: Callable[[float], None],
    ) -> None:
        self._store, self._queues, self._sweeper, self._clock = store, queues, sweeper, clock
        self._data_dir, self._disk_free_bytes_min = data_dir, disk_free_bytes_min
        self._observe_lag = observe_lag
        self._due = trio.Event()
        self._moves = trio.Event()
        self._garbage = trio.Event()
        self._cold = trio.Event()

    async def run(self) -> None:
        self._queues.on_due = self._on_due
        self._queues.move_tasks.on_due = self._on_moves
        self._sweeper.on_garbage = self._on_garbage
        self._store.on_reset(self._on_reset)
        self._cold.set()
        self._garbage.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._timers)
            nursery.start_soon(self._move)
            nursery.start_soon(self._warm_up)
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._watch)
            nursery.start_soon(self._probe_lag)

    def _on_due(self, due_ms: int) -> None:
        if due_ms == self._queues.next_due_ms():  # earlier than what the timer waits for
            self._due.set()

    def _on_moves(self) -> None:
        self._moves.set()

    def _on_garbage(self) -> None:
        self._garbage.set()

    def _on_reset(self) -> None:
        self._cold.set()

    async def _timers(self) -> None:
        """Ends delays, visibility timeouts and retention when they are due."""
        while True:
            self._due = trio.Event()
            wait_s = (self._queues.next_due_ms() - self._clock.now_ms()) / 1000
            if wait_s > 0:
                # Long sleeps are cut, so that a step of the system's clock is not slept through.
                with trio.move_on_after(min(wait_s, _IDLE_CHECK_SECONDS)):
                    await self._due.wait()
                    continue
            started = time.monotonic()
            while self._queues.advance(self._clock.now_ms()):
                if time.monotonic() - started > _SLICE_SECONDS:
                    break
            # What was due is written before more is done: the writer is never behind.
            await self._settled(self._store.last_commit())

    async def _move(self) -> None:
        """Goes on with the message move tasks that are due, one slice of them a commit."""
        tasks = self._queues.move_tasks
        while True:
            self._moves = trio.Event()
            wait_s = (tasks.next_due_ms() - self._clock.now_ms()) / 1000
            if wait_s > 0:
                with trio.move_on_after(min(wait_s, _IDLE_CHECK_SECONDS)):
                    await self._moves.wait()
                continue
            tasks.advance(self._clock.now_ms())
            # With relaxed durability commits are far apart and nobody waits for them: then just a pause.
            await self._settled(self._store.durable())

    async def _warm_up(self) -> None:
        """Loads the queues that nobody has used yet, so that their timers run; again after a failed commit."""
        while True:
            await self._cold.wait()
            self._cold = trio.Event()
            started = time.monotonic()
            for queue in list(self._queues):
                self._queues.warm(queue)
                more = queue.load_more(self._clock.now_ms())
                while more and not queue.deleted:
                    await trio.sleep(_SLICE_SECONDS)
                    more = queue.load_more(self._clock.now_ms())
                if time.monotonic() - started > _SLICE_SECONDS:
                    await trio.sleep(_SLICE_SECONDS)  # as long again for everyone else
                    started = time.monotonic()

    async def _sweep(self) -> None:
        while True:
            await self._garbage.wait()
            self._garbage = trio.Event()
            while self._sweeper.sweep():
                # One slice a commit: the pages that it frees are reused, and the writer is never behind.
                await self._settled(self._store.last_commit())

    async def _settled(self, commit: Commit | None) -> None:
        """Waits for a commit, and a while longer when it failed; without one, as long as a slice takes."""
        if commit is None:
            await trio.sleep(_SLICE_SECONDS)
            return
        done = trio.Event()
        commit.add_done_callback(lambda _commit: done.set())
        await done.wait()
        if commit.error is not None:
            await trio.sleep(_FAILURE_SECONDS)

    async def _watch(self) -> None:
        """Refuses sends before the disk is full, with room kept for deletes, and takes them again afterwards."""
        while True:
            self._clock.watch()
            self._queues.forget_tombstones(self._clock.now_ms())
            if self._data_dir is not None:
                self._check_disk(self._data_dir)
            await trio.sleep(_DISK_CHECK_SECONDS)

    def _check_disk(self, data_dir: Path) -> None:
        disk = os.statvfs(data_dir)
        # Deletes do not make the file smaller: what they free in it is as good as free disk.
        free = disk.f_bavail * disk.f_frsize + self._store.engine.reusable_bytes()
        if free < self._disk_free_bytes_min:
            if self._store.full is None:
                log.error("sends are refused: the disk is past its watermark", free_bytes=free)
            self._store.full = EngineFull(
                f"{free} bytes are free on the disk, the watermark (disk_free_bytes_min) is {self._disk_free_bytes_min}"
            )
        elif not self._store.has_room():
            if self._store.full is None:
                log.error("sends are refused: the store has its largest size")
            self._store.full = EngineFull("the store has its largest size (map_bytes_max)")
        elif self._store.full is not None:
            log.info("sends are taken again", free_bytes=free)
            self._store.full = None

    async def _probe_lag(self) -> None:
        while True:
            started = time.monotonic()
            await trio.sleep(_LAG_PROBE_SECONDS)
            self._observe_lag(max(0.0, time.monotonic() - started - _LAG_PROBE_SECONDS))
