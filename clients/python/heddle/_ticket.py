"""What `Producer.send` returns: a light claim on the fate of one message. Two objects a message would be one too many:
a ticket is a place in its batch, and the batch has the one future."""

import asyncio
from bisect import bisect_left
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from heddle._errors import deadline_exceeded
from heddle._model import SEQUENCE_NUMBER_ZERO, SentMessage, message_id_at
from heddle._outbox import Batch
from heddle.v1 import queues_pb2

T = TypeVar("T")


class PendingMessage:
    """What both kinds of ticket know."""

    __slots__ = ("_batch", "_index")

    def __init__(self, batch: Batch, index: int) -> None:
        self._batch = batch
        self._index = index

    def done(self) -> bool:
        """Accepted (durable) or failed."""
        return self._batch.outcome.done()

    @property
    def message_id(self) -> str | None:
        """The message id; None until accepted, and for a duplicate."""
        sent = self._accepted()
        return None if sent is None or sent.duplicate else sent.message_id

    @property
    def sequence(self) -> int | None:
        """The sequence number; None until accepted, and for a duplicate."""
        sent = self._accepted()
        return None if sent is None else sent.sequence

    @property
    def duplicate(self) -> bool:
        """FIFO queues: accepted, and not appended, because it repeats a message of the last five minutes.

        That may be this very message: its batch was taken, the result lost with the connection, and the batch sent
        again.
        """
        sent = self._accepted()
        return sent is not None and sent.duplicate

    def _accepted(self) -> SentMessage | None:
        outcome = self._batch.outcome
        return self._sent(outcome.result()) if outcome.done() and outcome.exception() is None else None

    def _sent(self, result: queues_pb2.ProduceResult) -> SentMessage:
        duplicates = result.duplicates  # indexes, rising; what the result says is about the others
        before = bisect_left(duplicates, self._index)
        if before < len(duplicates) and duplicates[before] == self._index:
            return SentMessage("", None, duplicate=True)
        place = self._index - before
        sequence = result.base_sequence + place
        number = str(SEQUENCE_NUMBER_ZERO + sequence) if self._batch.groups else None
        return SentMessage(message_id_at(result.first_message_id, place), sequence, number)


class Ticket(PendingMessage):
    """A message on its way; `result` waits for its fate."""

    __slots__ = ()

    def result(self, timeout: float | None = None) -> SentMessage:
        """The sent message. Raises the batch's error; `DeadlineExceeded` after `timeout` seconds (None: never)."""
        return self._sent(wait(self._batch.outcome, timeout, "the acknowledgement of a message"))


class AsyncTicket(PendingMessage):
    """A message on its way; `result` awaits its fate."""

    __slots__ = ()

    async def result(self, timeout: float | None = None) -> SentMessage:
        """The sent message. Raises the batch's error; `DeadlineExceeded` after `timeout` seconds (None: never)."""
        return self._sent(await wait_async(self._batch.outcome, timeout, "the acknowledgement of a message"))


def wait(future: Future[T], timeout: float | None, what: str) -> T:
    """The future's result, or `DeadlineExceeded` about `what`."""
    try:
        return future.result(timeout)
    except FutureTimeoutError:
        raise deadline_exceeded(what, timeout) from None


async def wait_async(future: Future[T], timeout: float | None, what: str) -> T:
    """The same, awaited. The future is shared: a waiter that is cancelled must not cancel it for the others."""
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.shield(asyncio.wrap_future(future))
    except TimeoutError:
        raise deadline_exceeded(what, timeout) from None
