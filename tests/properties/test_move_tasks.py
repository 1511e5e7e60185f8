"""Message move tasks on virtual time: errors, rates, cancels, crashes between any two commits, queues that go away.

``heddle check`` holds at the end of every test and, in the random histories, after every commit.
"""

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from typing import Any

import msgpack
import pytest
import trio
from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.invariants import problems, records
from trio.testing import MockClock

from broker.errors import BrokerError, InvalidParameterValue, MissingParameter, OverLimit, ResourceNotFound
from broker.log import Batches, Entry, Sweeper
from broker.node.clock import Clock
from broker.node.engine_room import Services
from broker.queues import Queue, Queues, Scope, move_tasks
from broker.queues.move_tasks import MoveTask, Status
from broker.queues.moving import move, oldest_visible
from broker.queues.runs import NEVER_MS, State
from broker.store import EngineError, EngineFull, InlineCommitter, Store, Table
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise
from broker.store.store import CallLater

SCOPE = Scope("000000000000", "us-east-1")
OTHER = Scope("111111111111", "us-east-1")
HOME = "arn:aws:sqs:us-east-1:000000000000"
DLQ, ORDERS, BILLS, ELSEWHERE = f"{HOME}:dlq", f"{HOME}:orders", f"{HOME}:bills", f"{HOME}:elsewhere"

NO_SOURCE = "The resource that you specified for the SourceArn parameter doesn't exist."
NO_DESTINATION = "The resource that you specified for the DestinationArn parameter doesn't exist."
NOT_A_DLQ = "Source queue must be configured as a Dead Letter Queue."
BUSY = "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
BAD_RATE = (
    "Value for parameter MaxNumberOfMessagesPerSecond is invalid. "
    "Reason: You must enter a number that's between 1 and 500."
)


