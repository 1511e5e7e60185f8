"""The sync consumer."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor
from concurrent.futures import wait as wait_all
from functools import partial
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Self

from heddle._delivery import Delivery, Epoch, Message
from heddle._errors import HeddleError
from heddle._ledger import ConsumeOptions
from heddle._model import is_fifo
from heddle._sync_connection import SyncConnection
from heddle._workers import Assignment

_log = logging.getLogger("heddle")


class Consumer:
    """Messages of one queue, as an iterator that blocks for the next one and ends with `stop` or `close`.

    When the stream breaks, a new one is opened. What was delivered by the old one and not confirmed goes back to the
    queue and comes again (unless `keep_in_flight_on_disconnect`): settling it does nothing, and what was not handed
    out yet is not handed out any more. A status that is not about the connection is raised by the iteration.
    Iterate in one thread at a time; settle in any. `run` is the way to work in many threads.

    FIFO queues: messages of a group come in order, several of them before the first is settled. A nack returns its
    message and what this consumer holds of the group after it: that is not handed out any more, settling it does
    nothing, and all of it comes again in order.
    """

    def __init__(self, connection: SyncConnection, queue_url: str, options: ConsumeOptions) -> None:
        self._connection = connection
        self._fifo = is_fifo(queue_url)
        self._arrived: SimpleQueue[Delivery | None] = SimpleQueue()  # None: there will be no more
        self._current: Iterator[Message] = iter(())
        self._epoch = Epoch(handing_out=False)
        self._ledger, self._stream = connection.consume(
            queue_url, options, deliver=self._arrived.put, ended=partial(self._arrived.put, None)
        )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = next(self._current, None)
        while message is None or not self._epoch.handing_out:
            delivery = self._next_delivery()
            if delivery is None:
                raise StopIteration
            self._epoch, self._current = delivery.epoch, iter(delivery)
            message = next(self._current, None)
        return message

    def deliveries(self) -> Iterator[Delivery]:
        """Whole deliveries, for work in bulk. What an iteration over messages has begun stays with that."""
        while (delivery := self._next_delivery()) is not None:
            yield delivery

    def _next_delivery(self) -> Delivery | None:
        """The next one that is still ours; None when there are no more. Raises what ended the stream."""
        while (delivery := self._arrived.get()) is not None:
            if delivery.epoch.handing_out and len(delivery):
                return delivery
        self._arrived.put(None)  # for the next who asks
        if self._ledger.error is not None:
            raise self._ledger.error
        return None

    def run(self, handler: Callable[[Message], object], concurrency: int = 8, retry_delay_seconds: int = 0) -> None:
        """Call `handler` with each message in `concurrency` threads, until `stop`; then close.

        A message is acked when its handler returns and nacked, to come again after `retry_delay_seconds`, when it
        raises an Exception, which is logged. On a FIFO queue a message group is handled by one of them at a time, in
        order, also when a message of it comes again.
        """
        turn = Lock()
        assignment = Assignment(by_group=self._fifo)

        def take() -> Message | None:
            with turn:
                while (message := next(self, None)) is not None:
                    if assignment.claim(message):
                        break
            return message

        def handle(message: Message) -> None:
            try:
                handler(message)
            except Exception:
                _log.exception("the handler failed: message %d goes back to the queue", message.sequence)
                message.nack(retry_delay_seconds)
            else:
                message.ack()

        def work() -> None:
            while (message := take()) is not None:
                while message is not None:
                    handle(message)
                    message = assignment.next_after(message)

        with self, ThreadPoolExecutor(concurrency, thread_name_prefix="heddle-consumer") as threads:
            workers = [threads.submit(work) for _ in range(concurrency)]
            try:
                wait_all(workers, return_when=FIRST_EXCEPTION)
            finally:
                self.stop()
            for worker in workers:
                worker.result()

    def stop(self) -> None:
        """Hand out nothing more: iterations and `run` end after the messages under way. Fit for a signal handler."""
        self._ledger.halt()
        self._arrived.put(None)

    def close(self) -> None:
        """Stop, send the last acks, wait until they are durable, and give back what is not settled.

        Raises `Unavailable` or `DeadlineExceeded` if that cannot be confirmed: those messages may come again.
        """
        self._ledger.stop()
        self._connection.finish(self._stream, "closing the consumer")
        if self._ledger.error is not None:
            raise self._ledger.error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is already being raised matters more than how the closing went.
        with contextlib.suppress(*(() if error is None else (HeddleError,))):
            self.close()
