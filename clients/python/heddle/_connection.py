"""One channel to a broker, on one asyncio loop: unary calls and streams. Both faces stand on it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

import grpc
import grpc.aio

from heddle import _calls
from heddle._calls import Call
from heddle._channel import Tls, call_metadata, open_channel
from heddle._delivery import Delivery
from heddle._errors import deadline_exceeded, error_of_rpc
from heddle._ledger import ConsumeOptions, Ledger
from heddle._outbox import Outbox
from heddle._stream import Machine, Stream
from heddle.v1 import queues_pb2, views_pb2
from heddle.v1.queues_pb2_grpc import QueuesStub

T = TypeVar("T")


class Connection:
    """Made, used and closed inside of one running loop."""

    def __init__(self, target: str, account: str | None, region: str | None, timeout: float | None, tls: Tls | None):
        self.timeout = timeout
        self._metadata = call_metadata(account, region)
        self._channel = open_channel(target, tls)
        self._stub: Any = QueuesStub(self._channel)  # type: ignore[no-untyped-call]
        self._produce: Any = self._channel.stream_stream(
            "/heddle.v1.Queues/Produce",
            request_serializer=views_pb2.ProduceRequestView.SerializeToString,
            response_deserializer=queues_pb2.ProduceResponse.FromString,
        )
        self._consume: Any = self._channel.stream_stream(
            "/heddle.v1.Queues/Consume",
            request_serializer=queues_pb2.ConsumeRequest.SerializeToString,
            response_deserializer=views_pb2.ConsumeResponseView.FromString,
        )
        self._random = Random()  # noqa: S311 - for jitter
        self._streams: set[asyncio.Task[None]] = set()

    async def perform(self, call: Call[T]) -> T:
        """The outcome of one unary call within the timeout, repeated by gRPC where that is harmless."""
        timeout = None if self.timeout is None else self.timeout + call.seconds_more
        try:
            response = await getattr(self._stub, call.method)(call.request, timeout=timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise error_of_rpc(failure) from None
        return call.parse(response)

    def produce(self, outbox: Outbox) -> "asyncio.Task[None]":
        """Start to send what the outbox gathers. The task ends when the outbox has finished."""
        return self._run(outbox, lambda: self._produce(metadata=self._metadata))

    async def consume(
        self,
        queue_url: str,
        options: ConsumeOptions,
        deliver: Callable[[Delivery], None],
    ) -> tuple[Ledger, "asyncio.Task[None]"]:
        """Start to receive. The task ends when the ledger has finished.

        To extend in time, the timeout must be known: where the caller names none, the queue's is read and asked for.
        """
        if options.auto_extend and options.visibility_timeout is None:
            attributes = await self.perform(_calls.get_attributes(queue_url, ["VisibilityTimeout"]))
            options = replace(options, visibility_timeout=int(attributes["VisibilityTimeout"]))
        ledger = Ledger(queue_url, options, deliver)
        return ledger, self._run(ledger, lambda: self._consume(metadata=self._metadata))

    def _run(self, machine: Machine[Any, Any], open_call: Callable[[], Any]) -> "asyncio.Task[None]":
        task = asyncio.create_task(Stream(machine, open_call, self._random).run())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        return task

    async def finish(self, stream: "asyncio.Task[None]", what: str) -> None:
        """Wait for a stream that was told to end; after the timeout, cut it off and raise `DeadlineExceeded`."""
        await asyncio.wait([stream], timeout=self.timeout)
        if not stream.done():
            await _cancel(stream)
            raise deadline_exceeded(what, self.timeout)
        if not stream.cancelled():  # it was, if the client was closed first: the machine knows
            stream.result()

    async def close(self) -> None:
        """Cut off what still runs, and disconnect."""
        for stream in list(self._streams):
            await _cancel(stream)
        await self._channel.close()


async def _cancel(stream: "asyncio.Task[None]") -> None:
    stream.cancel()
    await asyncio.wait([stream])
