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
from broker.api.grpc.receive import ReceiveCall
from broker.api.grpc.scope import scope_of
from broker.api.grpc.status import abort, bare
from broker.errors import BrokerError, InvalidParameterValue, MissingParameter, StorageUnavailable
from broker.queues import Queue, Scope, operations
from broker.queues.move_tasks import MoveTask

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

    def _find(self, context: Context, queue_url: str, *actions: str) -> Queue:
        """The queue for a call that needs the right to these actions; without any, the owner's alone."""
        return self._queues.find(self._scope(context), queue_url, *actions)

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
        queue = self._find(context, request.queue_url, "GetQueueAttributes")
        attributes = self._queues.get_attributes(queue, list(request.attribute_names), self._desk.now_ms())
        await self._desk.durable()
        return pb.GetQueueAttributesResponse(attributes=attributes)

    @_answering
    async def SetQueueAttributes(  # noqa: N802
        self, request: pb.SetQueueAttributesRequest, context: Context
    ) -> pb.SetQueueAttributesResponse:
        _require(**{"Attribute.Name": request.attributes})
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
        _require(Tags=request.tags)
        self._queues.tag(self._find(context, request.queue_url), request.tags)
        await self._desk.durable()
        return pb.TagQueueResponse()

    @_answering
    async def UntagQueue(self, request: pb.UntagQueueRequest, context: Context) -> pb.UntagQueueResponse:  # noqa: N802
        _require(TagKeys=request.tag_keys)
        self._queues.untag(self._find(context, request.queue_url), list(request.tag_keys))
        await self._desk.durable()
        return pb.UntagQueueResponse()

    @_answering
    async def ListQueueTags(self, request: pb.ListQueueTagsRequest, context: Context) -> pb.ListQueueTagsResponse:  # noqa: N802
        queue = self._find(context, request.queue_url)
        await self._desk.durable()
        return pb.ListQueueTagsResponse(tags=queue.tags)

    # --- permissions

    @_answering
    async def AddPermission(self, request: pb.AddPermissionRequest, context: Context) -> pb.AddPermissionResponse:  # noqa: N802
        _require(Label=request.label, Actions=request.actions)
        queue = self._find(context, request.queue_url)
        self._queues.add_permission(queue, request.label, request.aws_account_ids, request.actions, self._desk.now_ms())
        await self._desk.durable()
        return pb.AddPermissionResponse()

    @_answering
    async def RemovePermission(  # noqa: N802
        self, request: pb.RemovePermissionRequest, context: Context
    ) -> pb.RemovePermissionResponse:
        _require(Label=request.label)
        queue = self._find(context, request.queue_url)
        self._queues.remove_permission(queue, request.label, self._desk.now_ms())
        await self._desk.durable()
        return pb.RemovePermissionResponse()

    # --- dead-letter queues

    @_answering
    async def ListDeadLetterSourceQueues(  # noqa: N802
        self, request: pb.ListDeadLetterSourceQueuesRequest, context: Context
    ) -> pb.ListDeadLetterSourceQueuesResponse:
        scope = self._scope(context)
        page = self._queues.page_of_sources(
            self._queues.find(scope, request.queue_url, "ListDeadLetterSourceQueues"),
            max_results=request.max_results if request.HasField("max_results") else None,
            next_token=request.next_token,
        )
        await self._desk.durable()
        return pb.ListDeadLetterSourceQueuesResponse(
            queue_urls=[self._url(scope, queue) for queue in page.queues], next_token=page.next_token
        )

    @_answering
    async def StartMessageMoveTask(  # noqa: N802
        self, request: pb.StartMessageMoveTaskRequest, context: Context
    ) -> pb.StartMessageMoveTaskResponse:
        await self._desk.admit()
        rate = request.max_number_of_messages_per_second
        handle = self._queues.move_tasks.start(
            self._scope(context),
            request.source_arn,
            request.destination_arn or None,
            rate if request.HasField("max_number_of_messages_per_second") else None,
            self._desk.now_ms(),
        )
        await self._desk.durable()
        return pb.StartMessageMoveTaskResponse(task_handle=handle)

    @_answering
    async def ListMessageMoveTasks(  # noqa: N802
        self, request: pb.ListMessageMoveTasksRequest, context: Context
    ) -> pb.ListMessageMoveTasksResponse:
        max_results = request.max_results if request.HasField("max_results") else None
        tasks = self._queues.move_tasks.list(self._scope(context), request.source_arn, max_results)
        response = pb.ListMessageMoveTasksResponse(results=map(_task_result, tasks))
        await self._desk.durable()
        return response

    @_answering
    async def CancelMessageMoveTask(  # noqa: N802
        self, request: pb.CancelMessageMoveTaskRequest, context: Context
    ) -> pb.CancelMessageMoveTaskResponse:
        moved = self._queues.move_tasks.cancel(self._scope(context), request.task_handle)
        await self._desk.durable()
        return pb.CancelMessageMoveTaskResponse(approximate_number_of_messages_moved=moved)

    # --- messages

    @_answering
    async def SendMessage(self, request: pb.SendMessageRequest, context: Context) -> pb.SendMessageResponse:  # noqa: N802
        _require(MessageBody=request.message_body)
        desk = self._desk
        await desk.admit()
        scope = self._scope(context)
        queue = self._queues.find(scope, request.queue_url, "SendMessage")
        await desk.loaded(queue)
        response = operations.send_message(
            queue,
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
        queue = self._queues.find(scope, request.queue_url, "SendMessageBatch")
        await desk.loaded(queue)
        response = operations.send_message_batch(
            queue,
            request,
            identity=self._queues.identity,
            now_ms=desk.now_ms(),
            sender_id=scope.account,
        )
        await desk.durable()
        return response

    @_answering
    async def ReceiveMessage(self, request: pb.ReceiveMessageRequest, context: Context) -> pb.ReceiveMessageResponse:  # noqa: N802
        queue = self._find(context, request.queue_url, "ReceiveMessage")
        operations.check_receive(queue, request)
        call = ReceiveCall(self._desk, queue, request)
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
        queue = self._find(context, request.queue_url, "DeleteMessage")
        operations.delete_message(
            queue, request.receipt_handle, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return pb.DeleteMessageResponse()

    @_answering
    async def DeleteMessageBatch(  # noqa: N802
        self, request: pb.DeleteMessageBatchRequest, context: Context
    ) -> pb.DeleteMessageBatchResponse:
        queue = self._find(context, request.queue_url, "DeleteMessageBatch")
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
        queue = self._find(context, request.queue_url, "ChangeMessageVisibility")
        operations.change_visibility(queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms())
        await self._desk.durable()
        return pb.ChangeMessageVisibilityResponse()

    @_answering
    async def ChangeMessageVisibilityBatch(  # noqa: N802
        self, request: pb.ChangeMessageVisibilityBatchRequest, context: Context
    ) -> pb.ChangeMessageVisibilityBatchResponse:
        queue = self._find(context, request.queue_url, "ChangeMessageVisibilityBatch")
        response = operations.change_visibility_batch(
            queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return response

    @_answering
    async def PeekMessages(self, request: pb.PeekMessagesRequest, context: Context) -> pb.PeekMessagesResponse:  # noqa: N802
        queue = self._find(context, request.queue_url, "ReceiveMessage")
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


def _require(**members: object) -> None:
    """Raises MissingParameter for the first that is absent: AWS looks for those before it looks for the queue."""
    for name, value in members.items():
        if not value:
            raise MissingParameter.named(name)


def _task_result(task: MoveTask) -> pb.ListMessageMoveTasksResultEntry:
    return pb.ListMessageMoveTasksResultEntry(
        task_handle=task.handle or None,
        status=task.status,
        source_arn=task.source_arn,
        destination_arn=task.destination_arn or None,
        max_number_of_messages_per_second=task.rate or None,
        approximate_number_of_messages_moved=task.moved,
        approximate_number_of_messages_to_move=task.to_move,
        failure_reason=task.failure_reason or None,
        started_timestamp=task.started_ms,
    )
