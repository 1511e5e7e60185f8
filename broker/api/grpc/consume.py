"""``Queues.Consume``: the client grants credit, the broker pushes deliveries, the client acknowledges by ranges.

Reading and writing are two tasks around a taker that stands in the queue's line while it has credit. It is served when
a commit is sealed, so a message that arrives for a parked consumer leaves with the commit that stores it. A delivery
that covers a whole batch is the stored bytes as they are.

A slice is cut from a batch only when it has to be: while the client holds messages and its credit for the rest of a
batch is less than half of its window, the broker waits for more credit (as TCP does against silly windows).

On a FIFO queue a stream is a ``Holder``: it gets further messages of the groups that it holds, in order. When it gives
a message back, the later ones of the group that it holds go back with it, and so do those still on their way to it:
they come again, in order. Messages that its client acknowledges after it lost them are not deleted.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from heddle.v1 import queues_pb2 as pb
from heddle.v1.views_pb2 import DeliveryView

from broker import limits
from broker.api.desk import Desk, settled
from broker.api.grpc.frames import Frame
from broker.api.grpc.held import Held
from broker.errors import BrokerError, InvalidParameterValue, QueueDoesNotExist, StorageUnavailable
from broker.log import PackedBatch
from broker.queues import Queue, Scope, Taken
from broker.queues.fifo import FifoQueue
from broker.queues.groups import Holder
from broker.store import Commit

_FRAME_BYTES: Final = 1 << 20  # deliveries in one response; one batch may be larger
_LAST_WRITE_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 0.005
_CONFIRMATIONS_WAITING_MAX: Final = 10_000  # of a client that reads none; then its requests wait
_READ_AHEAD: Final = 16  # deliveries whose batches are read from the disk together


@dataclass(frozen=True, slots=True)
class _Confirmation:
    request_id: int


@dataclass(slots=True)
class _Outgoing:
    """Something for the client that may leave after ``commit``."""

    what: Taken | _Confirmation
    commit: Commit | None


class Consume:
    """One stream: the client's window, what it holds, and what is on its way to it."""

    def __init__(self, desk: Desk, scope: Scope, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._desk, self._scope, self._context = desk, scope, context
        self._queue: Queue | None = None
        self._visibility_ms: int | None = None
        self._keep_in_flight = False
        self._credit = 0
        self._window = 0  # the most credit that the client has granted at a time: its idea of a full buffer
        self._held = Held()
        self._holder: Holder | None = None  # FIFO queues
        self._outbox: deque[_Outgoing] = deque()
        self._outbox_bytes = 0
        self._unsent: list[Taken] = []  # taken for the client and never sent: these always go back
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._in_line = False
        self._patient = True  # a slice may wait for the credit for its whole batch
        self._patience: asyncio.TimerHandle | None = None
        self._ended: BrokerError | None = None
        self._stopped = False

    async def run(self) -> None:
        """Serves the stream to its end; what the client still holds then goes back. Raises BrokerError."""
        writer = asyncio.get_running_loop().create_task(self._write())
        reader = asyncio.get_running_loop().create_task(self._read())
        self._desk.parked.add(self)
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done():
                self._stop()
                if reader.exception() is None:
                    await writer
                else:  # gRPC loses a status that comes while a write is cut off, so the last write may end
                    await asyncio.wait((writer,), timeout=_LAST_WRITE_SECONDS)
                    reader.result()
            writer.result()
            if self._ended is not None:
                raise self._ended
        finally:
            self._desk.parked.discard(self)
            reader.cancel()
            writer.cancel()
            self._leave()

    def end_wait(self) -> None:
        """The broker stops: no more deliveries; the client learns it from the end of the stream."""
        self._stop()

    # --- from the client

    async def _read(self) -> None:
        read = self._context.read
        while not self._stopped:
            frame = await read()
            if frame is grpc.aio.EOF or self._ended is not None:  # what ended meanwhile settles nothing more
                return
            try:
                request = pb.ConsumeRequest.FromString(frame)
            except DecodeError as error:
                raise InvalidParameterValue(f"Not a ConsumeRequest: {error}") from error
            if self._queue is None:
                self._open(request)
            self._settle(request)
            if request.stop:
                return
            while len(self._outbox) > _CONFIRMATIONS_WAITING_MAX:
                self._drained.clear()
                await self._drained.wait()

    def _open(self, request: pb.ConsumeRequest) -> None:
        self._queue = self._desk.queues.find(
            self._scope, request.queue_url, "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"
        )
        if request.HasField("visibility_timeout"):
            _check_timeout("VisibilityTimeout", request.visibility_timeout)
            self._visibility_ms = request.visibility_timeout * 1000
        self._keep_in_flight = request.keep_in_flight_on_disconnect
        if isinstance(self._queue, FifoQueue):
            self._holder = Holder(on_lost=self._lose)
            self._queue.join(self._holder)

    def _lose(self) -> None:
        """A commit failed, and the queue no longer knows what this stream holds: it ends, and the client comes back."""
        self._ended = StorageUnavailable("A commit failed: this stream no longer holds its message groups.")
        self._stop()

    def _settle(self, request: pb.ConsumeRequest) -> None:
        """Applies acknowledgements first and credit last, so that new deliveries see what they freed."""
        assert self._queue is not None
        queue, now_ms = self._queue, self._desk.now_ms()
        if queue.deleted:
            raise QueueDoesNotExist
        _check_request(request)
        if request.stop:  # before anything becomes visible again, or it would come back here
            self._stop()
        for acked in request.acks:
            if self._holder is None:
                queue.acknowledge(acked.first, acked.end, now_ms)
            else:
                for lo, hi, delivery_id in self._held.within(acked.first, acked.end):
                    queue.acknowledge(lo, hi, now_ms, delivery_id=delivery_id)
            self._held.drop(acked.first, acked.end)
        for nack in sorted(request.nacks, key=lambda nack: nack.range.first):  # the first takes the later ones along
            self._give_back(nack, now_ms)
        for extension in request.extensions:
            timeout_ms = extension.visibility_timeout * 1000
            for lo, hi, delivery_id in self._held.within(extension.range.first, extension.range.end):
                queue.extend(lo, hi, timeout_ms, now_ms, delivery_id=delivery_id)
        if request.request_id:
            self._send(_Confirmation(request.request_id), self._desk.store.durable())
        if request.credit:
            self._patient = True
            self._credit = min(self._credit + request.credit, limits.CONSUME_CREDIT_MAX)
            self._window = max(self._window, self._credit)
        self._stand_in_line()

    def _give_back(self, nack: pb.Nack, now_ms: int) -> None:
        """What the client holds of a range goes back to the queue, and with it what it holds of the same groups from
        there on: that has not been handled."""
        queue, first, end = self._queue, nack.range.first, nack.range.end
        assert queue is not None
        parts = [(part, not nack.unhandled) for part in self._held.within(first, end)]
        if parts and isinstance(queue, FifoQueue) and self._holder is not None:
            for lo, hi in queue.later_of_groups(first, end, self._holder):
                parts.extend((part, False) for part in self._held.within(lo, hi) if not first <= lo < end)
        for (lo, hi, delivery_id), handled in parts:
            queue.give_back(
                lo, hi, now_ms, delay_ms=nack.delay_seconds * 1000, delivery_id=delivery_id, handled=handled
            )
            self._held.drop(lo, hi)
            if self._holder is not None:
                self._take_back(lo, hi)

    def _take_back(self, lo: int, hi: int) -> None:
        """Messages of [lo, hi) that are still on their way do not go out: they would overtake those before them."""
        if not any(isinstance(item.what, Taken) and item.what.lo < hi and lo < item.what.hi for item in self._outbox):
            return
        outbox: deque[_Outgoing] = deque()
        for item in self._outbox:
            part = item.what
            if isinstance(part, _Confirmation) or part.hi <= lo or hi <= part.lo:
                outbox.append(item)
                continue
            self._outbox_bytes -= part.nbytes
            self._credit += min(hi, part.hi) - max(lo, part.lo)
            for start, stop in ((part.lo, lo), (hi, part.hi)):
                if start < stop:
                    rest = replace(part, lo=start, hi=stop)
                    self._outbox_bytes += rest.nbytes
                    outbox.append(_Outgoing(rest, item.commit))
        self._outbox = outbox

    # --- from the queue

    def serve(self, queue: Queue) -> bool:
        """Takes whole entries as far as credit and the outbox allow."""
        turns, now_ms = 0, self._desk.now_ms()
        while not self._stopped and self._outbox_bytes < limits.CONSUME_BUFFERED_BYTES_MAX:
            ready = queue.head_of_line(self._holder)
            wanted = self._wanted(ready)
            if not wanted or turns == limits.CONSUME_DELIVERIES_A_TURN_MAX:
                break
            turns += 1
            taken = queue.receive(wanted, visibility_ms=self._visibility_ms, now_ms=now_ms, holder=self._holder)
            if not taken:  # the in-flight limit: served again when somebody acknowledges
                self._in_line = True
                return True
            commit = self._desk.store.durable()
            for part in taken:
                self._credit -= len(part)
                self._outbox_bytes += part.nbytes
                if part.until_ms > now_ms:  # with a visibility timeout of 0, nothing is held
                    self._held.add(part.lo, part.hi, part.delivery_id)
                self._send(part, commit)
            if self._visibility_ms == 0:  # they are visible still
                break
        # In line only while it would take something: a full outbox or no credit comes back by itself, and so does one
        # that waits for more credit.
        ready = queue.head_of_line(self._holder)
        self._in_line = self._wants_more() and (ready == 0 or self._wanted(ready) > 0)
        return self._in_line

    def queue_deleted(self) -> None:
        self._in_line = False
        self._ended = QueueDoesNotExist()
        self._stop()

    def _wanted(self, ready: int) -> int:
        if ready <= self._credit:
            return ready
        if self._patient and self._held and 0 < self._credit < self._window // 2:
            if self._patience is None:
                self._patience = asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, self._lose_patience)
            return 0
        return self._credit

    def _lose_patience(self) -> None:
        """No credit came: what there is of it is used, at the cost of a cut batch."""
        self._patience, self._patient = None, False
        self._stand_in_line()

    def _wants_more(self) -> bool:
        return self._credit > 0 and self._outbox_bytes < limits.CONSUME_BUFFERED_BYTES_MAX and not self._stopped

    def _stand_in_line(self) -> None:
        if self._queue is not None and not self._in_line and not self._queue.deleted and self._wants_more():
            self._in_line = True
            self._queue.park(self)

    # --- to the client

    def _send(self, what: Taken | _Confirmation, commit: Commit | None) -> None:
        self._outbox.append(_Outgoing(what, commit))
        self._wake.set()

    async def _write(self) -> None:
        while True:
            while not self._outbox:
                if self._stopped:
                    return
                self._wake.clear()
                await self._wake.wait()
            commit = self._outbox[0].commit
            ahead = [item.what for item in islice(self._outbox, _READ_AHEAD) if isinstance(item.what, Taken)]
            payloads = await self._desk.payloads(ahead)
            if commit is not None:
                await settled(commit)
            frame = self._frame(payloads, {part.entry.batch_id for part in ahead})
            if frame:
                await self._context.write(frame.serialize())
            self._drained.set()
            self._stand_in_line()

    def _frame(self, payloads: dict[int, PackedBatch], asked: set[int]) -> Frame:
        """The next response: what is durable and read, up to the size of a frame. ``asked``: the ids of the batches
        that were looked for; one that is not among ``payloads`` is gone."""
        frame, confirmed = Frame(), 0
        while self._outbox and frame.nbytes < _FRAME_BYTES:
            item = self._outbox[0]
            if item.commit is not None and (not item.commit.done or item.commit.error is not None):
                break
            if isinstance(item.what, _Confirmation):
                confirmed = max(confirmed, item.what.request_id)
            else:
                part = item.what
                payload = payloads.get(part.entry.batch_id)
                if payload is not None:
                    frame.add(self._delivery(part), payload.slice(part.first_index, part.first_index + len(part)))
                elif part.entry.batch_id not in asked:
                    break  # not read yet: of the next frame
                else:
                    self._forget(part)
                self._outbox_bytes -= part.nbytes
            self._outbox.popleft()
        if confirmed:
            frame.confirm(confirmed)
        return frame

    def _delivery(self, part: Taken) -> DeliveryView:
        """Everything of a delivery but its batch."""
        return DeliveryView(
            delivery_id=part.delivery_id,
            base_sequence=part.lo,
            first_message_id=self._desk.queues.identity.message_id(part.entry.name_id, part.first_index),
            sent_timestamp_ms=part.entry.appended_at_ms,
            first_received_timestamp_ms=part.first_received_ms,
            receive_count=part.receive_count,
            sender_id=part.entry.sender_id,
            visible_again_timestamp_ms=part.until_ms,
            dead_letter_queue_source_arn=part.entry.origin_arn,
        )

    def _forget(self, part: Taken) -> None:
        """The batch is gone: purged or expired since it was taken. The client gets its credit back."""
        self._credit += len(part)
        self._held.drop(part.lo, part.hi)

    # --- the end

    def _stop(self) -> None:
        """Nothing more is delivered; what is durable and asked for is still confirmed."""
        self._stopped = True
        self._unsent.extend(item.what for item in self._outbox if isinstance(item.what, Taken))
        self._outbox = deque(item for item in self._outbox if isinstance(item.what, _Confirmation))
        self._wake.set()

    def _leave(self) -> None:
        """Out of the line; what was not acknowledged becomes visible at once, unless the client asked otherwise."""
        self._stop()
        if self._patience is not None:
            self._patience.cancel()
        queue = self._queue
        if queue is None or queue.deleted:
            return
        if self._in_line:
            queue.leave(self)
        now_ms = self._desk.now_ms()
        for part in self._unsent:
            queue.give_back(part.lo, part.hi, now_ms, delivery_id=part.delivery_id, handled=False)
        if not self._keep_in_flight:
            for lo, hi, delivery_id in self._held:
                queue.give_back(lo, hi, now_ms, delivery_id=delivery_id)
        if isinstance(queue, FifoQueue) and self._holder is not None:
            queue.part(self._holder)


