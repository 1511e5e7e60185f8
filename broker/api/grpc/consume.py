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
from collections.abc import Coroutine
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
from broker.api.grpc.settlement import Settlement, check_request, check_timeout
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
    """Something for the client that may leave after ``commit``. ``held``: a delivery, of which only that goes out which
    the stream still holds then."""

    what: Taken | _Confirmation
    commit: Commit | None
    held: bool = False


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
        self._settlement: Settlement | None = None  # like the queue, known from the first request on
        self._holder: Holder | None = None  # FIFO queues
        self._outbox: deque[_Outgoing] = deque()
        self._outbox_bytes = 0
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
            if (giving_back := self._leave()) is not None:
                # A task of its own: a cancellation that comes while messages go back must not keep the others.
                await asyncio.shield(self._desk.finish(giving_back))

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
            await self._settle(request)
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
            check_timeout("VisibilityTimeout", request.visibility_timeout)
            self._visibility_ms = request.visibility_timeout * 1000
        self._keep_in_flight = request.keep_in_flight_on_disconnect
        if isinstance(self._queue, FifoQueue):
            self._holder = Holder(on_lost=self._lose)
            self._queue.join(self._holder)
        self._settlement = Settlement(self._desk, self._queue, self._holder, self._held, self._check)

    def _lose(self) -> None:
        """A commit failed, and the queue no longer knows what this stream holds: it ends, and the client comes back."""
        self._ended = StorageUnavailable("A commit failed: this stream no longer holds its message groups.")
        self._stop()

    async def _settle(self, request: pb.ConsumeRequest) -> None:
        """Applies acknowledgements first and credit last, so that new deliveries see what they freed."""
        assert self._queue is not None
        assert self._settlement is not None
        if self._queue.deleted:
            raise QueueDoesNotExist
        check_request(request)
        if request.stop:  # before anything becomes visible again, or it would come back here
            self._stop()
        try:
            await self._settlement.apply(request, self._desk.now_ms())
        finally:
            self._wake.set()  # who waited for the end of it
        if request.request_id:
            self._send(_Confirmation(request.request_id), self._desk.store.durable())
        if request.credit:
            self._patient = True
            self._credit = min(self._credit + request.credit, limits.CONSUME_CREDIT_MAX)
            self._window = max(self._window, self._credit)
        self._stand_in_line()

    def _check(self) -> None:
        """Raises why the stream has ended, if it has."""
        if self._ended is not None:
            raise self._ended

    def _paused(self) -> bool:
        """Whether a request is settled in part."""
        return self._settlement is not None and self._settlement.paused

    # --- from the queue

    def serve(self, queue: Queue) -> bool:
        """Takes whole entries as far as credit and the outbox allow."""
        turns, now_ms = 0, self._desk.now_ms()
        while self._has_room():
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
                held = part.until_ms > now_ms  # with a visibility timeout of 0, nothing is
                if held and self._settlement is not None:
                    self._held.add(part.lo, part.hi, part.delivery_id)
                    self._settlement.weed()
                self._send(part, commit, held=held)
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

    def _has_room(self) -> bool:
        room = self._outbox_bytes < limits.CONSUME_BUFFERED_BYTES_MAX
        return room and not self._stopped and not self._paused()

    def _wants_more(self) -> bool:
        return self._credit > 0 and self._has_room()

    def _stand_in_line(self) -> None:
        if self._queue is not None and not self._in_line and not self._queue.deleted and self._wants_more():
            self._in_line = True
            self._queue.park(self)

    # --- to the client

    def _send(self, what: Taken | _Confirmation, commit: Commit | None, *, held: bool = False) -> None:
        self._outbox.append(_Outgoing(what, commit, held))
        self._wake.set()

    async def _write(self) -> None:
        while True:
            while not self._outbox or self._paused():  # nothing leaves that may be about to go back
                if self._stopped and not self._paused():
                    return
                self._wake.clear()
                await self._wake.wait()
            commit = self._outbox[0].commit
            ahead = [item.what for item in islice(self._outbox, _READ_AHEAD) if isinstance(item.what, Taken)]
            payloads = await self._desk.payloads(ahead)
            if commit is not None:
                await settled(commit)
            if self._paused():
                continue
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
                part, batch_id = item.what, item.what.entry.batch_id
                payload = payloads.get(batch_id)
                if payload is None and batch_id not in asked:
                    break  # not read yet: of the next frame
                sent = 0
                for left in self._left_of(part) if item.held else [part]:
                    if payload is None:  # purged or expired since it was taken
                        self._held.drop(left.lo, left.hi)
                    else:
                        frame.add(self._delivery(left), payload.slice(left.first_index, left.first_index + len(left)))
                        sent += len(left)
                self._credit += len(part) - sent
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

    def _left_of(self, part: Taken) -> list[Taken]:
        """What goes out of a delivery: messages that went back meanwhile would overtake those before them."""
        mine = self._mine(part)
        if mine == [(part.lo, part.hi, part.delivery_id)]:
            return [part]
        return [replace(part, lo=lo, hi=hi) for lo, hi, _ in mine]

    def _mine(self, part: Taken) -> list[tuple[int, int, int]]:
        """What the stream still holds of a delivery."""
        return [held for held in self._held.within(part.lo, part.hi) if held[2] == part.delivery_id]

    # --- the end

    def _stop(self) -> None:
        """Nothing more is delivered; what is durable and asked for is still confirmed."""
        self._stopped = True
        if self._settlement is not None:
            unsent = (part for item in self._outbox if isinstance(item.what, Taken) for part in self._mine(item.what))
            self._settlement.return_unsent(unsent)
        self._outbox = deque(item for item in self._outbox if isinstance(item.what, _Confirmation))
        self._wake.set()

    def _leave(self) -> Coroutine[Any, Any, None] | None:
        """Out of the line. What then gives back what was not acknowledged, so that it is visible at once, unless the
        client asked otherwise."""
        self._stop()
        if self._patience is not None:
            self._patience.cancel()
        queue = self._queue
        if queue is None or self._settlement is None or queue.deleted:
            return None
        if self._in_line:
            queue.leave(self)
        if isinstance(queue, FifoQueue) and self._holder is not None:
            queue.part(self._holder)
        return self._settlement.close(keep=self._keep_in_flight)
