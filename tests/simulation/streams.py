"""The client's side of ``Produce`` and ``Consume``: what it sent, what it holds, what was confirmed.

Never: a look into the broker.
"""

import uuid

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import MessageBatch

from .ledger import Entry, Hold, QueueAccount, Removal, Violation
from .wire import CutOff, Refused, StreamContext
from .world import HIDDEN_SECONDS_MAX, World


def message_ids(first: bytes, count: int) -> list[str]:
    """The UUIDs that follow from that of the first message."""
    low = int.from_bytes(first[12:], "big")
    return [str(uuid.UUID(bytes=first[:12] + ((low + i) & 0xFFFFFFFF).to_bytes(4, "big"))) for i in range(count)]


class ProducingClient:
    def __init__(self, world: World, account: QueueAccount) -> None:
        self._world, self._account = world, account
        self._context = StreamContext(self._on_frame, lambda: 0.0)
        self._pending: dict[int, list[Entry]] = {}
        self._requests = 0
        self.accepted = 0

    async def run(self) -> None:
        """Until the stream ends; what is unanswered then remains in doubt."""
        try:
            await self._world.call("Produce", None, self._context)
        except (Refused, CutOff):
            return

    def send(self, bodies: list[str], batch: MessageBatch) -> None:
        now_ms = self._world.now_ms()
        self._requests += 1
        self._pending[self._requests] = [self._world.ledger.sending(self._account, body, now_ms) for body in bodies]
        request = pb.ProduceRequest(request_id=self._requests, batch=batch)
        if self._requests == 1:
            request.queue_url = self._account.name
        if self._world.random.random() < 0.2:
            request.delay_seconds = self._world.random.randint(0, HIDDEN_SECONDS_MAX // 2)
        self._context.send(request.SerializeToString())

    def finish(self) -> None:
        self._context.done_writing()

    def _on_frame(self, frame: bytes) -> None:
        for result in pb.ProduceResponse.FromString(frame).results:
            request_id = next(iter(self._pending))
            if result.request_id != request_id:
                raise Violation(f"result of request {result.request_id}, that of {request_id} is next")
            entries = self._pending.pop(request_id)
            if result.error_code:
                for entry in entries:
                    self._world.ledger.refused(entry)
                continue
            if result.count != len(entries):
                raise Violation(f"{result.count} of {len(entries)} messages were accepted")
            for entry, message_id in zip(entries, message_ids(result.first_message_id, len(entries)), strict=True):
                self._world.ledger.sent(entry, message_id, self._world.now_ms())
                self.accepted += 1


class ConsumingClient:
    """Its visibility timeout is always explicit, so that the time of a receive follows from the delivery."""

    def __init__(self, world: World, account: QueueAccount) -> None:
        random = world.random
        self._world, self._account = world, account
        self._timeout_s = random.choice((1, 5, HIDDEN_SECONDS_MAX))
        self._keep = random.random() < 0.3
        slow = random.random() < 0.2
        self._context = StreamContext(self._on_frame, lambda: random.uniform(0, 0.5) if slow else 0.0)
        self._held: dict[int, Entry] = {}
        self._delivered: list[Entry] = []
        self._removals: dict[int, Removal] = {}
        self._requests = 0
        self._hold = Hold(returns=not self._keep)
        self.received = 0
        first = pb.ConsumeRequest(
            queue_url=account.name,
            visibility_timeout=self._timeout_s,
            keep_in_flight_on_disconnect=self._keep,
            credit=random.choice((1, 3, 10, 100)),
        )
        self._context.send(first.SerializeToString())

    async def run(self) -> None:
        """Until the stream ends; what was not confirmed then remains in doubt."""
        try:
            await self._world.call("Consume", None, self._context)
        except (Refused, CutOff):
            return
        finally:
            self._hold.ended_s = self._world.loop.now_s
            if not self._keep:
                # Also what it gave back: the broker may have ended the stream before it read that.
                for entry in self._delivered:
                    if entry.hold is self._hold:
                        self._world.ledger.let_go(entry)

    def act(self) -> None:
        """One request: some of what is held acknowledged, given back or extended, and new credit."""
        random = self._world.random
        request = pb.ConsumeRequest(credit=random.choice((0, 1, 5, 20)))
        acked: list[Entry] = []
        for first, end in self._some_ranges():
            entries = [self._held[sequence] for sequence in range(first, end)]
            choice = random.random()
            if choice < 0.7:
                request.acks.add(first=first, end=end)
                acked.extend(entries)
                self._drop(first, end)
            elif choice < 0.85:
                delay_s = random.choice((0, 0, 2))
                nack = request.nacks.add(delay_seconds=delay_s)
                nack.range.first, nack.range.end = first, end
                self._until(entries, delay_s)
                self._drop(first, end)
            else:
                seconds = random.choice((0, 1, HIDDEN_SECONDS_MAX))
                extension = request.extensions.add(visibility_timeout=seconds)
                extension.range.first, extension.range.end = first, end
                self._until(entries, seconds)
        if acked:
            self._requests += 1
            request.request_id = self._requests
            self._removals[self._requests] = self._world.ledger.removing(acked)
        self._context.send(request.SerializeToString())

    def end(self, *, broken: bool) -> None:
        """Breaks the stream, or ends it as agreed."""
        if broken:
            self._context.done_writing()
        else:
            self._context.send(pb.ConsumeRequest(stop=True).SerializeToString())

    def _until(self, entries: list[Entry], seconds: int) -> None:
        now_ms = self._world.now_ms()
        for entry in entries:
            entry.disturbed_ms = now_ms
            if entry.hold is self._hold:  # else it ran out, and somebody else has it now
                self._world.ledger.let_go(entry, now_ms + seconds * 1000)

    def _drop(self, first: int, end: int) -> None:
        for sequence in range(first, end):
            del self._held[sequence]

    def _some_ranges(self) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        for sequence in sorted(self._held):
            if self._world.random.random() < 0.5:
                if ranges and ranges[-1][1] == sequence:
                    ranges[-1] = (ranges[-1][0], sequence + 1)
                else:
                    ranges.append((sequence, sequence + 1))
        return ranges

    def _on_frame(self, frame: bytes) -> None:
        world = self._world
        response = pb.ConsumeResponse.FromString(frame)
        for delivery in response.deliveries:
            messages = delivery.batch.messages
            ids = message_ids(delivery.first_message_id, len(messages))
            taken_ms = delivery.visible_again_timestamp_ms - self._timeout_s * 1000
            for offset, (message, message_id) in enumerate(zip(messages, ids, strict=True)):
                entry = world.ledger.taken(
                    message.body.decode(),
                    message_id,
                    delivery.receive_count,
                    called_ms=taken_ms,
                    now_ms=taken_ms,
                    until_ms=delivery.visible_again_timestamp_ms,
                    loop_s=world.loop.now_s,
                    hold=self._hold,
                )
                self._held[delivery.base_sequence + offset] = entry
                self._delivered.append(entry)
                self.received += 1
            bodies = [message.body.decode() for message in messages]
            world.note(f"delivered {bodies}, {delivery.receive_count}")
        for request_id in [number for number in self._removals if number <= response.confirmed_request_id]:
            self._removals.pop(request_id).done(world.now_ms())
