"""A queue whose creation failed leaves nothing behind, whatever was sent to it meanwhile."""

from collections.abc import Callable

from heddle.v1.message_pb2 import Message, MessageBatch

from broker.log import Batches, Sweeper
from broker.queues import Queues
from broker.store import EngineFull, InlineCommitter, Store, Table
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

from .invariants import problems, records
from .node import SCOPE


def test_what_was_sent_to_a_queue_that_was_never_made_is_not_written() -> None:
    engine = MemoryEngine()
    initialise(engine, new_store_id=bytes(16))
    steps: list[Callable[[], None]] = []
    store = Store(engine, call_soon=steps.append)
    batches = Batches(store, cache_bytes=1 << 20)
    queues = Queues(store, batches, Sweeper(store, batches))
    store.on_reset(batches.reset)
    store.on_reset(queues.reset)
    store.start(InlineCommitter(engine, store.committed, call_soon=steps.append))
    while steps:
        steps.pop(0)()

    engine.fail_next = EngineFull("full")
    queue = queues.create(SCOPE, "one", {}, {}, 1)
    steps.pop(0)()  # the creation is on its way to the disk, where it fails
    packed = MessageBatch(messages=[Message(body=b"lost")]).SerializeToString()
    queue.send(packed, 1, len(packed), delay_ms=None, now_ms=1, sender_id="s")
    while steps:
        steps.pop(0)()

    assert store.statistics.failed_commits == 1
    assert queue.deleted
    assert records(engine, Table.ENTRIES) == []
    assert problems(engine) == []