class Broker:
    """The queue plane on an engine in memory, with its commits on demand and its clock by hand.

    Queues: ``orders`` and ``bills``, whose dead-letter queue is ``dlq``, and ``elsewhere``.
    """

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        initialise(self.engine, new_store_id=bytes(range(16)))
        self.now_ms = 1_000_000
        self._uuids = (f"00000000-0000-4000-8000-{number:012}" for number in count())
        self.open()
        for name in ("dlq", "orders", "bills", "elsewhere"):
            self.create(name)
        for name in ("orders", "bills"):
            self.name_dlq(name)
        self.commit()

    def open(self, call_soon: CallLater | None = None) -> None:
        """Starts anew from what is on the disk: what was not committed is lost. Commits are on demand, or as a loop
        comes to them (``call_soon``)."""
        self.steps: list[Callable[[], None]] = []
        call_soon = call_soon or self.steps.append
        self.store = Store(self.engine, call_soon=call_soon)
        self.batches = Batches(self.store, cache_bytes=1 << 20)
        self.sweeper = Sweeper(self.store, self.batches)
        self.queues = Queues(self.store, self.batches, self.sweeper, deleted_recently_ms=0)
        self.tasks = self.queues.move_tasks
        self.store.on_reset(self.batches.reset)
        self.store.on_reset(self.queues.reset)
        self.store.start(InlineCommitter(self.engine, self.store.committed, call_soon=call_soon))

    def commit(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    def create(self, name: str, scope: Scope = SCOPE) -> Queue:
        attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        return self.queues.create(scope, name, attributes, {}, self.now_ms)

    def name_dlq(self, name: str, dlq: str = "dlq") -> None:
        policy = {"deadLetterTargetArn": f"{HOME}:{dlq}", "maxReceiveCount": 1}
        self.queues.set_attributes(self[name], {"RedrivePolicy": json.dumps(policy)}, self.now_ms)

    def __getitem__(self, name: str) -> Queue:
        return self.queues.find(SCOPE, name)

    # --- messages

    def send(self, name: str, *bodies: str) -> None:
        """One batch, one entry."""
        packed = MessageBatch(messages=[Message(body=body.encode()) for body in bodies]).SerializeToString()
        self[name].send(packed, len(bodies), len(packed), delay_ms=None, now_ms=self.now_ms, sender_id="s")
        self.commit()

    def bury(self, origin: str, *bodies: str, dlq: str = "dlq") -> None:
        """The messages are dead letters of ``origin``."""
        self.send(origin, *bodies)
        self.fail(origin, dlq, len(bodies))

    def fail(self, origin: str, dlq: str, count: int) -> None:
        """Messages are received, and go to the dead-letter queue."""
        self[origin].receive(count, visibility_ms=0, now_ms=self.now_ms)
        for entry, lo, hi in oldest_visible(self[origin], count, self.now_ms):
            move(self[origin], entry, lo, hi, self[dlq], now_ms=self.now_ms, as_new=False)
        self.commit()

    def bodies(self, name: str) -> list[str]:
        """All messages of a queue, whatever their state, in order."""
        state = self[name].state
        found = []
        for run in list(state.runs):
            for entry, lo, hi in state.log.slices(run.lo, run.hi):
                batch = self.batches.read(entry.batch_id)
                assert batch is not None
                messages = MessageBatch.FromString(batch.packed).messages
                first = entry.first_index - entry.base
                found += [message.body.decode() for message in messages[first + lo : first + hi]]
        return found

    # --- tasks

    def start(self, source: str = DLQ, destination: str | None = None, rate: int | None = None) -> str:
        handle = self.tasks.start(SCOPE, source, destination, rate, self.now_ms)
        self.commit()
        return handle

    def newest(self, source: str = DLQ) -> MoveTask:
        return self.tasks.list(SCOPE, source, None)[0]

    def step(self) -> bool:
        """One slice, when it is due, and its commit. False when no task is active."""
        due_ms = self.tasks.next_due_ms()
        if due_ms == NEVER_MS:
            return False
        self.now_ms = max(self.now_ms, due_ms)
        assert self.tasks.advance(self.now_ms) == self.tasks.next_due_ms()
        self.commit()
        return True

    def run(self, source: str = DLQ) -> MoveTask:
        """All slices of all tasks."""
        while self.step():
            pass
        return self.newest(source)


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    yield broker
    broker.commit()
    assert problems(broker.engine) == []


def test_a_handle_of_megabytes_is_not_decoded() -> None:
    handle = b64encode(b"[" + b"[]," * 1_000_000 + b"0]").decode()
    started = time.process_time()
    with pytest.raises(InvalidParameterValue, match="TaskHandle"):
        Broker().tasks.cancel(SCOPE, handle)
    assert time.process_time() - started < 0.2  # decoding takes more


def refusal(kind: type[BrokerError], call: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return caught.value.message


# --- what a task does


def test_messages_go_back_to_the_queues_that_they_came_from(broker: Broker) -> None:
    broker.bury("orders", "o1", "o2")
    broker.bury("bills", "b1")
    broker.bury("orders", "o3")
    broker.start()
    broker.step()
    task = broker.newest()
    assert (task.status, task.moved, task.to_move, task.failure_reason) == (Status.COMPLETED, 4, 4, "")
    assert broker.bodies("orders") == ["o1", "o2", "o3"]
    assert broker.bodies("bills") == ["b1"]
    assert broker.bodies("dlq") == []


def test_messages_go_to_the_destination_oldest_first(broker: Broker) -> None:
    broker.bury("orders", "1", "2")
    broker.bury("bills", "3")
    broker.send("dlq", "4")
    broker.start(destination=ELSEWHERE)
    assert broker.run().status is Status.COMPLETED
    assert broker.bodies("elsewhere") == ["1", "2", "3", "4"]
    assert broker.bodies("dlq") == broker.bodies("orders") == []


def test_moved_messages_are_new_messages(broker: Broker) -> None:
    broker.bury("orders", "1", "2")
    (before,) = oldest_visible(broker["dlq"], 2, broker.now_ms)
    old_ids = broker.queues.identity.message_ids(before[0].name_id, before[0].first_index, 2)
    broker.now_ms += 3_600_000
    broker.start()
    broker.run()
    (part,) = broker["orders"].receive(2, visibility_ms=0, now_ms=broker.now_ms)
    assert (part.receive_count, part.entry.appended_at_ms, part.entry.origin_arn) == (1, broker.now_ms, "")
    new_ids = broker.queues.identity.message_ids(part.entry.name_id, part.entry.first_index, 2)
    assert set(new_ids).isdisjoint(old_ids)
    assert part.entry.batch_id == before[0].batch_id  # and nothing was copied


def test_a_message_without_origin_fails_the_task_and_stays(broker: Broker) -> None:
    broker.bury("orders", "1")
    broker.send("dlq", "2")
    broker.bury("orders", "3")
    broker.start()
    task = broker.run()
    assert (task.status, task.failure_reason, task.moved) == (Status.FAILED, "CouldNotDetermineMessageSource", 1)
    assert (broker.bodies("orders"), broker.bodies("dlq")) == (["1"], ["2", "3"])


@pytest.mark.parametrize("destination", [ELSEWHERE, None])
def test_a_destination_that_is_deleted_meanwhile_fails_the_task(broker: Broker, destination: str | None) -> None:
    deleted = "orders" if destination is None else "elsewhere"
    broker.bury("orders", *"abcdefgh")
    broker.start(destination=destination, rate=1)
    for _ in range(3):
        broker.step()
    assert broker.bodies(deleted) == ["a", "b", "c"]
    broker.queues.delete(SCOPE, deleted, broker.now_ms)
    task = broker.run()
    assert task.status is Status.FAILED
    assert task.failure_reason == "AWS.SimpleQueueService.NonExistentQueue"
    assert (task.moved, broker.bodies("dlq")) == (3, ["d", "e", "f", "g", "h"])


def test_messages_in_flight_and_delayed_ones_stay(broker: Broker) -> None:
    broker.bury("orders", "1", "2", "3", "4")
    broker["dlq"].receive(2, visibility_ms=30_000, now_ms=broker.now_ms)
    broker.start()
    task = broker.run()
    assert (task.status, task.moved, task.to_move) == (Status.COMPLETED, 2, 2)
    assert (broker.bodies("dlq"), broker.bodies("orders")) == (["1", "2"], ["3", "4"])


def test_what_others_receive_meanwhile_is_not_moved_and_the_task_ends(broker: Broker) -> None:
    broker.bury("orders", *"abcd")
    broker.start(rate=1)
    broker.step()
    broker["dlq"].receive(2, visibility_ms=30_000, now_ms=broker.now_ms)
    task = broker.run()
    assert (task.status, task.moved, task.to_move) == (Status.COMPLETED, 2, 4)
    assert (broker.bodies("dlq"), broker.bodies("orders")) == (["b", "c"], ["a", "d"])


def test_messages_that_arrive_meanwhile_are_not_sent_round_in_circles(broker: Broker) -> None:
    broker.bury("orders", "1", "2", "3")
    broker.start(rate=1)
    while broker.step():
        broker.fail("orders", "dlq", 10)  # again
    task = broker.newest()
    assert (task.status, task.moved) == (Status.COMPLETED, 3)
    assert sorted(broker.bodies("dlq")) == ["1", "2", "3"]


def test_a_task_moves_no_more_than_there_was_at_its_start(broker: Broker) -> None:
    broker.bury("orders", "1", "2")
    broker.start()
    broker.bury("orders", "3", "4")
    assert broker.run().moved == 2
    assert (broker.bodies("orders"), broker.bodies("dlq")) == (["1", "2"], ["3", "4"])


def test_what_has_expired_is_not_made_young_again(broker: Broker) -> None:
    # On a standard queue a dead letter keeps its time, so one that is old may be behind one that is not.
    broker.send("orders", "old")
    broker.now_ms += 50_000
    broker.bury("bills", "young")
    broker.fail("orders", "dlq", 1)
    broker.queues.set_attributes(broker["dlq"], {"MessageRetentionPeriod": "60"}, broker.now_ms)
    broker.now_ms += 20_000
    broker.start()
    task = broker.run()
    assert task.status is Status.COMPLETED
    assert (broker.bodies("orders"), broker.bodies("bills"), broker.bodies("dlq")) == ([], ["young"], [])


def test_an_empty_source_is_done_with_its_first_slice(broker: Broker) -> None:
    broker.start()
    assert broker.newest().status is Status.RUNNING
    broker.step()
    task = broker.newest()
    assert (task.status, task.moved, task.to_move) == (Status.COMPLETED, 0, 0)
    assert not broker.step()


def test_a_purge_ends_the_task_early(broker: Broker) -> None:
    broker.bury("orders", *"abcd")
    broker.start(rate=1)
    broker.step()
    broker.queues.purge(SCOPE, "dlq", broker.now_ms)
    broker.send("dlq", "later")
    broker["dlq"].receive(1, visibility_ms=30_000, now_ms=broker.now_ms)
    task = broker.run()
    assert (task.status, task.moved, broker.bodies("orders")) == (Status.COMPLETED, 1, ["a"])


def test_the_tasks_of_a_deleted_source_are_gone_with_it(broker: Broker) -> None:
    broker.start()
    broker.run()
    broker.bury("orders", *"abcd")
    handle = broker.start(rate=1)
    broker.step()
    broker.queues.delete(SCOPE, "dlq", broker.now_ms)
    broker.commit()
    assert not broker.step()
    assert refusal(ResourceNotFound, lambda: broker.tasks.list(SCOPE, DLQ, 10)) == NO_SOURCE
    assert refusal(ResourceNotFound, lambda: broker.tasks.cancel(SCOPE, handle)) == NO_SOURCE
    broker.create("dlq")
    for _ in range(2):
        assert broker.tasks.list(SCOPE, DLQ, 10) == []
        assert refusal(ResourceNotFound, lambda: broker.tasks.cancel(SCOPE, handle)) == "Task does not exist."
        broker.commit()
        broker.open()
    assert broker.bodies("orders") == ["a"]
    assert not [key for key, _ in records(broker.engine, Table.RESOURCES) if key.startswith(b"queue.move_task")]


# --- FIFO queues


def fifo(broker: Broker) -> None:
    broker.create("dlq.fifo")
    broker.create("orders.fifo")
    broker.name_dlq("orders.fifo", "dlq.fifo")


def send_ordered(broker: Broker, name: str, *messages: tuple[str, str], ids: list[str] | None = None) -> None:
    """``messages``: (group, body)."""
    packed = MessageBatch(
        messages=[Message(body=body.encode(), message_group_id=group) for group, body in messages]
    ).SerializeToString()
    queue = broker[name]
    queue.send_ordered(  # type: ignore[attr-defined]
        packed,
        [group for group, _ in messages],
        ids or [body for _, body in messages],
        now_ms=broker.now_ms,
        sender_id="s",
    )
    broker.commit()


def bury_ordered(broker: Broker, *messages: tuple[str, str]) -> None:
    send_ordered(broker, "orders.fifo", *messages)
    broker.fail("orders.fifo", "dlq.fifo", len(messages))


def test_a_fifo_queue_gets_its_groups_back_in_order_and_deduplication_swallows_nothing(broker: Broker) -> None:
    fifo(broker)
    messages = [(f"g{number % 3}", f"{number}") for number in range(12)]
    bury_ordered(broker, *messages)  # within the window of the first send of each id
    broker.start(f"{HOME}:dlq.fifo", rate=2)
    task = broker.run(f"{HOME}:dlq.fifo")
    assert (task.status, task.moved) == (Status.COMPLETED, 12)
    assert broker.bodies("orders.fifo") == [body for _, body in messages]
    (first, *_) = broker["orders.fifo"].receive(4, visibility_ms=30_000, now_ms=broker.now_ms)
    assert first.entry.origin_arn == ""
    taken = {run.lo for run in broker["orders.fifo"].state.runs if run.state is State.IN_FLIGHT}
    assert taken  # one whole group: the next receive gets another
    send_ordered(broker, "orders.fifo", ("g0", "again"), ids=["3"])  # the id of the first send still counts
    assert "again" not in broker.bodies("orders.fifo")


def test_of_a_fifo_queue_only_what_could_be_received_is_moved(broker: Broker) -> None:
    fifo(broker)
    bury_ordered(broker, ("g1", "1"), ("g1", "2"), ("g2", "3"), ("g1", "4"), ("g2", "5"))
    (part,) = broker["dlq.fifo"].receive(1, visibility_ms=30_000, now_ms=broker.now_ms)
    assert part.lo == 1
    broker.commit()
    broker.start(f"{HOME}:dlq.fifo")
    task = broker.run(f"{HOME}:dlq.fifo")
    assert task.status is Status.COMPLETED
    assert (broker.bodies("orders.fifo"), broker.bodies("dlq.fifo")) == (["3", "5"], ["1", "2", "4"])


def test_a_backlog_of_a_fifo_queue_takes_smaller_slices(broker: Broker) -> None:
    fifo(broker)
    messages = [(f"g{number % 700}", str(number)) for number in range(5_000)]
    bury_ordered(broker, *messages)
    broker.start(f"{HOME}:dlq.fifo")
    moved = [0]
    while broker.step():
        moved.append(broker.newest(f"{HOME}:dlq.fifo").moved)
    assert max(after - before for before, after in pairwise(moved)) == move_tasks.SLICE_ORDERED_MESSAGES_MAX
    assert broker.bodies("orders.fifo") == [body for _, body in messages]


# --- rates


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 10, 11, 15, 99, 500])
def test_a_rate_is_kept_in_every_second_and_nearly_reached(broker: Broker, rate: int) -> None:
    messages = 4 * rate
    broker.bury("orders", *map(str, range(messages)))
    broker.start(rate=rate)
    started_ms = broker.now_ms
    moved: list[int] = []  # when each message moved
    while broker.step():
        moved += [broker.now_ms] * (broker.newest().moved - len(moved))
        broker.tasks.advance(broker.now_ms)  # too early: nothing happens
        assert broker.newest().moved == len(moved)
    assert len(moved) == messages
    assert all(moved[place + rate] - moved[place] >= 1000 for place in range(messages - rate))
    assert moved[-1] - started_ms <= 4 * 1020


