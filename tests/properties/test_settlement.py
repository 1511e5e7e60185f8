"""A request of a stream that names many messages is settled in slices: others have their turns between them."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch
from simulation.wire import StreamContext

from broker import limits
from broker.api.desk import Desk
from broker.api.grpc import settlement
from broker.api.grpc.consume import Consume
from broker.api.grpc.held import Held
from broker.api.grpc.settlement import Settlement
from broker.errors import QueueDoesNotExist, StorageUnavailable
from broker.queues import Queue
from broker.queues.fifo import FifoQueue
from broker.queues.groups import Group, Groups, Holder
from broker.queues.runs import RunMap, State
from broker.store import EngineFull

from .virtual_plane import SCOPE, VirtualPlane

_MESSAGES = 600
_WORK_MAX = 160
"""Changes to runs between two turns of the loop; a slice has 64 steps, and none makes more than two changes."""


class InPlace(Executor):
    """Reads at once: a thread would take as many turns of the loop as it likes."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(work(*arguments, **named))
        return future


class Stage:
    """A stream on a queue of messages that are an entry and a run each."""

    def __init__(self, name: str, groups: int, messages: int = _MESSAGES) -> None:
        self.plane = VirtualPlane(on_commit=lambda: None, on_reset=lambda: None)
        self.plane.queues.create(SCOPE, name, {"FifoQueue": "true"} if groups else {}, {}, now_ms=self.plane.now_ms)
        self.queue: Queue = self.plane[name]
        for number in range(messages):
            self.plane.now_ms += limits.COALESCED_BATCH_MS_MAX + 1  # an entry for each
            self.send(f"g{number % groups}" if groups else "", str(number))
        self.plane.settle()
        self.plane.now_ms += 1_000
        self.desk = Desk(
            store=self.plane.store,
            batches=self.plane.batches,
            queues=self.plane.queues,
            now_ms=lambda: self.plane.now_ms,
            default_scope=SCOPE,
            reader=InPlace(),
            queue_url=lambda _scope, queue: queue,
        )
        self.frames: list[pb.ConsumeResponse] = []
        self.context = StreamContext(
            lambda frame: self.frames.append(pb.ConsumeResponse.FromString(frame)), lambda: 0.0
        )

    def send(self, group: str, text: str) -> None:
        message, queue, now_ms = (
            Message(body=text.encode(), message_group_id=group),
            self.queue,
            self.plane.now_ms,
        )
        packed = MessageBatch(messages=[message]).SerializeToString()
        if isinstance(queue, FifoQueue):
            queue.send_ordered(packed, [group], [text], now_ms=now_ms, sender_id="")
        else:
            queue.send(packed, 1, len(packed), delay_ms=None, now_ms=now_ms, sender_id="")

    async def turns(
        self, until: Callable[[], object], each: Callable[[], None] = lambda: None, *, commits: bool = True
    ) -> None:
        for _ in range(10_000):
            if commits:
                self.plane.settle()
            each()
            if until():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come to an end")

    def received(self) -> list[bytes]:
        return [
            message.body
            for frame in self.frames
            for delivery in frame.deliveries
            for message in delivery.batch.messages
        ]

    def confirmed(self) -> int:
        return max((frame.confirmed_request_id for frame in self.frames), default=0)


def on_a_stream(
    name: str, groups: int, body: Callable[[Stage, "asyncio.Task[None]"], Awaitable[None]], messages: int = _MESSAGES
) -> None:
    """Runs ``body`` with a stream that holds all messages of the queue."""

    async def main() -> None:
        stage = Stage(name, groups, messages)
        stream = asyncio.ensure_future(Consume(stage.desk, SCOPE, stage.context).run())
        stage.context.send(pb.ConsumeRequest(queue_url=name, credit=messages).SerializeToString())
        await stage.turns(lambda: len(stage.received()) == messages)
        await body(stage, stream)
        stream.cancel()
        await stage.turns(stream.done)
        stage.plane.check_at_rest()

    _run(main())


def _run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 120))


