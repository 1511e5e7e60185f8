"""One standard queue, through its operations and on virtual time, beside a naive model; commits fail, brokers restart.

``heddle check`` holds after every commit.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulation.invariants import problems

from broker.errors import InvalidParameterValue, PurgeQueueInProgress
from broker.log import Batches, PackedBatch, Sweeper
from broker.queues import Queue, Queues, Scope, operations
from broker.store import EngineFull, InlineCommitter, Store, WriteBatch
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

from .queue_model import ModelQueue

_SCOPE = Scope("000000000000", "us-east-1")
_TOTAL_MS = 43_200_000
_seconds = st.sampled_from([0, 0, 1, 2, 30, 43_200])
_picks = st.integers(0, 1 << 30)


class _NotingCommitter(InlineCommitter):
    """Remembers what the model was when a batch reached the engine."""

    def __init__(self, machine: "QueueMachine", **arguments: Any) -> None:
        super().__init__(machine.engine, machine.store.committed, **arguments)
        self._machine = machine

    def submit(self, batch: WriteBatch) -> None:
        fails = self._machine.engine.fail_next is not None
        super().submit(batch)
        if not fails:
            self._machine.durable = deepcopy(self._machine.model)
            assert problems(self._machine.engine) == []


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.engine = MemoryEngine()
        initialise(self.engine, new_store_id=bytes(range(16)))
        self.now_ms = 1_000_000
        self.model = ModelQueue()
        self.durable = ModelQueue()
        self.handles: list[tuple[str, int, bytes]] = []  # receipt handle, sequence, body
        self.held: list[tuple[int, int, int, int]] = []  # lo, hi, delivery of the broker, of the model
        self.deliveries = 0
        self.sent = 0
        self._open()
        self.queues.create(_SCOPE, "q", {}, {}, self.now_ms)
        self._settle()

    def _open(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        self.batches = Batches(self.store, cache_bytes=500)
        self.sweeper = Sweeper(self.store, self.batches)
        self.queues = Queues(self.store, self.batches, self.sweeper)
        self.store.on_reset(self.batches.reset)
        self.store.on_reset(self.queues.reset)
        self.store.on_reset(self._roll_back)
        self.store.start(_NotingCommitter(self, call_soon=self.steps.append))

    def _roll_back(self) -> None:
        self.model = deepcopy(self.durable)

    @property
    def queue(self) -> Queue:
        return self.queues.find(_SCOPE, "q")

    def _settle(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    # --- messages

    @rule(count=st.integers(1, 6), delay_s=st.sampled_from([None, None, 0, 1, 900]))
    def send(self, count: int, delay_s: int | None) -> None:
        delay_ms = None if delay_s is None else delay_s * 1000
        self.model.tick(self.now_ms)
        bodies = [b"%d" % (self.sent + index) for index in range(count)]
        self.sent += count
        packed = MessageBatch(messages=[Message(body=body) for body in bodies]).SerializeToString()
        sent = self.queue.send(packed, count, len(packed), delay_ms=delay_ms, now_ms=self.now_ms, sender_id="s")
        # A failed commit may leave a gap in the sequence numbers: they are not given out twice.
        assert sent.base >= self.model.next_sequence
        self.model.next_sequence = sent.base
        for body in bodies:
            self.model.send(body, delay_ms, self.now_ms)

    @rule(count=st.integers(1, 10), timeout_s=st.none() | _seconds)
    def receive(self, count: int, timeout_s: int | None) -> None:
        timeout_ms = None if timeout_s is None else timeout_s * 1000
        self.model.tick(self.now_ms)
        self.deliveries += 1
        expected = self.model.receive(count, timeout_ms, self.now_ms, self.deliveries)
        taken = self.queue.receive(count, visibility_ms=timeout_ms, now_ms=self.now_ms)
        payloads: dict[int, PackedBatch] = {}
        for part in taken:
            payload = self.batches.read(part.entry.batch_id)
            assert payload is not None
            payloads[part.entry.batch_id] = payload
            self.held.append((part.lo, part.hi, part.delivery_id, self.deliveries))
        request = pb.ReceiveMessageRequest(message_system_attribute_names=["All"])
        messages = operations.received_messages(self.queue, request, taken, payloads, self.queues.identity)
        sequences = [sequence for part in taken for sequence in range(part.lo, part.hi)]
        assert sequences == [sequence for sequence, _ in expected]
        for message, (sequence, model) in zip(messages, expected, strict=True):
            assert message.body == model.body
            assert message.attributes["ApproximateReceiveCount"] == str(model.receive_count)
            assert message.attributes["ApproximateFirstReceiveTimestamp"] == str(model.first_received_ms)
            assert message.attributes["SentTimestamp"] == str(model.sent_ms)
            self.handles.append((message.receipt_handle, sequence, model.body))

    @precondition(lambda self: self.handles)
    @rule(pick=_picks)
    def delete(self, pick: int) -> None:
        handle, sequence, body = self.handles[pick % len(self.handles)]
        self.model.tick(self.now_ms)
        operations.delete_message(self.queue, handle, identity=self.queues.identity, now_ms=self.now_ms)
        if sequence in self.model.messages and self.model.messages[sequence].body == body:
            self.model.messages.pop(sequence)

    @precondition(lambda self: self.handles)
    @rule(pick=_picks, seconds=_seconds)
    def change_visibility(self, pick: int, seconds: int) -> None:
        handle, sequence, body = self.handles[pick % len(self.handles)]
        self.model.tick(self.now_ms)
        request = pb.ChangeMessageVisibilityRequest(receipt_handle=handle, visibility_timeout=seconds)
        message = self.model.messages.get(sequence)
        refused = (
            message is None
            or message.body != body
            or not message.receive_count
            or self.now_ms - message.received_ms + seconds * 1000 > _TOTAL_MS
        )
        change = partial(operations.change_visibility, self.queue, request)
        identity, now_ms = self.queues.identity, self.now_ms
        if refused:
            with pytest.raises(InvalidParameterValue):
                change(identity=identity, now_ms=now_ms)
        else:
            change(identity=identity, now_ms=now_ms)
            self.model.hide(sequence, seconds * 1000, self.now_ms)

    @rule(first=st.integers(0, 80), length=st.integers(1, 20))
    def acknowledge(self, first: int, length: int) -> None:
        self.model.tick(self.now_ms)
        self.queue.acknowledge(first, first + length, self.now_ms)
        for sequence in range(first, first + length):
            if sequence in self.model.messages and self.model.messages[sequence].receive_count:
                del self.model.messages[sequence]

    @precondition(lambda self: self.held)
    @rule(pick=_picks, timeout_s=st.sampled_from([0, 0, 2, 43_200]), gives_back=st.booleans())
    def give_back_or_extend(self, pick: int, timeout_s: int, gives_back: bool) -> None:
        lo, hi, delivery_id, model_delivery = self.held[pick % len(self.held)]
        self.model.tick(self.now_ms)
        if gives_back:
            self.queue.give_back(lo, hi, self.now_ms, delivery_id=delivery_id, delay_ms=timeout_s * 1000)
        else:
            self.queue.extend(lo, hi, timeout_s * 1000, self.now_ms, delivery_id=delivery_id)
        for sequence in range(lo, hi):
            message = self.model.messages.get(sequence)
            if message is not None and message.delivery == model_delivery and message.hidden_until_ms:
                allowed_ms = timeout_s * 1000
                if not gives_back:
                    allowed_ms = min(allowed_ms, max(0, message.received_ms + _TOTAL_MS - self.now_ms))
                self.model.hide(sequence, allowed_ms, self.now_ms)

    # --- the queue

    @rule()
    def purge(self) -> None:
        self.model.tick(self.now_ms)
        try:
            self.queues.purge(_SCOPE, "q", self.now_ms)
        except PurgeQueueInProgress:
            return
        self.model.messages.clear()

    @rule(
        retention_s=st.sampled_from([60, 3_600, 1_209_600]),
        delay_s=st.sampled_from([0, 0, 3]),
        visibility_s=st.sampled_from([0, 5, 30]),
    )
    def set_attributes(self, retention_s: int, delay_s: int, visibility_s: int) -> None:
        self.model.tick(self.now_ms)
        self.queue.advance(self.now_ms)  # what has expired by the old attributes is gone
        attributes = {
            "MessageRetentionPeriod": str(retention_s),
            "DelaySeconds": str(delay_s),
            "VisibilityTimeout": str(visibility_s),
        }
        self.queues.set_attributes(self.queue, attributes, self.now_ms)
        self.model.retention_ms = retention_s * 1000
        self.model.delay_ms, self.model.visibility_ms = delay_s * 1000, visibility_s * 1000

    # --- time and trouble

    @rule(ms=st.sampled_from([1, 500, 1_000, 2_000, 30_000, 61_000, 900_000, 43_200_000]))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def run_timers(self) -> None:
        while self.queues.advance(self.now_ms):
            assert self.queues.next_due_ms() <= self.now_ms

    @rule(steps=st.integers(1, 3))
    def run_a_little(self, steps: int) -> None:
        for step in self.steps[:steps]:
            self.steps.remove(step)
            step()

    @rule()
    def sweep(self) -> None:
        self.sweeper.sweep()

    @rule()
    def restart(self) -> None:
        self._settle()
        self._open()

    @rule()
    def fail_the_commit(self) -> None:
        self.engine.fail_next = EngineFull("the disk is full")
        self._settle()
        self.engine.fail_next = None

    @invariant()
    def counts_are_exact(self) -> None:
        self.model.tick(self.now_ms)
        assert self.queue.counts(self.now_ms) == self.model.counts()

    @invariant()
    def every_message_is_as_the_model_has_it(self) -> None:
        seen = operations.peek(self.queue, 0, 1 << 40)
        states = {
            sequence: (state.name.lower().replace("_", " "), part.receive_count)
            for part, state in seen
            for sequence in range(part.lo, part.hi)
        }
        assert states == {s: (m.state(), m.receive_count) for s, m in self.model.messages.items()}

    def teardown(self) -> None:
        """At rest nothing is wrong, and whatever is left can be had."""
        if not hasattr(self, "queues"):
            return
        self._settle()
        while self.sweeper.sweep():
            self._settle()
        self._settle()
        assert problems(self.engine) == []
        self._open()
        assert self.queue.counts(self.now_ms) == self.model.counts()


QueueMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=50, deadline=None)
TestStandardQueue = QueueMachine.TestCase
