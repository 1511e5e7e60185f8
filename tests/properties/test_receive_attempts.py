"""ReceiveMessage with a ReceiveRequestAttemptId, by callers that wait in line."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch

from broker.api.desk import Desk
from broker.api.receive import ReceiveCall
from broker.queues import Taken
from broker.queues.fifo import FifoQueue

from .virtual_plane import SCOPE, VirtualPlane

Call = asyncio.Task[list[Taken]]


class Stage:
    def __init__(self, reader: ThreadPoolExecutor) -> None:
        self.plane = VirtualPlane(on_commit=lambda: None, on_reset=lambda: None)
        self.plane.queues.create(SCOPE, "q.fifo", {"FifoQueue": "true"}, {}, now_ms=self.plane.now_ms)
        self.plane.settle()
        queue = self.plane["q.fifo"]
        assert isinstance(queue, FifoQueue)
        self.queue = queue
        self.desk = Desk(
            store=self.plane.store,
            batches=self.plane.batches,
            queues=self.plane.queues,
            now_ms=lambda: self.plane.now_ms,
            default_scope=SCOPE,
            reader=reader,
            queue_url=lambda _scope, name: name,
        )

    async def call(self, attempt_id: str, count: int = 10) -> Call:
        """A call that waits in line."""
        request = pb.ReceiveMessageRequest(
            wait_time_seconds=20, max_number_of_messages=count, receive_request_attempt_id=attempt_id
        )
        call = asyncio.ensure_future(ReceiveCall(self.desk, self.queue, request).receive())
        await self.turn()
        assert not call.done()
        return call

    async def send(self, *groups: str) -> None:
        messages = [Message(body=b"x", message_group_id=group) for group in groups]
        packed = MessageBatch(messages=messages).SerializeToString()
        self.queue.send_ordered(packed, groups, groups, now_ms=self.plane.now_ms, sender_id="")
        await self.turn()

    async def turn(self) -> None:
        for _ in range(3):
            self.plane.settle()
            await asyncio.sleep(0)


def on_a_queue(body: Callable[[Stage], Awaitable[None]]) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as reader:
            await body(Stage(reader))

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_retry_in_line_gets_what_the_first_call_was_given_whose_client_is_gone() -> None:
    async def body(stage: Stage) -> None:
        first, retry = await stage.call("attempt"), await stage.call("attempt")
        await stage.send("a", "b")
        assert retry.done()
        (taken,) = await retry
        assert (taken.lo, taken.hi) == (1, 3)
        assert await first == [taken]
        assert not stage.queue.takers
        assert stage.queue.counts(stage.plane.now_ms) == (0, 2, 0)

    on_a_queue(body)


def test_a_retry_is_served_although_the_first_call_ends_as_it_is_served() -> None:
    async def body(stage: Stage) -> None:
        first, retry = await stage.call("attempt"), await stage.call("attempt")
        messages = MessageBatch(messages=[Message(body=b"x", message_group_id="a")]).SerializeToString()
        stage.queue.send_ordered(messages, ["a"], ["a"], now_ms=stage.plane.now_ms, sender_id="")
        stage.plane.settle()
        first.cancel()
        await stage.turn()
        assert first.cancelled()
        assert [(part.lo, part.hi) for part in await retry] == [(1, 2)]

    on_a_queue(body)


def test_another_attempt_in_line_gets_other_messages() -> None:
    async def body(stage: Stage) -> None:
        first, other = await stage.call("attempt", 1), await stage.call("another", 1)
        await stage.send("a", "b")
        assert [(part.lo, part.hi) for call in (first, other) for part in await call] == [(1, 2), (2, 3)]

    on_a_queue(body)
