"""What every front door shares: the planes, the clock, and the ways to wait (for a commit, for room, for payloads).

The only place where the front desk meets the store. Never: protocol details.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

from broker.errors import ShuttingDown, StorageFull, StorageUnavailable
from broker.log import Batches, PackedBatch
from broker.queues import Queue, Queues, Scope, Taken
from broker.store import Commit, Store, Table
from broker.store.keys import u64


class Parked(Protocol):
    def end_wait(self) -> None: ...


@dataclass(slots=True)
class Desk:
    """``reader``: threads for reads of what is not in memory. ``queue_url``: how a queue is called from outside."""

    store: Store
    batches: Batches
    queues: Queues
    now_ms: Callable[[], int]
    default_scope: Scope
    reader: Executor
    queue_url: Callable[[Scope, str], str]
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the broker shuts down: parked calls return, nothing new is taken."""

    parked: set[Parked] = field(default_factory=set)
    """Calls that wait for messages and return empty when the broker stops."""

    finishing: set["asyncio.Task[None]"] = field(default_factory=set)
    """What must end although nobody waits for it any more."""

    def finish(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs ``work`` to its end, whoever goes away meanwhile; ``finished`` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.finishing.add(task)
        task.add_done_callback(self.finishing.discard)
        return task

    async def finished(self) -> None:
        """Returns when nothing that was begun is left to finish."""
        while self.finishing:
            await asyncio.wait(self.finishing)

    def stop(self) -> None:
        """Nothing new is taken from here on; parked calls return."""
        self.stopping.set()
        for call in list(self.parked):
            call.end_wait()

    async def durable(self) -> None:
        """Returns when everything seen and changed until now is on disk. Raises StorageUnavailable when it failed."""
        commit = self.store.durable()
        if commit is not None:
            await settled(commit)

    async def admit(self) -> None:
        """Waits while too many bytes are on their way to the disk. Raises ShuttingDown, StorageFull."""
        while self.store.overloaded:
            room = asyncio.get_running_loop().create_future()
            self.store.when_room(lambda room=room: room.done() or room.set_result(None))  # type: ignore[misc]
            await room
        if self.stopping.is_set():
            raise ShuttingDown("The broker is shutting down.")
        if self.store.full is not None:
            raise StorageFull(f"No new messages are taken until there is room: {self.store.full}")

    async def loaded(self, queue: Queue) -> None:
        """Returns when a send to the queue need not wait for the disk: after a start, a FIFO queue's deduplication ids
        are read in slices."""
        more = queue.load_more(self.now_ms())
        while more:
            await asyncio.sleep(0)  # the others' turn
            more = queue.load_more(self.now_ms())

    async def payloads(self, taken: Iterable[Taken]) -> dict[int, PackedBatch]:
        """The batches of what was taken, by batch id; one that is gone meanwhile is left out."""
        found: dict[int, PackedBatch] = {}
        missing: list[int] = []
        for part in taken:
            batch_id = part.entry.batch_id
            if batch_id in found:
                continue
            batch = self.batches.cached(batch_id)
            if batch is not None:
                found[batch_id] = batch
            elif batch_id not in missing:
                missing.append(batch_id)
        if missing:
            await self._read(missing, found)
        return found

    async def _read(self, batch_ids: list[int], found: dict[int, PackedBatch]) -> None:
        # On a thread: pages that are not in memory would block everyone on the disk.
        loop, keys = asyncio.get_running_loop(), [u64(batch_id) for batch_id in batch_ids]
        values = await loop.run_in_executor(self.reader, self.store.engine.get_many, Table.BATCHES, keys)
        for batch_id, packed in zip(batch_ids, values, strict=True):
            if packed is not None:
                found[batch_id] = self.batches.keep(batch_id, PackedBatch(packed))


async def settled(commit: Commit) -> None:
    """Waits for a commit. Raises StorageUnavailable when it failed."""
    if not commit.done:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(_commit: Commit) -> None:
            if not waiter.done():
                waiter.set_result(None)

        commit.add_done_callback(settle)
        await waiter
    if commit.error is not None:
        raise StorageUnavailable(commit.error.message)
