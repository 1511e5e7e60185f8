"""A small honest broker for the client's tests: the Queues service over real gRPC, messages in memory.

It keeps the contract of queues.proto for standard queues (credit, ranges, visibility, what returns when a stream ends)
and nothing beyond: no FIFO order, no limits, no durability. Faults are asked for by name: `break_streams`,
`lose_results`, `refuse_batches`.
"""

import asyncio
import contextlib
import itertools
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import grpc
import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from heddle.v1 import message_pb2, queues_pb2
from heddle.v1.queues_pb2_grpc import QueuesServicer, add_QueuesServicer_to_server

T = TypeVar("T")
NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"
DELIVERY_MESSAGES = 100


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Stored:
    message: message_pb2.Message
    message_id: bytes
    sent_timestamp_ms: int = field(default_factory=now_ms)
    first_received_timestamp_ms: int = 0
    receive_count: int = 0
    visible_at: float = 0.0  # time.monotonic()
    stream: int | None = None  # the Consume stream that holds it
    receipt_handle: str = ""


class FakeQueue:
    def __init__(self, attributes: dict[str, str], tags: dict[str, str]) -> None:
        self.attributes = {"VisibilityTimeout": "30", **attributes}
        self.tags = tags
        self.messages: dict[int, Stored] = {}
        self.next_sequence = 1
        self.changed = asyncio.Event()

    def notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def append(self, messages: list[message_pb2.Message], delay_seconds: int = 0) -> queues_pb2.ProduceResult:
        first_id, base = uuid.uuid4().bytes, self.next_sequence
        for index, message in enumerate(messages):
            last = (int.from_bytes(first_id[12:], "big") + index) % 2**32
            stored = Stored(message, first_id[:12] + last.to_bytes(4, "big"))
            stored.visible_at = time.monotonic() + delay_seconds if delay_seconds else 0.0
            self.messages[base + index] = stored
        self.next_sequence += len(messages)
        self.notify()
        return queues_pb2.ProduceResult(count=len(messages), base_sequence=base, first_message_id=first_id)

    def visible(self) -> list[int]:
        now = time.monotonic()
        return [sequence for sequence, stored in sorted(self.messages.items()) if stored.visible_at <= now]

    def take(self, limit: int, visibility_timeout: int, stream: int | None = None) -> list[int]:
        taken = self.visible()[:limit]
        for sequence in taken:
            stored = self.messages[sequence]
            stored.visible_at = time.monotonic() + visibility_timeout
            stored.receive_count += 1
            stored.first_received_timestamp_ms = stored.first_received_timestamp_ms or now_ms()
            stored.stream = stream
            stored.receipt_handle = f"{sequence}-{stored.receive_count}"
        return taken

    def next_visible_at(self) -> float | None:
        now = time.monotonic()
        return min((stored.visible_at for stored in self.messages.values() if stored.visible_at > now), default=None)

    def held_by(self, stream: int, piece: queues_pb2.SequenceRange) -> Iterator[int]:
        for sequence in range(piece.first, piece.end):
            if sequence in self.messages and self.messages[sequence].stream == stream:
                yield sequence

    def give_back(self, sequence: int, delay_seconds: int) -> None:
        self.messages[sequence].visible_at = time.monotonic() + delay_seconds if delay_seconds else 0.0
        self.messages[sequence].stream = None

    def of_handle(self, handle: str) -> int | None:
        return next((s for s, stored in self.messages.items() if stored.receipt_handle == handle), None)


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
        self.queues.setdefault(request.queue_name, FakeQueue(dict(request.attributes), dict(request.tags)))
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
        start = int(request.next_token or 0)
        page, rest = names[start : start + 2], names[start + 2 :]  # two a page: that paging is seen
        token = str(start + 2) if rest else ""
        return queues_pb2.ListQueuesResponse(
            queue_urls=[f"http://fake/000000000000/{name}" for name in page], next_token=token
        )

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

    def _append_one(self, queue: FakeQueue, entry: Any) -> str:
        message = message_pb2.Message(
            body=entry.message_body,
            message_attributes=entry.message_attributes,
            message_group_id=entry.message_group_id,
            aws_trace_header=entry.message_system_attributes["AWSTraceHeader"].string_value,
        )
        result = queue.append([message], entry.delay_seconds)
        return str(uuid.UUID(bytes=result.first_message_id))

    async def SendMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        return queues_pb2.SendMessageResponse(message_id=self._append_one(queue, request))

    async def SendMessageBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        response = queues_pb2.SendMessageBatchResponse()
        for entry in request.entries:
            if entry.message_body:
                response.successful.add(id=entry.id, message_id=self._append_one(queue, entry))
            else:
                response.failed.add(id=entry.id, sender_fault=True, code="MissingParameter", message="no body")
        return response

    async def ReceiveMessage(self, request: Any, context: Any) -> Any:  # noqa: N802
        queue = await self._queue(request.queue_url, context)
        visibility = request.visibility_timeout if request.HasField("visibility_timeout") else 30
        response = queues_pb2.ReceiveMessageResponse()
        for sequence in queue.take(request.max_number_of_messages or 1, visibility):
            stored = queue.messages[sequence]
            response.messages.add(
                message_id=str(uuid.UUID(bytes=stored.message_id)),
                receipt_handle=stored.receipt_handle,
                body=stored.message.body,
                attributes={
                    "ApproximateReceiveCount": str(stored.receive_count),
                    "SentTimestamp": str(stored.sent_timestamp_ms),
                    "AWSTraceHeader": stored.message.aws_trace_header,
                },
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
        stream = _ConsumeStream(self, self.streams_opened + 1, context)
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


class _ConsumeStream:
    def __init__(self, broker: FakeBroker, number: int, context: Any) -> None:
        self.queue: FakeQueue | None = None
        self._broker = broker
        self._number = number
        self._context = context
        self._credit = 0
        self._keep = False
        self._visibility_timeout = 30
        self._credited = asyncio.Event()
        self._writing = asyncio.Lock()
        self._pushing: asyncio.Task[None] | None = None

    def start(self, queue: FakeQueue, request: queues_pb2.ConsumeRequest) -> None:
        self.queue = queue
        self._keep = request.keep_in_flight_on_disconnect
        if request.HasField("visibility_timeout"):
            self._visibility_timeout = request.visibility_timeout
        if self._keep:  # what an earlier stream held is this client's still
            for stored in queue.messages.values():
                if stored.stream is not None:
                    stored.stream = self._number
        self._pushing = asyncio.ensure_future(self._push(queue))

    async def apply(self, request: queues_pb2.ConsumeRequest) -> None:
        queue = self.queue
        assert queue is not None
        if request.stop and self._pushing is not None:
            self._pushing.cancel()  # before anything is given back, or it would be delivered here again
        for piece in request.acks:
            for sequence in queue.held_by(self._number, piece):
                del queue.messages[sequence]
        for nack in request.nacks:
            for sequence in queue.held_by(self._number, nack.range):
                queue.give_back(sequence, nack.delay_seconds)
        for extension in request.extensions:
            for sequence in queue.held_by(self._number, extension.range):
                queue.messages[sequence].visible_at = time.monotonic() + extension.visibility_timeout
        queue.notify()
        if request.request_id:
            await self._write(queues_pb2.ConsumeResponse(confirmed_request_id=request.request_id))
        self._credit += request.credit
        self._credited.set()

    async def _push(self, queue: FakeQueue) -> None:
        while True:
            await self._credited.wait()
            changed, next_at = queue.changed, queue.next_visible_at()
            taken = queue.take(min(self._credit, DELIVERY_MESSAGES), self._visibility_timeout, self._number)
            if not taken:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), next_at and max(0.001, next_at - time.monotonic()))
                continue
            self._credit -= len(taken)
            if not self._credit:
                self._credited.clear()
            await self._write(queues_pb2.ConsumeResponse(deliveries=self._deliveries(queue, taken)))

    async def _write(self, response: queues_pb2.ConsumeResponse) -> None:
        async with self._writing:  # gRPC takes one write at a time
            await self._context.write(response)

    def _deliveries(self, queue: FakeQueue, taken: list[int]) -> Iterator[queues_pb2.Delivery]:
        """One a message history: sequences without a gap, ids without a gap, the same receive count."""
        position = 0
        while position < len(taken):
            base = taken[position]
            first = queue.messages[base]
            count = 1
            while position + count < len(taken) and taken[position + count] == base + count:
                stored = queue.messages[base + count]
                if stored.receive_count != first.receive_count or stored.message_id[:12] != first.message_id[:12]:
                    break
                count += 1
            yield queues_pb2.Delivery(
                base_sequence=base,
                batch=message_pb2.MessageBatch(messages=[queue.messages[base + i].message for i in range(count)]),
                first_message_id=first.message_id,
                sent_timestamp_ms=first.sent_timestamp_ms,
                first_received_timestamp_ms=first.first_received_timestamp_ms,
                receive_count=first.receive_count,
                sender_id="fake",
                visible_again_timestamp_ms=now_ms() + self._visibility_timeout * 1000,
            )
            position += count

    def end(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
        if self.queue is not None and not self._keep:
            for sequence, stored in self.queue.messages.items():
                if stored.stream == self._number:
                    self.queue.give_back(sequence, 0)
            self.queue.notify()


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
