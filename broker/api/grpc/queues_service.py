"""``heddle.v1.Queues`` over gRPC: parses, finds out whose call it is, and tells refusals as statuses.

What the unary calls do is in ``api/queue_calls.py``; the streams are Heddle's own. Never: semantics.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from broker.api.desk import Desk
from broker.api.grpc.consume import Consume
from broker.api.grpc.produce import Produce
from broker.api.grpc.scope import scope_of
from broker.api.grpc.status import abort, bare
from broker.api.queue_calls import QueueCalls
from broker.errors import BrokerError
from broker.queues import Scope

Context = grpc.aio.ServicerContext[Any, Any]
Call = Callable[[Scope, Any], Awaitable[Message | bytes]]
"""One of ``QueueCalls``."""


class QueuesService:
    """Servicer of ``heddle.v1.Queues``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.calls = QueueCalls(desk)

    async def answer(self, call: Call, request: Message, context: Context) -> Message | bytes:
        """The answer of a unary call, or its end with the refusal."""
        try:
            return await call(scope_of(context, self._desk.default_scope), request)
        except BrokerError as error:
            refusal = bare(error)
        # An abort leaves a cycle of the context and the frames below it, which only a full collection breaks: no frame
        # of it may hold the request, or a few large ones that are refused fill the memory.
        del request
        await self.refuse(context, refusal)

    async def refuse(self, context: Context, error: BrokerError) -> NoReturn:
        """Ends the call with an error."""
        await abort(context, await self.calls.refused(error))

    async def Produce(self, request_iterator: object, context: Context) -> None:  # noqa: ARG002, N802
        try:
            await Produce(self._desk, scope_of(context, self._desk.default_scope), context).run()
            return
        except BrokerError as error:
            refusal = bare(error)
        await self.refuse(context, refusal)

    async def Consume(self, request_iterator: object, context: Context) -> None:  # noqa: ARG002, N802
        try:
            await Consume(self._desk, scope_of(context, self._desk.default_scope), context).run()
            return
        except BrokerError as error:
            refusal = bare(error)
        await self.refuse(context, refusal)
