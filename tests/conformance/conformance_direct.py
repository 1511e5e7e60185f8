"""The broker without its wire: the servicer's methods in this process, on the store in memory, in virtual time.

A pause here takes no time, and days pass in milliseconds: rows that wait for the end of a deduplication window or of
a retention period run through this face. Store, plane, front desk and servicer are the real ones. The engine room is
rebuilt of asyncio tasks, since trio's guest mode waits in a real thread. Never: a socket, a thread, or the real clock.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor
from typing import Any, Final, NoReturn, cast

import grpc
from conformance_faces import (
    CALL_SECONDS_MAX,
    AwsError,
    Call,
    Metadata,
    Outcome,
    aws_error,
    members_of,
    metadata_of,
    output_of,
    request_of,
)
from google.protobuf.message import Message
from heddle.v1 import queues_pb2 as pb

from broker.api.desk import Desk
from broker.api.grpc.queues_service import QueuesService
from broker.log import Batches, Sweeper
from broker.queues import Queues, Scope
from broker.store import InlineCommitter, Store
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise
from tests.simulation.loop import SlowReader, VirtualLoop

START_S: Final = 1_700_000_000
"""When a broker starts, in seconds since 1970."""

IDLE_SECONDS_MAX: Final = 3600.0


class DirectFace:
    """A broker of its own, empty at the start, with AWS's own intervals."""

    name = "direct"
    virtual_time = True
    queue_does_not_exist = "The specified queue does not exist."

    def __init__(self) -> None:
        self._loop = VirtualLoop()
        engine = MemoryEngine()
        initialise(engine, new_store_id=bytes(16))
        self._store = Store(engine, call_soon=self._loop.call_soon)
        batches = Batches(self._store, cache_bytes=1 << 24)
        self._sweeper = Sweeper(self._store, batches)
        self._queues = Queues(self._store, batches, self._sweeper, deleted_recently_ms=60_000, purge_interval_ms=60_000)
        self._store.start(InlineCommitter(engine, self._store.committed, call_soon=self._loop.call_soon))
        self._service = QueuesService(
            Desk(
                store=self._store,
                batches=batches,
                queues=self._queues,
                now_ms=self._now_ms,
                default_scope=Scope("000000000000", "us-east-1"),
                reader=cast("Executor", SlowReader(lambda: 0.0001)),
                queue_url=lambda scope, name: f"http://direct/{scope.account}/{name}",
            )
        )
        self._woken = asyncio.Event()
        self._queues.on_due = lambda _due_ms: self._woken.set()
        self._queues.move_tasks.on_due = self._woken.set
        self._sweeper.on_garbage = self._woken.set
        self._engine_room = self._loop.create_task(self._work())

    def close(self) -> None:
        """Nothing may be left over: neither a failure of the engine room nor a task."""
        if self._engine_room.done():
            self._engine_room.result()
        self._engine_room.cancel()
        self._loop.run_to_the_end(asyncio.sleep(0))

    def start(self, operation: str, members: Mapping[str, Any], account: str = "") -> Call:
        call = getattr(self._service.calls, operation)
        answer = self._service.answer(call, request_of(operation, members), _Context(metadata_of(account)))
        return _DirectCall(self._loop, getattr(pb, f"{operation}Response"), answer, self._woken)

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        return output_of(self.start(operation, members))

    def pause(self, seconds: float) -> None:
        if seconds:
            self._loop.run_until_complete(asyncio.sleep(seconds))

    def now_s(self) -> float:
        return START_S + self._loop.time()

    def _now_ms(self) -> int:
        return round(self.now_s() * 1000)

    async def _work(self) -> None:
        """Timers, message move tasks, tombstones and garbage, when they are due and after every call."""
        while True:
            self._woken.clear()
            now_ms = self._now_ms()
            while self._queues.advance(now_ms):
                pass
            tasks = self._queues.move_tasks
            if tasks.next_due_ms() <= now_ms:
                tasks.advance(now_ms)
            self._queues.forget_tombstones(now_ms)
            while self._sweeper.sweep():
                pass
            wait_s = (min(self._queues.next_due_ms(), tasks.next_due_ms()) - now_ms) / 1000
            if wait_s <= 0:
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(min(wait_s, IDLE_SECONDS_MAX)):
                    await self._woken.wait()
            except TimeoutError:
                pass


class _DirectCall:
    def __init__(
        self,
        loop: VirtualLoop,
        answer_type: type[Message],
        answer: Coroutine[Any, Any, Message | bytes],
        woken: asyncio.Event,
    ) -> None:
        self._loop, self._answer_type, self._woken = loop, answer_type, woken
        self._started_s = loop.time()
        self._task: asyncio.Task[tuple[float, Outcome]] = loop.create_task(self._run(answer))

    async def _run(self, answer: Coroutine[Any, Any, Message | bytes]) -> tuple[float, Outcome]:
        outcome: Outcome
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                response = await answer
            # Through bytes and back: what cannot be written to a wire is no answer.
            packed = response if isinstance(response, bytes) else response.SerializeToString()
            outcome = members_of(self._answer_type.FromString(packed))
        except AwsError as refusal:
            outcome = refusal
        self._woken.set()
        return round(self._loop.time() - self._started_s, 6), outcome  # sums of pauses, to the microsecond

    def done(self) -> bool:
        return self._task.done()

    def ended(self) -> tuple[float, Outcome]:
        return self._loop.run_until_complete(self._task)


class _Context:
    """What a servicer's method asks of its call."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Metadata:
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: object) -> NoReturn:
        raise aws_error(code, details, trailing_metadata)
