"""The client's side of ``Produce`` and ``Consume``: what it sent, what it holds, what was confirmed.

Never: a look into the broker.
"""

import uuid
from contextlib import suppress

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch

from .entries import Entry, Hold, QueueAccount, Receipt, Violation
from .ledger import Removal
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
        with suppress(Refused, CutOff):
            await self._world.call("Produce", None, self._context)
        for entries in self._pending.values():
            for entry in entries:
                self._world.ledger.cut_off(entry, self._world.now_ms())

    def send(self, entries: list[Entry], batch: MessageBatch) -> None:
        self._requests += 1
        self._pending[self._requests] = entries
        request = pb.ProduceRequest(request_id=self._requests, batch=batch)
        if self._requests == 1:
            request.queue_url = self._account.name
        if not self._account.plan.fifo and self._world.random.random() < 0.2:
            request.delay_seconds = self._world.random.randint(0, HIDDEN_SECONDS_MAX // 2)
        self._context.send(request.SerializeToString())

    def finish(self) -> None:
        self._context.done_writing()

    def _on_frame(self, frame: bytes) -> None:
        ledger, now_ms = self._world.ledger, self._world.now_ms()
        for result in pb.ProduceResponse.FromString(frame).results:
            request_id = next(iter(self._pending))
            if result.request_id != request_id:
                raise Violation(f"result of request {result.request_id}, that of {request_id} is next")
            entries = self._pending.pop(request_id)
            if result.error_code:
                for entry in entries:
                    ledger.refused(entry)
                continue
            duplicates = set(result.duplicates)
            fresh = [entry for index, entry in enumerate(entries) if index not in duplicates]
            if result.count != len(fresh):
                raise Violation(f"{result.count} of {len(fresh)} messages were accepted")
            ids = message_ids(result.first_message_id, len(fresh)) if fresh else []
            for offset, (entry, message_id) in enumerate(zip(fresh, ids, strict=True)):
                ledger.sent(entry, message_id, now_ms, result.base_sequence + offset)
                self.accepted += 1
            for index in sorted(duplicates):
                ledger.called_duplicate(entries[index], now_ms)


class ConsumingClient:
    """Its visibility timeout is always explicit, so that the time of a receive follows from the delivery."""

    def __init__(self, world: World, account: QueueAccount) -> None:
        random = world.random
        self._world, self._account = world, account
        self._timeout_s = random.choice((1, 5, HIDDEN_SECONDS_MAX))
        self._acks = 0.3 if world.scene.redrives and random.random() < 0.7 else 0.7
        self._keep = random.random() < 0.3
        slow = random.random() < 0.2
        self._context = StreamContext(self._on_frame, lambda: random.uniform(0, 0.5) if slow else 0.0)
        self._held: dict[int, tuple[Entry, str]] = {}
        """By sequence number, with the message id."""
        self._delivery_ids: dict[int, int] = {}
        """By sequence number: the last of each message."""
        self._delivered: list[Entry] = []
        self._removals: dict[int, Removal] = {}
        self._requests = 0
        self._hold = Hold(returns=not self._keep)
        self._generation = account.generation
        self._returning: dict[str, int] = {}
        """FIFO queues, by group: the request whose return of a message sends all later ones back as well."""
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
        self._requests += 1
        request = pb.ConsumeRequest(credit=random.choice((0, 1, 5, 20)), request_id=self._requests)
        acked: list[tuple[Entry, str]] = []
        for first, end in self._some_ranges():
            held = [self._held[sequence] for sequence in range(first, end)]
            entries = [entry for entry, _ in held]
            choice = random.random()
            if choice < self._acks:
                request.acks.add(first=first, end=end)
                acked.extend(held)
                self._drop(first, end)
            elif choice < (1 + self._acks) / 2:
                delay_s = random.choice((0, 0, 2))
                nack = request.nacks.add(delay_seconds=delay_s, unhandled=random.random() < 0.3)
                nack.range.first, nack.range.end = first, end
                came_with = {self._delivery_ids[sequence] for sequence in range(first, end)}
                if len(came_with) == 1 and random.random() < 0.5:
                    nack.delivery_id = came_with.pop()
                self._until(entries, delay_s)
                if nack.unhandled:
                    self._uncount(entries)
                self._return_later(entries)
                self._drop(first, end)
            else:
                seconds = random.choice((0, 1, HIDDEN_SECONDS_MAX))
                extension = request.extensions.add(visibility_timeout=seconds)
                extension.range.first, extension.range.end = first, end
                self._until(entries, seconds)
        if acked:
            by_delivery = self._hold if self._account.plan.fifo else None
            removal = self._world.ledger.removing(self._account, acked, by_delivery=by_delivery)
            self._removals[self._requests] = removal
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

    def _return_later(self, entries: list[Entry]) -> None:
        """On a FIFO queue what else the stream holds of the groups goes back too, and so does what is on its way. The
        client, which does not know when, may still acknowledge it."""
        if not self._account.plan.fifo:
            return
        self._returning.update((entry.group, self._requests) for entry in entries)
        later = [entry for entry, _ in self._held.values() if entry.group in self._returning]
        self._until(later, 0)
        self._uncount(later)

    def _uncount(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.hold is self._hold:
                entry.uncounted = True

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
            for offset, (message, message_id) in enumerate(zip(messages, ids, strict=True)):
                self._take(delivery, offset, message, message_id)
            bodies = [message.body.decode() for message in messages]
            world.note(f"delivered {bodies} of {self._account.name}, {delivery.receive_count}")
        confirmed = response.confirmed_request_id
        for request_id in [number for number in self._removals if number <= confirmed]:
            self._removals.pop(request_id).done(world.now_ms())
        if confirmed:
            self._returning = {group: number for group, number in self._returning.items() if number > confirmed}

    def _take(self, delivery: pb.Delivery, offset: int, message: Message, message_id: str) -> None:
        account, world = self._account, self._world
        taken_ms = delivery.visible_again_timestamp_ms - self._timeout_s * 1000
        going_back = message.message_group_id in self._returning
        receipt = Receipt(
            message.body.decode(),
            message_id,
            delivery.receive_count,
            account,
            self._hold,
            called_ms=taken_ms,
            now_ms=taken_ms,
            until_ms=0 if going_back else delivery.visible_again_timestamp_ms,
            loop_s=world.loop.now_s,
            generation=account.generation if account.generation == self._generation else None,
            sequence=delivery.base_sequence + offset if account.plan.fifo else 0,
            origin=delivery.dead_letter_queue_source_arn,
        )
        entry = world.ledger.taken(receipt)
        if going_back:
            self._uncount([entry])
        self._held[delivery.base_sequence + offset] = (entry, message_id)
        self._delivery_ids[delivery.base_sequence + offset] = delivery.delivery_id
        self._delivered.append(entry)
        self.received += 1
