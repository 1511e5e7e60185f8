"""A small honest broker for the client's tests: the Queues service over real gRPC, messages in memory.

It keeps the contract of queues.proto (credit, ranges, visibility, what returns when a stream ends; FIFO order and
deduplication as in fake_queue) and nothing beyond: no limits, no durability, no moves to dead-letter queues. A move
task moves one message each time that somebody looks at it. Faults are asked for by name: `break_streams`,
`lose_results`, `refuse_batches`.
"""

import asyncio
import contextlib
import itertools
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from fake_consume import ConsumeStream
from fake_queue import FakeQueue
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from heddle.v1 import message_pb2, queues_pb2
from heddle.v1.queues_pb2_grpc import QueuesServicer, add_QueuesServicer_to_server

T = TypeVar("T")
NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"


def page_of(names: list[str], token: str) -> dict[str, Any]:
    """Two URLs a page: that paging is seen."""
    start = int(token or 0)
    urls = [f"http://fake/000000000000/{name}" for name in names[start : start + 2]]
    return {"queue_urls": urls, "next_token": str(start + 2) if names[start + 2 :] else ""}


class FakeBroker(QueuesServicer):
    def __init__(self) -> None:
        self.queues: dict[str, FakeQueue] = {}
        self.produced: list[queues_pb2.ProduceRequest] = []
        self.consumed: list[queues_pb2.ConsumeRequest] = []
        self.metadata: dict[str, str] = {}
        self.streams_opened = 0
        self.lose_results = 0  # so many batches are taken, and the stream breaks instead of answering
        self.refuse_batches = 0  # so many batches are refused
        self.unavailable_calls = 0  # so many unary calls fail with UNAVAILABLE
        self.hold_results: asyncio.Event | None = None  # results wait for it
        self.permissions: dict[str, tuple[list[str], list[str]]] = {}
        self.move_tasks: list[queues_pb2.ListMessageMoveTasksResultEntry] = []  # newest first
        self.fail_move_tasks = ""  # the reason with which a running task fails at the next look
        self._breaks: set[asyncio.Event] = set()

    def break_streams(self) -> None:
        """Every open stream ends with UNAVAILABLE."""
        for event in self._breaks:
            event.set()

    # Unary calls.

    async def _enter(self, context: Any) -> None:
        self.metadata = dict(context.invocation_metadata())
        if self.unavailable_calls:
            self.unavailable_calls -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    async def _queue(self, queue_url: str, context: Any) -> FakeQueue:
        await self._enter(context)
        queue = self.queues.get(queue_url.rpartition("/")[2])
        if queue is None:
            await self._refuse(context, grpc.StatusCode.NOT_FOUND, NO_QUEUE, "The specified queue does not exist.")
        assert queue is not None
        return queue

    async def _refuse(self, context: Any, code: grpc.StatusCode, reason: str, message: str) -> None:
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="heddle"))
        status = status_pb2.Status(code=code.value[0], message=message, details=[detail])
        await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))

    async def CreateQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._enter(context)
        made = FakeQueue(request.queue_name, dict(request.attributes), dict(request.tags))
        self.queues.setdefault(request.queue_name, made)
        return queues_pb2.CreateQueueResponse(queue_url=f"http://fake/000000000000/{request.queue_name}")

    async def DeleteQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._queue(request.queue_url, context)
        del self.queues[request.queue_url.rpartition("/")[2]]
        return queues_pb2.DeleteQueueResponse()

    async def GetQueueUrl(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._queue(request.queue_name, context)
        return queues_pb2.GetQueueUrlResponse(queue_url=f"http://fake/000000000000/{request.queue_name}")

    async def ListQueues(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._enter(context)
        names = sorted(name for name in self.queues if name.startswith(request.queue_name_prefix))
        return queues_pb2.ListQueuesResponse(**page_of(names, request.next_token))

    async def GetQueueAttributes(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        names = request.attribute_names
        chosen = {name: value for name, value in queue.attributes.items() if "All" in names or name in names}
        return queues_pb2.GetQueueAttributesResponse(attributes=chosen)

    async def SetQueueAttributes(self, request: Any, context: Any) -> Any:  # noqa: N802
        (await self._queue(request.queue_url, context)).attributes.update(request.attributes)
        return queues_pb2.SetQueueAttributesResponse()

    async def PurgeQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        (await self._queue(request.queue_url, context)).messages.clear()
        return queues_pb2.PurgeQueueResponse()

    async def TagQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        (await self._queue(request.queue_url, context)).tags.update(request.tags)
        return queues_pb2.TagQueueResponse()

    async def UntagQueue(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        for key in request.tag_keys:
            queue.tags.pop(key, None)
        return queues_pb2.UntagQueueResponse()

    async def ListQueueTags(self, request: Any, context: Any) -> Any:  # noqa: N802
        return queues_pb2.ListQueueTagsResponse(tags=(await self._queue(request.queue_url, context)).tags)

    async def AddPermission(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._queue(request.queue_url, context)
        self.permissions[request.label] = list(request.aws_account_ids), list(request.actions)
        return queues_pb2.AddPermissionResponse()

    async def RemovePermission(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._queue(request.queue_url, context)
        if self.permissions.pop(request.label, None) is None:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "InvalidParameterValue", "can't find label.")
        return queues_pb2.RemovePermissionResponse()

    async def ListDeadLetterSourceQueues(self, request: Any, context: Any) -> Any:  # noqa: N802
        target = (await self._queue(request.queue_url, context)).attributes["QueueArn"]
        policies = {name: json.loads(q.attributes.get("RedrivePolicy") or "{}") for name, q in self.queues.items()}
        names = sorted(name for name, policy in policies.items() if policy.get("deadLetterTargetArn") == target)
        return queues_pb2.ListDeadLetterSourceQueuesResponse(**page_of(names, request.next_token))

    def _of_arn(self, arn: str) -> FakeQueue | None:
        return self.queues.get(arn.rpartition(":")[2])

    async def StartMessageMoveTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        source = self._of_arn(request.source_arn)
        if source is None:
            await self._refuse(context, grpc.StatusCode.NOT_FOUND, "ResourceNotFoundException", "no such source")
        assert source is not None
        task = queues_pb2.ListMessageMoveTasksResultEntry(
            task_handle=f"task {len(self.move_tasks)}",
            status="RUNNING",
            source_arn=request.source_arn,
            approximate_number_of_messages_to_move=len(source.messages),
            started_timestamp=1000 + len(self.move_tasks),
        )
        if request.HasField("destination_arn"):
            task.destination_arn = request.destination_arn
        if request.HasField("max_number_of_messages_per_second"):
            task.max_number_of_messages_per_second = request.max_number_of_messages_per_second
        self.move_tasks.insert(0, task)
        return queues_pb2.StartMessageMoveTaskResponse(task_handle=task.task_handle)

    async def ListMessageMoveTasks(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._enter(context)
        tasks = [task for task in self.move_tasks if task.source_arn == request.source_arn]
        for task in tasks:
            if task.status == "RUNNING":
                self._move_one(task)
        return queues_pb2.ListMessageMoveTasksResponse(results=tasks[: request.max_results or 1])

    def _move_one(self, task: queues_pb2.ListMessageMoveTasksResultEntry) -> None:
        source = self._of_arn(task.source_arn)
        assert source is not None
        if self.fail_move_tasks:
            self._end_task(task, "FAILED")
            task.failure_reason = self.fail_move_tasks
        elif not source.messages:
            self._end_task(task, "COMPLETED")
        else:
            sequence, stored = min(source.messages.items())
            destination = self._of_arn(task.destination_arn or stored.origin_arn)
            assert destination is not None
            destination.append([stored.message])
            del source.messages[sequence]
            task.approximate_number_of_messages_moved += 1

    def _end_task(self, task: queues_pb2.ListMessageMoveTasksResultEntry, status: str) -> None:
        task.status = status
        task.ClearField("task_handle")

    async def CancelMessageMoveTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        task = next((each for each in self.move_tasks if each.task_handle == request.task_handle), None)
        if task is None:
            await self._refuse(context, grpc.StatusCode.NOT_FOUND, "ResourceNotFoundException", "Task does not exist.")
        assert task is not None
        self._end_task(task, "CANCELLED")
        return queues_pb2.CancelMessageMoveTaskResponse(
            approximate_number_of_messages_moved=task.approximate_number_of_messages_moved
        )

    def _append_one(self, queue: FakeQueue, entry: Any) -> tuple[str, str]:
        message = message_pb2.Message(
            body=entry.message_body,
            message_attributes=entry.message_attributes,
            message_group_id=entry.message_group_id,
            message_deduplication_id=entry.message_deduplication_id,
            aws_trace_header=entry.message_system_attributes["AWSTraceHeader"].string_value,
        )
        return queue.append_one(message, entry.delay_seconds)

    async def SendMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        message_id, sequence_number = self._append_one(queue, request)
        return queues_pb2.SendMessageResponse(message_id=message_id, sequence_number=sequence_number)

    async def SendMessageBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        response = queues_pb2.SendMessageBatchResponse()
        for entry in request.entries:
            if entry.message_body:
                message_id, sequence_number = self._append_one(queue, entry)
                response.successful.add(id=entry.id, message_id=message_id, sequence_number=sequence_number)
            else:
                response.failed.add(id=entry.id, sender_fault=True, code="MissingParameter", message="no body")
        return response

    async def ReceiveMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        visibility = request.visibility_timeout if request.HasField("visibility_timeout") else 30
        response = queues_pb2.ReceiveMessageResponse()
        attempt = request.receive_request_attempt_id
        sequences = queue.attempts.get(attempt) or queue.take(request.max_number_of_messages or 1, visibility)
        if attempt:
            queue.attempts[attempt] = sequences
        for sequence in sequences:
            stored = queue.messages[sequence]
            response.messages.add(
                message_id=str(uuid.UUID(bytes=stored.message_id)),
                receipt_handle=stored.receipt_handle,
                body=stored.message.body,
                attributes=queue.system_attributes(sequence),
                message_attributes=stored.message.message_attributes,
            )
        return response

    async def DeleteMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        sequence = queue.of_handle(request.receipt_handle)
        if sequence is None:
            await self._refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "ReceiptHandleIsInvalid", "not a handle")
        else:
            del queue.messages[sequence]
        return queues_pb2.DeleteMessageResponse()

    async def DeleteMessageBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        response = queues_pb2.DeleteMessageBatchResponse()
        for entry in request.entries:
            sequence = queue.of_handle(entry.receipt_handle)
            if sequence is None:
                response.failed.add(id=entry.id, sender_fault=True, code="ReceiptHandleIsInvalid", message="no")
            else:
                del queue.messages[sequence]
        return response

    async def ChangeMessageVisibility(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        sequence = queue.of_handle(request.receipt_handle)
        assert sequence is not None
        queue.give_back(sequence, request.visibility_timeout)
        return queues_pb2.ChangeMessageVisibilityResponse()

    async def ChangeMessageVisibilityBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        for entry in request.entries:
            sequence = queue.of_handle(entry.receipt_handle)
            assert sequence is not None
            queue.give_back(sequence, entry.visibility_timeout)
        return queues_pb2.ChangeMessageVisibilityBatchResponse()

    async def PeekMessages(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        response = queues_pb2.PeekMessagesResponse()
        visible = set(queue.visible())
        for sequence, stored in itertools.islice(sorted(queue.messages.items()), request.max_number_of_messages):
            response.messages.add(
                sequence=sequence,
                message_id=str(uuid.UUID(bytes=stored.message_id)),
                state="visible" if sequence in visible else "in flight",
                receive_count=stored.receive_count,
                message=stored.message,
            )
        return response

    # Streams.

    async def _requests(self, requests: AsyncIterator[T], context: Any) -> AsyncIterator[T]:
        """The requests of a stream, until `break_streams`."""
        broken = asyncio.Event()
        self._breaks.add(broken)
        self.streams_opened += 1
        breaking = asyncio.ensure_future(broken.wait())
        try:
            while True:
                reading = asyncio.ensure_future(anext(requests, None))
                await asyncio.wait([reading, breaking], return_when=asyncio.FIRST_COMPLETED)
                if broken.is_set():
                    reading.cancel()
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")
                request = reading.result()
                if request is None:
                    return
                yield request
        finally:
            breaking.cancel()
            self._breaks.discard(broken)

    async def Produce(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        queue: FakeQueue | None = None
        async for request in self._requests(requests, context):
            queue = queue or await self._queue(request.queue_url, context)
            self.produced.append(request)
            if self.refuse_batches:
                self.refuse_batches -= 1
                result = queues_pb2.ProduceResult(error_code="heddle.StorageFull", error_message="the disk is full")
            else:
                result = queue.append(list(request.batch.messages), request.delay_seconds)
            result.request_id = request.request_id
            if self.lose_results:
                self.lose_results -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the result was lost")
            if self.hold_results is not None:
                await self.hold_results.wait()
            yield queues_pb2.ProduceResponse(results=[result])

    async def Consume(self, requests: Any, context: Any) -> Any:  # noqa: N802
        stream = ConsumeStream(self.streams_opened + 1, context)
        try:
            async for request in self._requests(requests, context):
                self.consumed.append(request)
                if stream.queue is None:
                    stream.start(await self._queue(request.queue_url, context), request)
                await stream.apply(request)
                if request.stop:
                    return
        finally:
            stream.end()


@contextlib.asynccontextmanager
async def serving(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[tuple[FakeBroker, str]]:
    """A broker in the running loop, and its address; with TLS if there are credentials."""
    broker = FakeBroker()
    server = grpc.aio.server()
    add_QueuesServicer_to_server(broker, server)  # type: ignore[no-untyped-call]
    free = "127.0.0.1:0"
    port = server.add_insecure_port(free) if credentials is None else server.add_secure_port(free, credentials)
    await server.start()
    try:
        yield broker, f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


class BrokerThread:
    """A broker in a loop and a thread of its own, for tests that block."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        # Two loops share gRPC's one completion queue, and the one that wakes too late finds nothing (grpc issue 25364).
        self._loop.set_exception_handler(lambda loop, context: None)
        self._stop = asyncio.Event()
        async with serving() as (self.broker, self.address):
            self._ready.set()
            await self._stop.wait()

    def do(self, work: Callable[[FakeBroker], T]) -> T:
        """Let the broker's thread do it: it is not for others to touch."""

        async def doing() -> T:
            return work(self.broker)

        return asyncio.run_coroutine_threadsafe(doing(), self._loop).result(10)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
