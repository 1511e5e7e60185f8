"""The producer's half of a `Produce` stream: messages become batches, results settle them. No I/O, no clock, no loop.

    open --full, lingered or flushed--> sealed --next_request--> sent --result--> settled

Order is that of `put`. When the stream breaks, everything sent and not settled is sent again, in order, on the next
one: delivery is at least once. Two threads meet here (the application puts, the stream takes and settles), so that
every entry takes the lock; futures are settled outside of it.

FIFO queues: within a message group nothing overtakes, whatever fails. A batch is sent when no batch that is on its way
has a group in common with it. A refused batch takes along what was put after it for its groups: batches in whole, and
so for theirs. Then the next `put` is refused, once, so that whoever sends learns of it before anything can follow.
After a break the broker's deduplication drops what it had taken before (by id, or by the body's hash on queues with
content-based deduplication), as long as the client is back within the five minutes of its window.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import RLock
from typing import Final

from heddle._errors import (
    HeddleError,
    InvalidParameterValue,
    MissingParameter,
    PredecessorFailed,
    error_of_code,
)
from heddle._model import is_fifo
from heddle.packing import pack_one, plain_header
from heddle.v1 import message_pb2, queues_pb2, views_pb2

BATCH_MESSAGES_MAX: Final = 10_000  # queues.proto, ProduceRequest.batch
BATCH_BYTES_MAX: Final = 2 * 2**20  # queues.proto, ProduceRequest.batch
BODY_BYTES_MAX: Final = 2**20  # Amazon SQS, since August 2025


class Batch:
    """Messages that share a fate. `outcome` is set once: the broker's result, or the error.

    `groups`: the message groups in it, on a FIFO queue; empty on others, where groups have no order.
    """

    __slots__ = ("bytes", "count", "groups", "outcome", "parts", "request_id")

    def __init__(self, request_id: int) -> None:
        self.request_id = request_id
        self.parts: list[bytes] = []  # joined, they are the packed MessageBatch
        self.count = 0
        self.bytes = 0
        self.groups: set[str] = set()
        self.outcome: Future[queues_pb2.ProduceResult] = Future()


class Outbox:
    """`wake` is called, from any thread, when the stream should look here again: at most three times a batch."""

    def __init__(
        self,
        queue_url: str,
        *,
        batch_messages: int,
        batch_bytes: int,
        linger_ms: float,
        max_in_flight_bytes: int,
        delay_seconds: int | None,
    ) -> None:
        if not 1 <= batch_messages <= BATCH_MESSAGES_MAX:
            raise ValueError(f"batch_messages is {batch_messages}, must be 1 to {BATCH_MESSAGES_MAX}")
        if not 1 <= batch_bytes <= BATCH_BYTES_MAX:
            raise ValueError(f"batch_bytes is {batch_bytes}, must be 1 to {BATCH_BYTES_MAX}")
        if linger_ms < 0 or max_in_flight_bytes < 1:
            raise ValueError("linger_ms must be 0 or more, max_in_flight_bytes 1 or more")
        self.wake: Callable[[], None] = lambda: None
        self.accepted_messages = 0
        self.failed_messages = 0
        self.duplicate_messages = 0
        self._queue_url = queue_url
        self._fifo = is_fifo(queue_url)
        self._batch_messages = batch_messages
        self._batch_bytes = batch_bytes
        self._linger_seconds = linger_ms / 1000
        self._max_in_flight_bytes = max_in_flight_bytes
        self._delay_seconds = delay_seconds
        self._lock = RLock()
        self._open = Batch(1)
        self._seal_at: float | None = None
        self._sealed: deque[Batch] = deque()
        self._sent: dict[int, Batch] = {}
        self._in_flight_bytes = 0  # open, sealed and sent
        self._room: Future[None] | None = None
        self._greeted = False
        self._first_failure: HeddleError | None = None
        self._error: HeddleError | None = None
        self._closing = False

    # The application's side.

    def put(self, body: bytes) -> tuple[Batch, int] | None:
        """Take a message that is nothing but a body: its batch and its index there, or None while there is no room.

        Raises what the broker would say of this message alone, and `HeddleError` when the producer is closed or broken.
        """
        length = len(body)
        if not 0 < length <= BODY_BYTES_MAX:
            raise _bad_length(length)
        return self._append(plain_header(length), body, "")

    def put_message(self, message: message_pb2.Message) -> tuple[Batch, int] | None:
        """Take any message; otherwise as `put`."""
        length = len(message.body)
        if not 0 < length <= BODY_BYTES_MAX:
            raise _bad_length(length)
        return self._append(b"", pack_one(message), message.message_group_id)

    def _append(self, header: bytes, rest: bytes, group: str) -> tuple[Batch, int] | None:
        size = len(header) + len(rest)
        with self._lock:
            if self._closing or self._error is not None:
                raise self._error or HeddleError("heddle.ProducerClosed", "the producer is closed")
            if self._fifo:
                self._check_order(group)
            if self._in_flight_bytes + size > self._max_in_flight_bytes and self._in_flight_bytes:
                self._seal()
                return None
            batch = self._open
            if batch.bytes + size > self._batch_bytes and batch.count:
                self._seal()
                batch = self._open
            batch.parts += (header, rest)
            batch.bytes += size
            if self._fifo:
                batch.groups.add(group)
            self._in_flight_bytes += size
            index = batch.count
            batch.count = index + 1
            if batch.count == self._batch_messages or batch.bytes >= self._batch_bytes:
                self._seal()
            elif index == 0:
                self.wake()  # the stream starts the linger: the application's side reads no clock
            return batch, index

    def _check_order(self, group: str) -> None:
        if not group:
            raise MissingParameter("MissingParameter", "The request must contain the parameter MessageGroupId.")
        failure = self.take_failure()
        if failure is not None:
            raise _predecessor_failed(failure) from failure

    def room(self) -> Future[None]:
        """Done when `put` is worth another try."""
        with self._lock:
            if self._in_flight_bytes == 0 or self._error is not None:
                ready: Future[None] = Future()
                ready.set_result(None)
                return ready
            if self._room is None:
                self._room = Future()
            return self._room

    @property
    def has_sealed(self) -> bool:
        """A batch waits for the stream to take it."""
        return bool(self._sealed)

    def flush(self) -> list[Batch]:
        """Seal what is open; returns the batches that are not settled yet, oldest first."""
        with self._lock:
            self._seal()
            return [*self._sent.values(), *self._sealed]

    def take_failure(self) -> HeddleError | None:
        """The first refusal since this was last asked."""
        with self._lock:
            failure, self._first_failure = self._first_failure, None
            return failure

    def close(self) -> None:
        """Nothing more comes in; what is here still goes out."""
        with self._lock:
            already, self._closing = self._closing or self._error is not None, True
            self._seal()
            if not already:
                self.wake()

    def _seal(self) -> None:
        if self._open.count:
            self._sealed.append(self._open)
            self._open = Batch(self._open.request_id + 1)
            self._seal_at = None
            self.wake()

    # The stream's side: heddle._stream.Machine.

    @property
    def wants_stream(self) -> bool:
        """There is something to send or to hear of."""
        return bool(self._open.count or self._sealed or self._sent)

    @property
    def finished(self) -> bool:
        """Closed, or broken, and everything settled."""
        return (self._closing or self._error is not None) and not self.wants_stream

    def connected(self) -> None:
        """A new stream: it hears the queue's name first, and then all that the last one did not confirm."""
        with self._lock:
            self._greeted = False
            self._sealed.extendleft(reversed(self._sent.values()))
            self._sent.clear()

    def next_request(self, now: float) -> views_pb2.ProduceRequestView | None:
        """The next batch that may go, if any. `now` is in seconds, monotonic."""
        with self._lock:
            if self._open.count and not self._sealed:
                if self._seal_at is None:
                    self._seal_at = now + self._linger_seconds
                if now >= self._seal_at:
                    self._seal()
            if not self._sealed or not self._may_go(self._sealed[0]):
                return None
            batch = self._sealed.popleft()
            self._sent[batch.request_id] = batch
            queue_url = "" if self._greeted else self._queue_url
            self._greeted = True
        return views_pb2.ProduceRequestView(
            queue_url=queue_url,
            request_id=batch.request_id,
            batch=b"".join(batch.parts),
            delay_seconds=self._delay_seconds,
        )

    def _may_go(self, batch: Batch) -> bool:
        """Nothing of its groups is on its way: what is refused there would be overtaken."""
        return not self._fifo or all(batch.groups.isdisjoint(sent.groups) for sent in self._sent.values())

    def next_look(self) -> float | None:
        """When `next_request` is to be asked again without a wake. Behind sealed batches nothing lingers."""
        return None if self._sealed else self._seal_at

    def receive(self, response: queues_pb2.ProduceResponse, now: float) -> None:  # noqa: ARG002 - Machine
        """Settle what the broker speaks of. A result for a batch that is settled already says nothing new."""
        for result in response.results:
            with self._lock:
                batch = self._sent.pop(result.request_id, None)
            if batch is None:
                continue
            if result.error_code:
                error = error_of_code(result.error_code, result.error_message)
                with self._lock:  # at once: no `put` may come between
                    followers = self._take_followers(batch) if self._fifo else []
                    self._first_failure = self._first_failure or error
                self._refuse(batch, error)
                for follower in followers:
                    self._refuse(follower, _predecessor_failed(error))
            else:
                self.accepted_messages += batch.count
                self.duplicate_messages += len(result.duplicates)
                batch.outcome.set_result(result)
                self._release(batch)

    def _take_followers(self, refused: Batch) -> list[Batch]:
        """What must not be sent now that this was refused: they have a group in common with it, or with each other."""
        self._seal()
        groups = set(refused.groups)
        followers, others = [], deque[Batch]()
        for batch in self._sealed:
            if batch.groups.isdisjoint(groups):
                others.append(batch)
            else:
                groups |= batch.groups
                followers.append(batch)
        self._sealed = others
        return followers

    def disconnected(self, error: HeddleError) -> None:
        """The stream broke: `connected` puts things right. A producer waits for the broker as long as it is open."""

    def fail(self, error: HeddleError) -> None:
        """There will be no other stream: everything unsettled fails, and so does every later `put`."""
        with self._lock:
            self._error = error
            unsettled = self.flush()
            if unsettled:
                self._first_failure = self._first_failure or error
            self._sent.clear()
            self._sealed.clear()
        for batch in unsettled:
            self._refuse(batch, error)

    def _refuse(self, batch: Batch, error: HeddleError) -> None:
        with self._lock:
            self.failed_messages += batch.count
        batch.outcome.set_exception(error)
        self._release(batch)

    def _release(self, batch: Batch) -> None:
        batch.parts = []  # tickets keep the batch alive, they need not keep its bytes
        with self._lock:
            self._in_flight_bytes -= batch.bytes
            room, self._room = self._room, None
        if room is not None:
            room.set_result(None)


def _predecessor_failed(error: HeddleError) -> PredecessorFailed:
    return PredecessorFailed("heddle.PredecessorFailed", f"A message that was sent before failed: {error}")


def _bad_length(length: int) -> HeddleError:
    if length == 0:
        return MissingParameter("MissingParameter", "The request must contain the parameter MessageBody.")
    return InvalidParameterValue(
        "InvalidParameterValue",
        f"One or more parameters cannot be validated. Reason: Message must be shorter than {BODY_BYTES_MAX} bytes.",
    )
