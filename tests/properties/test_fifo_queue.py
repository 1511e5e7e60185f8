"""One FIFO queue, through its operations and on virtual time, beside a naive model.

Single calls and streams receive, some of them parked in line; commits fail, brokers restart. ``heddle check`` holds
after every commit.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Final
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker import limits
from broker.errors import InvalidParameterValue, PurgeQueueInProgress
from broker.log import PackedBatch
from broker.queues import Queue, Taken, operations
from broker.queues.fifo import FifoQueue
from broker.queues.groups import Holder

from .fifo_model import TOTAL_MS, WINDOW_MS, Accepted, Attempt, ModelFifoQueue, ModelMessage, check_taken
from .histories import Action, actions, histories
from .virtual_plane import SCOPE, VirtualPlane

_NAME: Final = "q.fifo"
_STREAMS: Final = 2

_seconds = st.sampled_from([0, 0, 1, 2, 30, 43_200])
_timeouts = st.sampled_from([None, None, 0, 1, 2, 30, 43_200])
_picks = st.integers(0, 1 << 30)
_few = st.sampled_from([1, 1, 2, 3, 10])
_streams = st.integers(0, _STREAMS - 1)
_bodies = st.sampled_from([b"one", b"two", None, None, None])  # None: one that is new
_hash_of_one = sha256(b"one").hexdigest()
_deduplication_ids = st.sampled_from([None, None, None, "x", "x", "y", _hash_of_one])  # None: new, or of the content
_entry = st.tuples(st.sampled_from("aaaabbcd"), _bodies, _deduplication_ids)

_ACTIONS: Final = actions(
    {
        "send": (5, {"entries": st.lists(_entry, min_size=1, max_size=6), "batch": st.booleans()}),
        "receive": (
            4,
            {
                "count": st.integers(1, 10),
                "timeout_s": _timeouts,
                "attempt_id": st.sampled_from(["", "", "", "s", "s", "t"]),
            },
        ),
        "receive_by_a_stream": (
            4,
            {"count": st.sampled_from([1, 1, 2, 3, 10]), "timeout_s": _timeouts, "who": _streams},
        ),
        "park": (3, {"credit": st.integers(1, 10), "timeout_s": _timeouts, "who": st.none() | _streams}),
        "settle": (5, {"pick": _picks, "deletes": st.booleans(), "seconds": _seconds}),
        "settle_by_a_stream": (
            4,
            {
                "pick": _picks,
                "length": st.integers(1, 4),
                "what": st.sampled_from(["acknowledge", "acknowledge", "give back", "give back", "extend"]),
                "seconds": _seconds,
            },
        ),
        "end_a_stream": (1, {"who": _streams, "keep": st.booleans()}),
        "set_attributes": (
            1,
            {
                "retention_s": st.sampled_from([60, 3_600, 1_209_600, 1_209_600]),
                "delay_s": st.sampled_from([0, 0, 3, 40]),
                "visibility_s": st.sampled_from([0, 5, 30]),
                "content_based": st.booleans(),
                "per_group": st.booleans(),
            },
        ),
        "pass_time": (
            3,
            {
                "ms": st.sampled_from([1, 500, 1_000, 1_000, 2_000, 2_000, 30_000, 61_000, 300_000, 43_200_000]),
                "rests": st.booleans(),
            },
        ),
        "go_on": (
            4,
            {
                "what": st.sampled_from(
                    ["rest", "rest", "a step", "a step", "sweep", "restart", "failed commit", "purge"]
                )
            },
        ),
    }
)


@dataclass
class _Stream:
    """A consumer's stream. ``held``: lo, hi and delivery id of what it was given."""

    holder: Holder = field(default_factory=Holder)
    held: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass
