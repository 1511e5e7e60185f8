"""Dead-letter queues, chains of them and message move tasks, on virtual time, beside a naive model.

Standard and FIFO queues by turns; commits fail, brokers restart, dead-letter queues go and come back. ``heddle check``
holds after every commit, so every entry's batch is there and counted.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.errors import InvalidParameterValue, PurgeQueueInProgress
from broker.log import PackedBatch
from broker.queues import Queue, Taken, operations
from broker.queues.runs import NEVER_MS

from .dead_letter_model import HOME, Letter, ModelQueue, ModelQueues, ModelTask
from .fifo_model import TOTAL_MS, ModelGroups, ModelMessage
from .histories import Action, actions, histories
from .virtual_plane import SCOPE, VirtualPlane

_SOURCES: Final = ("orders", "bills")
_DEAD: Final = ("dlq", "last")
_ALL: Final = (*_SOURCES, *_DEAD)

_picks = st.integers(0, 1 << 30)
_names = st.sampled_from(_ALL)
_dead = st.sampled_from(_DEAD)
_busy = st.sampled_from(["orders", "orders", "orders", "bills", "dlq", "dlq", "dlq", "last"])
_seconds = st.sampled_from([0, 0, 1, 2, 30])

_ACTIONS: Final = actions(
    {
        "send": (4, {"name": _busy, "groups": st.lists(st.sampled_from("aaabc"), min_size=1, max_size=4)}),
        "receive": (4, {"name": _busy, "count": st.integers(1, 10), "timeout_s": st.none() | _seconds}),
        "fail": (5, {"name": _busy, "count": st.integers(1, 4), "rounds": st.integers(1, 4)}),
        "park": (3, {"name": _busy, "count": st.integers(1, 10)}),
        "settle": (4, {"pick": _picks, "deletes": st.booleans(), "seconds": _seconds}),
        "set_redrive_policy": (1, {"name": _names, "dlq": _dead, "receives_max": st.integers(1, 3)}),
        "configure": (
            2,
            {
                "name": _names,
                "what": st.sampled_from(["no policy", "purge", "delete", "delete", "allow", "deny", "by queue"]),
            },
        ),
        "set_attributes": (
            2,
            {
                "name": _names,
                "retention_s": st.sampled_from([60, 3_600, 1_209_600]),
                "delay_s": st.sampled_from([0, 0, 3]),
                "visibility_s": st.sampled_from([0, 5, 30]),
            },
        ),
        "move_task": (
            5,
            {
                "name": _dead,
                "destination": st.sampled_from(["", "", "", "", *_ALL]),
                "rate": st.sampled_from([None, None, 3]),
                "cancels": st.sampled_from([False, False, False, True]),
            },
        ),
        "pass_time": (
            3,
            {"ms": st.sampled_from([1, 1_000, 2_000, 5_000, 30_000, 61_000, 3_600_000]), "rests": st.booleans()},
        ),
        "go_on": (
            5,
            {"what": st.sampled_from(["rest", "rest", "a step", "a step", "sweep", "restart", "failure", "failure"])},
        ),
    }
)


class _Seen(NamedTuple):
    """A message as a queue has it."""

    sequence: int
    body: bytes
    message_id: str
    state: str
    until_ms: int
    receives: int
    sent_ms: int
    origin: str


@dataclass
class _Parked:
    """A single call in line."""

    machine: "DeadLetterMachine"
    name: str
    count: int

    def serve(self, queue: Queue) -> bool:
        assert queue.name == self.machine.full(self.name)
        if not self.machine.take(self.name, self.count, None):
            return True
        self.machine.parked.remove(self)
        return False

    def queue_deleted(self) -> None:
        self.machine.parked.remove(self)


class DeadLetterMachine(RuleBasedStateMachine):
    @initialize(fifo=st.booleans(), receives_max=st.integers(1, 3), chained=st.booleans())
    def start(self, fifo: bool, receives_max: int, chained: bool) -> None:
        self.fifo = fifo
        self.model = ModelQueues(fifo)
        self.durable = deepcopy(self.model)
        self.handles: list[tuple[str, str, str, int]] = []  # queue, handle, message id, delivery id
        self.durable_handles = self.handles
        self.message_ids: set[str] = set()
        self.parked: list[_Parked] = []
        self.sent = 0
        self.plane = VirtualPlane(on_commit=self._note_durable, on_reset=self._roll_back)
        for name in _ALL:
            self._create(name)
        for name in _SOURCES:
            self.set_redrive_policy(name, "dlq", receives_max)
        if chained:
            self.set_redrive_policy("dlq", "last", receives_max)
        self.plane.settle()

    def _create(self, name: str) -> None:
        attributes = {"FifoQueue": "true"} if self.fifo else {}
        self.plane.queues.create(SCOPE, self.full(name), attributes, {}, self.now_ms)
        self.model.queues[name] = ModelQueue()

    def _note_durable(self) -> None:
        self.durable, self.durable_handles = deepcopy(self.model), self.handles

    def _roll_back(self) -> None:
        """Nobody was told what did not last: a handle could be one of a queue that never was."""
        self.model, self.handles = deepcopy(self.durable), self.durable_handles

    def full(self, name: str) -> str:
        return f"{name}.fifo" if self.fifo else name

    def _arn(self, name: str) -> str:
        return f"{HOME}:{self.full(name)}"

    @property
    def now_ms(self) -> int:
        return self.plane.now_ms

    def queue(self, name: str) -> Queue:
        return self.plane[self.full(name)]

    def _seen(self, name: str) -> list[_Seen]:
        """Every message that a queue has, in order."""
        parts = [part for part, _ in operations.peek(self.queue(name), 0, 1 << 40)]
        peeked = operations.peeked_messages(
            operations.peek(self.queue(name), 0, 1 << 40), self._payloads(parts), self.plane.queues.identity
        )
        origins = [part.entry.origin_arn for part in parts for _ in range(len(part))]
        return [
            _Seen(
                message.sequence,
                message.message.body,
                message.message_id,
                message.state,
                message.until_timestamp_ms,
                message.receive_count,
                message.sent_timestamp_ms,
                origin_arn.rpartition(":")[2].removesuffix(".fifo"),
            )
            for message, origin_arn in zip(peeked, origins, strict=True)
        ]

    def _payloads(self, parts: list[Taken]) -> dict[int, PackedBatch]:
        payloads: dict[int, PackedBatch] = {}
        for part in parts:
            payload = self.plane.batches.read(part.entry.batch_id)
            assert payload is not None
            payloads[part.entry.batch_id] = payload
        return payloads

    @rule(action=_ACTIONS)
    def act(self, action: Action) -> None:
        method, arguments = action
        getattr(self, method)(**arguments)

    # --- messages

    def send(self, name: str, groups: list[str]) -> None:
        if name not in self.model.queues:
            return
        self.model.tick(self.now_ms)
        model = self.model.queues[name]
        request = pb.SendMessageBatchRequest(queue_url=self.full(name))
        for group in groups:
            self.sent += 1
            body = b"%d" % self.sent
            entry = request.entries.add(id=body.decode(), message_body=body)
            if self.fifo:
                entry.message_group_id, entry.message_deduplication_id = group, body.decode()
        serialized = operations.send_message_batch(
            self.queue(name), request, identity=self.plane.queues.identity, now_ms=self.now_ms, sender_id="s"
        )
        answer = pb.SendMessageBatchResponse.FromString(serialized)
        for seen, sent, group in zip(self._seen(name)[-len(groups) :], answer.successful, groups, strict=True):
            assert seen.message_id == sent.message_id
            self._is_new(sent.message_id)
            letter = Letter(seen.sequence, group, seen.body, sent.message_id, sent.id, self.now_ms)
            letter.hidden_until_ms = self.now_ms + model.delay_ms if model.delay_ms else 0
            model.letters.append(letter)

    def _is_new(self, message_id: str) -> None:
        assert message_id not in self.message_ids
        self.message_ids.add(message_id)

    def receive(self, name: str, count: int, timeout_s: int | None) -> None:
        if name in self.model.queues:
            self.take(name, count, timeout_s)

    def fail(self, name: str, count: int, rounds: int) -> None:
        """Messages are received again and again, and not deleted."""
        for _ in range(rounds):
            self.receive(name, count, 1)
            self.plane.now_ms += 1_000

    def park(self, name: str, count: int) -> None:
        if name in self.model.queues:
            self.parked.append(_Parked(self, name, count))
            self.queue(name).park(self.parked[-1])

    def take(self, name: str, count: int, timeout_s: int | None) -> int:
        """One receive. Returns how many messages came."""
        self.model.tick(self.now_ms)
        queue, model = self.queue(name), self.model.queues[name]
        timeout_ms = model.visibility_ms if timeout_s is None else timeout_s * 1000
        may = model.deliverable(fifo=self.fifo)
        by_group = ModelGroups().deliverable(model.letters)
        known = self._last_sequence(model.target)
        taken = queue.receive(count, visibility_ms=None if timeout_s is None else timeout_s * 1000, now_ms=self.now_ms)
        numbers = [sequence for part in taken for sequence in range(part.lo, part.hi)]
        received = [letter for number in numbers for letter in model.letters if letter.sequence == number]
        assert len(received) == len(numbers)
        left = {seen.message_id for seen in self._seen(name)}
        dead = [letter for letter in model.letters if letter.message_id not in left]
        places = (
            {} if known is None else {seen.message_id: seen.sequence for seen in self._arrived(model.target, known)}
        )
        if self.fifo:
            dead.sort(key=lambda letter: places[letter.message_id])
        assert not any(self.model.is_dead(name, letter) for letter in received)
        assert all(self.model.is_dead(name, letter) for letter in dead)
        if self.fifo:
            self._check_by_group(count, received, dead, by_group)
        else:
            self._check_oldest_first(name, count, received, dead, may)
        self._check_answer(name, taken, received)
        for letter in dead:
            if letter.message_id in places:
                self.model.bury(name, letter, places.pop(letter.message_id), self.now_ms)
            else:  # too old for the dead-letter queue
                assert letter.sent_ms + self.model.queues[model.target].retention_ms <= self.now_ms
                model.letters.remove(letter)
        assert not places
        for letter in received:
            part = next(part for part in taken if part.lo <= letter.sequence < part.hi)
            letter.receive(timeout_ms, self.now_ms, part.delivery_id)
        return len(received)

    def _last_sequence(self, name: str) -> int | None:
        """Of a queue that is there."""
        if name not in self.model.queues:
            return None
        seen = self._seen(name)
        return seen[-1].sequence if seen else 0

    def _check_oldest_first(
        self, name: str, count: int, received: list[Letter], dead: list[Letter], may: list[Letter]
    ) -> None:
        expected: list[Letter] = []
        in_the_way: list[Letter] = []
        for letter in may:
            if len(expected) == count:
                break
            (in_the_way if self.model.is_dead(name, letter) else expected).append(letter)
        assert received == expected
        assert dead == in_the_way

    def _check_by_group(
        self, count: int, received: list[Letter], dead: list[Letter], may: Mapping[str, Sequence[ModelMessage]]
    ) -> None:
        assert len(received) <= count
        cut = 0
        for group, members in may.items():
            theirs = [letter for letter in received if letter.group == group]
            moved = [letter for letter in dead if letter.group == group]
            touched = sorted(theirs + moved, key=lambda letter: letter.sequence)
            assert touched == list(members[: len(touched)])
            assert theirs == sorted(theirs, key=lambda letter: letter.sequence)
            assert moved == sorted(moved, key=lambda letter: letter.sequence)
            cut += 0 < len(touched) < len(members)
            assert len(received) == count or len(touched) == len(members)
        assert cut <= 1

    def _check_answer(self, name: str, taken: list[Taken], received: list[Letter]) -> None:
        """Called before the model knows of the receive."""
        request = pb.ReceiveMessageRequest(message_system_attribute_names=["All"])
        answer = operations.received_messages(
            self.queue(name), request, taken, self._payloads(taken), self.plane.queues.identity
        )
        for message, letter in zip(answer, received, strict=True):
            assert (message.body, message.message_id) == (letter.body, letter.message_id)
            expected = {
                "SenderId": "s",
                "SentTimestamp": str(letter.sent_ms),
                "ApproximateReceiveCount": str(letter.receives + 1),
                "ApproximateFirstReceiveTimestamp": str(letter.first_received_ms or self.now_ms),
            }
            if letter.origin:
                expected["DeadLetterQueueSourceArn"] = self._arn(letter.origin)
            if self.fifo:
                expected["MessageGroupId"] = letter.group
                expected["MessageDeduplicationId"] = letter.deduplication_id
                expected["SequenceNumber"] = str(10**19 + letter.sequence)
            assert dict(message.attributes) == expected
            part = next(part for part in taken if part.lo <= letter.sequence < part.hi)
            self.handles = [*self.handles, (name, message.receipt_handle, message.message_id, part.delivery_id)]

    # --- what becomes of received messages

    def settle(self, pick: int, deletes: bool, seconds: int) -> None:
        if not self.handles:
            return
        name, handle, letter, stands = self._picked(pick)
        if name not in self.model.queues:
            return
        if deletes:
            self._delete(name, handle, letter, stands=stands)
        else:
            self._change_visibility(name, handle, letter, seconds, stands=stands)

    def _delete(self, name: str, handle: str, letter: Letter | None, *, stands: bool) -> None:
        delete = partial(
            operations.delete_message, self.queue(name), handle, identity=self.plane.queues.identity, now_ms=self.now_ms
        )
        if self.fifo and letter is not None and not stands:
            with pytest.raises(InvalidParameterValue, match="has expired"):
                delete()
            return
        delete()
        if letter is not None:
            self.model.queues[name].letters.remove(letter)

    def _change_visibility(self, name: str, handle: str, letter: Letter | None, seconds: int, *, stands: bool) -> None:
        request = pb.ChangeMessageVisibilityRequest(receipt_handle=handle, visibility_timeout=seconds)
        change = partial(
            operations.change_visibility,
            self.queue(name),
            request,
            identity=self.plane.queues.identity,
            now_ms=self.now_ms,
        )
        if letter is None or not stands or self.now_ms - letter.received_ms + seconds * 1000 > TOTAL_MS:
            with pytest.raises(InvalidParameterValue):
                change()
        else:
            change()
            letter.hide(seconds * 1000, self.now_ms)

    def _picked(self, pick: int) -> tuple[str, str, Letter | None, bool]:
        """Queue, receipt handle, its message while that is there, and whether the receive still stands."""
        name, handle, message_id, delivery_id = self.handles[-1 - pick % min(12, len(self.handles))]
        self.model.tick(self.now_ms)
        letters = self.model.queues[name].letters if name in self.model.queues else []
        letter = next((letter for letter in letters if letter.message_id == message_id), None)
        if letter is None:
            return name, handle, None, False
        if self.fifo:
            return name, handle, letter, letter.in_flight and letter.delivery_id == delivery_id
        return name, handle, letter, letter.receive_count > 0  # 0 where the receive was forgotten with its commit

    # --- policies and queues

    def set_redrive_policy(self, name: str, dlq: str, receives_max: int) -> None:
        if name not in self.model.queues or name == dlq:
            return
        self.model.tick(self.now_ms)
        model = self.model.queues[name]
        policy = {"deadLetterTargetArn": self._arn(dlq), "maxReceiveCount": receives_max}
        change = partial(
            self.plane.queues.set_attributes, self.queue(name), {"RedrivePolicy": json.dumps(policy)}, self.now_ms
        )
        sources = self.model.queues[dlq].sources if dlq in self.model.queues else []
        if sources is not None and name not in sources:
            with pytest.raises(InvalidParameterValue, match="RedrivePolicy"):
                change()
        else:
            change()
            model.target, model.receives_max = dlq, receives_max

    def configure(self, name: str, what: str) -> None:
        """What is deleted comes back empty, and as itself, the next time."""
        if name not in self.model.queues:
            self._create(name)
            return
        match what:
            case "no policy":
                self.plane.queues.set_attributes(self.queue(name), {"RedrivePolicy": ""}, self.now_ms)
                self.model.queues[name].target = ""
            case "purge":
                self._purge(name)
            case "delete" if name in _DEAD:
                self._delete_queue(name)
            case "allow":
                self._set_redrive_allow_policy(name, "allowAll", None)
            case "deny":
                self._set_redrive_allow_policy(name, "denyAll", [])
            case "by queue":
                self._set_redrive_allow_policy(name, "byQueue", ["orders"])

    def _set_redrive_allow_policy(self, name: str, permission: str, sources: list[str] | None) -> None:
        """It does not touch what is named already."""
        policy: dict[str, object] = {"redrivePermission": permission}
        if sources:
            policy["sourceQueueArns"] = [self._arn(source) for source in sources]
        self.plane.queues.set_attributes(self.queue(name), {"RedriveAllowPolicy": json.dumps(policy)}, self.now_ms)
        self.model.queues[name].sources = sources

    def _purge(self, name: str) -> None:
        try:
            self.plane.queues.purge(SCOPE, self.full(name), self.now_ms)
        except PurgeQueueInProgress:
            return
        self.model.queues[name].letters.clear()

    def _delete_queue(self, name: str) -> None:
        self.plane.queues.delete(SCOPE, self.full(name), self.now_ms)
        del self.model.queues[name]
        self.handles = [picked for picked in self.handles if picked[0] != name]
        if self.model.task is not None and self.model.task.source == name:
            self.model.task = None

    def set_attributes(self, name: str, retention_s: int, delay_s: int, visibility_s: int) -> None:
        if name not in self.model.queues:
            return
        self.model.tick(self.now_ms)
        self.queue(name).advance(self.now_ms)
        attributes = {
            "MessageRetentionPeriod": str(retention_s),
            "DelaySeconds": str(delay_s),
            "VisibilityTimeout": str(visibility_s),
        }
        self.plane.queues.set_attributes(self.queue(name), attributes, self.now_ms)
        model = self.model.queues[name]
        if self.fifo:
            for letter in model.letters:
                if letter.state() == "delayed":
                    letter.hidden_until_ms += delay_s * 1000 - model.delay_ms
        model.retention_ms, model.delay_ms, model.visibility_ms = (
            retention_s * 1000,
            delay_s * 1000,
            visibility_s * 1000,
        )

    # --- move tasks

    def move_task(self, name: str, destination: str, rate: int | None, cancels: bool) -> None:
        """Starts one, or has the one that there is go on."""
        if self.model.task is None:
            self._start_move_task(name, destination, rate)
        else:
            if cancels:
                self._cancel_move_task()
            self._advance_move_task()

    def _start_move_task(self, name: str, destination: str, rate: int | None) -> None:
        there = self.model.queues
        if name not in there or name == destination or (destination and destination not in there):
            return
        self.model.tick(self.now_ms)
        destination_arn = self._arn(destination) if destination else None
        start = partial(self.plane.queues.move_tasks.start, SCOPE, self._arn(name), destination_arn, rate, self.now_ms)
        if not any(queue.target == name for queue in there.values()):
            with pytest.raises(InvalidParameterValue, match="must be configured as a Dead Letter Queue"):
                start()
            return
        start()
        self.model.task = ModelTask(name, destination, there[name].counts()[0])

    def _cancel_move_task(self) -> None:
        task = self.model.task
        assert task is not None
        found = self.plane.queues.move_tasks.list(SCOPE, self._arn(task.source), 1)[0]
        if task.status == "RUNNING":
            assert self.plane.queues.move_tasks.cancel(SCOPE, found.handle) == task.moved
            task.status = "CANCELLING"

    def _advance_move_task(self) -> None:
        """One slice: the oldest that anyone may have, as new messages; it ends when nothing is left for it."""
        self.model.tick(self.now_ms)
        task, tasks = self.model.task, self.plane.queues.move_tasks
        assert task is not None
        source = self.model.queues[task.source]
        may = source.deliverable(fifo=self.fifo)
        before = {name: self._last_sequence(name) for name in self.model.queues}
        tasks.advance(self.now_ms)
        found = tasks.list(SCOPE, self._arn(task.source), 1)[0]
        moved = found.moved - task.moved
        assert 0 <= moved <= min(len(may), task.to_move - task.moved)
        arrived = {name: iter(self._arrived(name, last)) for name, last in before.items() if last is not None}
        for letter in may[:moved]:
            destination = task.destination or letter.origin
            seen = next(arrived[destination])
            assert seen.body == letter.body
            self._is_new(seen.message_id)
            self.model.queues[task.source].letters.remove(letter)
            anew = letter.sent_anew(seen.sequence, seen.message_id, self.now_ms)
            self.model.queues[destination].arrive(anew, fifo=self.fifo)
        assert not any(list(others) for others in arrived.values())
        task.moved = found.moved
        self._check_status(task, str(found.status), may[moved:])
        if not found.active:
            self.model.task = None

    def _arrived(self, name: str, last: int) -> list[_Seen]:
        return [seen for seen in self._seen(name) if seen.sequence > last]

    def _check_status(self, task: ModelTask, status: str, left: list[Letter]) -> None:
        if task.status == "CANCELLING":
            assert status == "CANCELLED"
        elif status == "FAILED":
            assert left
            assert (task.destination or left[0].origin) not in self.model.queues
        elif status == "COMPLETED":
            assert not left or task.moved == task.to_move
        else:
            assert status == "RUNNING"

    # --- time and trouble

    def pass_time(self, ms: int, rests: bool) -> None:
        self.plane.now_ms += ms
        if rests:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Then nobody waits for what could be had."""
        self.plane.come_to_rest()
        self.model.tick(self.now_ms)
        for parked in self.parked:
            assert not self.model.queues[parked.name].deliverable(fifo=self.fifo)

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

    def _restart(self) -> None:
        self.plane.settle()
        self.parked.clear()
        self.plane.open()

    # --- what always holds

    @invariant()
    def every_queue_is_as_the_model_has_it(self) -> None:
        self.model.tick(self.now_ms)
        for name, model in self.model.queues.items():
            assert self.queue(name).counts(self.now_ms) == model.counts()
            assert self._seen(name) == [
                _Seen(
                    letter.sequence,
                    letter.body,
                    letter.message_id,
                    letter.state(),
                    letter.hidden_until_ms,
                    letter.receives,
                    letter.sent_ms,
                    letter.origin,
                )
                for letter in model.letters
            ]

    def teardown(self) -> None:
        """At rest nothing is wrong, and a task comes to its end."""
        if not hasattr(self, "plane"):
            return
        self._restart()
        while self.model.task is not None:
            assert self.plane.queues.move_tasks.next_due_ms() < NEVER_MS
            self.plane.now_ms = max(self.now_ms, self.plane.queues.move_tasks.next_due_ms())
            self._advance_move_task()
            self.plane.settle()
        self.plane.check_at_rest()
        self.every_queue_is_as_the_model_has_it()


DeadLetterMachine.TestCase.settings = histories(140, steps=60)
TestDeadLetters = DeadLetterMachine.TestCase


def test_a_queue_that_names_itself_keeps_its_messages() -> None:
    plane = VirtualPlane(on_commit=lambda: None, on_reset=lambda: None)
    plane.queues.create(SCOPE, "q", {}, {}, now_ms=plane.now_ms)
    queue = plane["q"]
    policy = json.dumps({"deadLetterTargetArn": queue.arn, "maxReceiveCount": 1})
    plane.queues.set_attributes(queue, {"RedrivePolicy": policy}, plane.now_ms)
    packed = MessageBatch(messages=[Message(body=b"x")]).SerializeToString()
    queue.send(packed, 1, len(packed), delay_ms=None, now_ms=plane.now_ms, sender_id="")
    for receive_count in (1, 2, 3):
        (taken,) = queue.receive(10, visibility_ms=0, now_ms=plane.now_ms)
        assert (taken.lo, taken.receive_count, taken.entry.origin_arn) == (1, receive_count, "")
        plane.settle()
    plane.check_at_rest()
