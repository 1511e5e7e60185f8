"""The operations on queues, whichever door they came through: each finds its queue, calls the plane, and returns the
answer after the commit.

Requests and answers are the messages of ``heddle.v1``; methods bear the names of AWS's operations and raise
BrokerError. A refusal tells of state: whoever answers with it awaits ``refused`` first. Never: a protocol.
"""

import asyncio
from collections.abc import Sequence

from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.api.desk import Desk, settled
from broker.api.receive import ReceiveCall
from broker.errors import BrokerError, InvalidParameterValue, MissingParameter, StorageUnavailable
from broker.queues import Queue, Scope, Taken, operations
from broker.queues.move_tasks import MoveTask

# ruff: noqa: N802 -- the names are AWS's


class QueueCalls:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._queues = desk.queues
        self._large_answers = asyncio.Lock()

    async def refused(self, error: BrokerError) -> BrokerError:
        """What to answer instead of ``error``, once what it rests on is durable: it tells of state, so it waits for
        the commit as any answer does."""
        try:
            await self._desk.durable()
        except StorageUnavailable as failure:
            return failure
        return error

    def _url(self, scope: Scope, queue: Queue) -> str:
        return self._desk.queue_url(Scope(queue.account, scope.region), queue.name)

    # --- queues

    async def CreateQueue(self, scope: Scope, request: pb.CreateQueueRequest) -> pb.CreateQueueResponse:
        await self._desk.admit()
        queue = self._queues.create(scope, request.queue_name, request.attributes, request.tags, self._desk.now_ms())
        await self._desk.durable()
        return pb.CreateQueueResponse(queue_url=self._url(scope, queue))

    async def DeleteQueue(self, scope: Scope, request: pb.DeleteQueueRequest) -> pb.DeleteQueueResponse:
        self._queues.delete(scope, request.queue_url, self._desk.now_ms())
        await self._desk.durable()
        return pb.DeleteQueueResponse()

    async def GetQueueUrl(self, scope: Scope, request: pb.GetQueueUrlRequest) -> pb.GetQueueUrlResponse:
        queue = self._queues.by_name(scope, request.queue_name, request.queue_owner_aws_account_id)
        await self._desk.durable()
        return pb.GetQueueUrlResponse(queue_url=self._url(scope, queue))

    async def ListQueues(self, scope: Scope, request: pb.ListQueuesRequest) -> pb.ListQueuesResponse:
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

    async def GetQueueAttributes(
        self, scope: Scope, request: pb.GetQueueAttributesRequest
    ) -> pb.GetQueueAttributesResponse:
        queue = self._queues.find(scope, request.queue_url, "GetQueueAttributes")
        attributes = self._queues.get_attributes(queue, list(request.attribute_names), self._desk.now_ms())
        await self._desk.durable()
        return pb.GetQueueAttributesResponse(attributes=attributes)

    async def SetQueueAttributes(
        self, scope: Scope, request: pb.SetQueueAttributesRequest
    ) -> pb.SetQueueAttributesResponse:
        _require(**{"Attribute.Name": request.attributes})
        queue = self._queues.find(scope, request.queue_url)
        self._queues.set_attributes(queue, request.attributes, self._desk.now_ms())
        await self._desk.durable()
        return pb.SetQueueAttributesResponse()

    async def PurgeQueue(self, scope: Scope, request: pb.PurgeQueueRequest) -> pb.PurgeQueueResponse:
        self._queues.purge(scope, request.queue_url, self._desk.now_ms())
        await self._desk.durable()
        return pb.PurgeQueueResponse()

    async def TagQueue(self, scope: Scope, request: pb.TagQueueRequest) -> pb.TagQueueResponse:
        _require(Tags=request.tags)
        self._queues.tag(self._queues.find(scope, request.queue_url), request.tags)
        await self._desk.durable()
        return pb.TagQueueResponse()

    async def UntagQueue(self, scope: Scope, request: pb.UntagQueueRequest) -> pb.UntagQueueResponse:
        _require(TagKeys=request.tag_keys)
        self._queues.untag(self._queues.find(scope, request.queue_url), list(request.tag_keys))
        await self._desk.durable()
        return pb.UntagQueueResponse()

    async def ListQueueTags(self, scope: Scope, request: pb.ListQueueTagsRequest) -> pb.ListQueueTagsResponse:
        queue = self._queues.find(scope, request.queue_url)
        await self._desk.durable()
        return pb.ListQueueTagsResponse(tags=queue.tags)

    # --- permissions

    async def AddPermission(self, scope: Scope, request: pb.AddPermissionRequest) -> pb.AddPermissionResponse:
        _require(Label=request.label, Actions=request.actions)
        queue = self._queues.find(scope, request.queue_url)
        self._queues.add_permission(queue, request.label, request.aws_account_ids, request.actions, self._desk.now_ms())
        await self._desk.durable()
        return pb.AddPermissionResponse()

    async def RemovePermission(self, scope: Scope, request: pb.RemovePermissionRequest) -> pb.RemovePermissionResponse:
        _require(Label=request.label)
        queue = self._queues.find(scope, request.queue_url)
        self._queues.remove_permission(queue, request.label, self._desk.now_ms())
        await self._desk.durable()
        return pb.RemovePermissionResponse()

    # --- dead-letter queues

    async def ListDeadLetterSourceQueues(
        self, scope: Scope, request: pb.ListDeadLetterSourceQueuesRequest
    ) -> pb.ListDeadLetterSourceQueuesResponse:
        page = self._queues.page_of_sources(
            self._queues.find(scope, request.queue_url, "ListDeadLetterSourceQueues"),
            max_results=request.max_results if request.HasField("max_results") else None,
            next_token=request.next_token,
        )
        await self._desk.durable()
        return pb.ListDeadLetterSourceQueuesResponse(
            queue_urls=[self._url(scope, queue) for queue in page.queues], next_token=page.next_token
        )

    async def StartMessageMoveTask(
        self, scope: Scope, request: pb.StartMessageMoveTaskRequest
    ) -> pb.StartMessageMoveTaskResponse:
        await self._desk.admit()
        rate = request.max_number_of_messages_per_second
        handle = self._queues.move_tasks.start(
            scope,
            request.source_arn,
            request.destination_arn or None,
            rate if request.HasField("max_number_of_messages_per_second") else None,
            self._desk.now_ms(),
        )
        await self._desk.durable()
        return pb.StartMessageMoveTaskResponse(task_handle=handle)

    async def ListMessageMoveTasks(
        self, scope: Scope, request: pb.ListMessageMoveTasksRequest
    ) -> pb.ListMessageMoveTasksResponse:
        max_results = request.max_results if request.HasField("max_results") else None
        tasks = self._queues.move_tasks.list(scope, request.source_arn, max_results)
        response = pb.ListMessageMoveTasksResponse(results=map(_task_result, tasks))
        await self._desk.durable()
        return response

    async def CancelMessageMoveTask(
        self, scope: Scope, request: pb.CancelMessageMoveTaskRequest
    ) -> pb.CancelMessageMoveTaskResponse:
        moved = self._queues.move_tasks.cancel(scope, request.task_handle)
        await self._desk.durable()
        return pb.CancelMessageMoveTaskResponse(approximate_number_of_messages_moved=moved)

    # --- messages

    async def SendMessage(self, scope: Scope, request: pb.SendMessageRequest) -> pb.SendMessageResponse:
        _require(MessageBody=request.message_body)
        desk = self._desk
        await desk.admit()
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

    async def SendMessageBatch(self, scope: Scope, request: pb.SendMessageBatchRequest) -> bytes:
        """The one answer that comes serialized: see ``operations/answers.py``."""
        desk = self._desk
        await desk.admit()
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

    async def ReceiveMessage(self, scope: Scope, request: pb.ReceiveMessageRequest) -> pb.ReceiveMessageResponse:
        queue = self._queues.find(scope, request.queue_url, "ReceiveMessage")
        operations.check_receive(queue, request)
        call = ReceiveCall(self._desk, queue, request)
        taken = await call.receive()
        try:
            payloads = await self._desk.payloads(taken)
            if call.commit is not None:
                await settled(call.commit)
            await self._turn_of(taken)
        except asyncio.CancelledError:
            # The caller went away: what was taken for it goes back at once, not at its timeout.
            call.give_back(taken)
            raise
        messages = operations.received_messages(queue, request, taken, payloads, self._queues.identity)
        return pb.ReceiveMessageResponse(messages=messages)

    async def _turn_of(self, taken: Sequence[Taken]) -> None:
        """Large answers are made one a turn of the loop: those of many callers at once would hold up all others. (Ten
        messages of 1 MiB take 35 to 60 ms; forty such answers in one turn kept /healthz waiting for 1.6 s.)"""
        nbytes = sum(part.entry.nbytes * (part.hi - part.lo) // part.entry.count for part in taken)
        if nbytes > limits.LARGE_ANSWER_BYTES:
            await self._large_answers.acquire()
            asyncio.get_running_loop().call_soon(self._large_answers.release)

    async def DeleteMessage(self, scope: Scope, request: pb.DeleteMessageRequest) -> pb.DeleteMessageResponse:
        _require(ReceiptHandle=request.receipt_handle)
        queue = self._queues.find(scope, request.queue_url, "DeleteMessage")
        operations.delete_message(
            queue, request.receipt_handle, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return pb.DeleteMessageResponse()

    async def DeleteMessageBatch(
        self, scope: Scope, request: pb.DeleteMessageBatchRequest
    ) -> pb.DeleteMessageBatchResponse:
        queue = self._queues.find(scope, request.queue_url, "DeleteMessageBatch")
        response = operations.delete_message_batch(
            queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return response

    async def ChangeMessageVisibility(
        self, scope: Scope, request: pb.ChangeMessageVisibilityRequest
    ) -> pb.ChangeMessageVisibilityResponse:
        _require(ReceiptHandle=request.receipt_handle, VisibilityTimeout=request.HasField("visibility_timeout"))
        queue = self._queues.find(scope, request.queue_url, "ChangeMessageVisibility")
        operations.change_visibility(queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms())
        await self._desk.durable()
        return pb.ChangeMessageVisibilityResponse()

    async def ChangeMessageVisibilityBatch(
        self, scope: Scope, request: pb.ChangeMessageVisibilityBatchRequest
    ) -> pb.ChangeMessageVisibilityBatchResponse:
        queue = self._queues.find(scope, request.queue_url, "ChangeMessageVisibilityBatch")
        response = operations.change_visibility_batch(
            queue, request, identity=self._queues.identity, now_ms=self._desk.now_ms()
        )
        await self._desk.durable()
        return response

    async def PeekMessages(self, scope: Scope, request: pb.PeekMessagesRequest) -> pb.PeekMessagesResponse:
        queue = self._queues.find(scope, request.queue_url, "ReceiveMessage")
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
