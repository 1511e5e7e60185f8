"""``Queues.Produce``: batches in, results out, pipelined.

Reading and answering are two tasks: the reader checks and appends each batch and goes on at once; the writer sends the
results of everything that a commit has made durable in one message. A batch that is refused gets its result in order
and leaves the stream as it is.
"""

import asyncio
from collections import deque
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from heddle.v1 import queues_pb2 as pb
from heddle.v1.views_pb2 import ProduceRequestView

from broker import limits
from broker.api.desk import Desk
from broker.errors import BrokerError, InvalidParameterValue, QueueDoesNotExist, ShuttingDown, StorageUnavailable
from broker.queues import Queue, Scope, messages, operations, produced
from broker.queues.fifo import FifoQueue
from broker.queues.values import Sent
from broker.store import Commit

_ERROR_CHARACTERS_MAX: Final = 500
Pending = tuple[pb.ProduceResult, Commit | None]


class Produce:
    def __init__(self, desk: Desk, scope: Scope, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._desk, self._scope, self._context = desk, scope, context
        self._queue: Queue | None = None
        self._pending: deque[Pending] = deque()
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._reading = True
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the stream to its end. Raises BrokerError for what ends it: no such queue, shutdown, a bad frame."""
        loop = asyncio.get_running_loop()
        self._reader, writer = loop.create_task(self._read()), loop.create_task(self._write())
        self._desk.parked.add(self)
        try:
            await asyncio.wait((self._reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if not writer.done():  # the client has sent its last, or the broker stops: answer what was taken
                self._reading = False
                self._wake.set()
                await writer
            writer.result()
            if not self._reader.cancelled():
                self._reader.result()
            elif self._desk.stopping.is_set():
                raise ShuttingDown("The broker is shutting down.")
        finally:
            self._desk.parked.discard(self)
            self._reader.cancel()
            writer.cancel()

    def end_wait(self) -> None:
        """The broker stops: no further batch is taken, those that were are answered."""
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        read = self._context.read
        while True:
            frame = await read()
            if frame is grpc.aio.EOF:
                return
            try:
                request = ProduceRequestView.FromString(frame)
            except DecodeError as error:
                raise InvalidParameterValue(f"Not a ProduceRequest: {error}") from error
            await self._desk.admit()
            await self._desk.loaded(self._target(request.queue_url))
            self._take(request)
            self._wake.set()
            while len(self._pending) > limits.PRODUCE_RESULTS_WAITING_MAX:  # the client reads no results
                self._drained.clear()
                await self._drained.wait()

    def _take(self, request: ProduceRequestView) -> None:
        desk, result = self._desk, pb.ProduceResult(request_id=request.request_id)
        queue = self._target(request.queue_url)
        try:
            delay_ms = None
            if request.HasField("delay_seconds"):
                operations.check_delay(request.delay_seconds)
                delay_ms = request.delay_seconds * 1000
            packed = request.batch
            maximum_bytes = queue.attributes.maximum_message_bytes
            if isinstance(queue, FifoQueue):
                if delay_ms:
                    raise messages.not_for_this_queue_type("DelaySeconds", request.delay_seconds)
                content_based = queue.attributes.content_based_deduplication
                groups, ids = produced.check_ordered_batch(packed, maximum_bytes, content_based=content_based)
            else:
                count, named = produced.check_batch(packed, maximum_bytes)
        except BrokerError as error:
            result.error_code, result.error_message = error.code, error.message[:_ERROR_CHARACTERS_MAX]
            self._pending.append((result, None))
            return
        now_ms, sender_id = desk.now_ms(), self._scope.account
        sent: Sent | None
        if isinstance(queue, FifoQueue):
            accepted = queue.send_ordered(packed, groups, ids, now_ms=now_ms, sender_id=sender_id)
            sent = accepted.sent
            result.duplicates.extend(sorted(accepted.originals))
        else:
            sent = queue.send(
                packed, count, len(packed), delay_ms=delay_ms, now_ms=now_ms, sender_id=sender_id, groups=named
            )
        if sent is not None:
            result.count, result.base_sequence = sent.count, sent.base
            result.first_message_id = desk.queues.identity.message_id(sent.batch_id, sent.first_index)
        self._pending.append((result, desk.store.durable()))

    def _target(self, queue_url: str) -> Queue:
        if queue_url or self._queue is None:
            self._queue = self._desk.queues.find(self._scope, queue_url, "SendMessage")
        if self._queue.deleted:
            raise QueueDoesNotExist
        return self._queue

    async def _write(self) -> None:
        pending = self._pending
        while True:
            while not pending:
                if not self._reading:
                    return
                self._wake.clear()
                await self._wake.wait()
            commit = pending[0][1]
            if commit is not None and not commit.done:
                self._wake.clear()
                commit.add_done_callback(lambda _commit: self._wake.set())
                while not commit.done:
                    await self._wake.wait()
                    if not commit.done:
                        self._wake.clear()
            await self._context.write(pb.ProduceResponse(results=self._settled()).SerializeToString())
            self._drained.set()

    def _settled(self) -> list[pb.ProduceResult]:
        results = []
        while self._pending:
            result, commit = self._pending[0]
            if commit is not None:
                if not commit.done:
                    break
                if commit.error is not None:
                    result = _failed(result.request_id, commit.error)
            self._pending.popleft()
            results.append(result)
        return results


def _failed(request_id: int, error: StorageUnavailable) -> pb.ProduceResult:
    return pb.ProduceResult(request_id=request_id, error_code=error.code, error_message=error.message)