@given(rate=st.integers(1, 500), late_ms=st.lists(st.integers(0, 5_000), min_size=1, max_size=30))
@settings(max_examples=50)
def test_slices_that_come_late_do_not_make_up_for_it(rate: int, late_ms: list[int]) -> None:
    broker = Broker()
    broker.bury("orders", *map(str, range(1500)))
    broker.start(rate=rate)
    moved: list[int] = []
    for late in late_ms:
        broker.now_ms += late
        if not broker.step():
            break
        moved += [broker.now_ms] * (broker.newest().moved - len(moved))
    assert all(moved[place + rate] - moved[place] >= 1000 for place in range(len(moved) - rate))


def test_without_a_rate_a_backlog_takes_few_slices_of_bounded_size(broker: Broker) -> None:
    for _ in range(3):
        broker.bury("orders", *map(str, range(10_000)))
    broker.start()
    moved = [0]
    while broker.step():
        moved.append(broker.newest().moved)
    sizes = [after - before for before, after in pairwise(moved)]
    assert sum(sizes) == 30_000
    assert max(sizes) <= move_tasks.SLICE_MESSAGES_MAX
    assert len(sizes) < 25


def test_a_backlog_of_single_messages_takes_slices_of_bounded_parts(broker: Broker) -> None:
    for number in range(450):
        broker.now_ms += 1
        broker.bury("orders", str(number))
    broker.start()
    moved = [0]
    while broker.step():
        moved.append(broker.newest().moved)
    sizes = [after - before for before, after in pairwise(moved)]
    assert sum(sizes) == 450
    assert max(sizes) <= move_tasks.SLICE_PARTS_MAX
    assert broker.bodies("orders") == [str(number) for number in range(450)]


