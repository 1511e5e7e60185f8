"""The unary calls of ``heddle.v1.Queues``: each finds its queue, calls the plane, and answers after the commit."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import grpc
from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.api.desk import Desk, settled
from broker.api.grpc.consume import Consume
from broker.api.grpc.produce import Produce
from broker.api.grpc.status import abort, bare
from broker.errors import (
    BrokerError,
    InvalidParameterValue,
    MissingParameter,
    ShuttingDown,
    StorageUnavailable,
    UnsupportedOperation,
)
from broker.queues import Queue, Scope, Taken, operations
from broker.store import Commit

Context = grpc.aio.ServicerContext[Any, Any]
Request = TypeVar("Request")
Response = TypeVar("Response")
Handler = Callable[["QueuesService", Request, Context], Awaitable[Response]]


def _answering(handler: Handler[Request, Response]) -> Handler[Request, Response]:
    """Turns a refusal into its status, once what it rests on is durable."""

    @functools.wraps(handler)
    async def answer(self: "QueuesService", request: Request, context: Context) -> Response:
        try:
            return await handler(self, request, context)
        except BrokerError as error:
            refusal = bare(error)
        # An abort leaves a cycle of the context and the frames below it, which only a full collection breaks: no frame
        # of it may hold the request, or a few large ones that are refused fill the memory.
        del request
        await self.refuse(context, refusal)

    return answer


class QueuesService:
    """Servicer of ``heddle.v1.Queues``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queues = desk.queues

    async def refuse(self, context: Context, error: BrokerError) -> NoReturn:
        """Ends the call with an error: it tells of state, so it waits for the commit as any answer does."""
        try:
            await self._desk.durable()
        except StorageUnavailable as failure:
            error = failure
        await abort(context, error)

    def _scope(self, context: Context) -> Scope:
        return scope_of(context, self._desk.default_scope)

    def _find(self, context: Context, queue_url: str) -> Queue:
        return self._queues.find(self._scope(context), queue_url)

    def _url(self, scope: Scope, queue: Queue) -> str:
        return self._desk.queue_url(Scope(queue.account, scope.region), queue.name)

    # --- queues

    @_answering
    async def CreateQueue(self, request: pb.CreateQueueRequest, context: Context) -> pb.CreateQueueResponse:  # noqa: N802
        await self._desk.admit()
        scope = self._scope(context)
        queue = self._queues.create(scope, request.queue_name, request.attributes, request.tags, self._desk.now_ms())
        await self._desk.durable()
        return pb.CreateQueueResponse(queue_url=self._url(scope, queue))

    @_answering
    async def DeleteQueue(self, request: pb.DeleteQueueRequest, context: Context) -> pb.DeleteQueueResponse:  # noqa: N802
        self._queues.delete(self._scope(context), request.queue_url, self._desk.now_ms())
        await self._desk.durable()
        return pb.DeleteQueueResponse()

    @_answering
    async def GetQueueUrl(self, request: pb.GetQueueUrlRequest, context: Context) -> pb.GetQueueUrlResponse:  # noqa: N802
        scope = self._scope(context)
        queue = self._queues.by_name(scope, request.queue_name, request.queue_owner_aws_account_id)
        await self._desk.durable()
        return pb.GetQueueUrlResponse(queue_url=self._url(scope, queue))

    @_answering
    async def ListQueues(self, request: pb.ListQueuesRequest, context: Context) -> pb.ListQueuesResponse:  # noqa: N802
        scope = self._scope(context)
        page = self._queues.page(
            scope,
            prefix=request.queue_name_prefix,
            max_results=request.max_results if request.HasField("max_results") else None,
            next_token=request.next_token,
        )
        await self._desk.durable()
        return pb.ListQueuesResponse(
            queue_urls=[self._url(scope, queue) for queue in page.queues], next_token=page.next_token
        )

    @_answering
    async def GetQueueAttributes(  # noqa: N802
        self, request: pb.GetQueueAttributesRequest, context: Context
    ) -> pb.GetQueueAttributesResponse:
        queue = self._find(context, request.queue_url)
        attributes = self._queues.get_attributes(queue, list(request.attribute_names), self._desk.now_ms())
        await self._desk.durable()
        return pb.GetQueueAttributesResponse(attributes=attributes)

    @_answering
    async def SetQueueAttributes(  # noqa: N802
        self, request: pb.SetQueueAttributesRequest, context: Context
    ) -> pb.SetQueueAttributesResponse:
        queue = self._find(context, request.queue_url)
        self._queues.set_attributes(queue, request.attributes, self._desk.now_ms())
        await self._desk.durable()
        return pb.SetQueueAttributesResponse()

    @_answering
    async def PurgeQueue(self, request: pb.PurgeQueueRequest, context: Context) -> pb.PurgeQueueResponse:  # noqa: N802
        self._queues.purge(self._scope(context), request.queue_url, self._desk.now_ms())
        await self._desk.durable()
        return pb.PurgeQueueResponse()

    @_answering
    async def TagQueue(self, request: pb.TagQueueRequest, context: Context) -> pb.TagQueueResponse:  # noqa: N802
        self._queues.tag(self._find(context, request.queue_url), request.tags)
        await self._desk.durable()
        return pb.TagQueueResponse()

    @_answering
    async def UntagQueue(self, request: pb.UntagQueueRequest, context: Context) -> pb.UntagQueueResponse:  # noqa: N802
        self._queues.untag(self._find(context, request.queue_url), list(request.tag_keys))
        await self._desk.durable()
        return pb.UntagQueueResponse()

    @_answering
    async def ListQueueTags(self, request: pb.ListQueueTagsRequest, context: Context) -> pb.ListQueueTagsResponse:  # noqa: N802
        queue = self._find(context, request.queue_url)
        await self._desk.durable()
        return pb.ListQueueTagsResponse(tags=queue.tags)

    # --- recognised, and refused until the plane has them

    @_answering
    async def _not_yet(self, request: object, context: Context) -> NoReturn:  # noqa: ARG002
        raise UnsupportedOperation("The operation is not supported by this version of Heddle.")

    AddPermission = RemovePermission = ListDeadLetterSourceQueues = _not_yet
    StartMessageMoveTask = ListMessageMoveTasks = CancelMessageMoveTask = _not_yet

    # --- messages

    @_answering
    async def SendMessage(self, request: pb.SendMessageRequest, context: Context) -> pb.SendMessageResponse:  # noqa: N802
        _require(MessageBody=request.message_body)
        desk = self._desk
        await desk.admit()
        scope = self._scope(context)
        response = operations.send_message(
            self._queues.find(scope, request.queue_url),
            request,
            identity=self._queues.identity,
            now_ms=desk.now_ms(),
            sender_id=scope.account,
        )
        await desk.durable()
        return response

    @_answering
    async def SendMessageBatch(  # noqa: N802
        self, request: pb.SendMessageBatchRequest, context: Context
    ) -> pb.SendMessageBatchResponse:
        desk = self._desk
        await desk.admit()
        scope = self._scope(context)
        response = operations.send_message_batch(
            self._queues.find(scope, request.queue_url),
            request,
            identity=self._queues.identity,
            now_ms=desk.now_ms(),
            sender_id=scope.account,
        )
        await desk.durable()
        return response

    @_answering
    async def ReceiveMessage(self, request: pb.ReceiveMessageRequest, context: Context) -> pb.ReceiveMessageResponse:  # noqa: N802
        queue = self._find(context, request.queue_url)
        operations.check_receive(request)
        call = _ReceiveCall(self._desk, queue, request)
        taken = await call.receive()
        try:
            payloads = await self._desk.payloads(taken)
            if call.commit is not None:
                await settled(call.commit)
        except asyncio.CancelledError:
            # The caller went away: what was taken for it goes back at once, not at its timeout.
            call.give_back(taken)
            raise
        messages = operations.received_messages(queue, request, taken, payloads, self._queues.identity)
        return pb.ReceiveMessageResponse(messages=messages)

    @_answering
    async def DeleteMessage(self, request: pb.DeleteMessageRequest, context: Context) -> pb.DeleteMessageResponse:  # noqa: N802
        _require(ReceiptHandle=request.receipt_handle)
        queue = self._find(context, request.queue_url)
        operations.delete_message(
            queue, request.receipt_handle, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return pb.DeleteMessageResponse()

    @_answering
    async def DeleteMessageBatch(  # noqa: N802
        self, request: pb.DeleteMessageBatchRequest, context: Context
    ) -> pb.DeleteMessageBatchResponse:
        queue = self._find(context, request.queue_url)
        response = operations.delete_message_batch(
            queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return response

    @_answering
    async def ChangeMessageVisibility(  # noqa: N802
        self, request: pb.ChangeMessageVisibilityRequest, context: Context
    ) -> pb.ChangeMessageVisibilityResponse:
        _require(ReceiptHandle=request.receipt_handle, VisibilityTimeout=request.HasField("visibility_timeout"))
        queue = self._find(context, request.queue_url)
        operations.change_visibility(queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms())
        await self._desk.durable()
        return pb.ChangeMessageVisibilityResponse()

    @_answering
    async def ChangeMessageVisibilityBatch(  # noqa: N802
        self, request: pb.ChangeMessageVisibilityBatchRequest, context: Context
    ) -> pb.ChangeMessageVisibilityBatchResponse:
        queue = self._find(context, request.queue_url)
        response = operations.change_visibility_batch(
            queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return response

    @_answering
    async def PeekMessages(self, request: pb.PeekMessagesRequest, context: Context) -> pb.PeekMessagesResponse:  # noqa: N802
        queue = self._find(context, request.queue_url)
        count = request.max_number_of_messages if request.HasField("max_number_of_messages") else 10
        if not 1 <= count <= limits.PEEK_MESSAGES_MAX:
            raise InvalidParameterValue(
                f"Value {count} for parameter MaxNumberOfMessages is invalid. "
                f"Reason: Must be between 1 and {limits.PEEK_MESSAGES_MAX}, if provided."
            )
        queue.advance(self._desk.now_ms())
        seen = operations.peek(queue, request.from_sequence, count)
        payloads = await self._desk.payloads(part for part, _ in seen)
        await self._desk.durable()
        return pb.PeekMessagesResponse(messages=operations.peeked_messages(seen, payloads, self._queues.identity))

    # --- streams

    async def Produce(self, request_iterator: object, context: Context) -> None:  # noqa: ARG002, N802
        try:
            await Produce(self._desk, self._scope(context), context).run()
            return
        except BrokerError as error:
            refusal = bare(error)
        await self.refuse(context, refusal)

    async def Consume(self, request_iterator: object, context: Context) -> None:  # noqa: ARG002, N802
        try:
            await Consume(self._desk, self._scope(context), context).run()
            return
        except BrokerError as error:
            refusal = bare(error)
        await self.refuse(context, refusal)


class _ReceiveCall:
    """One ReceiveMessage: a short poll, or a place in the queue's line until messages, the deadline or the end."""

    def __init__(self, desk: Desk, queue: Queue, request: pb.ReceiveMessageRequest) -> None:
        self._desk, self._queue = desk, queue
        self._count = request.max_number_of_messages if request.HasField("max_number_of_messages") else 1
        self._visibility_ms = request.visibility_timeout * 1000 if request.HasField("visibility_timeout") else None
        self._wait_seconds = (
            request.wait_time_seconds if request.HasField("wait_time_seconds") else queue.attributes.wait_time_seconds
        )
        self._served: asyncio.Future[list[Taken]] | None = None
        self.commit: Commit | None = None
        """After which the answer may go out."""

    async def receive(self) -> list[Taken]:
        queue, desk = self._queue, self._desk
        taken: list[Taken] = []
        if not queue.takers:  # those who wait already are first
            taken = self._take(desk.now_ms())
        if not taken and self._wait_seconds:
            taken = await self._wait()
        elif not taken:
            queue.refuse_over_limit()
        if not taken:
            queue.activity.empty_receives += 1
            self.commit = desk.store.durable()
        return taken

    def _take(self, now_ms: int) -> list[Taken]:
        taken = self._queue.receive(self._count, visibility_ms=self._visibility_ms, now_ms=now_ms)
        self.commit = self._desk.store.durable()
        return taken

    async def _wait(self) -> list[Taken]:
        if self._desk.stopping.is_set():
            raise ShuttingDown("The broker is shutting down.")
        self._served = asyncio.get_running_loop().create_future()
        self._queue.park(self)
        deadline = asyncio.get_running_loop().call_later(self._wait_seconds, self.end_wait)
        self._desk.parked.add(self)
        try:
            return await self._served
        except asyncio.CancelledError:
            if self._served.done() and not self._served.cancelled():
                self.give_back(self._served.result())
            raise
        finally:
            self._desk.parked.discard(self)
            deadline.cancel()
            self._queue.leave(self)

    def end_wait(self) -> None:
        """Nothing came: the call returns empty."""
        if self._served is not None and not self._served.done():
            self._served.set_result([])

    def serve(self, queue: Queue) -> bool:  # noqa: ARG002
        assert self._served is not None
        if not self._served.done():
            taken = self._take(self._desk.now_ms())
            if not taken:
                return True
            self._served.set_result(taken)
        return False

    def queue_deleted(self) -> None:
        self.end_wait()

    def give_back(self, taken: list[Taken]) -> None:
        if not self._queue.deleted:
            for part in taken:
                self._queue.give_back(part.lo, part.hi, self._desk.now_ms(), delivery_id=part.delivery_id)


def _require(**members: object) -> None:
    """Raises MissingParameter for the first that is absent: AWS looks for those before it looks for the queue."""
    for name, value in members.items():
        if not value:
            raise MissingParameter.named(name)


def scope_of(context: Context, default: Scope) -> Scope:
    """The account and region that the call's metadata names, the broker's own where it names none."""
    account, region = default.account, default.region
    for key, value in context.invocation_metadata() or ():
        if key == "heddle-account":
            account = str(value)
        elif key == "heddle-region":
            region = str(value)
    if account is default.account and region is default.region:
        return default
    if not (len(account) == 12 and account.isascii() and account.isdigit()):
        raise InvalidParameterValue(f"Value {account} for metadata heddle-account is invalid. Reason: 12 digits.")
    if not (region.isascii() and region.replace("-", "").isalnum() and len(region) <= 64):
        raise InvalidParameterValue(f"Value {region} for metadata heddle-region is invalid. Reason: not a region name.")
    return Scope(account, region)
