"""Requests of two streams are settled in slices of a step or two, and everything else happens between the slices.

Whatever happens: a request comes to its end, no message is lost but those that somebody acknowledged or deleted, and in
a FIFO queue a stream gets no message while an earlier one of its group is anywhere but with it.
"""

from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import limits
from broker.api.desk import Desk
from broker.api.grpc import settlement
from broker.api.grpc.held import Held
from broker.api.grpc.settlement import Settlement, check_request
from broker.errors import BrokerError, InvalidParameterValue, StorageUnavailable
from broker.queues import Queue
from broker.queues.fifo import FifoQueue
from broker.queues.groups import Holder
from broker.queues.runs import State

from .histories import histories
from .virtual_plane import SCOPE, VirtualPlane

_GROUPS: Final = ("a", "b", "c")
_STEPS: Final = 60
_SLICES_MAX: Final = 2_000  # of one request; a range has far fewer messages


class _Stream:
    def __init__(self, scene: "_Scene") -> None:
        self.scene = scene
        self.held = Held()
        self.ended: BrokerError | None = None
        self.holder = Holder(on_lost=self._lose) if isinstance(scene.queue, FifoQueue) else None
        if isinstance(scene.queue, FifoQueue) and self.holder is not None:
            scene.queue.join(self.holder)
        self.settlement = Settlement(scene.desk, scene.queue, self.holder, self.held, self._check)
        self.under_way: Coroutine[Any, Any, None] | None = None
        self.slices = 0
        self.stopped = False  # nothing is delivered any more

    def _lose(self) -> None:
        self.ended = StorageUnavailable("lost")

    def _check(self) -> None:
        if self.ended is not None:
            raise self.ended

    def step(self) -> None:
        """One slice of what is under way."""
        if self.under_way is None:
            return
        self.slices += 1
        assert self.slices < _SLICES_MAX, "it does not come to an end"
        try:
            self.under_way.send(None)
        except StopIteration:
            self.under_way, self.slices = None, 0
        except BrokerError as error:
            self.under_way, self.slices, self.ended = None, 0, error

    def finish(self) -> None:
        while self.under_way is not None:
            self.step()

    def holds(self, sequence: int, delivery_id: int) -> bool:
        return [(sequence, sequence + 1, delivery_id)] == self.held.within(sequence, sequence + 1)


