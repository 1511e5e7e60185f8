"""At the in-flight limit, whoever is parked waits: the broker goes on."""

import asyncio
from typing import Any
from unittest import mock

import pytest
from heddle.v1 import queues_pb2 as pb

from broker import limits

from .loop import VirtualLoop
from .wire import StreamContext, UnaryContext
from .world import Faults, World


def on_a_broker(body: Any) -> None:
    """Runs ``body(world, queue_url)`` against a broker without faults, where two messages may be in flight."""
    loop = VirtualLoop()

    async def main() -> None:
        world = World(0, loop, Faults())
        await world.call("CreateQueue", pb.CreateQueueRequest(queue_name="one"))
        for number in range(4):
            await world.call("SendMessage", pb.SendMessageRequest(queue_url="one", message_body=b"%d" % number))
        received = await world.call(
            "ReceiveMessage", pb.ReceiveMessageRequest(queue_url="one", max_number_of_messages=2)
        )
        assert len(received.messages) == 2
        await body(world, [message.receipt_handle for message in received.messages])
        assert world.failure is None, world.failure

    with mock.patch.object(limits, "IN_FLIGHT_MESSAGES_MAX", 2):
        loop.run_to_the_end(main())


@pytest.mark.parametrize("streaming", [False, True], ids=["ReceiveMessage", "Consume"])
def test_a_parked_taker_waits_for_room_in_flight(streaming: bool) -> None:
    async def body(world: World, handles: list[str]) -> None:
        frames: list[pb.ConsumeResponse] = []
        if streaming:
            context = StreamContext(lambda frame: frames.append(pb.ConsumeResponse.FromString(frame)), lambda: 0.0)
            context.send(pb.ConsumeRequest(queue_url="one", credit=1).SerializeToString())
            waiting = asyncio.ensure_future(world.call("Consume", None, context))
        else:
            request = pb.ReceiveMessageRequest(queue_url="one", wait_time_seconds=20)
            waiting = asyncio.ensure_future(world.call("ReceiveMessage", request, UnaryContext()))
        await asyncio.sleep(1)
        assert world.failure is None, world.failure
        assert not waiting.done()
        await world.call("DeleteMessage", pb.DeleteMessageRequest(queue_url="one", receipt_handle=handles[0]))
        await asyncio.sleep(1)
        if streaming:
            assert [len(delivery.batch.messages) for frame in frames for delivery in frame.deliveries] == [1]
            waiting.cancel()
        else:
            assert len((await waiting).messages) == 1

    on_a_broker(body)
