"""The simulated world: one engine that outlives crashes, the broker on it, its clients, and what strikes them.

Safety is checked after every recovery; then everything is healed and progress is checked: what the account says must
be there is received, and nothing else. Never: chance that does not come from the seed.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from heddle.v1 import queues_pb2 as pb

from broker.api.grpc.queues_service import QueuesService
from broker.errors import BrokerError
from broker.store import Table
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

from .disk import DiskFaults
from .entries import DEDUPLICATION_WINDOW_MS, QueueAccount, Violation
from .invariants import problems, records
from .ledger import Ledger
from .loop import VirtualLoop
from .node import NodeFaults, SimulatedNode
from .scene import Scene, scene_of
from .wire import CutOff, Refused, UnaryContext

Handler = Callable[[Any, Any], Awaitable[Any]]

START_MS: Final = 1_700_000_000_000
HIDDEN_SECONDS_MAX: Final = 20
"""No delay and no visibility timeout of the simulation is longer."""
SEQUENCE_NUMBER_BASE: Final = 10**19
_RESTARTS_MAX: Final = 30
_STEPS_OF_A_MOMENT_MAX: Final = 50_000


@dataclass(frozen=True, slots=True)
class Faults:
    """What may happen in one run. ``crash_steps``: mean number of loop steps between two crashes; 0: none."""

    crash_steps: int = 0
    clock_jumps: bool = False
    cancelled_calls: float = 0.0
    in_flight_max: int = 120_000
    node: NodeFaults = field(default_factory=NodeFaults)

    @classmethod
    def drawn(cls, random: Random) -> "Faults":
        """Each fault is switched off in some runs: what one hides another may show."""

        def sometimes(chance: float) -> bool:
            return random.random() < chance

        disk = DiskFaults(
            slow=random.choice((0.02, 0.2)) if sometimes(0.5) else 0.0,
            full=random.choice((0.02, 0.1)) if sometimes(0.5) else 0.0,
            fatal=0.02 if sometimes(0.3) else 0.0,
        )
        node = NodeFaults(
            disk=disk,
            cache_bytes=600 if sometimes(0.5) else 1 << 20,
            bytes_in_flight_max=400 if sometimes(0.3) else 1 << 20,
            slow_reads=0.1 if sometimes(0.3) else 0.0,
        )
        return cls(
            crash_steps=random.choice((150, 400, 1000)) if sometimes(0.7) else 0,
            clock_jumps=sometimes(0.4),
            cancelled_calls=0.05 if sometimes(0.5) else 0.0,
            in_flight_max=random.choice((4, 12)) if sometimes(0.3) else 120_000,
            node=node,
        )


_SECONDS_TO_REST_MAX: Final = 100.0


class World:
    """Made for one run. ``trace``: what happened, in order; equal seeds give equal traces."""

    def __init__(self, seed: int, loop: VirtualLoop, faults: Faults | None = None, scene: Scene | None = None) -> None:
        self.random = Random(seed)
        self.loop = loop
        self.scene = scene or scene_of(seed)
        self.faults = faults or Faults.drawn(self.random)
        self.ledger = Ledger()
        self.trace: list[tuple[int, str]] = []
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.crashes = 0
        self.closing = False
        self.node: SimulatedNode | None = None
        self.up = asyncio.Event()
        self.queues = _accounts(self.scene)
        self._clock_offset_ms = START_MS
        self._steps_to_crash = 0
        self._background: set[asyncio.Task[Any]] = set()
        self._left_to_drain: dict[str, str] = {}
        self.engine = MemoryEngine()
        initialise(self.engine, new_store_id=self.random.randbytes(16))
        loop.set_exception_handler(self._on_loop_exception)
        loop.on_step = self._on_step
        self._start()

    # --- time, notes, failures

    def now_ms(self) -> int:
        return self._clock_offset_ms + int(self.loop.now_s * 1000)

    def note(self, what: str) -> None:
        self.trace.append((self.now_ms() - START_MS, what))

    def fail(self, error: BaseException) -> None:
        """The first failure ends the run."""
        if self.failure is None:
            self.failure = error
            self.note(f"failure: {error!r}")
            self.failed.set()

    def _on_loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BrokerError | Refused | CutOff | asyncio.CancelledError):
            return  # the end of a stream that nobody waits for any more
        if self.node is not None:
            self.fail(error or Violation(context["message"]))

    # --- calls

    async def call(self, handler: str, request: Any, context: Any = None) -> Any:
        """One call to the front desk. Raises Refused, CutOff."""
        node = self.node
        if node is None:
            raise CutOff
        task: asyncio.Task[Any] = self.loop.create_task(
            _called(_method(node.service, handler), request, context or UnaryContext())
        )
        node.spawn(task)
        if not self.closing and self.random.random() < self.faults.cancelled_calls:
            self.loop.call_later(self.random.expovariate(1 / 0.005), task.cancel)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if node.crashed or task.cancelled():
            if not task.cancelled():
                task.exception()
            raise CutOff
        return task.result()

    def spawn(self, client: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A client, or anything else that outlives crashes. Its failure is the run's."""

        async def watched() -> None:
            try:
                await client
            except Exception as error:
                self.fail(error)

        task = self.loop.create_task(watched())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    def queue_to_send_to(self) -> QueueAccount:
        return self.queues[self.random.choice(self.scene.senders_queues)]

    def queue_to_receive_from(self) -> QueueAccount:
        accounts = list(self.queues.values())
        leading_on = [account for account in accounts if account.plan.dead_letters]
        return self.random.choice(leading_on if leading_on and self.random.random() < 0.5 else accounts)

    # --- faults

    def _on_step(self) -> None:
        if self.loop.steps_of_this_moment > _STEPS_OF_A_MOMENT_MAX and self.failure is None:
            self.fail(Violation("livelock: time does not pass any more"))
        if self._steps_to_crash:
            self._steps_to_crash -= 1
            if not self._steps_to_crash:
                self.loop.call_soon(self._crash)

    def _plan_crash(self) -> None:
        mean = self.faults.crash_steps
        if mean and not self.closing and self.crashes < _RESTARTS_MAX:
            self._steps_to_crash = 1 + int(self.random.expovariate(1 / mean))

    def _crash(self) -> None:
        node, self.node = self.node, None
        if node is None:
            return
        self.note("crash")
        self.crashes += 1
        self.up.clear()
        node.crash()
        self.loop.call_later(self.random.choice((0.0, 0.01, 1.0)), self._start)

    def _on_fatal(self) -> None:
        """A broker that cannot trust its disk ends: soon, not at once."""
        self.note("fatal")
        self.loop.call_later(self.random.expovariate(1 / 0.002), self._crash)

    def _start(self) -> None:
        """Opens the engine again, after checking what the crash left of it."""
        try:
            found = problems(self.engine)
            if found:
                raise Violation("; ".join(found))
            self.node = SimulatedNode(
                self.engine,
                loop=self.loop,
                random=self.random,
                faults=NodeFaults() if self.closing else self.faults.node,
                now_ms=self.now_ms,
                on_fatal=self._on_fatal,
                on_failure=self.fail,
            )
            self.note("start")
            self.audit()
            self._plan_crash()
        except Exception as error:
            self.fail(error)
        self.up.set()

    def jump_clock(self) -> None:
        if self.faults.clock_jumps and not self.closing:
            self._clock_offset_ms += self.random.choice((1_000, 5_000, 30_000, 400_000))
            self.note("clock jump")

    # --- checks

    def audit(self) -> dict[str, dict[str, str]]:
        """Compares the account with what the broker, just opened or at rest, holds. Returns message ids by body, by
        queue."""
        node = self.node
        assert node is not None
        found: dict[str, dict[str, str]] = {}
        for name, account in self.queues.items():
            stored = node.stored(name)
            if account.exists is not None and account.exists != (stored is not None):
                raise Violation(f"queue {name}: exists {stored is not None}, clients were told {account.exists}")
            account.exists = stored is not None
            if stored is not None:
                found[name] = stored
        self.ledger.account(found, self.queues, self.now_ms())
        if self.scene.lasting_dead_letters:  # else records of tasks may be gone with their source
            told = [node.moved(name) for name in self.scene.dead_letter_queues]
            moved = sum(count or 0 for count in told)
            if None not in told and moved < self.ledger.redriven:
                raise Violation(f"move tasks say that they moved {moved} messages, {self.ledger.redriven} were moved")
        return found

    async def settle(self) -> None:
        """Everyone healthy, nothing under way."""
        self.closing = True
        self._steps_to_crash = 0
        await self.up.wait()
        assert self.node is not None
        self.node.heal()
        if self.node.store.fatal is not None:  # it is on its way down
            self.up.clear()
            await self.up.wait()
        try:
            async with asyncio.timeout(_SECONDS_TO_REST_MAX):
                while not await self._at_rest():
                    pass
        except TimeoutError:
            raise Violation("a commit is never settled, or a move task never ends") from None

    async def _at_rest(self) -> bool:
        """Waits for the commit under way, or for the end of the node that it was under way on: a crash that struck just
        before the world was closed ends one that waits for a commit, and such a commit is never settled."""
        await self.up.wait()
        node = self.node
        assert node is not None
        commit = node.store.last_commit()
        if commit is None:
            if not node.moving():
                return True
            await asyncio.sleep(0.05)
            return False
        over = asyncio.Event()
        commit.add_done_callback(lambda _commit: over.set())
        node.on_end(over.set)
        await over.wait()
        return False

    async def drain(self) -> None:
        """Receives and deletes everything there is, and compares it with the account."""
        await self.settle()
        self.note("drain")
        self.ledger.settle_suspicions()
        stored = self.audit()
        self._clock_offset_ms += HIDDEN_SECONDS_MAX * 1000 + 1
        self._left_to_drain = {body: name for name, bodies in stored.items() for body in bodies}
        for name in sorted(stored, key=self.scene.dead_letter_queues.__contains__):  # what they get meanwhile included
            await self._drain_queue(self.queues[name])
        for body, name in self._left_to_drain.items():
            if self.ledger.entries[body].must_exist(self.now_ms()):
                raise Violation(f"{body} is stored in {name} and never received")
        for name in stored:
            await self._check_empty(self.queues[name])
        self._clock_offset_ms += 5 * DEDUPLICATION_WINDOW_MS
        await self.settle()
        await asyncio.sleep(70)  # the timers and the sweeper's last slices
        await self.settle()
        found = problems(self.engine)
        for table in (Table.BATCHES, Table.BATCH_REFS, Table.ENTRIES, Table.RUNS, Table.GARBAGE, Table.DEDUP):
            if left := len(records(self.engine, table)):
                found.append(f"{left} records are left in {table.name}, although nothing is stored")
        if found:
            raise Violation("; ".join(found))

    async def _drain_queue(self, account: QueueAccount) -> None:
        empty = 0
        while empty < 2:  # a receive that only moved dead letters returns nothing
            called_ms = self.now_ms()
            request = pb.ReceiveMessageRequest(
                queue_url=account.name, max_number_of_messages=10, visibility_timeout=3600
            )
            messages = (await self.call("ReceiveMessage", request)).messages
            empty = 0 if messages else empty + 1
            if not messages:
                continue
            deletes = pb.DeleteMessageBatchRequest(queue_url=account.name)
            for index, message in enumerate(messages):
                body = message.body.decode()
                place = self._left_to_drain.pop(body, "nowhere")
                if place not in {account.name, account.source.name if account.source else ""}:
                    raise Violation(f"{body} was drained from {account.name}, but it was stored in {place}")
                deletes.entries.add(id=str(index), receipt_handle=message.receipt_handle)
                self.ledger.seen(body, message.message_id, account, called_ms, self.now_ms())
            response = await self.call("DeleteMessageBatch", deletes)
            if response.failed:
                raise Violation(f"what was just received from {account.name} could not be deleted: {response.failed}")

    async def _check_empty(self, account: QueueAccount) -> None:
        question = pb.GetQueueAttributesRequest(queue_url=account.name, attribute_names=["All"])
        attributes = (await self.call("GetQueueAttributes", question)).attributes
        counts = {key: value for key, value in attributes.items() if key.startswith("ApproximateNumber")}
        if set(counts.values()) != {"0"}:
            raise Violation(f"{account.name} is drained, its counts say {counts}")


def _accounts(scene: Scene) -> dict[str, QueueAccount]:
    accounts = {plan.name: QueueAccount(plan) for plan in scene.queues}
    for account in accounts.values():
        account.others = [other for other in accounts.values() if other is not account]
        if account.plan.dead_letters:
            accounts[account.plan.dead_letters].source = account
            account.leaks, account.always_redrives = True, scene.lasting_dead_letters
    return accounts


async def pause(world: World, mean_s: float) -> None:
    await asyncio.sleep(world.random.expovariate(1 / mean_s))


def _method(service: QueuesService, name: str) -> Handler:
    call = getattr(service.calls, name, None)
    return getattr(service, name) if call is None else functools.partial(service.answer, call)


async def _called(handler: Handler, request: Any, context: Any) -> Any:
    return await handler(request, context)
