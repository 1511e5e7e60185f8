"""With relaxed durability a commit may come late, but it is never half of a change."""

from collections.abc import Callable

from heddle.v1.message_pb2 import Message, MessageBatch

from broker.log import Batches, Sweeper
from broker.queues import Queues
from broker.store import InlineCommitter, Store
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

from .invariants import problems
from .node import SCOPE


def test_a_timer_before_the_seal_commits_no_half_of_a_change() -> None:
    """uvloop runs timers before what ``call_soon`` has queued: the interval may end between a change and its seal."""
    engine = MemoryEngine()
    initialise(engine, new_store_id=bytes(16))
    soon: list[Callable[[], None]] = []
    timers: list[Callable[[], None]] = []
    store = Store(engine, call_soon=soon.append, call_relaxed=timers.append)
    batches = Batches(store, cache_bytes=1 << 20)
    queues = Queues(store, batches, Sweeper(store, batches))
    store.start(InlineCommitter(engine, store.committed, call_soon=soon.append))

    def run(steps: list[Callable[[], None]]) -> None:
        while steps:
            steps.pop(0)()

    queue = queues.create(SCOPE, "one", {}, {}, 1)
    packed = MessageBatch(messages=[Message(body=b"body")]).SerializeToString()
    queue.send(packed, 1, len(packed), delay_ms=None, now_ms=1, sender_id="s")
    queue.receive(1, visibility_ms=None, now_ms=1)
    run(soon)
    run(timers)
    run(soon)
    assert problems(engine) == []

    queue.send(packed, 1, len(packed), delay_ms=None, now_ms=2, sender_id="s")
    run(soon)  # sealed: the interval runs
    queue.acknowledge(1, 2, 2)
    run(timers)  # the interval ends before the acknowledgement is sealed; then the process is killed
    assert problems(engine) == []