@contextmanager
def counted_work() -> Iterator[Callable[[], int]]:
    """Yields what tells how many runs were changed since it was last asked."""
    changes = 0
    cut = RunMap._cut

    def counting(*arguments: Any) -> None:
        nonlocal changes
        changes += 1
        cut(*arguments)

    def since() -> int:
        nonlocal changes
        before, changes = changes, 0
        return before

    with mock.patch.object(RunMap, "_cut", counting):
        yield since


def _every_second(request_id: int) -> pb.ConsumeRequest:
    acks = [pb.SequenceRange(first=first, end=first + 1) for first in range(1, _MESSAGES, 2)]
    return pb.ConsumeRequest(request_id=request_id, acks=acks)


def _all(field: str, request_id: int) -> pb.ConsumeRequest:
    everything = pb.SequenceRange(first=1, end=1 << 62)
    match field:
        case "acks":
            return pb.ConsumeRequest(request_id=request_id, acks=[everything])
        case "nacks":
            return pb.ConsumeRequest(request_id=request_id, nacks=[pb.Nack(range=everything, delay_seconds=60)])
        case _:
            extension = pb.Extension(range=everything, visibility_timeout=60)
            return pb.ConsumeRequest(request_id=request_id, extensions=[extension])


def _single_nacks(request_id: int) -> pb.ConsumeRequest:
    """The first of a group takes all others of it along."""
    nacks = [
        pb.Nack(range=pb.SequenceRange(first=number, end=number + 1), delay_seconds=60)
        for number in range(_MESSAGES, 0, -1)
    ]
    return pb.ConsumeRequest(request_id=request_id, nacks=nacks)


