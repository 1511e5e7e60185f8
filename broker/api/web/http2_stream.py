"""One stream of an HTTP/2 connection: its request, and what it waits for. Never: frames."""

import asyncio
from dataclasses import dataclass
from typing import Final

from broker.api.web.body import Body, Pace
from broker.api.web.messages import Request

NEVER: Final = float("inf")


@dataclass(slots=True)
class Stream:
    """A request that arrives, or is being answered. ``arrived``: all of it is here. ``refused``: it is answered, and
    what the client still sends is dropped. ``deadline_s``: when it counts as stalled."""

    request: Request
    body: Body
    pace: Pace
    deadline_s: float = NEVER
    arrived: bool = False
    refused: bool = False
    task: asyncio.Task[None] | None = None
    _sendable: asyncio.Future[None] | None = None

    async def window(self, deadline_s: float) -> None:
        """Until the client opens the window, or the connection's."""
        self._sendable = asyncio.get_running_loop().create_future()
        self.deadline_s = deadline_s
        await self._sendable
        self._sendable = None
        self.deadline_s = NEVER

    def wake(self) -> None:
        if self._sendable is not None and not self._sendable.done():
            self._sendable.set_result(None)
