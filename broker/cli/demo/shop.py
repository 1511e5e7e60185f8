"""The demo at work: senders, workers and one crash, all clients of a running broker, each telling the ledger.

Never: looking at the broker's own counts to decide what was sent or processed. Those are only shown, and compared in
the end.
"""

import asyncio
import itertools
import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Final

import heddle.aio

from broker.cli.demo.account import Account, Ledger
from broker.cli.demo.orders import (
    CRASHING,
    ORDERS,
    QUEUES,
    RETRY_DELAY_SECONDS,
    WORKERS,
    Feed,
    Temper,
    feeds_for,
    make_order,
    order_number,
)

SENDING_SHARE: Final = 0.75  # of the run; the rest is for working off what is left
CRASH_SHARE: Final = 0.35
CRASH_HOLDS: Final = 25
CRASH_SECONDS_MAX: Final = 10
DRAIN_SECONDS_MAX: Final = 60
LOOK_SECONDS: Final = 0.25
PREFETCH: Final = 20
EVENTS_SHOWN: Final = 6
STATES: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


@dataclass(slots=True)
class Worker:
    """A worker as the view shows it."""

    temper: Temper
    state: str = "waiting"
    processed: int = 0
    retried: int = 0


@dataclass(slots=True)
class Depth:
    """A queue as the broker counts it."""

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    visible_most: int = 0

    @property
    def total(self) -> int:
        return self.visible + self.in_flight + self.delayed


@dataclass(slots=True)
class Shop:
    """One run of the demo. Everything that the view shows can be read here at any time."""

    server: str
    seconds: float
    chance: Random
    feeds: tuple[Feed, ...] = ()
    workers: list[Worker] = field(default_factory=lambda: [Worker(temper) for temper in WORKERS])
    crashing: Worker = field(default_factory=lambda: Worker(CRASHING, state="not here yet"))
    sent: dict[str, int] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=lambda: {name: Ledger(name) for name in QUEUES})
    depths: dict[str, Depth] = field(default_factory=lambda: {name: Depth() for name in QUEUES})
    events: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=EVENTS_SHOWN))
    events_total: int = 0
    began: float = 0.0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.feeds = feeds_for(self.seconds)
        self.sent = {feed.name: 0 for feed in self.feeds}

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return asyncio.get_running_loop().time() - self.began

    def tell(self, event: str) -> None:
        """Notes what people should see happen."""
        self.events.append((self.elapsed, event))
        self.events_total += 1

    async def run(self) -> list[Account]:
        """Plays the workload to its end and closes the account of each queue."""
        self.began = asyncio.get_running_loop().time()
        async with heddle.aio.Client(self.server) as client, AsyncExitStack() as consumers:
            queues = {name: await client.create_queue(name) for name in QUEUES}
            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(self._look(queues))
                hired = []
                for worker in self.workers:
                    consumer = await consumers.enter_async_context(
                        queues[worker.temper.queue].consumer(prefetch=PREFETCH)
                    )
                    hired.append(consumer)
                    tasks.create_task(self._work(worker, consumer))
                async with asyncio.TaskGroup() as sending:
                    for feed in self.feeds:
                        sending.create_task(self._send(feed, queues[feed.queue]))
                    sending.create_task(self._crash())
                self.tell("the senders are done; the workers finish what is left")
                await self._wait_until_drained()
                for consumer in hired:
                    await consumer.close()
                looking.cancel()
            await self._count(queues)
        return [self.ledgers[name].close(self.depths[name].total) for name in QUEUES]

    async def _send(self, feed: Feed, queue: heddle.aio.Queue) -> None:
        ledger = self.ledgers[feed.queue]
        await asyncio.sleep(feed.begin_seconds)
        async with queue.producer() as producer:
            while self.elapsed < self.seconds * SENDING_SHARE:
                numbers = list(itertools.islice(self.numbers, feed.burst))
                for number in numbers:
                    await producer.send(make_order(number, feed, self.chance))
                await producer.flush()  # returns when all are acknowledged, raises when one is not
                for number in numbers:
                    ledger.record_sent(number)
                self.sent[feed.name] += len(numbers)
                if feed.pause_seconds >= self.seconds:
                    self.tell(f"{feed.name}: {len(numbers):,} messages at once")
                    return
                await asyncio.sleep(feed.pause_seconds * self.chance.uniform(0.5, 1.5))

    async def _work(self, worker: Worker, consumer: heddle.aio.Consumer) -> None:
        loop = asyncio.get_running_loop()
        ledger = self.ledgers[worker.temper.queue]
        free_at = loop.time()
        async for message in consumer:
            worker.state = "working"
            free_at = max(free_at + 1 / worker.temper.messages_per_second, loop.time())
            await asyncio.sleep(free_at - loop.time())  # the work itself
            number = order_number(message.body)
            if self.chance.random() < worker.temper.failures:
                message.nack(delay_seconds=RETRY_DELAY_SECONDS)
                ledger.record_retried(number)
                worker.retried += 1
            else:
                message.ack()
                ledger.record_processed(number)
                worker.processed += 1
        worker.state = "gone home"

    async def _crash(self) -> None:
        """Hires a worker that takes orders and dies (kill -9) before it has done any."""
        await asyncio.sleep(self.seconds * CRASH_SHARE)
        arguments = (self.server, ORDERS, str(CRASH_HOLDS))
        process = await create_subprocess_exec(
            sys.executable, "-m", "broker.cli.demo.crashing_worker", *arguments, stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        held: list[int] = []
        try:
            async with asyncio.timeout(CRASH_SECONDS_MAX):
                while len(held) < CRASH_HOLDS and (line := await process.stdout.readline()):
                    held.append(int(line))
                    self.crashing.state = f"holds {len(held)}"
        except TimeoutError:
            self.tell(f"{self.crashing.temper.name} found only {len(held)} orders to take")
        finally:
            process.kill()
            rest, _ = await process.communicate()
        held += [int(line) for line in rest.split()]
        for number in held:
            self.ledgers[ORDERS].record_returned(number)
        self.crashing.state = f"killed, held {len(held)}"
        self.tell(
            f"{self.crashing.temper.name} crashed (kill -9) while holding {len(held)} orders; others will get them"
        )

    async def _wait_until_drained(self) -> None:
        deadline = self.seconds + DRAIN_SECONDS_MAX
        while any(ledger.outstanding for ledger in self.ledgers.values()):
            if self.elapsed > deadline:
                self.tell(f"not everything was processed within {DRAIN_SECONDS_MAX} s after the end")
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, queues: dict[str, heddle.aio.Queue]) -> None:
        while True:
            await self._count(queues)
            await asyncio.sleep(LOOK_SECONDS)

    async def _count(self, queues: dict[str, heddle.aio.Queue]) -> None:
        for name, queue in queues.items():
            attributes = await queue.attributes()
            depth = self.depths[name]
            depth.visible, depth.in_flight, depth.delayed = (int(attributes[state]) for state in STATES)
            depth.visible_most = max(depth.visible_most, depth.visible)
