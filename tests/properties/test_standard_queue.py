"""One standard queue, through its operations and on virtual time, beside a naive model; commits fail, brokers restart.

Messages may name tenants. ``heddle check`` holds after every commit.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Final
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.errors import InvalidParameterValue, PurgeQueueInProgress
from broker.log import PackedBatch
from broker.queues import Queue, Taken, operations, tenants

from .histories import Action, actions, histories
from .queue_model import ModelMessage, ModelQueue
from .virtual_plane import SCOPE, VirtualPlane

_NAME: Final = "q"
_TOTAL_MS: Final = 43_200_000

_seconds = st.sampled_from([0, 0, 1, 2, 30, 43_200])
_timeouts = st.none() | _seconds
_picks = st.integers(0, 1 << 30)
_times = st.sampled_from([1, 500, 1_000, 2_000, 30_000, 61_000, 900_000, 43_200_000])

_ACTIONS: Final = actions(
    {
        "send": (
            5,
            {
                "groups": st.lists(st.sampled_from(["", "", "a", "a", "a", "b"]), min_size=1, max_size=6),
                "delay_s": st.sampled_from([None, None, 0, 1, 900]),
            },
        ),
        "receive": (5, {"count": st.integers(1, 10), "timeout_s": _timeouts}),
        "park": (2, {"count": st.integers(1, 10), "timeout_s": _timeouts}),
        "settle": (4, {"pick": _picks, "deletes": st.booleans(), "seconds": _seconds}),
        "acknowledge": (2, {"pick": _picks, "length": st.integers(1, 20)}),
        "give_back_or_extend": (
            3,
            {"pick": _picks, "timeout_s": st.sampled_from([0, 0, 2, 43_200]), "gives_back": st.booleans()},
        ),
        "set_attributes": (
            1,
            {
                "retention_s": st.sampled_from([60, 3_600, 1_209_600]),
                "delay_s": st.sampled_from([0, 0, 3]),
                "visibility_s": st.sampled_from([0, 5, 30]),
            },
        ),
        "pass_time": (3, {"ms": _times, "rests": st.booleans()}),
        "go_on": (
            4,
            {"what": st.sampled_from(["rest", "rest", "a step", "sweep", "restart", "failure", "failure", "purge"])},
        ),
    }
)


@dataclass
class _Parked:
    """A single call in line."""

    machine: "QueueMachine"
    count: int
    timeout_s: int | None

    def serve(self, queue: Queue) -> bool:
        assert queue is self.machine.queue
        if not self.machine.take(self.count, self.timeout_s):
            return True
        self.machine.parked.remove(self)
        return False

    def queue_deleted(self) -> None:
        raise AssertionError("nobody deleted the queue")


class QueueMachine(RuleBasedStateMachine):
    @initialize(noisy_messages_min=st.sampled_from([30, 3]))
    def start(self, noisy_messages_min: int) -> None:
        self.noisy_messages_min = noisy_messages_min
        self.patch = mock.patch.object(tenants, "NOISY_MESSAGES_MIN", noisy_messages_min)
        self.patch.start()
        self.model = ModelQueue()
        self.durable = ModelQueue()
        self.perhaps_noisy: set[str] = set()
        self.handles: list[tuple[str, int, bytes]] = []  # receipt handle, sequence, body
        self.held: list[tuple[int, int, int, int]] = []  # lo, hi, delivery of the broker, of the model
        self.parked: list[_Parked] = []
        self.deliveries = 0
        self.sent = 0
        self.plane = VirtualPlane(on_commit=self._note_durable, on_reset=self._roll_back)
        self.plane.queues.create(SCOPE, _NAME, {}, {}, self.now_ms)
        self.plane.settle()

    def _note_durable(self) -> None:
        self.durable = deepcopy(self.model)

    def _roll_back(self) -> None:
        self.model = deepcopy(self.durable)

    @property
    def now_ms(self) -> int:
        return self.plane.now_ms

    @property
    def queue(self) -> Queue:
        return self.plane[_NAME]

    @rule(action=_ACTIONS)
    def act(self, action: Action) -> None:
        method, arguments = action
        getattr(self, method)(**arguments)

    # --- messages

    def send(self, groups: list[str], delay_s: int | None) -> None:
        self.model.tick(self.now_ms)
        request = pb.SendMessageBatchRequest(queue_url=_NAME)
        for group in groups:
            self.sent += 1
            body = b"%d" % self.sent
            request.entries.add(
                id=body.decode(), message_body=body, message_group_id=group or None, delay_seconds=delay_s
            )
        serialized = operations.send_message_batch(
            self.queue, request, identity=self.plane.queues.identity, now_ms=self.now_ms, sender_id="s"
        )
        answer = pb.SendMessageBatchResponse.FromString(serialized)
        assert not answer.failed
        newest = operations.peek(self.queue, self.model.next_sequence, 1 << 40)
        # A failed commit may leave a gap in the sequence numbers: they are not given out twice.
        self.model.next_sequence = newest[0][0].lo
        for entry in request.entries:
            delay_ms = None if delay_s is None else delay_s * 1000
            self.model.send(entry.message_body, delay_ms, self.now_ms, entry.message_group_id)

    def receive(self, count: int, timeout_s: int | None) -> None:
        self.take(count, timeout_s)

    def park(self, count: int, timeout_s: int | None) -> None:
        self.parked.append(_Parked(self, count, timeout_s))
        self.queue.park(self.parked[-1])

    def take(self, count: int, timeout_s: int | None) -> int:
        """One receive. Returns how many messages came."""
        self.model.tick(self.now_ms)
        self.deliveries += 1
        visible = self.model.visible()
        taken = self.queue.receive(
            count, visibility_ms=None if timeout_s is None else timeout_s * 1000, now_ms=self.now_ms
        )
        sequences = [sequence for part in taken for sequence in range(part.lo, part.hi)]
        self._check_order(count, sequences, visible)
        timeout_ms = self.model.visibility_ms if timeout_s is None else timeout_s * 1000
        received = [self.model.receive(each, timeout_ms, self.now_ms, self.deliveries) for each in sequences]
        self.held += [(part.lo, part.hi, part.delivery_id, self.deliveries) for part in taken]
        self._check_answer(taken, sequences, received)
        return len(received)

    def _check_order(self, count: int, sequences: list[int], visible: list[int]) -> None:
        """Oldest first. Whoever may be noisy may have to wait, but not those who surely are not."""
        messages = self.model.messages
        oldest = visible[:count]
        in_flight = self.model.in_flight_by_group()
        # Whoever is in turn may get noisy by it, and who comes in turn since another is noisy.
        in_flight.update(messages[each].group for each in {*oldest, *sequences} if messages[each].group)
        self.perhaps_noisy.update(group for group, held in in_flight.items() if held >= self.noisy_messages_min)
        if not self.perhaps_noisy:
            assert sequences == oldest
            return
        assert len(sequences) == len(oldest)
        for group in {messages[sequence].group for sequence in visible}:
            theirs = [sequence for sequence in visible if messages[sequence].group == group]
            had = [sequence for sequence in sequences if messages[sequence].group == group]
            assert had == theirs[: len(had)]
        passed_over = [
            sequence
            for sequence in visible
            if sequence not in sequences and messages[sequence].group not in self.perhaps_noisy
        ]
        assert not passed_over or max(sequences) < passed_over[0]

    def _check_answer(self, taken: list[Taken], sequences: list[int], received: list[ModelMessage]) -> None:
        payloads: dict[int, PackedBatch] = {}
        for part in taken:
            payload = self.plane.batches.read(part.entry.batch_id)
            assert payload is not None
            payloads[part.entry.batch_id] = payload
        request = pb.ReceiveMessageRequest(message_system_attribute_names=["All"])
        answer = operations.received_messages(self.queue, request, taken, payloads, self.plane.queues.identity)
        for message, sequence, model in zip(answer, sequences, received, strict=True):
            assert message.body == model.body
            assert message.attributes["ApproximateReceiveCount"] == str(model.receive_count)
            assert message.attributes["ApproximateFirstReceiveTimestamp"] == str(model.first_received_ms)
            assert message.attributes["SentTimestamp"] == str(model.sent_ms)
            assert message.attributes.get("MessageGroupId", "") == model.group
            self.handles.append((message.receipt_handle, sequence, model.body))

    def settle(self, pick: int, deletes: bool, seconds: int) -> None:
        if not self.handles:
            return
        handle, sequence, body = self.handles[-1 - pick % min(20, len(self.handles))]
        self.model.tick(self.now_ms)
        message = self.model.messages.get(sequence)
        if message is not None and message.body != body:
            message = None
        if deletes:
            operations.delete_message(self.queue, handle, identity=self.plane.queues.identity, now_ms=self.now_ms)
            if message is not None:
                del self.model.messages[sequence]
        else:
            self._change_visibility(handle, sequence, message, seconds)

    def _change_visibility(self, handle: str, sequence: int, message: ModelMessage | None, seconds: int) -> None:
        request = pb.ChangeMessageVisibilityRequest(receipt_handle=handle, visibility_timeout=seconds)
        change = partial(
            operations.change_visibility, self.queue, request, identity=self.plane.queues.identity, now_ms=self.now_ms
        )
        refused = (
            message is None
            or not message.receive_count
            or self.now_ms - message.received_ms + seconds * 1000 > _TOTAL_MS
        )
        if refused:
            with pytest.raises(InvalidParameterValue):
                change()
        else:
            change()
            self.model.hide(sequence, seconds * 1000, self.now_ms)

    # --- streams

    def acknowledge(self, pick: int, length: int) -> None:
        first = pick % (self.model.next_sequence + 2)
        self.model.tick(self.now_ms)
        self.queue.acknowledge(first, first + length, self.now_ms)
        for sequence in range(first, first + length):
            if sequence in self.model.messages and self.model.messages[sequence].receive_count:
                del self.model.messages[sequence]

    def give_back_or_extend(self, pick: int, timeout_s: int, gives_back: bool) -> None:
        if not self.held:
            return
        lo, hi, delivery_id, model_delivery = self.held[-1 - pick % min(10, len(self.held))]
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

    def _purge(self) -> None:
        self.model.tick(self.now_ms)
        try:
            self.plane.queues.purge(SCOPE, _NAME, self.now_ms)
        except PurgeQueueInProgress:
            return
        self.model.messages.clear()

    def set_attributes(self, retention_s: int, delay_s: int, visibility_s: int) -> None:
        self.model.tick(self.now_ms)
        self.queue.advance(self.now_ms)  # what has expired by the old attributes is gone
        attributes = {
            "MessageRetentionPeriod": str(retention_s),
            "DelaySeconds": str(delay_s),
            "VisibilityTimeout": str(visibility_s),
        }
        self.plane.queues.set_attributes(self.queue, attributes, self.now_ms)
        self.model.retention_ms = retention_s * 1000
        self.model.delay_ms, self.model.visibility_ms = delay_s * 1000, visibility_s * 1000

    # --- time and trouble

    def pass_time(self, ms: int, rests: bool) -> None:
        self.plane.now_ms += ms
        if rests:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Then nobody waits for what could be had."""
        self.plane.come_to_rest()
        self.model.tick(self.now_ms)
        assert not self.parked or not self.model.visible()

    def go_on(self, what: str) -> None:
        match what:
            case "rest":
                self._come_to_rest()
            case "a step":
                self.plane.run_a_little(1)
            case "sweep":
                self.plane.sweeper.sweep()
            case "restart":
                self._restart()
            case "failure":
                self.plane.fail_the_commit()
            case "purge":
                self._purge()

    def _restart(self) -> None:
        self.plane.settle()
        self.parked.clear()
        self.plane.open()

    # --- what always holds

    @invariant()
    def counts_are_exact(self) -> None:
        self.model.tick(self.now_ms)
        assert self.queue.counts(self.now_ms) == self.model.counts()

    @invariant()
    def every_message_is_as_the_model_has_it(self) -> None:
        seen = operations.peek(self.queue, 0, 1 << 40)
        states = {
            sequence: (state.name.lower().replace("_", " "), part.receive_count, part.until_ms)
            for part, state in seen
            for sequence in range(part.lo, part.hi)
        }
        assert states == {s: (m.state(), m.receive_count, m.hidden_until_ms) for s, m in self.model.messages.items()}

    def teardown(self) -> None:
        """At rest nothing is wrong, and whatever is left can be had."""
        try:
            if hasattr(self, "plane"):
                self._restart()
                self.plane.check_at_rest()
                self.model.tick(self.now_ms)
                assert self.queue.counts(self.now_ms) == self.model.counts()
        finally:
            if hasattr(self, "patch"):
                self.patch.stop()


QueueMachine.TestCase.settings = histories(120, steps=50)
TestStandardQueue = QueueMachine.TestCase
