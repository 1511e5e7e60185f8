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

    ``tasks``: the requests that are answered now. ``unread``: the bytes of their answers until clients have taken them.
    ``empty``: no connection is left. ``full_logged_s``: when the log was last told of a connection turned away.
    """

    handler: Handler
    limits: WebLimits
    budget: Budget
    unread: Budget = field(init=False)
    tasks: "dict[asyncio.Task[None], Body]" = field(default_factory=dict)
    connections: set[Connection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    full_logged_s: float = float("-inf")

    def __post_init__(self) -> None:
        self.unread = Budget(self.limits.unread_bytes_max)

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
        body = self.tasks.pop(task)
        body.release()
        self.unread.give(body.answer_bytes)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("answering a request failed", exc_info=error)

    async def answer(self, request: Request, body: Body) -> Response:
        """The handler's answer, or 500 when it fails: what went wrong is logged and stays here.

        Raises CancelledError when this task is cancelled, and only then.
        """
        try:
            if len(self.tasks) > self.limits.requests_max:
                raise Refused(503, "too many requests are under way", retry_after_seconds=1)
            if "content-encoding" in request.headers:
                await undo_content_encoding(request, body, self.budget, self.limits.body_bytes_max)
            response = await self.handler(request)
            if isinstance(response.body, bytes):
                self.unread.take(len(response.body))
                body.answer_bytes = len(response.body)
            return response
        except Refused as refused:
            return refusal(refused)
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            log.exception("a handler was cancelled from within", method=request.method, path=request.path)
        except Exception:  # a handler's defect is the answer of its request, and nobody else's
            log.exception("a handler failed", method=request.method, path=request.path)
        return Response(500)


def _is_being_cancelled() -> bool:
    """Whether this task is. Not in the frame that the exception leaves: task, exception and frame would be a cycle."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
