"""One request and its answer, whichever version of HTTP carries them. Never: bytes on the wire."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from broker.api.web.body import Body, Budget, Refused, undo_content_encoding
from broker.api.web.limits import WebLimits
from broker.api.web.messages import Handler, Request, Response

log = structlog.get_logger("broker.api.web")


class Connection(Protocol):
    """A connection of either version, as the server sees it."""

    def check(self, now_s: float) -> None:
        """Ends the connection if it was too slow."""

    def retire(self) -> None:
        """Takes no further requests, and closes once those that arrived are answered."""

    def abort(self) -> None:
        """Closes at once."""


@dataclass(slots=True)
class Exchanges:
    """What all connections of a server share.

    ``tasks``: the requests that are answered now. ``empty``: no connection is left. ``full_logged_s``: when the log was
    last told of a connection that was turned away.
    """

    handler: Handler
    limits: WebLimits
    budget: Budget
    tasks: "dict[asyncio.Task[None], Body]" = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    full_logged_s: float = float("-inf")

    def leave(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()

    def run(self, exchange: Coroutine[Any, Any, None], body: Body) -> "asyncio.Task[None]":
        """A task that answers one request; the bytes of ``body`` are given back at its end."""
        task = asyncio.get_running_loop().create_task(exchange)
        self.tasks[task] = body
        task.add_done_callback(self._ended)  # runs for a task that is cancelled before its first step, too
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.pop(task).release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("answering a request failed", exc_info=error)

    async def answer(self, request: Request, body: Body) -> Response:
        """The handler's answer, or 500 when it fails: what went wrong is logged and stays here.

        Raises CancelledError when this task is cancelled, and only then.
        """
        try:
            if "content-encoding" in request.headers:
                await undo_content_encoding(request, body, self.budget, self.limits.body_bytes_max)
            return await self.handler(request)
        except Refused as refused:
            return refusal(refused)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            log.exception("a handler was cancelled from within", method=request.method, path=request.path)
        except Exception:
            log.exception("a handler failed", method=request.method, path=request.path)
        return Response(500)


def refusal(refused: Refused) -> Response:
    """No body: before a request is read it is not known which protocol its errors would have to speak."""
    if refused.retry_after_seconds is None:
        return Response(refused.status)
    return Response(refused.status, [("retry-after", str(refused.retry_after_seconds))])


async def close_pieces(body: bytes | AsyncIterator[bytes]) -> None:
    """Ends a streamed body that is not read to its end, so that its ``finally`` runs now and not at a collection."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()