class _Scene:
    def __init__(self, random: Random, *, fifo: bool) -> None:
        self.random, name = random, "q.fifo" if fifo else "q"
        self.plane = VirtualPlane(on_commit=lambda: None, on_reset=self._reset)
        self.plane.queues.create(SCOPE, name, {"FifoQueue": "true"} if fifo else {}, {}, now_ms=self.plane.now_ms)
        self.queue: Queue = self.plane[name]
        self.desk = Desk(
            store=self.plane.store,
            batches=self.plane.batches,
            queues=self.plane.queues,
            now_ms=lambda: self.plane.now_ms,
            default_scope=SCOPE,
            reader=None,  # type: ignore[arg-type]  # nothing is read
            queue_url=lambda _scope, queue: queue,
        )
        self.group_of: dict[int, str] = {}
        self.may_be_gone: set[int] = set()
        self.plane.settle()
        self.streams = [_Stream(self), _Stream(self)]

    def _reset(self) -> None:
        self.group_of = {s: group for s, group in self.group_of.items() if self.queue.state.runs.find(s) is not None}

    # --- what happens

    def send(self) -> None:
        groups = [self.random.choice(_GROUPS) for _ in range(self.random.randint(1, 6))]
        messages = [Message(body=b"x", message_group_id=group) for group in groups]
        packed, now_ms = MessageBatch(messages=messages).SerializeToString(), self.plane.now_ms
        if isinstance(self.queue, FifoQueue):
            ids = [str(self.random.getrandbits(60)) for _ in groups]
            sent = self.queue.send_ordered(packed, groups, ids, now_ms=now_ms, sender_id="").sent
            assert sent is not None
        else:
            sent = self.queue.send(packed, len(groups), len(packed), delay_ms=None, now_ms=now_ms, sender_id="")
        self.group_of.update(enumerate(groups, sent.base))

    def receive(self) -> None:
        """By a stream, while it has no request settled in part."""
        stream = self.random.choice(self.streams)
        if stream.settlement.paused or stream.stopped or stream.ended is not None:
            return
        count, now_ms = self.random.choice((1, 2, 5, 20)), self.plane.now_ms
        timeout_ms = self.random.choice((1_000, 30_000))
        find = self.queue.state.runs.find
        before = {s: (run.state, run.delivery_id) for s in self.group_of if (run := find(s)) is not None}
        for part in self.queue.receive(count, visibility_ms=timeout_ms, now_ms=now_ms, holder=stream.holder):
            stream.held.add(part.lo, part.hi, part.delivery_id)
            stream.settlement.weed()
        if stream.holder is not None:
            self._check_order(stream, before)

    def _check_order(self, stream: _Stream, before: dict[int, tuple[State, int]]) -> None:
        runs = self.queue.state.runs
        for sequence, group in self.group_of.items():
            run = runs.find(sequence)
            if run is None or before.get(sequence) == (run.state, run.delivery_id) or run.state != State.IN_FLIGHT:
                continue
            for earlier in range(1, sequence):
                other = runs.find(earlier)
                if self.group_of.get(earlier) == group and other is not None:
                    assert other.state == State.IN_FLIGHT, (sequence, other)
                    assert stream.holds(earlier, other.delivery_id), (sequence, other)

    def request(self) -> None:
        stream = self.random.choice(self.streams)
        if stream.under_way is not None or stream.ended is not None:
            return
        request = self._request(stream)
        try:
            check_request(request)
        except InvalidParameterValue:
            return
        for acked in request.acks:
            self.may_be_gone.update(range(acked.first, min(acked.end, 1 << 10)))
        stream.under_way = stream.settlement.apply(request, self.plane.now_ms)
        stream.step()

    def _request(self, stream: _Stream) -> pb.ConsumeRequest:
        random, request, first = self.random, pb.ConsumeRequest(), 1
        last = max(self.group_of, default=1)
        known = [delivery_id for _, _, delivery_id in stream.held] or [1]
        for _ in range(random.randint(1, 5)):
            first += random.choice((0, 0, 1, 3))
            end = random.choice((first + 1, first + random.randint(1, 6), last + 1, 1 << 62))
            if end <= first or first >= 1 << 61:
                break
            part = pb.SequenceRange(first=first, end=end)
            match random.randint(0, 2):
                case 0:
                    request.acks.append(part)
                case 1:
                    delivery_id = random.choice((0, random.choice(known)))
                    delay, unhandled = random.choice((0, 1, 30)), random.random() < 0.3
                    request.nacks.add(range=part, delay_seconds=delay, unhandled=unhandled, delivery_id=delivery_id)
                case _:
                    request.extensions.add(range=part, visibility_timeout=random.choice((0, 1, 30)))
            first = end
        return request

    def slice(self) -> None:
        self.random.choice(self.streams).step()

    def stop(self) -> None:
        """What a stream's client has not seen goes back, in the midst of a request perhaps."""
        stream = self.random.choice(self.streams)
        stream.stopped = True
        parts = [part for part in stream.held if self.random.random() < 0.5]
        stream.settlement.return_unsent(parts)

    def close(self) -> None:
        """What is under way is cut off, as when a client goes away. Another stream comes."""
        place = self.random.randrange(2)
        stream = self.streams[place]
        if stream.under_way is not None:
            stream.under_way.close()
        if isinstance(self.queue, FifoQueue) and stream.holder is not None:
            self.queue.part(stream.holder)
        stream.under_way, stream.slices = stream.settlement.close(keep=self.random.random() < 0.3), 0
        stream.ended = StorageUnavailable("closed")
        stream.step()
        while stream.under_way is not None:
            self.random.choice((self.pass_time, self.commit, stream.step, stream.step, stream.step))()
        self.streams[place] = _Stream(self)

    def take_and_delete(self) -> None:
        """By somebody else."""
        now_ms = self.plane.now_ms
        for part in self.queue.receive(self.random.choice((1, 3)), visibility_ms=2_000, now_ms=now_ms):
            if self.random.random() < 0.5:
                self.queue.delete(part.lo, part.hi, now_ms)
                self.may_be_gone.update(range(part.lo, part.hi))

    def pass_time(self) -> None:
        self.plane.now_ms += self.random.choice((1, 500, 1_000, 2_000, 40_000))
        self.plane.run_timers()

    def commit(self) -> None:
        self.plane.settle()

    def fail(self) -> None:
        if self.random.random() < 0.3:
            self.plane.fail_the_commit()
            self.streams = [_Stream(self) if s.ended is not None and s.under_way is None else s for s in self.streams]

    def change_delay(self) -> None:
        delay = self.random.choice(("0", "0", "1", "5"))
        self.plane.queues.set_attributes(self.queue, {"DelaySeconds": delay}, self.plane.now_ms)

    # --- what always holds

    def check(self) -> None:
        runs = self.queue.state.runs
        for sequence in self.group_of:
            assert sequence in self.may_be_gone or runs.find(sequence) is not None, f"{sequence} is lost"
        counts = [0, 0, 0]
        before_hi = 0
        for run in runs:
            assert before_hi <= run.lo < run.hi
            before_hi = run.hi
            counts[run.state] += len(run)
        assert counts == runs.counts


@contextmanager
def _small_slices() -> Iterator[None]:
    with (
        mock.patch.object(settlement, "_SLICE_STEPS", 1.0),
        mock.patch.object(settlement, "_PARTS_AT_ONCE", 2),
        mock.patch.object(settlement, "_MESSAGES_AT_ONCE", 2),
        mock.patch.object(settlement, "_HELD_UNSEEN_MAX", 3),
        mock.patch("broker.queues.settling._MESSAGES_A_STEP", 1),
        mock.patch.object(limits, "LOOK_AHEAD_MESSAGES", 12),
    ):
        yield


_ACTIONS: Final = (
    *["send"] * 3, *["receive"] * 6, *["request"] * 6, *["slice"] * 12, "stop", "close", "take_and_delete",
    *["pass_time"] * 3, *["commit"] * 3, "fail", "change_delay",
)  # fmt: skip


@pytest.mark.parametrize("fifo", [True, False])
@settings(histories(100, steps=1), suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 1 << 32))
def test_whatever_happens_between_the_slices(fifo: bool, seed: int) -> None:
    random = Random(seed)
    with _small_slices():
        scene = _Scene(random, fifo=fifo)
        for _ in range(_STEPS):
            getattr(scene, random.choice(_ACTIONS))()
            scene.check()
        for stream in scene.streams:
            stream.finish()
            scene.check()
        scene.plane.settle()
        scene.plane.now_ms += 50_000
        scene.plane.come_to_rest()
        assert scene.queue.counts(scene.plane.now_ms)[1:] == (0, 0)
        scene.check()
        scene.plane.check_at_rest()
