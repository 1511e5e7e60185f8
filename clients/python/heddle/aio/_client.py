"""The asyncio client."""

from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Self

from heddle import _calls
from heddle._channel import Tls
from heddle._connection import Connection
from heddle.aio._queue import Queue


class Client:
    """A connection to one broker. Make it inside of the loop that uses it, and use it in that loop alone.

    `timeout` (seconds, None: none) bounds each call, the wait for room of `Producer.send`, and each flush and close.
    It is not for use after a fork; make one in each process.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7420",
        account: str | None = None,
        region: str | None = None,
        timeout: float | None = 30.0,
        tls: Tls | None = None,
    ) -> None:
        self._connection = Connection(target, account, region, timeout, tls)

    async def create_queue(
        self, name: str, attributes: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> Queue:
        """Create a queue, or find it if it exists with these attributes. Raises `QueueNameExists` if they differ."""
        return Queue(self._connection, await self._connection.perform(_calls.create_queue(name, attributes, tags)))

    async def get_queue(self, name: str, owner_account: str | None = None) -> Queue:
        """Find a queue. Raises `QueueDoesNotExist`."""
        return Queue(self._connection, await self._connection.perform(_calls.get_queue_url(name, owner_account)))

    def queue(self, name_or_url: str) -> Queue:
        """A handle to a queue that is thought to exist: no call is made."""
        return Queue(self._connection, name_or_url)

    async def list_queues(self, prefix: str = "") -> AsyncIterator[Queue]:
        """Handles of the queues whose names start with `prefix`; pages are fetched as needed."""
        token = ""
        while True:
            urls, token = await self._connection.perform(_calls.list_queues(prefix, token))
            for url in urls:
                yield Queue(self._connection, url)
            if not token:
                return

    async def close(self) -> None:
        """Disconnect. Close producers and consumers before: what they have not confirmed by now is cut off."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
