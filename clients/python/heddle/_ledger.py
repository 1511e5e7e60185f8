"""The consumer's half of a `Consume` stream: credit, what is held, what was settled. No I/O, no clock, no loop.

Everything is kept in ranges of sequence numbers, never per message. What the application settles is noted at the end
of a list, where the next message in order only moves the end of the last note; notes become a request when there are
many or when the first is a few milliseconds old. Only then are they compared with what is held: the first settlement
of a message counts, the rest fall away.

The window: granted and not yet delivered + held <= prefetch, always. Credit comes back with the settlements that free
it, in the same request, so that it needs no requests of its own.

FIFO queues: what a nack takes back with it, and what is handed out, goes by message group: heddle._groups.

Time: `now` is in seconds on one monotonic clock, the client's own. Visibility is reckoned from the moment of receipt
and the visibility timeout that the client itself asked for; the broker's clock is never compared with ours.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from threading import RLock
from typing import Final

from heddle._delivery import Delivery, Epoch
from heddle._errors import HeddleError
from heddle._groups import Groups
from heddle._leases import VISIBILITY_TIMEOUT_SECONDS_MAX, Leases
from heddle._model import is_fifo
from heddle._notes import NOTHING, Kind, Note, without_nacks
from heddle._ranges import Range, RangeSet
from heddle.v1 import queues_pb2, views_pb2

SETTLE_LINGER_SECONDS: Final = 0.003  # ours: an ack waits so long for company
PREFETCH_MAX: Final = 120_000  # Amazon SQS: messages in flight on one queue
_PIECES_A_REQUEST: Final = 5_000  # the broker takes 10,000 ranges in one


@dataclass(frozen=True, slots=True)
class ConsumeOptions:
    """What `Queue.consumer` takes. `visibility_timeout` in seconds; None: the queue's."""

    prefetch: int = 2000
    visibility_timeout: int | None = None
    auto_extend: bool = True
    keep_in_flight_on_disconnect: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.prefetch <= PREFETCH_MAX:
            raise ValueError(f"prefetch is {self.prefetch}, must be 1 to {PREFETCH_MAX}")
        if self.visibility_timeout is not None:
            _checked_seconds(self.visibility_timeout)


