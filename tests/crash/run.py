"""Crash rounds: ``python -m tests.crash.run --rounds 200``.

Each round: a broker on the same directory, producers and consumers, ``kill -9`` at a random moment, ``heddle check``.
At the end the queue is drained and every message accounted for. Exits with 1 when a promise was broken.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1.queues_pb2_grpc import QueuesStub

from broker.check import check

from . import clients
from .account import Account
from .clients import QUEUE, Life
from .process import BrokerProcess

_CLIENTS: Final[tuple[Callable[[Life], Coroutine[Any, Any, None]], ...]] = (
    clients.unary_producer,
    clients.unary_producer,
    clients.stream_producer,
    clients.unary_consumer,
    clients.unary_consumer,
    clients.stream_consumer,
    clients.stream_consumer,
)
_DRAIN_SECONDS_MAX: Final = 120.0


@dataclass(frozen=True, slots=True)
class Summary:
    rounds: int
    seconds: float
    sent: int
    acknowledged: int
    received: int
    removed: int
    drained: int
    violations: list[str]

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.seconds:.1f} s: {self.sent} messages sent, {self.acknowledged} acknowledged, "
            f"{self.received} received, {self.removed} confirmed deleted, {self.drained} drained at the end; "
            f"{len(self.violations)} violations"
        )


def crash(data_dir: Path, *, rounds: int, seed: int, load_seconds: float = 0.5, seconds_max: float = 1e9) -> Summary:
    """Kills the broker ``rounds`` times, or until ``seconds_max`` have passed. ``load_seconds``: the longest that it
    lives under load. The seed settles what the clients do and when the kill comes, not how the two meet."""
    random, account, names = Random(seed), Account(), count()
    started = time.monotonic()
    done = 0
    log_file = data_dir / "broker.log"
    store_dir = data_dir / "data"
    while done < rounds and time.monotonic() - started < seconds_max and not account.violations:
        broker = BrokerProcess(store_dir, log_file)
        try:
            asyncio.run(_round(broker, account, random, names, random.uniform(0.02, load_seconds)))
        finally:
            broker.kill()
        account.violations.extend(check(store_dir, lambda _done, _of: None).problems)
        done += 1
    broker = BrokerProcess(store_dir, log_file)
    try:
        drained = asyncio.run(_drain(broker, account))
        if code := broker.stop():
            account.violations.append(f"after the last drain the broker ended with {code}")
    finally:
        broker.kill()
    account.settle(drained)
    report = check(store_dir, lambda _done, _of: None)
    account.violations.extend(report.problems)
    return Summary(
        done,
        time.monotonic() - started,
        len(account.attempted),
        len(account.acknowledged),
        account.received,
        len(account.removed),
        len(drained),
        account.violations,
    )


async def _round(
    broker: BrokerProcess, account: Account, random: Random, names: "count[int]", lives_seconds: float
) -> None:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        life = Life(_stub(channel), account, random, names, frozenset(account.removed))
        await life.stub.CreateQueue(pb.CreateQueueRequest(queue_name=QUEUE))
        tasks = [asyncio.ensure_future(_until_cut_off(client(life), account, broker)) for client in _CLIENTS]
        await asyncio.sleep(lives_seconds)
        if broker.ended:
            account.violations.append("the broker ended by itself")
        # Clients run on while it dies: what reaches them until then counts.
        await asyncio.to_thread(broker.kill)
        await asyncio.wait(tasks, timeout=30)
        for task in tasks:
            if not task.done():
                account.violations.append("a client did not notice that the broker is gone")
                task.cancel()


def _stub(channel: grpc.aio.Channel) -> QueuesStub:
    return QueuesStub(channel)  # type: ignore[no-untyped-call]


async def _until_cut_off(client: Coroutine[Any, Any, None], account: Account, broker: BrokerProcess) -> None:
    try:
        await client
    except grpc.aio.AioRpcError as error:
        if not broker.killed:
            account.violations.append(f"a call failed: {error.code()} {error.details()}")


async def _drain(broker: BrokerProcess, account: Account) -> list[str]:
    """Receives and deletes everything, visibility timeouts awaited; compares the counts before and after."""
    drained: list[str] = []
    async with grpc.aio.insecure_channel(broker.target) as channel, asyncio.timeout(_DRAIN_SECONDS_MAX):
        stub = _stub(channel)
        await stub.CreateQueue(pb.CreateQueueRequest(queue_name=QUEUE))
        stored = sum(await _counts(stub))
        while sum(await _counts(stub)):
            request = pb.ReceiveMessageRequest(queue_url=QUEUE, max_number_of_messages=10, wait_time_seconds=2)
            request.visibility_timeout = 600
            messages = (await stub.ReceiveMessage(request)).messages
            if not messages:
                continue
            deletes = pb.DeleteMessageBatchRequest(queue_url=QUEUE)
            for index, message in enumerate(messages):
                account.handed_out(message.body.decode(), message.message_id)
                drained.append(message.body.decode())
                deletes.entries.add(id=str(index), receipt_handle=message.receipt_handle)
            await stub.DeleteMessageBatch(deletes)
    if stored != len(drained):
        account.violations.append(f"the counts said {stored} messages, {len(drained)} were drained")
    return drained


async def _counts(stub: QueuesStub) -> list[int]:
    request = pb.GetQueueAttributesRequest(queue_url=QUEUE, attribute_names=["All"])
    attributes = (await stub.GetQueueAttributes(request)).attributes
    return [int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds-max", type=float, default=1800.0, help="end earlier, after this many seconds")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with TemporaryDirectory(prefix="heddle-crash-") as directory:
        summary = crash(Path(directory), rounds=options.rounds, seed=options.seed, seconds_max=options.seconds_max)
    for violation in summary.violations[:20]:
        print(violation, file=sys.stderr)
    print(summary)
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
