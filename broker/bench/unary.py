"""Calls: SendMessageBatch of ten on the bare echo, a standard queue and a FIFO queue, which take turns.

The standard queue is compared with the echo, the FIFO queue with the standard one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import SendMessageBatchRequest, SendMessageBatchRequestEntry

from broker.bench import wire
from broker.bench.calls import ENTRIES, accepted_by_broker, accepted_by_echo
from broker.bench.ceilings import ECHO_DURABILITY
from broker.bench.compare import Setting
from broker.bench.loops import closed_loop
from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.payload import body_of, send_batch_request
from broker.bench.processes import Server, broker_at, echo_server
from broker.bench.rounds import compare, together
from broker.bench.rows import Row, row_of

ROUNDS = 10
PLAN = Plan(messages=10**12, size_bytes=1000, batch=ENTRIES, in_flight=64, seconds=2.0, warm_up_seconds=0.3)
QUEUE = "bench-calls"
_ID_CHARACTERS = 12


class OrderedRequests:
    """SendMessageBatch of ten to groups of their own, packed once: a call only puts new deduplication ids in their
    places, so that the client does no more for FIFO than for the standard queue beside it."""

    def __init__(self, queue_url: str, body: bytes) -> None:
        places = [f"id-{place:0{_ID_CHARACTERS}}" for place in range(ENTRIES)]
        entries = [
            SendMessageBatchRequestEntry(
                id=str(place), message_body=body, message_group_id=str(place), message_deduplication_id=placeholder
            )
            for place, placeholder in enumerate(places)
        ]
        packed = SendMessageBatchRequest(queue_url=queue_url, entries=entries).SerializeToString()
        self._between: list[bytes] = []
        for placeholder in places:
            before, found, packed = packed.partition(placeholder.encode())
            assert found, "the placeholder is not in the request"
            self._between.append(before + b"id-")
        self._end = packed
        self._numbers = count()

    def next(self) -> bytes:
        parts = [b"%b%0*d" % (between, _ID_CHARACTERS, next(self._numbers)) for between in self._between]
        parts.append(self._end)
        return b"".join(parts)


@dataclass
class Side:
    """Who answers the calls. `accepted`: how many messages an answer says that there are."""

    channel: grpc.aio.Channel
    server: Server
    request: Callable[[], bytes]
    accepted: Callable[[bytes], int] = accepted_by_broker
    sent: int = 0
    windows: list[Measured] = field(default_factory=list)

    async def window(self, plan: Plan) -> None:
        stub = wire.raw_unary(self.channel, "SendMessageBatch")

        async def send() -> int:
            accepted = self.accepted(await stub(self.request()))
            check_counts("SendMessageBatch: successful entries", expected=ENTRIES, actual=accepted)
            return accepted

        measured, sent = await closed_loop(send, plan.in_flight, plan, Meter(self.server.pid))
        self.windows.append(measured)
        self.sent += sent


async def measure_rounds(echo: Server, broker: Server, plan: Plan) -> tuple[Side, Side, Side]:
    """The bare echo, a standard queue and a FIFO queue; each of them is first in a round as often as last."""
    async with wire.channels_to(echo.target) as (to_echo,), wire.channels_to(broker.target) as (channel,):
        standard_url = await wire.create_queue(channel, QUEUE)
        fifo_url = await wire.create_queue(channel, f"{QUEUE}.fifo", fifo=True)
        body = body_of(plan.size_bytes)
        request = send_batch_request(standard_url, body, ENTRIES)
        bare = Side(to_echo, echo, lambda: request, accepted_by_echo)
        standard = Side(channel, broker, lambda: request)
        ordered = Side(channel, broker, OrderedRequests(fifo_url, body).next)
        sides = (bare, standard, ordered)
        for number in range(ROUNDS):
            for side in sides if number % 2 == 0 else reversed(sides):
                await side.window(plan)
        for url, side in ((standard_url, standard), (fifo_url, ordered)):
            await wire.check_queue_holds(channel, url, side.sent)
            await wire.delete_queue(channel, url)
        return sides


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    words = setting.durability_in_words
    with echo_server() as echo, broker_at(setting.target, setting.durability) as broker:
        bare, standard, ordered = uvloop.run(measure_rounds(echo, broker, plan))
    yield row_of("calls: echo", ECHO_DURABILITY, together(bare.windows), plan.size_bytes)
    row = row_of("calls: standard queue", words, together(standard.windows), plan.size_bytes)
    compare(row, "echo", standard.windows, bare.windows)
    yield row
    row = row_of("calls: FIFO queue", words, together(ordered.windows), plan.size_bytes)
    compare(row, "standard", ordered.windows, standard.windows)
    yield row