class Ledger:
    """`wake` is called, from any thread, when the stream should look here again; `deliver` for each delivery, in the
    stream's thread."""

    def __init__(self, queue_url: str, options: ConsumeOptions, deliver: Callable[[Delivery], None]) -> None:
        """`visibility_timeout` must be known when `auto_extend` is asked for; with 0 there is nothing to extend."""
        if options.auto_extend and options.visibility_timeout is None:
            raise ValueError("auto_extend needs a visibility timeout")
        self.wake: Callable[[], None] = lambda: None
        self.error: HeddleError | None = None
        self.finished = False
        self._queue_url = queue_url
        self._prefetch = options.prefetch
        self._settle_at_once = max(1, options.prefetch // 2)
        self._visibility_timeout = options.visibility_timeout
        self._keep = options.keep_in_flight_on_disconnect
        self._deliver = deliver
        self._lock = RLock()  # and not Lock: a signal handler may settle a message within a settlement
        self._epoch = Epoch(handing_out=True)
        self._granted = 0
        self._held = RangeSet()
        self._unattended = RangeSet()  # held, but extended by the application: not extended automatically
        self._leases = Leases(options.visibility_timeout or 0 if options.auto_extend else 0)
        self._groups = Groups() if is_fifo(queue_url) else None
        self._holds_across_streams = self._keep and self._groups is None  # FIFO: only who was delivered may settle
        self._notes: list[Note] = []
        self._last = NOTHING
        self._noted = 0  # messages in _notes, counted as often as they were noted
        self._noted_at: float | None = None
        self._last_request_id = 0
        self._unconfirmed: deque[queues_pb2.ConsumeRequest] = deque()
        self._connected = False
        self._greeted = False
        self._halted = False
        self._stopping = False
        self._stop_sent = False

    # The application's side.

    def ack(self, delivery: Delivery, sequence: int) -> None:
        """Note that one message is done. The hot path: in order, it moves the end of the last note."""
        with self._lock:
            if self._groups is not None and not self._groups.settle(delivery, sequence):
                return
            last = self._last
            if last.end == sequence and last.kind is Kind.ACK and delivery.epoch is self._epoch:
                last.end = sequence + 1
                self._noted = noted = self._noted + 1
                if noted == self._settle_at_once:
                    self.wake()
            else:
                self._note(delivery.epoch, Note(Kind.ACK, sequence, sequence + 1, 0))

    def ack_range(self, delivery: Delivery, first: int, end: int) -> None:
        """Note that all of [first, end) is done."""
        if self._groups is None:
            self._note(delivery.epoch, Note(Kind.ACK, first, end, 0))
            return
        for sequence in range(first, end):
            self.ack(delivery, sequence)

    def nack(self, delivery: Delivery, first: int, end: int, delay_seconds: int) -> None:
        """Note that [first, end) is not done and may be delivered again after `delay_seconds`."""
        delay_seconds = _checked_seconds(delay_seconds)
        with self._lock:
            if self._groups is None:
                self._note(delivery.epoch, Note(Kind.NACK, first, end, delay_seconds))
                return
            asked = self._groups.held(delivery, first, end)
            for piece in asked:
                self._note(delivery.epoch, Note(Kind.NACK, *piece, delay_seconds, delivery_id=delivery.delivery_id))
            for came_with, sequence in self._groups.take_back(asked):
                if not asked.overlap(sequence, sequence + 1):
                    self._return_unhandled(came_with, sequence, sequence + 1)

    def _return_unhandled(self, delivery: Delivery, first: int, end: int) -> None:
        note = Note(Kind.NACK, first, end, 0, delivery_id=delivery.delivery_id, unhandled=True)
        self._note(delivery.epoch, note)

    def extend(self, delivery: Delivery, first: int, end: int, seconds: int) -> None:
        """Note that [first, end) is to stay in flight for `seconds`, and is the application's to extend from now on."""
        seconds = _checked_seconds(seconds)
        with self._lock:
            pieces = [(first, end)] if self._groups is None else self._groups.held(delivery, first, end)
            for piece in pieces:
                self._note(delivery.epoch, Note(Kind.EXTEND, *piece, seconds))

    def _note(self, epoch: Epoch, note: Note) -> None:
        with self._lock:
            if epoch is not self._epoch or self.finished:
                return  # the broker has it back already and will deliver it again
            self._notes.append(note)
            self._last = note
            before, self._noted = self._noted, self._noted + note.end - note.first
            if before == 0 or before < self._settle_at_once <= self._noted:
                self.wake()

    def halt(self) -> None:
        """Hand out nothing more; settling goes on. Takes no lock: fit for a signal handler."""
        self._halted = True
        self._epoch.handing_out = False

    def stop(self) -> None:
        """End the stream: what was settled is confirmed first, what is still held goes back to the queue."""
        with self._lock:
            self.halt()
            self._stopping = True
            if not self._connected and not self._unconfirmed and not self._noted:
                self._finish()  # nothing that a broker would have to hear
                self.wake()
            elif not self.finished:
                self.wake()

    @property
    def held(self) -> int:
        """Messages delivered and, as far as the broker was told, not settled."""
        return len(self._held)

    # The stream's side: heddle._stream.Machine.

    @property
    def wants_stream(self) -> bool:
        """A consumer always listens."""
        return True

    def connected(self) -> None:
        """A new stream: it hears the queue's name first. What survived the last one is said again."""
        with self._lock:
            self._connected = True
            self._granted = 0
            self._greeted = False

    def next_request(self, now: float) -> queues_pb2.ConsumeRequest | None:
        """What the broker should hear now, if anything."""
        with self._lock:
            if self._stop_sent:
                return self._late_returns()
            if self._noted and self._noted_at is None:
                self._noted_at = now
            settle = self._stopping or self._noted >= self._settle_at_once or self._is_due(self._settle_at(), now)
            extend = self._is_due(self._leases.next_due(), now)
            if self._greeted and not settle and not extend:
                return None
            request = queues_pb2.ConsumeRequest()
            if not self._greeted:
                self._greet(request)
            if settle:
                self._settle(request)
            if extend:
                for piece in self._leases.take_due(now, self._held, self._unattended):
                    request.extensions.add(range=_wire_range(piece), visibility_timeout=self._visibility_timeout)
            if self._stopping and not self._notes:
                self._stop(request)
            request.credit = self._take_credit()
            self._number(request)
            return request if request.ByteSize() else None  # settled twice: nothing that is new to the broker

    def next_look(self) -> float | None:
        """When `next_request` is to be asked again without a wake."""
        with self._lock:
            return min((at for at in (self._settle_at(), self._leases.next_due()) if at is not None), default=None)

    def receive(self, response: views_pb2.ConsumeResponseView, now: float) -> None:
        """Take deliveries in, and confirmations."""
        with self._lock:
            while self._unconfirmed and self._unconfirmed[0].request_id <= response.confirmed_request_id:
                self._unconfirmed.popleft()
            for view in response.deliveries:
                delivery = Delivery(self, self._epoch, view)
                first, end = delivery.base_sequence, delivery.end_sequence
                self._granted -= end - first
                if self._groups is not None and self._held.overlap(first, end):
                    self._notes = without_nacks(self._notes, first, end)
                self._held.add(first, end)
                self._unattended.remove(first, end)
                if self._groups is not None:
                    self._sort(delivery, self._groups)
                self._leases.add(first, end, now)
                self._deliver(delivery)
            if self._groups is not None:
                self._groups.confirmed(response.confirmed_request_id)

    def _sort(self, delivery: Delivery, groups: Groups) -> None:
        """Keep of a delivery what is ours."""
        arrival = groups.arrive(delivery)
        for piece in arrival.lost:
            self._let_go(*piece)
        for piece in arrival.doubtful:
            self._return_unhandled(delivery, *piece)

    def disconnected(self, error: HeddleError) -> None:
        """The stream ended. Well, if it was told to and everything was confirmed; otherwise another one follows."""
        with self._lock:
            self._connected = False
            if self._stopping and (self._stop_sent or not self._holds_across_streams):
                if self._unconfirmed or self._noted:
                    self.error = error
                self._finish()
            elif not self._holds_across_streams:
                self._forget()

    def fail(self, error: HeddleError) -> None:
        """There will be no other stream."""
        with self._lock:
            self.error = self.error or error
            self._finish()

    def _finish(self) -> None:
        self._forget()
        self.halt()
        self.finished = True

    def _forget(self) -> None:
        """The broker has everything back: what was delivered is not ours to settle any more."""
        self._epoch.handing_out = False
        self._epoch.over = True
        self._epoch = Epoch(handing_out=not self._halted)
        self._held.clear()
        self._unattended.clear()
        self._leases.clear()
        self._unconfirmed.clear()
        if self._groups is not None:
            self._groups.clear()
        self._clear_notes()

    def _clear_notes(self) -> None:
        self._notes = []
        self._last = NOTHING
        self._noted = 0
        self._noted_at = None

    def _greet(self, request: queues_pb2.ConsumeRequest) -> None:
        self._greeted = True
        request.queue_url = self._queue_url
        if self._visibility_timeout is not None:
            request.visibility_timeout = self._visibility_timeout
        request.keep_in_flight_on_disconnect = self._keep
        for said in self._unconfirmed:  # on the stream that broke; saying it twice does no harm
            request.acks.extend(said.acks)
            request.nacks.extend(said.nacks)
        self._unconfirmed.clear()

    def _settle(self, request: queues_pb2.ConsumeRequest) -> None:
        """Compare the notes with what is held, in the order in which they were made. Those that would make the request
        too long are left for the next one."""
        acked, pieces, looked_at = RangeSet(), 0, 0
        for note in self._notes:
            if pieces >= _PIECES_A_REQUEST:
                break
            looked_at += 1
            pieces += self._say(note, request, acked)
        request.acks.extend(_wire_range(piece) for piece in acked)
        if looked_at < len(self._notes):
            self._notes = self._notes[looked_at:]
            self._noted = sum(note.end - note.first for note in self._notes)
            return
        if self._groups is not None:
            self._groups.nacks_said(self._last_request_id + 1)
        self._clear_notes()

    def _say(self, note: Note, request: queues_pb2.ConsumeRequest, acked: RangeSet) -> int:
        """Returns in how many pieces."""
        if note.kind is Kind.EXTEND:
            pieces = self._held.overlap(note.first, note.end)
            for first, end in pieces:
                self._unattended.add(first, end)
                request.extensions.add(range=_wire_range((first, end)), visibility_timeout=note.seconds)
            return len(pieces)
        pieces = self._let_go(note.first, note.end)
        for first, end in pieces:
            if note.kind is Kind.ACK:
                acked.add(first, end)
                continue
            nack = request.nacks.add(delay_seconds=note.seconds, unhandled=note.unhandled)
            nack.range.first, nack.range.end, nack.delivery_id = first, end, note.delivery_id
        return len(pieces)

    def _let_go(self, first: int, end: int) -> list[Range]:
        self._unattended.remove(first, end)
        return self._held.remove(first, end)

    def _stop(self, request: queues_pb2.ConsumeRequest) -> None:
        """Return what is held; with the last of it, stop."""
        for piece in islice(list(self._held), _PIECES_A_REQUEST):
            request.nacks.add(range=_wire_range(piece))
            self._held.remove(*piece)
        if len(self._held):
            return
        request.stop = True
        self._leases.clear()
        self._stop_sent = True

    def _late_returns(self) -> queues_pb2.ConsumeRequest | None:
        """What was on its way here when the stop left goes straight back."""
        if not len(self._held):
            return None
        request = queues_pb2.ConsumeRequest()
        request.nacks.extend(queues_pb2.Nack(range=_wire_range(piece), unhandled=True) for piece in self._held)
        self._held.clear()
        self._leases.clear()
        return request

    def _take_credit(self) -> int:
        """All that the window has free. (Messages that came twice are held once: the window heals by itself.)"""
        if self._stopping:
            return 0
        credit = max(0, self._prefetch - max(0, self._granted) - len(self._held))
        self._granted = max(0, self._granted) + credit
        return credit

    def _number(self, request: queues_pb2.ConsumeRequest) -> None:
        """Have the broker confirm what must not be lost."""
        if request.acks or request.nacks or request.stop:
            self._last_request_id += 1
            request.request_id = self._last_request_id
            self._unconfirmed.append(request)

    def _settle_at(self) -> float | None:
        return None if self._noted_at is None else self._noted_at + SETTLE_LINGER_SECONDS

    @staticmethod
    def _is_due(at: float | None, now: float) -> bool:
        return at is not None and now >= at


def _wire_range(piece: Range) -> queues_pb2.SequenceRange:
    return queues_pb2.SequenceRange(first=piece[0], end=piece[1])


def _checked_seconds(seconds: int) -> int:
    if not 0 <= seconds <= VISIBILITY_TIMEOUT_SECONDS_MAX:
        raise ValueError(f"{seconds} seconds: must be 0 to {VISIBILITY_TIMEOUT_SECONDS_MAX}")
    return seconds