def test_small_entries_after_large_ones_are_moved_within_the_bound(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[int] = []
    listings: list[int] = []

    def counted(source: Queue, entry: Entry, lo: int, hi: int, *rest: Queue, **options: Any) -> None:
        moves.append(hi - lo)
        move(source, entry, lo, hi, *rest, **options)

    def listed(source: Queue, most: int, now_ms: int) -> list[tuple[Entry, int, int]]:
        found = oldest_visible(source, most, now_ms)
        listings.append(len(found))
        return found

    monkeypatch.setattr(move_tasks, "move", counted)
    monkeypatch.setattr(move_tasks, "oldest_visible", listed)
    broker.bury("orders", *map(str, range(5_000)))
    for number in range(300):
        broker.now_ms += 1
        broker.bury("orders", f"s{number}")
    broker.start()
    parts: list[int] = []
    while broker.step():
        parts.append(len(moves) - sum(parts))
    assert sum(moves) == 5_300
    assert max(parts) == move_tasks.SLICE_PARTS_MAX
    # Listed is about what is moved, but once: where the small ones begin.
    assert sum(length > 2 * move_tasks.SLICE_PARTS_MAX for length in listings) == 1
    assert broker.bodies("orders") == [*map(str, range(5_000)), *(f"s{number}" for number in range(300))]


def test_tasks_take_turns(broker: Broker) -> None:
    for number in range(3):
        broker.create(f"dlq{number}")
        broker.create(f"q{number}")
        broker.name_dlq(f"q{number}", f"dlq{number}")
        for message in range(3 * move_tasks.SLICE_PARTS_MAX):
            broker.now_ms += 1
            broker.bury(f"q{number}", str(message), dlq=f"dlq{number}")
    for number in range(3):
        broker.start(f"{HOME}:dlq{number}")
    for _ in range(6):  # the clock stands still
        broker.tasks.advance(broker.now_ms)
        broker.commit()
    assert [broker.newest(f"{HOME}:dlq{number}").moved for number in range(3)] == [2 * move_tasks.SLICE_PARTS_MAX] * 3
    for number in range(3):
        assert broker.run(f"{HOME}:dlq{number}").status is Status.COMPLETED


def test_a_task_waits_while_the_disk_is_full_and_can_be_cancelled_meanwhile(broker: Broker) -> None:
    broker.bury("orders", "1")
    handle = broker.start()
    broker.store.full = EngineFull("no room")
    for _ in range(3):
        broker.step()
    assert (broker.newest().status, broker.newest().moved) == (Status.RUNNING, 0)
    before_ms = broker.now_ms
    broker.step()
    assert broker.now_ms - before_ms == 1000
    broker.tasks.cancel(SCOPE, handle)
    broker.step()
    assert broker.newest().status is Status.CANCELLED
    broker.start()
    broker.step()
    broker.store.full = None
    assert (broker.run().status, broker.bodies("orders")) == (Status.COMPLETED, ["1"])


# --- cancelling


def test_a_cancelled_task_stops_where_it_is(broker: Broker) -> None:
    broker.bury("orders", *"abcd")
    handle = broker.start(rate=1)
    broker.step()
    broker.step()
    assert broker.tasks.cancel(SCOPE, handle) == 2
    broker.commit()
    assert (broker.newest().status, broker.newest().handle) == (Status.CANCELLING, "")
    assert refusal(InvalidParameterValue, lambda: broker.tasks.cancel(SCOPE, handle)) == (
        "Only active tasks can be cancelled."
    )
    assert refusal(InvalidParameterValue, broker.start) == BUSY
    assert broker.tasks.next_due_ms() <= broker.now_ms
    broker.step()
    task = broker.newest()
    assert (task.status, task.moved, task.to_move) == (Status.CANCELLED, 2, 4)
    assert (broker.bodies("dlq"), broker.bodies("orders")) == (["c", "d"], ["a", "b"])
    assert refusal(InvalidParameterValue, lambda: broker.tasks.cancel(SCOPE, handle)) == (
        "Only active tasks can be cancelled."
    )
    broker.start()
    assert broker.run().status is Status.COMPLETED


def test_whoever_waits_for_a_slice_is_told_of_starts_and_cancels(broker: Broker) -> None:
    told: list[int] = []
    broker.tasks.on_due = lambda: told.append(broker.tasks.next_due_ms())
    broker.bury("orders", *"abcd")
    handle = broker.start(rate=1)
    broker.step()
    assert broker.tasks.next_due_ms() > broker.now_ms
    broker.tasks.cancel(SCOPE, handle)
    assert len(told) == 2
    assert max(told) <= broker.now_ms


# --- crashes and commits that fail


def test_a_task_goes_on_after_a_restart(broker: Broker) -> None:
    broker.bury("orders", *"abcdef")
    handle = broker.start(rate=2)
    broker.step()
    before = broker.newest()
    broker.open()
    after = broker.newest()
    assert after is not before
    assert (after.handle, after.rate, after.moved, after.to_move) == (handle, 2, before.moved, 6)
    assert broker.run().status is Status.COMPLETED
    assert broker.bodies("orders") == list("abcdef")


def test_a_crash_at_any_commit_leaves_count_and_messages_in_agreement() -> None:
    for crash_after in range(30):
        broker = Broker()
        for number in range(250):
            broker.now_ms += 1
            broker.bury("orders" if number % 3 else "bills", str(number))
        broker.tasks.start(SCOPE, DLQ, None, None, broker.now_ms)
        # Steps of the store and slices, one by one; then the process is gone.
        for _ in range(crash_after):
            if broker.steps:
                broker.steps.pop(0)()
            else:
                broker.tasks.advance(broker.now_ms)
        broker.open()
        moved = len(broker.bodies("orders")) + len(broker.bodies("bills"))
        listed = broker.tasks.list(SCOPE, DLQ, None)
        assert [task.moved for task in listed] == ([moved] if listed else [])
        assert moved + len(broker.bodies("dlq")) == 250
        if listed:
            assert broker.run().status is Status.COMPLETED
            assert len(broker.bodies("orders")) + len(broker.bodies("bills")) == 250
        assert problems(broker.engine) == []


def test_a_slice_whose_commit_fails_is_done_again(broker: Broker) -> None:
    told: list[int] = []
    broker.bury("orders", *"abcdef")
    broker.start(rate=2)
    broker.step()
    broker.tasks.on_due = lambda: told.append(broker.tasks.next_due_ms())
    broker.engine.fail_next = EngineFull("no room")
    moved = broker.newest().moved
    broker.step()
    assert told
    assert (broker.newest().moved, broker.newest().status) == (moved, Status.RUNNING)
    assert len(broker.bodies("orders")) == moved
    broker.store.full = None
    assert broker.run().moved == 6
    assert broker.bodies("orders") == list("abcdef")


def test_a_start_and_a_cancel_whose_commits_fail_have_not_happened(broker: Broker) -> None:
    broker.bury("orders", *"abcdef")
    broker.engine.fail_next = EngineFull("no room")
    lost = broker.start()
    assert broker.tasks.list(SCOPE, DLQ, None) == []
    assert refusal(ResourceNotFound, lambda: broker.tasks.cancel(SCOPE, lost)) == "Task does not exist."
    handle = broker.start()
    broker.engine.fail_next = EngineFull("no room")
    broker.tasks.cancel(SCOPE, handle)
    broker.commit()
    assert broker.newest().status is Status.RUNNING


# --- the engine room


class EngineRoom:
    """The broker's own services on virtual time, and how often they looked at the move tasks."""

    def __init__(self, broker: Broker) -> None:
        broker.commit()
        broker.open(trio.lowlevel.current_trio_token().run_sync_soon)
        self.broker = broker
        self.looks = 0
        self._advance = broker.tasks.advance
        broker.tasks.advance = self._counted_advance  # type: ignore[method-assign]
        self.clock = Clock(wall_s=lambda: 2_000 + trio.current_time(), monotonic_s=trio.current_time)
        self.run = Services(
            store=broker.store,
            queues=broker.queues,
            sweeper=broker.sweeper,
            clock=self.clock,
            data_dir=None,
            disk_free_bytes_min=0,
            observe_lag=lambda _seconds: None,
        ).run

    def _counted_advance(self, now_ms: int) -> int:
        self.looks += 1
        return self._advance(now_ms)

    def start(self, rate: int | None) -> str:
        return self.broker.tasks.start(SCOPE, DLQ, None, rate, self.clock.now_ms())


@pytest.mark.trio
async def test_the_engine_room_does_the_slices_when_they_are_due(broker: Broker, autojump_clock: MockClock) -> None:
    broker.bury("orders", *map(str, range(30)))
    room = EngineRoom(broker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.run)
        await trio.sleep(100)
        assert room.looks == 0
        room.start(rate=10)
        await trio.sleep(2.05)
        assert broker.newest().moved == 21
        await trio.sleep(2)
        assert broker.newest().status is Status.COMPLETED
        assert room.looks == 30
        await trio.sleep(100)
        assert room.looks == 30
        nursery.cancel_scope.cancel()
    assert len(broker.bodies("orders")) == 30


@pytest.mark.trio
async def test_the_engine_room_goes_on_with_tasks_of_before_and_hears_of_cancels(
    broker: Broker, autojump_clock: MockClock
) -> None:
    broker.bury("orders", *"abcdef")
    handle = broker.start(rate=1)
    broker.step()
    room = EngineRoom(broker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.run)
        await trio.sleep(1.5)
        assert broker.newest().moved == 3
        broker.tasks.cancel(SCOPE, handle)
        assert broker.newest().status is Status.CANCELLING
        await trio.sleep(0.01)  # long before the next slice
        assert broker.newest().status is Status.CANCELLED
        room.start(rate=None)
        await trio.sleep(0.01)
        assert broker.newest().status is Status.COMPLETED
        nursery.cancel_scope.cancel()
    assert broker.bodies("orders") == list("abcdef")


@pytest.mark.trio
async def test_the_engine_room_pauses_after_a_failed_commit_and_goes_on(
    broker: Broker, autojump_clock: MockClock
) -> None:
    broker.bury("orders", *"abcdef")
    room = EngineRoom(broker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(room.run)
        room.start(rate=1)
        await trio.sleep(1.5)
        broker.engine.fail_next = EngineError("the disk had a bad moment", fatal=False)
        await trio.sleep(1.4)
        assert (room.looks, broker.newest().moved, broker.bodies("orders")) == (3, 2, ["a", "b"])
        await trio.sleep(10)
        assert (room.looks, broker.newest().status) == (7, Status.COMPLETED)
        nursery.cancel_scope.cancel()
    assert broker.bodies("orders") == list("abcdef")


# --- errors, in the order of the checks


def test_the_checks_of_a_start_in_their_order(broker: Broker) -> None:
    broker.create("plain")
    broker.create("elsewhere.fifo")
    broker.bury("orders", "1")

    def refused(source: str, destination: str | None, rate: int | None, kind: type[BrokerError]) -> str:
        return refusal(kind, lambda: broker.start(source, destination, rate))

    assert refused("", "x", 0, MissingParameter) == "The request must contain the parameter SourceArn."
    wrong = "You must use this format to specify the {}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
    for text in ("dlq", "arn:aws:sqs:us-east-1:dlq", f"{DLQ}:x", "arn:aws:sqs::000000000000:dlq"):
        assert refused(text, "x", 0, InvalidParameterValue) == wrong.format("SourceArn")
        assert refused(f"{HOME}:missing", text, 0, InvalidParameterValue) == wrong.format("DestinationArn")
    assert refused(f"{HOME}:missing", f"{HOME}:gone", 0, ResourceNotFound) == NO_SOURCE
    assert refused(f"{HOME}:plain", f"{HOME}:plain", 0, InvalidParameterValue) == NOT_A_DLQ
    assert refused(DLQ, DLQ, 0, InvalidParameterValue) == (
        "Source queue arn and destination queue arn cannot be the same."
    )
    assert refused(DLQ, f"{HOME}:gone", 0, ResourceNotFound) == NO_DESTINATION
    assert refused(DLQ, f"{HOME}:elsewhere.fifo", 0, InvalidParameterValue) == (
        "The source queue and destination queue must be of the same queue type."
    )
    broker.start()
    for rate in (0, -1, 501):
        assert refused(DLQ, ELSEWHERE, rate, InvalidParameterValue) == BAD_RATE
    assert refused(DLQ, ELSEWHERE, 500, InvalidParameterValue) == BUSY
    assert [task.status for task in broker.tasks.list(SCOPE, DLQ, 10)] == [Status.RUNNING]


def test_queues_of_other_accounts_and_regions_do_not_exist(broker: Broker) -> None:
    broker.create("theirs", OTHER)
    broker.bury("orders", "1")
    handle = broker.start()
    for scope in (OTHER, Scope(SCOPE.account, "eu-west-1")):
        for call in (
            lambda scope=scope: broker.tasks.start(scope, DLQ, None, None, broker.now_ms),
            lambda scope=scope: broker.tasks.list(scope, DLQ, None),
            lambda scope=scope: broker.tasks.cancel(scope, handle),
        ):
            assert refusal(ResourceNotFound, call) == NO_SOURCE
    broker.run()
    theirs = f"arn:aws:sqs:us-east-1:{OTHER.account}:theirs"
    assert refusal(ResourceNotFound, lambda: broker.start(DLQ, theirs)) == NO_DESTINATION


def test_the_checks_of_a_list_in_their_order(broker: Broker) -> None:
    listing = broker.tasks.list
    assert refusal(MissingParameter, lambda: listing(SCOPE, "", 0)) == (
        "The request must contain the parameter SourceArn."
    )
    assert refusal(InvalidParameterValue, lambda: listing(SCOPE, "dlq", 0)).startswith("You must use this format")
    assert refusal(ResourceNotFound, lambda: listing(SCOPE, f"{HOME}:gone", 0)) == NO_SOURCE
    for results in (0, 11, -1):
        assert refusal(InvalidParameterValue, lambda results=results: listing(SCOPE, DLQ, results)) == (  # type: ignore[misc]
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 10."
        )
    assert listing(SCOPE, ORDERS, 10) == []  # a queue that is nobody's dead-letter queue has no tasks


def handle_of(document: object) -> str:
    return b64encode(json.dumps(document).encode()).decode()


def test_the_checks_of_a_cancel_in_their_order(broker: Broker) -> None:
    def cancel(handle: str) -> Callable[[], int]:
        return lambda: broker.tasks.cancel(SCOPE, handle)

    assert refusal(MissingParameter, cancel("")) == "The request must contain the parameter TaskHandle."
    broken = [
        "x",
        "é",
        b64encode(b"\xff").decode(),
        b64encode(b"[" * 100_000).decode(),
        handle_of([]),
        handle_of({"taskId": "1"}),
        handle_of({"taskId": 1, "sourceArn": DLQ}),
        handle_of({"taskId": "1", "sourceArn": None}),
    ]
    for handle in broken:
        assert refusal(InvalidParameterValue, cancel(handle)) == "Value for parameter TaskHandle is invalid."
    for arn in (f"{HOME}:gone", "gone", "", "\ud800"):
        assert refusal(ResourceNotFound, cancel(handle_of({"taskId": "1", "sourceArn": arn}))) == NO_SOURCE
    unknown = handle_of({"taskId": "1", "sourceArn": DLQ})
    assert refusal(ResourceNotFound, cancel(unknown)) == "Task does not exist."


def test_a_handle_names_the_task_and_its_source(broker: Broker) -> None:
    handle = broker.start()
    document = b64decode(handle).decode()
    fields = json.loads(document)
    assert document == f'{{"taskId":"{fields["taskId"]}","sourceArn":"{DLQ}"}}'
    assert broker.newest().handle == handle
    broker.run()
    assert broker.newest().handle == ""


def test_the_ten_newest_tasks_of_a_source_are_kept_and_listed_newest_first(broker: Broker) -> None:
    broker.create("dlq-2")  # a source whose name begins like another's
    broker.name_dlq("elsewhere", "dlq-2")
    handles = []
    for number in range(13):
        handles.append(broker.start(destination=ELSEWHERE, rate=number + 1))
        broker.start(f"{HOME}:dlq-2")
        broker.run()
    for _ in range(2):
        assert [task.rate for task in broker.tasks.list(SCOPE, DLQ, 10)] == list(range(13, 3, -1))
        assert [task.rate for task in broker.tasks.list(SCOPE, DLQ, 3)] == [13, 12, 11]
        assert [task.rate for task in broker.tasks.list(SCOPE, DLQ, None)] == [13]
        broker.open()
    assert refusal(ResourceNotFound, lambda: broker.tasks.cancel(SCOPE, handles[0])) == "Task does not exist."
    kept = [key for key, _ in records(broker.engine, Table.RESOURCES) if key.startswith(b"queue.move_task\0")]
    assert len(kept) == 20


def test_an_account_has_a_hundred_active_tasks_at_most(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert move_tasks.ACTIVE_TASKS_MAX == 100
    monkeypatch.setattr(move_tasks, "ACTIVE_TASKS_MAX", 2)
    for number in range(3):
        broker.create(f"dlq{number}")
        broker.create(f"q{number}")
        broker.name_dlq(f"q{number}", f"dlq{number}")
    for number in range(2):
        broker.start(f"{HOME}:dlq{number}")
    assert refusal(OverLimit, lambda: broker.start(f"{HOME}:dlq2")) == (
        "An account can have at most 2 active message move tasks."
    )
    broker.run(f"{HOME}:dlq0")
    broker.start(f"{HOME}:dlq2")


# --- random histories

_OPERATIONS = st.one_of(
    st.tuples(st.just("bury"), st.sampled_from(["orders", "bills"]), st.integers(1, 5)),
    st.tuples(st.just("take"), st.integers(1, 4), st.sampled_from([0, 1_000, 30_000])),
    st.tuples(st.just("start"), st.sampled_from([None, ELSEWHERE]), st.sampled_from([None, 1, 25])),
    st.tuples(st.just("advance"), st.integers(0, 3_000), st.none()),
    st.tuples(st.just("cancel"), st.none(), st.none()),
    st.tuples(st.just("commit"), st.none(), st.none()),
    st.tuples(st.just("fail"), st.none(), st.none()),
    st.tuples(st.just("crash"), st.none(), st.none()),
)


@given(st.lists(_OPERATIONS, max_size=40))
@settings(max_examples=200, deadline=None)
def test_in_any_history_every_message_is_in_one_queue_and_the_counts_are_right(
    history: list[tuple[str, Any, Any]],
) -> None:
    broker = Broker()
    buried = 0
    for operation, first, second in history:
        match operation:
            case "bury":
                bodies = [str(buried + index) for index in range(second)]
                buried += len(bodies)
                broker.commit()
                broker.engine.fail_next = None
                broker.bury(first, *bodies)
            case "take":
                broker["dlq"].receive(first, visibility_ms=second, now_ms=broker.now_ms)
            case "start":
                try:
                    broker.tasks.start(SCOPE, DLQ, first, second, broker.now_ms)
                except InvalidParameterValue as busy:
                    assert busy.message == BUSY  # noqa: PT017
            case "advance":
                broker.now_ms += first
                broker.tasks.advance(broker.now_ms)
            case "cancel":
                for task in broker.tasks.list(SCOPE, DLQ, 1):
                    if task.handle:
                        broker.tasks.cancel(SCOPE, task.handle)
            case "commit":
                broker.commit()
                broker.engine.fail_next = None
                _agree(broker, buried)
            case "fail":
                broker.engine.fail_next = EngineFull("no room")
                broker.commit()
                broker.store.full = None
                broker.engine.fail_next = None
                _agree(broker, buried)
            case "crash":
                broker.open()
                broker.commit()
                _agree(broker, buried)
    broker.commit()
    broker.run() if broker.tasks.list(SCOPE, DLQ, 1) else None
    _agree(broker, buried)
    assert not any(task.active for task in broker.tasks.list(SCOPE, DLQ, 10))


def _agree(broker: Broker, buried: int) -> None:
    assert problems(broker.engine) == []
    back = [broker.bodies(name) for name in ("orders", "bills", "elsewhere")]
    everywhere = [body for bodies in (*back, broker.bodies("dlq")) for body in bodies]
    assert sorted(map(int, everywhere)) == list(range(buried))
    tasks = [msgpack.unpackb(record) for key, record in records(broker.engine, Table.RESOURCES) if b"move_task" in key]
    if len(tasks) < move_tasks.RESULTS_MAX:  # none was forgotten
        assert sum(task["moved"] for task in tasks) == sum(map(len, back))
