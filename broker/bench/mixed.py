"""Mixed lives: half of the messages acknowledged out of order, 10 % given back, 5 % left to expire.

What a message meets is decided by its sequence number on its first delivery; on a later one it is acknowledged.
"""

import random
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import uvloop
from heddle.v1.queues_pb2 import ConsumeRequest, Nack, SequenceRange
from heddle.v1.views_pb2 import ConsumeResponseView, DeliveryView

from broker.bench import proc, wire
from broker.bench.compare import Setting
from broker.bench.measure import CountsDisagreeError, Measured, Meter, Plan, check_counts
from broker.bench.payload import Payload, payload_of
from broker.bench.processes import Server, broker_at
from broker.bench.produce import fill
from broker.bench.rows import Row, row_of

PLAN = Plan(messages=1_000_000, size_bytes=100, batch=1000, in_flight=16, seconds=600.0)
VISIBILITY_TIMEOUT_SECONDS = 10
CYCLE = 20  # of each 20 messages: 1 expires, 2 are given back, 10 are acknowledged out of order, 7 in order
EXPIRES = 1
GIVEN_BACK = 3
OUT_OF_ORDER = 13
SEED = 4
RSS_EVERY_SECONDS = 0.5


def runs_of(sequences: list[int]) -> list[SequenceRange]:
    """Ascending sequence numbers as ranges."""
    ranges: list[SequenceRange] = []
    for sequence in sequences:
        if ranges and ranges[-1].end == sequence:
            ranges[-1].end = sequence + 1
        else:
            ranges.append(SequenceRange(first=sequence, end=sequence + 1))
    return ranges


class MixedConsumer:
    """Keeps its own account of every message: delivered, settled, and settled only once."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._chance = random.Random(SEED)
        self._held_back: list[int] = []
        self._confirming: deque[tuple[int, list[int]]] = deque()
        self.confirmed: set[int] = set()
        self.given_back = self.left_to_expire = self.delivered_again = 0
        self._request_id = 0

    def answer(self, delivery: DeliveryView) -> ConsumeRequest:
        """What is said to one delivery: acknowledgements (some of the delivery before), and what is given back."""
        count = self._payload.count_of(delivery.batch)
        sequences = range(delivery.base_sequence, delivery.base_sequence + count)
        if not self.confirmed.isdisjoint(sequences):
            raise CountsDisagreeError("a message came again after its acknowledgement had been confirmed")
        if delivery.receive_count > 1:
            self.delivered_again += count
            return self._request(count, list(sequences), [])
        in_order = [sequence for sequence in sequences if sequence % CYCLE >= OUT_OF_ORDER]
        back = [sequence for sequence in sequences if EXPIRES <= sequence % CYCLE < GIVEN_BACK]
        out_of_order = [sequence for sequence in sequences if GIVEN_BACK <= sequence % CYCLE < OUT_OF_ORDER]
        self.given_back += len(back)
        self.left_to_expire += count - len(in_order) - len(back) - len(out_of_order)
        now, self._held_back = self._held_back, out_of_order
        return self._request(count, [*in_order, *now], back)

    def rest(self) -> ConsumeRequest | None:
        """Acknowledges what is still held back."""
        now, self._held_back = self._held_back, []
        return self._request(0, now, []) if now else None

    def _request(self, credit: int, acknowledged: list[int], back: list[int]) -> ConsumeRequest:
        self._request_id += 1
        self._confirming.append((self._request_id, acknowledged))
        ranges = runs_of(sorted(acknowledged))
        self._chance.shuffle(ranges)
        nacks = [Nack(range=range_) for range_ in runs_of(back)]
        return ConsumeRequest(acks=ranges, nacks=nacks, credit=credit, request_id=self._request_id)

    def confirm(self, request_id: int) -> None:
        while self._confirming and self._confirming[0][0] <= request_id:
            self.confirmed.update(self._confirming.popleft()[1])


async def measure_mixed(server: Server, plan: Plan) -> Measured:
    """Until every message is acknowledged and confirmed. `rss_mb_max` is the highest of the run.

    The window ends when only messages that were left to expire remain: the wait for them is not work.
    """
    async with wire.channels_to(server.target) as (channel,):
        queue_url = await wire.create_queue(channel, "bench-mixed", VISIBILITY_TIMEOUT_SECONDS)
        filled = await fill(channel, queue_url, plan.messages, plan.size_bytes, plan.batch)
        consumer = MixedConsumer(payload_of(plan.size_bytes, plan.batch))
        meter = Meter(server.pid).start()
        stream = wire.raw_stream(channel, "Consume")
        first = ConsumeRequest(queue_url=queue_url, credit=plan.batch * plan.in_flight)
        await stream.write(first.SerializeToString())
        measured, rss_mb_max = await _consume(stream, consumer, filled, plan.seconds, meter)
        measured.extra.update(_account(consumer), rss_mb_max=rss_mb_max)
        await wire.check_queue_holds(channel, queue_url, 0)
        await wire.delete_queue(channel, queue_url)
    check_counts("distinct messages acknowledged", expected=filled, actual=len(consumer.confirmed))
    return measured


def _account(consumer: MixedConsumer) -> dict[str, Any]:
    return {
        "given_back": consumer.given_back,
        "left_to_expire": consumer.left_to_expire,
        "delivered_again": consumer.delivered_again,
        "settled": len(consumer.confirmed),
    }


async def _consume(
    stream: wire.RawStream, consumer: MixedConsumer, filled: int, seconds_max: float, meter: Meter
) -> tuple[Measured, float | None]:
    measured: Measured | None = None
    rss_mb_max, looked = 0.0, 0.0
    deadline = time.perf_counter() + seconds_max
    while len(consumer.confirmed) < filled:
        response = await stream.read()
        if not isinstance(response, bytes):
            raise CountsDisagreeError(f"Consume ended with {await stream.code()}: {await stream.details()}")
        view = ConsumeResponseView.FromString(response)
        consumer.confirm(view.confirmed_request_id)
        answers = [consumer.answer(delivery) for delivery in view.deliveries]
        for answer in answers or filter(None, [consumer.rest()]):
            await stream.write(answer.SerializeToString())
        now = time.perf_counter()
        pid = meter.server_pid
        if measured is None and len(consumer.confirmed) >= filled - consumer.left_to_expire:
            measured = meter.stop(len(consumer.confirmed))
        if pid is not None and now - looked > RSS_EVERY_SECONDS:
            rss_mb_max, looked = max(rss_mb_max, proc.rss_anon_mb(pid)), now
        if now > deadline:
            raise CountsDisagreeError(f"only {len(consumer.confirmed):,} of {filled:,} settled in {seconds_max} s")
    await stream.write(ConsumeRequest(stop=True).SerializeToString())
    await stream.done_writing()
    await stream.code()
    assert measured is not None
    return measured, round(rss_mb_max, 1) if meter.server_pid is not None else None


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    with broker_at(setting.target, setting.durability) as server:
        measured = uvloop.run(measure_mixed(server, plan))
    yield row_of("mixed", setting.durability_in_words, measured, plan.size_bytes)
