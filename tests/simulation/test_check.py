"""``heddle check`` says what is wrong with the records of FIFO queues, dead letters and move tasks."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from heddle.v1 import queues_pb2 as pb

from broker.log import Entry
from broker.store import Table, WriteBatch
from broker.store.engine import Engine
from broker.store.keys import pair, resource, triple, u64
from broker.store.memory import MemoryEngine

from .invariants import problems, records
from .loop import VirtualLoop
from .scene import FIFO_REDRIVE, QueuePlan, Scene
from .world import Faults, World

DEAD, SOURCE = 1, 2
"""The log ids of the two queues."""
SCENE = Scene(FIFO_REDRIVE, (QueuePlan("dead.fifo"), QueuePlan("a.fifo", "dead.fifo", 1)))
Corruption = Callable[[Engine, WriteBatch], None]


@pytest.fixture
def engine() -> MemoryEngine:
    """Two messages of ``a.fifo`` are dead letters, one was redriven from there; three were sent and never received."""
    loop = VirtualLoop()

    async def main() -> MemoryEngine:
        world = World(0, loop, Faults(), SCENE)
        for plan in SCENE.queues:
            await world.call("CreateQueue", pb.CreateQueueRequest(queue_name=plan.name, attributes=plan.attributes()))
        await send(world, "g", 3)
        for _ in range(2):  # received once, then moved
            await receive(world, "a.fifo", 0)
        world.ledger.redriving = True
        await world.call("StartMessageMoveTask", pb.StartMessageMoveTaskRequest(source_arn=SCENE.queues[0].arn))
        await world.settle()
        await receive(world, "a.fifo", 0, count=2)
        await receive(world, "a.fifo", 0)
        for group in ("h", "i", "j"):
            await send(world, group, 1)
        await world.settle()
        assert world.failure is None, world.failure
        return world.engine

    return loop.run_to_the_end(main())


async def send(world: World, group: str, count: int) -> None:
    for number in range(count):
        request = pb.SendMessageRequest(queue_url="a.fifo", message_body=f"{group}{number}".encode())
        request.message_group_id, request.message_deduplication_id = group, f"{group}{number}"
        await world.call("SendMessage", request)


async def receive(world: World, queue: str, visibility_timeout: int, count: int = 10) -> None:
    request = pb.ReceiveMessageRequest(queue_url=queue, max_number_of_messages=count)
    request.visibility_timeout = visibility_timeout
    await world.call("ReceiveMessage", request)


def history_row_missing(engine: Engine, batch: WriteBatch) -> None:
    batch.delete(Table.DEDUP, records(engine, Table.DEDUP)[-1][0])


def history_of_another_message(engine: Engine, batch: WriteBatch) -> None:
    key, record = records(engine, Table.DEDUP)[-1]
    spans, names = msgpack.unpackb(record)
    spans[0][2] += 1
    batch.put(Table.DEDUP, key, msgpack.packb((spans, names)))


def history_of_more_than_was_sent(engine: Engine, batch: WriteBatch) -> None:
    _, record = records(engine, Table.DEDUP)[-1]
    batch.put(Table.DEDUP, pair(SOURCE, 1000), record)


def history_out_of_order(engine: Engine, batch: WriteBatch) -> None:
    names = msgpack.packb((["x", "y"], ["g", "g"]))
    batch.put(Table.DEDUP, pair(DEAD, 1), msgpack.packb(([[0, 2, 1, 0], [1, 1, 1, 1]], names)))


def dead_letter_in_the_source_too(engine: Engine, batch: WriteBatch) -> None:
    key, record = next((key, record) for key, record in records(engine, Table.ENTRIES) if key[:8] == u64(DEAD))
    moved = Entry.decode(key, record)
    counters = msgpack.unpackb(engine.get(Table.COUNTERS, u64(SOURCE)) or b"")
    sequence = counters[0]
    copy = Entry(sequence, 1, moved.batch_id, moved.first_index, 1, "s", 1, identity_id=moved.identity_id)
    batch.put(Table.ENTRIES, pair(SOURCE, sequence), copy.encode())
    batch.put(Table.RUNS, pair(SOURCE, sequence), msgpack.packb((sequence + 1, 0, 0, 9, 9, 9, 9)))
    batch.put(Table.COUNTERS, u64(SOURCE), msgpack.packb((sequence + 1, counters[1] + 1, *counters[2:])))


def dead_letter_from_nowhere(engine: Engine, batch: WriteBatch) -> None:
    key, record = next((key, record) for key, record in records(engine, Table.ENTRIES) if key[:8] == u64(DEAD))
    entry = Entry.decode(key, record)
    entry.origin_arn = ""
    batch.put(Table.ENTRIES, key, entry.encode())


def reference_too_many(engine: Engine, batch: WriteBatch) -> None:
    batch_id = Entry.decode(*records(engine, Table.ENTRIES)[0]).batch_id
    batch.put(Table.BATCH_REFS, u64(batch_id), msgpack.packb(7))


def task(engine: Engine, number: int, **changes: Any) -> tuple[bytes, bytes]:
    key, record = next((key, record) for key, record in records(engine, Table.RESOURCES) if b"move_task" in key)
    fields = {**msgpack.unpackb(record), **changes}
    return key[:-12] + f"{number:012}".encode(), msgpack.packb(fields)


def task_moved_too_many(engine: Engine, batch: WriteBatch) -> None:
    batch.put(Table.RESOURCES, *task(engine, 1, moved=100))


def task_before_the_newest_runs(engine: Engine, batch: WriteBatch) -> None:
    batch.put(Table.RESOURCES, *task(engine, 1, status="RUNNING"))
    batch.put(Table.RESOURCES, *task(engine, 2))


def task_without_a_queue(engine: Engine, batch: WriteBatch) -> None:
    key = resource("queue.move_task", "000000000000", "us-east-1", f"nobody/{1:012}")
    batch.put(Table.RESOURCES, key, task(engine, 1)[1])


def age_missing(engine: Engine, batch: WriteBatch) -> None:
    batch.delete(Table.AGES, records(engine, Table.AGES)[0][0])


def age_of_nothing(engine: Engine, batch: WriteBatch) -> None:
    batch.put(Table.AGES, triple(DEAD, 1, 99), b"")


@pytest.mark.parametrize(
    ("corrupt", "complaint"),
    [
        (history_row_missing, "the deduplication id of message"),
        (history_of_another_message, "the deduplication id of message"),
        (history_of_more_than_was_sent, "of messages beyond the end"),
        (history_out_of_order, "not in the order of their times"),
        (dead_letter_in_the_source_too, "is in 000000000000/us-east-1/"),
        (dead_letter_from_nowhere, "comes from nowhere after"),
        (reference_too_many, "reference count 7"),
        (task_moved_too_many, "moved 100 of"),
        (task_before_the_newest_runs, "that is not the newest is RUNNING"),
        (age_missing, "is missing in the index by age"),
        (age_of_nothing, "the index by age names a dead letter at 99"),
        (task_without_a_queue, "there is no such queue"),
    ],
)
def test_check_says_what_is_wrong(engine: MemoryEngine, corrupt: Corruption, complaint: str) -> None:
    assert problems(engine) == []
    batch = WriteBatch()
    corrupt(engine, batch)
    engine.apply(batch)
    assert complaint in "; ".join(problems(engine))