_REQUESTS = {
    "single acknowledgements": (_every_second(7), _MESSAGES // 2),
    "one acknowledgement of many runs": (_all("acks", 7), 0),
    "one nack of many runs": (_all("nacks", 7), _MESSAGES),
    "single nacks": (_single_nacks(7), _MESSAGES),
    "one extension of many runs": (_all("extensions", 7), _MESSAGES),
}


@pytest.mark.parametrize(("name", "groups"), [("q", 0), ("one.fifo", 1), ("many.fifo", 20)])
@pytest.mark.parametrize("what", _REQUESTS)
def test_others_have_their_turns_while_a_long_request_is_settled(what: str, name: str, groups: int) -> None:
    request, left = _REQUESTS[what]

    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        with counted_work() as work:
            most, slices = 0, 0

            def each() -> None:
                nonlocal most, slices
                done = work()
                most, slices = max(most, done), slices + (done > 0)
                if stage.confirmed() == 7:
                    assert stage.queue.state.runs.total == left

            stage.context.send(request.SerializeToString())
            await stage.turns(lambda: stage.confirmed() == 7, each)
        assert 0 < most <= _WORK_MAX
        assert slices > 2
        assert stage.queue.state.runs.total == left

    on_a_stream(name, groups, body)


@pytest.mark.parametrize(("name", "groups"), [("q", 0), ("one.fifo", 1)])
def test_what_a_stream_held_comes_back_in_slices(name: str, groups: int) -> None:
    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        with counted_work() as work:
            most = 0

            def each() -> None:
                nonlocal most
                most = max(most, work())

            stream.cancel()
            await stage.turns(stream.done, each)
        assert 0 < most <= _WORK_MAX
        assert stage.queue.counts(stage.plane.now_ms) == (_MESSAGES, 0, 0)

    on_a_stream(name, groups, body)


@pytest.mark.parametrize(("name", "groups"), [("q", 0), ("one.fifo", 1)])
def test_what_a_stream_held_comes_back_although_it_is_cancelled_again(name: str, groups: int) -> None:
    """Under load a client's end is seen before its cancellation, which then comes while messages go back."""

    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        stream.cancel()
        await stage.turns(lambda: stage.queue.state.runs.visible, commits=False)
        assert stage.queue.state.runs.visible < _MESSAGES
        stream.cancel()
        await stage.turns(lambda: stream.done() and not stage.desk.finishing)
        assert stage.queue.counts(stage.plane.now_ms) == (_MESSAGES, 0, 0)
        await stage.desk.finished()

    on_a_stream(name, groups, body)


def test_nothing_is_delivered_between_the_slices_of_a_request() -> None:
    """What comes back first would be delivered again, and the rest of the request would speak of that."""

    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        request = _single_nacks(7)
        for nack in request.nacks:
            nack.delay_seconds = 0
        request.credit = 10
        frames, turns = len(stage.frames), 0

        def each() -> None:
            nonlocal turns
            turns += stage.queue.state.runs.visible > 0
            if stage.confirmed() != 7:
                assert len(stage.frames) == frames

        stage.context.send(request.SerializeToString())
        await stage.turns(lambda: stage.confirmed() == 7, each)
        assert turns > 2
        await stage.turns(lambda: len(stage.received()) == _MESSAGES + 10)
        assert stage.received()[_MESSAGES:] == [b"%d" % number for number in range(10)]

    on_a_stream("one.fifo", 1, body)


def test_nothing_leaves_between_the_slices_of_a_request() -> None:
    """What was taken before and became durable meanwhile would overtake what is about to go back."""

    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        for number in range(_MESSAGES, _MESSAGES + 10):
            stage.send("g19", str(number))
        stage.plane.settle()
        stage.context.send(pb.ConsumeRequest(credit=10).SerializeToString())
        await stage.turns(lambda: stage.plane.steps, commits=False)
        stage.plane.run_a_little(1)  # the seal, not the commit's report
        stage.context.send(_single_nacks(7).SerializeToString())
        until_ms = stage.plane.now_ms + 60_000
        await stage.turns(lambda: any(run.until_ms == until_ms for run in stage.queue.state.runs), commits=False)
        assert stage.queue.state.runs.counts[State.IN_FLIGHT] == _MESSAGES + 10

        def each() -> None:
            assert len(stage.received()) == _MESSAGES

        await stage.turns(lambda: stage.confirmed() == 7, each)

    on_a_stream("many.fifo", 20, body)


def _nack(first: int, end: int, *, delay_seconds: int = 0) -> pb.Nack:
    return pb.Nack(range=pb.SequenceRange(first=first, end=end), delay_seconds=delay_seconds)


def test_a_stream_does_not_go_on_behind_what_it_gave_back_for_later() -> None:
    """All of the group comes again in order, the messages that are given back with a delay first."""

    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        for number in range(3, 6):
            stage.send("g0", str(number))
        request = pb.ConsumeRequest(request_id=7, credit=10, nacks=[_nack(1, 2, delay_seconds=60)])
        stage.context.send(request.SerializeToString())
        await stage.turns(lambda: stage.confirmed() == 7)
        for _ in range(20):
            stage.plane.settle()
            await asyncio.sleep(0)
        assert stage.received() == [b"0", b"1", b"2"]
        stage.plane.now_ms += 60_000
        stage.plane.come_to_rest()
        await stage.turns(lambda: len(stage.received()) == 9)
        assert stage.received()[3:] == [b"0", b"1", b"2", b"3", b"4", b"5"]

    on_a_stream("one.fifo", 1, body, messages=3)


def test_what_a_nack_takes_along_goes_back_although_another_has_an_earlier_message() -> None:
    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        extension = pb.Extension(range=pb.SequenceRange(first=2, end=4), visibility_timeout=600)
        request = pb.ConsumeRequest(request_id=7, extensions=[extension])
        stage.context.send(request.SerializeToString())
        await stage.turns(lambda: stage.confirmed() == 7)
        stage.plane.now_ms += 60_000  # the first message comes back
        assert sum(map(len, stage.queue.receive(1, visibility_ms=None, now_ms=stage.plane.now_ms))) == 1
        stage.context.send(pb.ConsumeRequest(request_id=8, nacks=[_nack(2, 3)]).SerializeToString())
        await stage.turns(lambda: stage.confirmed() == 8)
        assert stage.queue.counts(stage.plane.now_ms) == (2, 1, 0)

    on_a_stream("one.fifo", 1, body, messages=3)


def test_the_groups_of_many_messages_are_looked_up_in_slices() -> None:
    """A nack of 9,000 messages in one delivery, and then of three that are far apart."""
    stage, holder = Stage("many.fifo", 20, 0), Holder()
    queue, now_ms = stage.queue, stage.plane.now_ms
    assert isinstance(queue, FifoQueue)
    groups = [f"g{number % 20}" for number in range(9_000)]
    packed = MessageBatch(messages=[Message(body=b"x", message_group_id=group) for group in groups])
    ids = list(map(str, range(9_000)))
    queue.send_ordered(packed.SerializeToString(), groups, ids, now_ms=now_ms, sender_id="")
    queue.join(holder)
    held = Held()
    looked_up = 0
    each = Groups._each

    def counting(self: Groups, lo: int, hi: int) -> Iterator[tuple[int, Group]]:
        nonlocal looked_up
        for found in each(self, lo, hi):
            looked_up += 1
            yield found

    async def settle(request: pb.ConsumeRequest) -> int:
        nonlocal looked_up
        settling = asyncio.ensure_future(
            Settlement(stage.desk, queue, holder, held, lambda: None).apply(request, now_ms)
        )
        most = looked_up = 0
        while not settling.done():
            await asyncio.sleep(0)
            most, looked_up = max(most, looked_up), 0
        settling.result()
        return most

    async def main() -> None:
        for part in queue.receive(9_000, visibility_ms=None, now_ms=now_ms, holder=holder):
            held.add(part.lo, part.hi, part.delivery_id)
        with mock.patch.object(Groups, "_each", counting):
            assert 0 < await settle(pb.ConsumeRequest(nacks=[_nack(1, 1 << 62)])) <= 6_500
            assert queue.counts(now_ms) == (9_000, 0, 0)
            (part,) = queue.receive(9_000, visibility_ms=None, now_ms=now_ms, holder=holder)
            for sequence in (1, 4_000, 8_000):
                held.add(sequence, sequence + 1, part.delivery_id)
            assert 0 < await settle(pb.ConsumeRequest(nacks=[_nack(1, 1 << 62)])) < 100
            assert queue.counts(now_ms) == (3, 8_997, 0)

    _run(main())


def test_a_request_whose_slice_was_lost_is_not_confirmed() -> None:
    """The slices after it could be made durable; a confirmation would speak of all of them."""

    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        stage.context.send(_every_second(7).SerializeToString())
        await stage.turns(lambda: stage.queue.state.runs.total < _MESSAGES, commits=False)
        stage.plane.engine.fail_next = EngineFull("the disk is full")
        stage.plane.settle()
        stage.plane.engine.fail_next = None
        await stage.turns(stream.done)
        assert isinstance(stream.exception(), StorageUnavailable)
        assert stage.confirmed() == 0
        assert stage.queue.state.runs.total == _MESSAGES

    on_a_stream("q", 0, body)


def test_what_is_sent_and_received_between_two_slices_is_not_acknowledged() -> None:
    async def body(stage: Stage, _stream: "asyncio.Task[None]") -> None:
        stage.context.send(_all("acks", 7).SerializeToString())
        await stage.turns(lambda: stage.queue.state.runs.total < _MESSAGES)
        stage.send("", "new")
        assert sum(map(len, stage.queue.receive(1, visibility_ms=None, now_ms=stage.plane.now_ms))) == 1
        await stage.turns(lambda: stage.confirmed() == 7)
        assert stage.queue.counts(stage.plane.now_ms) == (0, 1, 0)

    on_a_stream("q", 0, body)


def test_a_queue_deleted_between_two_slices() -> None:
    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        stage.context.send(_every_second(7).SerializeToString())
        await stage.turns(lambda: stage.queue.state.runs.total < _MESSAGES, commits=False)
        stage.plane.queues.delete(SCOPE, "q", stage.plane.now_ms)
        await stage.turns(stream.done)
        assert isinstance(stream.exception(), QueueDoesNotExist)
        assert stage.confirmed() == 0

    on_a_stream("q", 0, body)


def test_a_queue_deleted_while_what_a_stream_held_comes_back() -> None:
    """In the midst of one delivery, which is many runs."""

    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        packed = MessageBatch(messages=[Message(body=b"x")] * 400).SerializeToString()
        stage.queue.send(packed, 400, len(packed), delay_ms=None, now_ms=stage.plane.now_ms, sender_id="")
        later = [
            pb.Extension(range=pb.SequenceRange(first=first, end=first + 1), visibility_timeout=60)
            for first in range(2, 400, 2)
        ]
        stage.context.send(pb.ConsumeRequest(credit=400).SerializeToString())
        await stage.turns(lambda: len(stage.received()) == 401)
        stage.context.send(pb.ConsumeRequest(request_id=7, extensions=later).SerializeToString())
        await stage.turns(lambda: stage.confirmed() == 7)
        stage.context.send(pb.ConsumeRequest(stop=True).SerializeToString())
        await stage.turns(lambda: stage.queue.state.runs.visible, commits=False)
        assert stage.queue.state.runs.visible < 400
        stage.plane.queues.delete(SCOPE, "q", stage.plane.now_ms)
        await stage.turns(stream.done)
        assert stream.exception() is None

    on_a_stream("q", 0, body, messages=1)


def test_a_receive_that_does_not_count_is_taken_off_once() -> None:
    """A nack means a delivery that ended; it hits the next one, which is on its way still when the stream ends."""

    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        stage.plane.now_ms += 60_000  # the message comes back
        stage.plane.come_to_rest()
        stage.context.send(pb.ConsumeRequest(credit=1).SerializeToString())
        await stage.turns(lambda: stage.plane.steps, commits=False)
        stage.plane.run_a_little(1)  # it is taken, and not committed
        assert [run.receive_count for run in stage.queue.state.runs] == [2]
        nack = pb.Nack(range=pb.SequenceRange(first=1, end=2), delay_seconds=2, unhandled=True)
        stage.context.send(pb.ConsumeRequest(nacks=[nack]).SerializeToString())
        stage.context.send(pb.ConsumeRequest(stop=True).SerializeToString())
        until_ms = stage.plane.now_ms + 2_000
        await stage.turns(lambda: any(run.until_ms == until_ms for run in stage.queue.state.runs), commits=False)
        await stage.turns(stream.done)
        assert [run.receive_count for run in stage.queue.state.runs] == [1]
        assert stage.received() == [b"0"]

    on_a_stream("q", 0, body, messages=1)


def test_a_stop_of_the_broker_waits_for_a_request_that_is_being_settled() -> None:
    async def body(stage: Stage, stream: "asyncio.Task[None]") -> None:
        stage.context.send(_every_second(7).SerializeToString())
        await stage.turns(lambda: stage.queue.state.runs.total < _MESSAGES, commits=False)
        stage.desk.stop()
        await stage.turns(stream.done)
        assert stage.confirmed() == 7
        assert stage.queue.counts(stage.plane.now_ms) == (_MESSAGES // 2, 0, 0)

    on_a_stream("q", 0, body)


def test_what_timed_out_and_is_with_others_is_not_held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settlement, "_HELD_UNSEEN_MAX", 20)

    async def main() -> None:
        stage = Stage("q", 0, 0)
        consume = Consume(stage.desk, SCOPE, stage.context)
        stream = asyncio.ensure_future(consume.run())
        stage.context.send(pb.ConsumeRequest(queue_url="q", visibility_timeout=1).SerializeToString())
        held = []
        for number in range(1, 301):
            stage.context.send(pb.ConsumeRequest(credit=1, request_id=number).SerializeToString())
            stage.plane.now_ms += 100  # ten are in flight
            stage.send("", str(number))
            await stage.turns(lambda number=number: len(stage.received()) == number)
            late = max(0, number - 10)
            stage.plane.come_to_rest()
            stage.queue.delete(late, late + 1, stage.plane.now_ms)
            held.append(len(consume._held))
        assert 15 < max(held[:100]) == max(held) <= 45
        stream.cancel()
        await stage.turns(stream.done)
        stage.plane.check_at_rest()

    _run(main())
