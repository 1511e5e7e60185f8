"""A `Connection` for callers that block: it lives on a loop in a thread of its own."""

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from typing import Final, TypeVar

from heddle._calls import Call
from heddle._channel import Tls
from heddle._connection import Connection
from heddle._delivery import Delivery
from heddle._ledger import ConsumeOptions, Ledger
from heddle._loop_thread import LoopThread
from heddle._outbox import Outbox

LAST_TURN_SECONDS_MAX: Final = 1.0

T = TypeVar("T")
StreamTask = asyncio.Task[None]


class SyncConnection:
    """What `Connection` does, waited for. Any thread may use it."""

    def __init__(
        self, target: str, account: str | None, region: str | None, timeout: float | None, tls: Tls | None
    ) -> None:
        async def connect() -> Connection:
            return Connection(target, account, region, timeout, tls)

        self.timeout = timeout
        self._thread = LoopThread()
        self._connection = self._thread.run(connect())
        # Closed, or at the latest when nobody can use it any more: a loop must not end with calls under way.
        self._finalizer = weakref.finalize(self, _close, self._thread, self._connection)

    def perform(self, call: Call[T]) -> T:
        """See `Connection.perform`."""
        return self._thread.run(self._connection.perform(call))

    def produce(self, outbox: Outbox) -> StreamTask:
        """See `Connection.produce`."""

        async def start() -> StreamTask:
            return self._connection.produce(outbox)

        return self._thread.run(start())

    def consume(
        self,
        queue_url: str,
        options: ConsumeOptions,
        deliver: Callable[[Delivery], None],
        ended: Callable[[], None],
    ) -> tuple[Ledger, StreamTask]:
        """See `Connection.consume`. `ended` is called, in the loop's thread, when nothing more will be delivered."""

        async def start() -> tuple[Ledger, StreamTask]:
            ledger, stream = await self._connection.consume(queue_url, options, deliver)
            stream.add_done_callback(lambda _: ended())
            return ledger, stream

        return self._thread.run(start())

    def finish(self, stream: StreamTask, what: str) -> None:
        """See `Connection.finish`."""
        self._thread.run(self._connection.finish(stream, what))

    def close(self) -> None:
        """Disconnect and end the thread. A second time does nothing."""
        self._finalizer()


def _close(thread: LoopThread, connection: Connection) -> None:
    async def close() -> None:
        await connection.close()
        # gRPC's own tasks, one a call, have ended but for a turn of the loop: without it Python complains of them.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=LAST_TURN_SECONDS_MAX)

    with contextlib.suppress(RuntimeError):  # in a child after a fork there is no thread to close anything
        thread.run(close())
    thread.close()
