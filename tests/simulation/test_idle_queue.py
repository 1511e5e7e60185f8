"""The visibility timeout counts from the receive, also at a queue that nobody has touched for long."""

import asyncio

from heddle.v1 import queues_pb2 as pb

from .loop import VirtualLoop
from .wire import StreamContext
from .world import Faults, World


def test_a_stream_that_comes_to_an_idle_queue_holds_what_it_gets() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        world = World(0, loop, Faults())
        await world.call("CreateQueue", pb.CreateQueueRequest(queue_name="one"))
        await world.call("SendMessage", pb.SendMessageRequest(queue_url="one", message_body=b"waits"))
        await asyncio.sleep(600)
        frames: list[pb.ConsumeResponse] = []
        context = StreamContext(lambda frame: frames.append(pb.ConsumeResponse.FromString(frame)), lambda: 0.0)
        context.send(pb.ConsumeRequest(queue_url="one", credit=10, visibility_timeout=30).SerializeToString())
        opened_ms = world.now_ms()
        stream = asyncio.ensure_future(world.call("Consume", None, context))
        await asyncio.sleep(20)
        deliveries = [delivery for frame in frames for delivery in frame.deliveries]
        assert [delivery.receive_count for delivery in deliveries] == [1], "delivered again before its timeout"
        assert deliveries[0].visible_again_timestamp_ms >= opened_ms + 30_000
        stream.cancel()
        assert world.failure is None, world.failure

    loop.run_to_the_end(main())