def _check_request(request: pb.ConsumeRequest) -> None:
    """All or nothing: raises InvalidParameterValue before anything of the request is applied."""
    ranges = len(request.acks) + len(request.nacks) + len(request.extensions)
    if ranges > limits.CONSUME_RANGES_MAX:
        raise InvalidParameterValue(
            f"A request can have at most {limits.CONSUME_RANGES_MAX} ranges. You have sent {ranges}."
        )
    for nack in request.nacks:
        _check_timeout("DelaySeconds", nack.delay_seconds)
    for extension in request.extensions:
        _check_timeout("VisibilityTimeout", extension.visibility_timeout)
    _check_ranges("acks", list(request.acks))
    _check_ranges("nacks", [nack.range for nack in request.nacks])
    _check_ranges("extensions", [extension.range for extension in request.extensions])


def _check_ranges(field: str, ranges: list[pb.SequenceRange]) -> None:
    """None is empty and no two overlap: the work of a request is bounded by what there is."""
    before_end = 0
    for part in sorted(ranges, key=lambda part: part.first):
        if not before_end <= part.first < part.end:
            raise InvalidParameterValue(
                f"Range [{part.first}, {part.end}) for parameter {field} is invalid. "
                "Reason: Ranges must not be empty, and must not overlap."
            )
        before_end = part.end


def _check_timeout(parameter: str, seconds: int) -> None:
    if not 0 <= seconds <= limits.VISIBILITY_TIMEOUT_SECONDS_MAX:
        raise InvalidParameterValue(
            f"Value {seconds} for parameter {parameter} is invalid. Reason: Must be between 0 and 43200."
        )
