"""One ReceiveMessage: a short poll, or a place in the queue's line until messages, the deadline or the end.

Never: the answer (that waits for the commit, and for the payloads).
"""

import asyncio

from heddle.v1 import queues_pb2 as pb

from broker.api.desk import Desk
from broker.errors import BrokerError, ShuttingDown
from broker.queues import Queue, Taken
from broker.queues.fifo import FifoQueue
from broker.store import Commit


class ReceiveCall:
    """What a request leaves open is the queue's default."""

    def __init__(self, desk: Desk, queue: Queue, request: pb.ReceiveMessageRequest) -> None:
        self._desk, self._queue = desk, queue
        self._count = request.max_number_of_messages if request.HasField("max_number_of_messages") else 1
        self._visibility_ms = request.visibility_timeout * 1000 if request.HasField("visibility_timeout") else None
        self._wait_seconds = (
            request.wait_time_seconds if request.HasField("wait_time_seconds") else queue.attributes.wait_time_seconds
        )
        self._attempt_id = request.receive_request_attempt_id
        self._served: asyncio.Future[list[Taken]] | None = None
        self.commit: Commit | None = None
        """After which the answer may go out."""

    async def receive(self) -> list[Taken]:
        """Messages for this call; none when its time is over. Raises OverLimit, ShuttingDown, and
        InvalidParameterValue for an attempt that cannot be repeated."""
        queue, desk = self._queue, self._desk
        repeated = self._repeat()
        if repeated is not None:
            return repeated
        taken: list[Taken] = []
        if not queue.takers:  # those who wait already are first
            taken = self._take(desk.now_ms())
        if not taken and self._wait_seconds:
            taken = await self._wait()
        elif not taken:
            queue.refuse_over_limit()
            while not taken and not queue.takers and queue.looks_further:  # past thousands that are blocked
                await asyncio.sleep(0)  # the others' turn
                if not queue.deleted:  # another call with the same attempt may have been served meanwhile
                    taken = self._repeat() or self._take(desk.now_ms())
        if not taken:
            queue.activity.empty_receives += 1
            self.commit = desk.store.durable()
        return taken

    def _repeat(self) -> list[Taken] | None:
        """What an earlier call with the same ReceiveRequestAttemptId was given; None for the first one."""
        if not self._attempt_id or not isinstance(self._queue, FifoQueue):
            return None
        taken = self._queue.receive_attempt(self._attempt_id, self._desk.now_ms())
        self.commit = self._desk.store.durable()
        return taken

    def _take(self, now_ms: int) -> list[Taken]:
        taken = self._queue.receive(self._count, visibility_ms=self._visibility_ms, now_ms=now_ms)
        if self._attempt_id and isinstance(self._queue, FifoQueue):
            self._queue.remember_attempt(self._attempt_id, taken, now_ms)
            if taken:
                self._serve_retries()
        self.commit = self._desk.store.durable()
        return taken

    def _serve_retries(self) -> None:
        """Those in line with the same attempt get what this call was given: its client may be gone, and one of them be
        that client's retry. For them there is nothing to be had that would call them."""
        for taker in self._queue.takers:
            if isinstance(taker, ReceiveCall) and taker._attempt_id == self._attempt_id:
                taker.serve(self._queue)

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
            try:  # another call with the same attempt may have been served meanwhile
                taken = self._repeat() or self._take(self._desk.now_ms())
            except BrokerError as refusal:
                self._served.set_exception(refusal)
                return False
            if not taken:
                return True
            self._served.set_result(taken)
        return False

    def queue_deleted(self) -> None:
        self.end_wait()

    def give_back(self, taken: list[Taken]) -> None:
        """The caller went away: what was taken for it is visible again. Who names the attempt means to ask again, and
        finds it where it is."""
        if self._queue.deleted or (self._attempt_id and self._queue.fifo):
            return
        for part in taken:
            self._queue.give_back(part.lo, part.hi, self._desk.now_ms(), delivery_id=part.delivery_id)
