"""The asyncio consumer."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Self

from heddle._connection import Connection
from heddle._delivery import Delivery, Epoch, Message
from heddle._errors import HeddleError
from heddle._ledger import ConsumeOptions, Ledger
from heddle._model import is_fifo
from heddle._workers import Assignment

_log = logging.getLogger("heddle")


class Consumer:
    """Messages of one queue, as an async iterator that ends with `stop` or `close`. It starts when it is first used.

    When the stream breaks, a new one is opened. What was delivered by the old one and not confirmed goes back to the
    queue and comes again (unless `keep_in_flight_on_disconnect`): settling it does nothing, and what was not handed
    out yet is not handed out any more. A status that is not about the connection is raised by the iteration.
    Iterate in one task at a time; settle anywhere. `run` is the way to work in many tasks.

    FIFO queues: messages of a group come in order, several of them before the first is settled. A nack returns its
    message and what this consumer holds of the group after it: that is not handed out any more, settling it does
    nothing, and all of it comes again in order.
    """

    def __init__(self, connection: Connection, queue_url: str, options: ConsumeOptions) -> None:
        self._connection = connection
        self._arrived: asyncio.Queue[Delivery | None] = asyncio.Queue()  # None: there will be no more
        self._current: Iterator[Message] = iter(())
        self._epoch = Epoch(handing_out=False)
        self._queue_url = queue_url
        self._options = options
        self._starting = asyncio.Lock()
        self._started: tuple[Ledger, asyncio.Task[None]] | None = None
        self._halted = False

    async def _start(self) -> tuple[Ledger, "asyncio.Task[None]"]:
        async with self._starting:
            if self._started is None:
                self._started = await self._connection.consume(self._queue_url, self._options, self._arrived.put_nowait)
                self._started[1].add_done_callback(lambda _: self._arrived.put_nowait(None))
            return self._started

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = next(self._current, None)
        while message is None or not self._epoch.handing_out:
            delivery = await self._next_delivery()
            if delivery is None:
                raise StopAsyncIteration
            self._epoch, self._current = delivery.epoch, iter(delivery)
            message = next(self._current, None)
        return message

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Whole deliveries, for work in bulk. What an iteration over messages has begun stays with that."""
        while (delivery := await self._next_delivery()) is not None:
            yield delivery

    async def _next_delivery(self) -> Delivery | None:
        """The next one that is still ours; None when there are no more. Raises what ended the stream."""
        if self._halted:
            return None
        ledger, _ = self._started or await self._start()
        await asyncio.sleep(0)  # the stream lives on this loop and needs a turn, also when deliveries are waiting
        while (delivery := await self._arrived.get()) is not None:
            if delivery.epoch.handing_out and len(delivery):
                return delivery
        self._arrived.put_nowait(None)  # for the next who asks
        if ledger.error is not None:
            raise ledger.error
        return None

    async def run(
        self, handler: Callable[[Message], Awaitable[object]], concurrency: int = 8, retry_delay_seconds: int = 0
    ) -> None:
        """Call `handler` with each message in `concurrency` tasks, until `stop`; then close.

        A message is acked when its handler returns and nacked, to come again after `retry_delay_seconds`, when it
        raises an Exception, which is logged. On a FIFO queue a message group is handled by one of them at a time, in
        order, also when a message of it comes again.
        """
        turn = asyncio.Lock()
        assignment = Assignment(by_group=is_fifo(self._queue_url))

        async def take() -> Message | None:
            async with turn:
                while (message := await anext(self, None)) is not None:
                    if assignment.claim(message):
                        break
            return message

        async def handle(message: Message) -> None:
            try:
                await handler(message)
            except Exception:
                _log.exception("the handler failed: message %d goes back to the queue", message.sequence)
                message.nack(retry_delay_seconds)
            else:
                message.ack()

        async def work() -> None:
            while (message := await take()) is not None:
                while message is not None:
                    await handle(message)
                    message = assignment.next_after(message)

        async with self:
            workers = [asyncio.create_task(work()) for _ in range(concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                self.stop()
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    def stop(self) -> None:
        """Hand out nothing more: iterations and `run` end after the messages under way. Call it in the loop."""
        self._halted = True
        if self._started is not None:
            self._started[0].halt()
        self._arrived.put_nowait(None)

    async def close(self) -> None:
        """Stop, send the last acks, wait until they are durable, and give back what is not settled.

        Raises `Unavailable` or `DeadlineExceeded` if that cannot be confirmed: those messages may come again.
        """
        self._halted = True
        if self._started is None:
            return
        ledger, stream = self._started
        ledger.stop()
        await self._connection.finish(stream, "closing the consumer")
        if ledger.error is not None:
            raise ledger.error

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is already being raised matters more than how the closing went.
        with contextlib.suppress(*(() if error is None else (HeddleError,))):
            await self.close()