class _Parked:
    """Somebody in line. A single call leaves with what it gets; a stream stays until its credit is used up."""

    machine: "FifoMachine"
    credit: int
    timeout_s: int | None
    who: int | None

    def serve(self, queue: Queue) -> bool:
        machine = self.machine
        wanted = self.credit
        if self.who is not None:
            wanted = min(wanted, queue.head_of_line(machine.streams[self.who].holder))
        taken = machine.take(wanted, self.timeout_s, self.who) if wanted else 0
        self.credit -= taken
        stays = self.credit > 0 and (not taken or self.who is not None)
        if not stays:
            machine.parked.remove(self)
        return stays

    def queue_deleted(self) -> None:
        raise AssertionError("nobody deleted the queue")


class FifoMachine(RuleBasedStateMachine):
    @initialize(
        content_based=st.booleans(),
        per_group=st.booleans(),
        window=st.sampled_from([120_000, 120_000, 6]),
        ahead=st.sampled_from([4_000, 4_000, 3]),
        in_flight_max=st.sampled_from([120_000, 120_000, 7]),
    )
    def start(self, content_based: bool, per_group: bool, window: int, ahead: int, in_flight_max: int) -> None:
        self.patches = [
            mock.patch.object(limits, "LOOK_AHEAD_MESSAGES", window),
            mock.patch.object(limits, "UNBLOCKED_AHEAD_MESSAGES", ahead),
            mock.patch.object(limits, "UNBLOCKED_AHEAD_GROUPS", 0 if ahead == 3 else 1_000),
            mock.patch.object(limits, "IN_FLIGHT_MESSAGES_MAX", in_flight_max),
        ]
        for patch in self.patches:
            patch.start()
        self.model = ModelFifoQueue(content_based=content_based, per_group=per_group)
        self.durable = deepcopy(self.model)
        self.handles: list[tuple[str, int, str, int]] = []  # handle, sequence number, message id, delivery id
        self.message_ids: set[str] = set()
        self.sent = 0
        self.plane = VirtualPlane(on_commit=self._note_durable, on_reset=self._roll_back)
        attributes = {
            "FifoQueue": "true",
            "ContentBasedDeduplication": str(content_based).lower(),
            "DeduplicationScope": "messageGroup" if per_group else "queue",
        }
        self.plane.queues.create(SCOPE, _NAME, attributes, {}, self.now_ms)
        self.plane.settle()
        self._open_streams()

    def _open_streams(self) -> None:
        """With nothing held and nobody in line."""
        self.parked: list[_Parked] = []
        self.streams = [_Stream() for _ in range(_STREAMS)]
        for stream in self.streams:
            self.queue.join(stream.holder)

    def _note_durable(self) -> None:
        self.durable = deepcopy(self.model)

    def _roll_back(self) -> None:
        self.model = deepcopy(self.durable)
        self.model.forget_callers()

    @property
    def now_ms(self) -> int:
        return self.plane.now_ms

    @property
    def queue(self) -> FifoQueue:
        queue = self.plane[_NAME]
        assert isinstance(queue, FifoQueue)
        return queue

    @rule(action=_ACTIONS)
    def act(self, action: Action) -> None:
        method, arguments = action
        getattr(self, method)(**arguments)

    # --- sending

    def send(self, entries: list[tuple[str, bytes | None, str | None]], batch: bool) -> None:
        self.model.tick(self.now_ms)
        requested = [self._requested(*entry) for entry in entries]
        send_message = partial(
            operations.send_message, identity=self.plane.queues.identity, now_ms=self.now_ms, sender_id="s"
        )
        if batch:
            request = pb.SendMessageBatchRequest(queue_url=_NAME)
            for number, one in enumerate(requested):
                request.entries.add(
                    id=str(number),
                    message_body=one.message_body,
                    message_group_id=one.message_group_id,
                    message_deduplication_id=one.message_deduplication_id
                    if one.HasField("message_deduplication_id")
                    else None,
                )
            serialized = operations.send_message_batch(
                self.queue, request, identity=self.plane.queues.identity, now_ms=self.now_ms, sender_id="s"
            )
            answer = pb.SendMessageBatchResponse.FromString(serialized)
            assert not answer.failed
            assert [result.id for result in answer.successful] == [str(number) for number in range(len(entries))]
            for one, entry in zip(requested, answer.successful, strict=True):
                self._check_sent(one, entry.message_id, entry.sequence_number)
        else:
            for one in requested:
                result = send_message(self.queue, one)
                self._check_sent(one, result.message_id, result.sequence_number)

    def _requested(self, group: str, body: bytes | None, deduplication_id: str | None) -> pb.SendMessageRequest:
        self.sent += 1
        if deduplication_id is None and not self.model.content_based:
            deduplication_id = f"new-{self.sent}"
        return pb.SendMessageRequest(
            queue_url=_NAME,
            message_group_id=group,
            message_body=b"%d" % self.sent if body is None else body,
            message_deduplication_id=deduplication_id,
        )

    def _check_sent(self, request: pb.SendMessageRequest, message_id: str, number: str) -> None:
        group, body = request.message_group_id, request.message_body
        deduplication_id = request.message_deduplication_id or sha256(body).hexdigest()
        assert len(number) == 20
        sequence = int(number) - 10**19
        original = self.model.original(deduplication_id, group, self.now_ms)
        if original is not None:
            assert (sequence, message_id) == (original.sequence, original.message_id)
            return
        # A failed commit may leave a gap in the sequence numbers: they are not given out twice.
        assert sequence >= self.model.next_sequence
        assert message_id not in self.message_ids
        self.message_ids.add(message_id)
        self.model.accept(Accepted(deduplication_id, group, sequence, message_id, self.now_ms), body)

    # --- receiving

    def receive(self, count: int, timeout_s: int | None, attempt_id: str) -> None:
        if attempt_id:
            self._receive_attempt(count, timeout_s, attempt_id)
        else:
            self.take(count, timeout_s, None)

    def receive_by_a_stream(self, count: int, timeout_s: int | None, who: int) -> None:
        self.take(count, timeout_s, who)

    def _receive_attempt(self, count: int, timeout_s: int | None, attempt_id: str) -> None:
        self.model.tick(self.now_ms)
        attempt = self.model.attempts.get(attempt_id)
        if attempt is not None and attempt.expires_ms <= self.now_ms:
            attempt = None
        if attempt is None:
            self.model.attempts.pop(attempt_id, None)
            assert self.queue.receive_attempt(attempt_id, self.now_ms) is None
            self.take(count, timeout_s, None, attempt_id)
            return
        messages = [self.model.messages.get(sequence) for sequence, _, _, _ in attempt.received]
        untouched = [
            message
            for message, (_, _, delivery_id, until_ms) in zip(messages, attempt.received, strict=True)
            if message is not None
            and message.in_flight
            and (message.delivery_id, message.hidden_until_ms) == (delivery_id, until_ms)
        ]
        if len(untouched) < len(messages):
            with pytest.raises(InvalidParameterValue, match="not retryable"):
                self.queue.receive_attempt(attempt_id, self.now_ms)
            return
        taken = self.queue.receive_attempt(attempt_id, self.now_ms)
        assert taken is not None
        until_ms = self.now_ms + attempt.timeout_ms
        answer = self._answer(taken)
        assert [message.receipt_handle for message in answer] == [handle for _, handle, _, _ in attempt.received]
        attempt.received = [
            (number, handle, delivery_id, until_ms) for number, handle, delivery_id, _ in attempt.received
        ]
        for message in untouched:
            message.hide(attempt.timeout_ms, self.now_ms)
        self._check_answer(answer, untouched)

    def park(self, credit: int, timeout_s: int | None, who: int | None) -> None:
        """A stream stands in line once."""
        if who is None or not any(other.who == who for other in self.parked):
            self.parked.append(_Parked(self, credit, timeout_s, who))
            self.queue.park(self.parked[-1])

    def take(self, count: int, timeout_s: int | None, who: int | None, attempt_id: str = "") -> int:
        """One receive, by a stream or by nobody in particular. Returns how many messages came."""
        model, queue, now_ms = self.model, self.queue, self.now_ms
        model.tick(now_ms)
        holder = None if who is None else self.streams[who].holder
        visibility_ms = None if timeout_s is None else timeout_s * 1000
        taken = queue.receive(count, visibility_ms=visibility_ms, now_ms=now_ms, holder=holder)
        if attempt_id:
            queue.remember_attempt(attempt_id, taken, now_ms)
        here = self._in_window()
        model.groups.found(here)
        may = model.groups.deliverable(here, who)
        room = limits.IN_FLIGHT_MESSAGES_MAX - model.counts()[1]
        received = [model.messages[sequence] for part in taken for sequence in range(part.lo, part.hi)]
        all_is_seen = min(limits.LOOK_AHEAD_MESSAGES, limits.UNBLOCKED_AHEAD_MESSAGES) > 100
        check_taken(received, may, min(count, max(room, 0)), by_group=who is None and all_is_seen)
        timeout_ms = model.visibility_ms if timeout_s is None else timeout_s * 1000
        for part in taken:
            assert part.until_ms == now_ms + timeout_ms
            for sequence in range(part.lo, part.hi):
                model.groups.took(here, model.messages[sequence], who)
                model.messages[sequence].receive(timeout_ms or 1, now_ms, part.delivery_id)
            if who is not None:
                self.streams[who].held.append((part.lo, part.hi, part.delivery_id))
        if len(received) < min(count, room):
            assert not model.groups.deliverable(here, who)
        if not timeout_ms:
            for message in received:
                message.hide(0, now_ms)
        answer = self._answer(taken)
        self._check_answer(answer, received)
        if attempt_id and taken:
            handles = [message.receipt_handle for message in answer]
            until_ms = now_ms + timeout_ms
            remembered = [
                (message.sequence, handle, message.delivery_id, until_ms)
                for message, handle in zip(received, handles, strict=True)
            ]
            model.attempts[attempt_id] = Attempt(remembered, timeout_ms, now_ms + WINDOW_MS)
        return len(received)

    def _in_window(self) -> list[ModelMessage]:
        end = self.queue.groups.end if limits.LOOK_AHEAD_MESSAGES <= 100 else 1 << 62
        return [message for message in self.model.messages.values() if message.sequence < end]

    def _answer(self, taken: list[Taken]) -> list[pb.ReceivedMessage]:
        payloads: dict[int, PackedBatch] = {}
        for part in taken:
            payload = self.plane.batches.read(part.entry.batch_id)
            assert payload is not None
            payloads[part.entry.batch_id] = payload
        request = pb.ReceiveMessageRequest(message_system_attribute_names=["All"])
        return operations.received_messages(self.queue, request, taken, payloads, self.plane.queues.identity)

    def _check_answer(self, answer: list[pb.ReceivedMessage], expected: list[ModelMessage]) -> None:
        for message, model in zip(answer, expected, strict=True):
            assert message.body == model.body
            assert message.message_id == model.message_id
            assert dict(message.attributes) == {
                "SenderId": "s",
                "SentTimestamp": str(model.sent_ms),
                "ApproximateReceiveCount": str(model.receive_count),
                "ApproximateFirstReceiveTimestamp": str(model.first_received_ms),
                "MessageGroupId": model.group,
                "MessageDeduplicationId": model.deduplication_id,
                "SequenceNumber": str(10**19 + model.sequence),
            }
            self.handles.append((message.receipt_handle, model.sequence, model.message_id, model.delivery_id))

    # --- what becomes of received messages

    def settle(self, pick: int, deletes: bool, seconds: int) -> None:
        if not self.handles:
            return
        handle, message, stands = self._picked(pick)
        if deletes:
            self._delete(handle, message, stands=stands)
        else:
            self._change_visibility(handle, message, seconds, stands=stands)

    def _delete(self, handle: str, message: ModelMessage | None, *, stands: bool) -> None:
        delete = partial(
            operations.delete_message, self.queue, handle, identity=self.plane.queues.identity, now_ms=self.now_ms
        )
        if message is not None and not stands:
            with pytest.raises(InvalidParameterValue, match="has expired"):
                delete()
            return
        delete()
        if message is not None:
            del self.model.messages[message.sequence]

    def _change_visibility(self, handle: str, message: ModelMessage | None, seconds: int, *, stands: bool) -> None:
        request = pb.ChangeMessageVisibilityRequest(receipt_handle=handle, visibility_timeout=seconds)
        change = partial(
            operations.change_visibility, self.queue, request, identity=self.plane.queues.identity, now_ms=self.now_ms
        )
        if message is None or not stands:
            with pytest.raises(InvalidParameterValue, match="Message does not exist"):
                change()
        elif self.now_ms - message.received_ms + seconds * 1000 > TOTAL_MS:
            with pytest.raises(InvalidParameterValue, match="beyond the limit"):
                change()
        else:
            change()
            message.hide(seconds * 1000, self.now_ms)

    def _picked(self, pick: int) -> tuple[str, ModelMessage | None, bool]:
        """A receipt handle, its message, and whether the receive that it is of still stands. Late ones are likely."""
        handle, sequence, message_id, delivery_id = self.handles[-1 - pick % min(12, len(self.handles))]
        self.model.tick(self.now_ms)
        message = self.model.messages.get(sequence)
        if message is None or message.message_id != message_id:
            return handle, None, False
        return handle, message, message.in_flight and message.delivery_id == delivery_id

    # --- streams

    def settle_by_a_stream(self, pick: int, length: int, what: str, seconds: int) -> None:
        if not any(stream.held for stream in self.streams):
            return
        who, lo, hi, delivery_id = self._held(pick, length)
        if what == "give back":
            self._give_back(who, lo, hi, delivery_id, delay_s=seconds)
            return
        theirs = self._theirs(lo, hi, delivery_id)
        if what == "acknowledge":
            self.queue.acknowledge(lo, hi, self.now_ms, delivery_id=delivery_id)
            for message in theirs:
                del self.model.messages[message.sequence]
        else:
            changed = self.queue.extend(lo, hi, seconds * 1000, self.now_ms, delivery_id=delivery_id)
            assert changed == len(theirs)
            for message in theirs:
                left_ms = max(0, message.received_ms + TOTAL_MS - self.now_ms)
                message.hide(min(seconds * 1000, left_ms), self.now_ms)

    def _give_back(self, who: int, lo: int, hi: int, delivery_id: int, *, delay_s: int) -> None:
        """With what the stream holds of the same groups behind it, as a nack does."""
        here = self._in_window()
        self.model.groups.found(here)
        ranges = self.queue.groups.later_of_groups([(lo, hi)], set())
        later = [message.sequence for message in self.model.groups.later(here, lo, hi)]
        assert [sequence for start, end in ranges for sequence in range(start, end)] == later
        parts = [(lo, hi, delivery_id)]
        for start, end, theirs in self.streams[who].held:
            parts += [(max(start, a), min(end, b), theirs) for a, b in ranges if max(start, a) < min(end, b)]
        expected = {message.sequence: message for part in parts for message in self._theirs(*part)}
        for start, end, theirs in parts:
            self.queue.give_back(start, end, self.now_ms, delivery_id=theirs, delay_ms=delay_s * 1000)
        for message in expected.values():
            message.hide(delay_s * 1000, self.now_ms)
        if delay_s:
            self.model.groups.withhold(expected.values())

    def end_a_stream(self, who: int, keep: bool) -> None:
        self.model.tick(self.now_ms)
        stream = self.streams[who]
        for parked in [parked for parked in self.parked if parked.who == who]:
            self.parked.remove(parked)
            self.queue.leave(parked)
        if not keep:
            for lo, hi, delivery_id in stream.held:
                self.queue.give_back(lo, hi, self.now_ms, delivery_id=delivery_id)
                for message in self._theirs(lo, hi, delivery_id):
                    message.hide(0, self.now_ms)
        self.queue.part(stream.holder)
        self.model.groups.leave(who)
        self.streams[who] = _Stream()
        self.queue.join(self.streams[who].holder)

    def _held(self, pick: int, length: int) -> tuple[int, int, int, int]:
        """A part of something that a stream was given: stream, lo, hi, delivery id."""
        self.model.tick(self.now_ms)
        holding = [who for who, stream in enumerate(self.streams) if stream.held]
        who = holding[pick % len(holding)]
        held = self.streams[who].held
        lo, hi, delivery_id = held[-1 - pick % min(6, len(held))]
        lo += pick % (hi - lo)
        return who, lo, min(hi, lo + length), delivery_id

    def _theirs(self, lo: int, hi: int, delivery_id: int) -> list[ModelMessage]:
        found = [self.model.messages[sequence] for sequence in range(lo, hi) if sequence in self.model.messages]
        return [message for message in found if message.in_flight and message.delivery_id == delivery_id]

    # --- the queue

    def _purge(self) -> None:
        self.model.tick(self.now_ms)
        try:
            self.plane.queues.purge(SCOPE, _NAME, self.now_ms)
        except PurgeQueueInProgress:
            return
        self.model.messages.clear()
        self.model.history.clear()
        self.model.attempts.clear()

    def set_attributes(
        self, retention_s: int, delay_s: int, visibility_s: int, content_based: bool, per_group: bool
    ) -> None:
        self.model.tick(self.now_ms)
        self.queue.advance(self.now_ms)  # what has expired by the old attributes is gone
        attributes = {
            "MessageRetentionPeriod": str(retention_s),
            "DelaySeconds": str(delay_s),
            "VisibilityTimeout": str(visibility_s),
            "ContentBasedDeduplication": str(content_based).lower(),
            "DeduplicationScope": "messageGroup" if per_group else "queue",
        }
        self.plane.queues.set_attributes(self.queue, attributes, self.now_ms)
        model = self.model
        model.retention_ms, model.visibility_ms = retention_s * 1000, visibility_s * 1000
        model.content_based, model.per_group = content_based, per_group
        model.set_delay(delay_s * 1000, self.now_ms)

    # --- time and trouble

    def pass_time(self, ms: int, rests: bool) -> None:
        self.plane.now_ms += ms
        if rests:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        """Then nobody waits for what could be had."""
        self.plane.come_to_rest()
        self.model.tick(self.now_ms)
        here = self._in_window()
        self.model.groups.found(here)
        if self.model.counts()[1] < limits.IN_FLIGHT_MESSAGES_MAX:
            for parked in self.parked:
                assert not self.model.groups.deliverable(here, parked.who)

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
        self.plane.open()
        self.model.forget_callers()
        self._open_streams()

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

    @invariant()
    def what_can_be_had_is_announced(self) -> None:
        here = self._in_window()
        self.model.groups.found(here)
        for who, holder in ((None, None), *((who, stream.holder) for who, stream in enumerate(self.streams))):
            if self.model.groups.deliverable(here, who):
                assert self.queue.deliverable(holder)
        groups_in_flight = self.queue.groups_in_flight()
        assert groups_in_flight == len({message.group for message in self._in_window() if message.in_flight})

    def teardown(self) -> None:
        """At rest nothing is wrong, and whatever is left can be had."""
        try:
            if hasattr(self, "plane"):
                self._restart()
                self.plane.check_at_rest()
                self.model.tick(self.now_ms)
                assert self.queue.counts(self.now_ms) == self.model.counts()
        finally:
            for patch in getattr(self, "patches", []):
                patch.stop()


FifoMachine.TestCase.settings = histories(140, steps=50)
TestFifoQueue = FifoMachine.TestCase
