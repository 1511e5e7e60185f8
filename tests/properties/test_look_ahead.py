"""What may be had behind many messages that may not is found in small steps: by who waits in line, and by a short poll.

Groups ``a`` to ``e`` are blocked, a message of each in flight, and behind their others is one of a group that is not.
"""

import asyncio
from collections.abc import Iterator
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch

from broker import limits
from broker.api.desk import Desk
from broker.api.receive import ReceiveCall
from broker.queues import Queue, Taken
from broker.queues.fifo import FifoQueue

from .test_settlement import InPlace
from .virtual_plane import SCOPE, VirtualPlane

_BLOCKED = 40
_NAME = "q.fifo"


@pytest.fixture(autouse=True)
def small_steps() -> Iterator[None]:
    with (
        mock.patch.object(limits, "LOOK_AHEAD_A_STEP_MAX", 1),
        mock.patch.object(limits, "UNBLOCKED_AHEAD_MESSAGES", 4),
        mock.patch.object(limits, "UNBLOCKED_AHEAD_GROUPS", 2),
    ):
        yield


def _plane() -> tuple[VirtualPlane, FifoQueue]:
    plane = VirtualPlane(on_commit=lambda: None, on_reset=lambda: None)
    plane.queues.create(SCOPE, _NAME, {"FifoQueue": "true"}, {}, now_ms=plane.now_ms)
    queue = plane[_NAME]
    assert isinstance(queue, FifoQueue)
    for number in range(_BLOCKED):
        _send(plane, queue, "abcde"[number % 5], f"blocked {number}")
    for _ in range(5):
        assert _received(plane, queue)
    _send(plane, queue, "f", "free")
    plane.settle()
    return plane, queue


def _send(plane: VirtualPlane, queue: FifoQueue, group: str, text: str) -> None:
    """An entry for each."""
    plane.now_ms += limits.COALESCED_BATCH_MS_MAX + 1
    packed = MessageBatch(messages=[Message(body=text.encode(), message_group_id=group)]).SerializeToString()
    queue.send_ordered(packed, [group], [text], now_ms=plane.now_ms, sender_id="")


def _received(plane: VirtualPlane, queue: FifoQueue) -> list[int]:
    taken = queue.receive(1, visibility_ms=3_600_000, now_ms=plane.now_ms)
    return [part.lo for part in taken]


class _InLine:
    def __init__(self, plane: VirtualPlane) -> None:
        self.plane = plane
        self.taken: list[Taken] = []
        self.served = 0

    def serve(self, queue: Queue) -> bool:
        self.served += 1
        self.taken = queue.receive(10, visibility_ms=1_000, now_ms=self.plane.now_ms)
        return not self.taken

    def queue_deleted(self) -> None:
        raise AssertionError("nobody deleted the queue")


def test_a_step_is_small_and_another_goes_on() -> None:
    plane, queue = _plane()
    end = queue.groups.end
    assert not _received(plane, queue)
    assert queue.groups.end == end + 1
    assert queue.looks_further
    polls = 0
    while not (found := _received(plane, queue)):
        assert queue.looks_further
        polls += 1
    assert found == [_BLOCKED + 1]
    assert polls > _BLOCKED // 2


@pytest.mark.parametrize("restarted", [False, True])
def test_the_seals_go_on_for_who_is_in_line(*, restarted: bool) -> None:
    plane, queue = _plane()
    if restarted:
        plane.open()
        found = plane[_NAME]
        assert isinstance(found, FifoQueue)
        queue = found
    in_line = _InLine(plane)
    queue.park(in_line)
    plane.settle()
    assert [part.lo for part in in_line.taken] == [_BLOCKED + 1]
    assert in_line.served > _BLOCKED // 2
    assert not queue.takers


def test_a_seal_goes_on_with_what_a_poll_left() -> None:
    plane, queue = _plane()
    assert not _received(plane, queue)
    plane.settle()
    assert _received(plane, queue) == [_BLOCKED + 1]
    assert not _received(plane, queue)
    assert not queue.looks_further


def test_a_short_poll_finds_it() -> None:
    plane, queue = _plane()

    async def poll() -> list[Taken]:
        desk = Desk(
            store=plane.store,
            batches=plane.batches,
            queues=plane.queues,
            now_ms=lambda: plane.now_ms,
            default_scope=SCOPE,
            reader=InPlace(),
            queue_url=lambda _scope, name: name,
        )
        return await ReceiveCall(desk, queue, pb.ReceiveMessageRequest(queue_url=_NAME)).receive()

    assert [part.lo for part in asyncio.run(asyncio.wait_for(poll(), 60))] == [_BLOCKED + 1]
    assert asyncio.run(asyncio.wait_for(poll(), 60)) == []


@pytest.fixture
def wide() -> Iterator[tuple[VirtualPlane, FifoQueue]]:
    """An empty queue whose window is wide where its groups are few, and is loaded in one step."""
    with (
        mock.patch.object(limits, "UNBLOCKED_AHEAD_GROUPS", 1_000),
        mock.patch.object(limits, "LOOK_AHEAD_A_STEP_MAX", 5_000),
    ):
        plane = VirtualPlane(on_commit=lambda: None, on_reset=lambda: None)
        plane.queues.create(SCOPE, _NAME, {"FifoQueue": "true"}, {}, now_ms=plane.now_ms)
        queue = plane[_NAME]
        assert isinstance(queue, FifoQueue)
        yield plane, queue


def test_a_small_group_has_its_turn_behind_a_busy_one(wide: tuple[VirtualPlane, FifoQueue]) -> None:
    """Where the groups are few, the window is wide, and receives take them in turn."""
    plane, queue = wide
    for number in range(_BLOCKED):
        _send(plane, queue, "busy", str(number))
    _send(plane, queue, "small", "small")
    assert queue.groups.end == 1 + limits.UNBLOCKED_AHEAD_MESSAGES  # nobody has asked for more
    received = [_received(plane, queue) for _ in range(2)]
    assert queue.groups.end == _BLOCKED + 2
    _send(plane, queue, "busy", "another")
    assert queue.groups.end == _BLOCKED + 3
    assert received == [[1], [_BLOCKED + 1]]


def test_whoever_counts_groups_in_flight_asks_for_no_messages(wide: tuple[VirtualPlane, FifoQueue]) -> None:
    plane, queue = wide
    _send(plane, queue, "a", "first")
    assert _received(plane, queue) == [1]
    for number in range(_BLOCKED):
        _send(plane, queue, "b", str(number))
    end = queue.groups.end
    assert end < queue.state.log.next_sequence
    assert queue.groups_in_flight() == 1
    assert queue.groups.end == end
    plane.settle()
    plane.open()  # now they are not known yet, and must be looked for
    found = plane[_NAME]
    assert isinstance(found, FifoQueue)
    assert found.groups_in_flight() == 1
