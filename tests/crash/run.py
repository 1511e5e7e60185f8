"""Crash rounds: ``python -m tests.crash.run --rounds 200``.

Each round: a broker on the same directory, producers and consumers, ``kill -9`` at a random moment, ``heddle check``.
There is a standard queue, one whose dead letters are redriven again and again, and a FIFO queue with dead letters. At
the end all are drained and every message accounted for. Exits with 1 when a promise was broken.
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

from . import consumers, producers
from .account import Account, family
from .life import QUEUES, RETRIED_DEAD, Life, Outbox, arn, creation
from .process import BrokerProcess

_CLIENTS: Final[tuple[Callable[[Life], Coroutine[Any, Any, None]], ...]] = (
    producers.unary_producer,
    producers.unary_producer,
    producers.stream_producer,
    producers.ordered_unary_producer,
    producers.ordered_stream_producer,
    consumers.unary_consumer,
    consumers.forgetful_consumer,
    consumers.forgetful_consumer,
    consumers.ordered_unary_consumer,
    consumers.stream_consumer,
    consumers.ordered_stream_consumer,
    consumers.ordered_stream_consumer,
    consumers.redriver,
)
_DRAIN_SECONDS_MAX: Final = 300.0


@dataclass(frozen=True, slots=True)
class Summary:
    rounds: int
    seconds: float
    sent: int
    acknowledged: int
    received: int
    removed: int
    duplicates: int
    dead_letters: int
    drained: int
    violations: list[str]

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.seconds:.1f} s: {self.sent} messages sent, {self.acknowledged} acknowledged, "
            f"{self.received} received, {self.removed} confirmed deleted, "
            f"{self.duplicates} duplicates, {self.dead_letters} receives of dead letters, "
            f"{self.drained} drained at the end; {len(self.violations)} violations"
        )


def crash(data_dir: Path, *, rounds: int, seed: int, load_seconds: float = 0.5, seconds_max: float = 1e9) -> Summary:
    """Kills the broker ``rounds`` times, or until ``seconds_max`` have passed. ``load_seconds``: the longest that it
    lives under load. The seed settles what the clients do and when the kill comes, not how the two meet."""
    random, account, names = Random(seed), Account(), count()
    outboxes: dict[str, Outbox] = {}

    def begin(stub: QueuesStub) -> Life:
        return Life(stub, account, random, names, frozenset(account.removed), outboxes)

    started = time.monotonic()
    done = 0
    log_file = data_dir / "broker.log"
    store_dir = data_dir / "data"
    while done < rounds and time.monotonic() - started < seconds_max and not account.violations:
        broker = BrokerProcess(store_dir, log_file)
        try:
            asyncio.run(_round(broker, begin, random.uniform(0.02, load_seconds)))
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
        account.duplicates,
        account.dead_letters,
        len(drained),
        account.violations,
    )


async def _round(broker: BrokerProcess, begin: Callable[[QueuesStub], Life], lives_seconds: float) -> None:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        life = begin(_stub(channel))
        account = life.account
        for queue in QUEUES:
            await life.stub.CreateQueue(creation(queue))
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
        for queue in QUEUES:
            await stub.CreateQueue(creation(queue))
        await _redriven(stub)
        stored = sum([sum(await _counts(stub, queue)) for queue in QUEUES])
        for queue in reversed(QUEUES):  # dead-letter queues last: they get more while the others are drained
            drained += await _drain_queue(stub, account, queue)
    if stored != len(drained):
        account.violations.append(f"the counts said {stored} messages, {len(drained)} were drained")
    return drained


async def _redriven(stub: QueuesStub) -> None:
    """Waits for the end of the move task that the last life left."""
    while True:
        listed = await stub.ListMessageMoveTasks(pb.ListMessageMoveTasksRequest(source_arn=arn(RETRIED_DEAD)))
        if not listed.results or listed.results[0].status not in {"RUNNING", "CANCELLING"}:
            return


async def _drain_queue(stub: QueuesStub, account: Account, queue: str) -> list[str]:
    drained: list[str] = []
    while True:
        request = pb.ReceiveMessageRequest(queue_url=queue, max_number_of_messages=10, wait_time_seconds=1)
        request.visibility_timeout = 600
        messages = (await stub.ReceiveMessage(request)).messages
        if not messages:
            if not sum(await _counts(stub, queue)):
                return drained
            continue
        deletes = pb.DeleteMessageBatchRequest(queue_url=queue)
        for index, message in enumerate(messages):
            body = message.body.decode()
            account.handed_out(body, message.message_id, dead_letter=queue != family(body))
            drained.append(body)
            deletes.entries.add(id=str(index), receipt_handle=message.receipt_handle)
        response = await stub.DeleteMessageBatch(deletes)
        account.violations.extend(
            f"a message just received was not deleted: {line.message}" for line in response.failed
        )


async def _counts(stub: QueuesStub, queue: str) -> list[int]:
    request = pb.GetQueueAttributesRequest(queue_url=queue, attribute_names=["All"])
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
