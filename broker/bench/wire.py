"""The broker's gRPC methods as benchmarks call them: raw bytes for load, messages for setting up and counting."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, Self, TypeAlias, TypeVar

import grpc.aio
from google.protobuf.message import Message as ProtobufMessage
from heddle.v1.queues_pb2 import (
    CreateQueueRequest,
    CreateQueueResponse,
    DeleteQueueRequest,
    DeleteQueueResponse,
    GetQueueAttributesRequest,
    GetQueueAttributesResponse,
)

from broker.bench.measure import check_counts

SERVICE = "/heddle.v1.Queues/"
COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
CALL_SECONDS_MAX = 60.0

RawUnary: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
RawStream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
R = TypeVar("R", bound="_Response")


class _Response(Protocol):
    @classmethod
    def FromString(cls, s: bytes, /) -> Self: ...  # noqa: N802  # protobuf's name


@asynccontextmanager
async def channels_to(target: str, number: int = 1) -> AsyncIterator[Sequence[grpc.aio.Channel]]:
    """`number` connections (gRPC would share one between equal channels)."""
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(number)]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


def raw_unary(channel: grpc.aio.Channel, method: str) -> RawUnary:
    return channel.unary_unary(SERVICE + method)


def raw_stream(channel: grpc.aio.Channel, method: str) -> RawStream:
    return channel.stream_stream(SERVICE + method)()


async def call(channel: grpc.aio.Channel, method: str, request: ProtobufMessage, response_type: type[R]) -> R:
    answer = await raw_unary(channel, method)(request.SerializeToString(), timeout=CALL_SECONDS_MAX)
    return response_type.FromString(answer)


async def create_queue(
    channel: grpc.aio.Channel, name: str, visibility_timeout_seconds: int = 120, *, fifo: bool = False
) -> str:
    """Returns the queue's URL."""
    attributes = {"VisibilityTimeout": str(visibility_timeout_seconds)}
    if fifo:
        attributes["FifoQueue"] = "true"
    request = CreateQueueRequest(queue_name=name, attributes=attributes)
    return (await call(channel, "CreateQueue", request, CreateQueueResponse)).queue_url


async def delete_queue(channel: grpc.aio.Channel, queue_url: str) -> None:
    await call(channel, "DeleteQueue", DeleteQueueRequest(queue_url=queue_url), DeleteQueueResponse)


async def messages_in(channel: grpc.aio.Channel, queue_url: str) -> int:
    """Messages in the queue, in whatever state."""
    request = GetQueueAttributesRequest(queue_url=queue_url, attribute_names=COUNTS)
    attributes = (await call(channel, "GetQueueAttributes", request, GetQueueAttributesResponse)).attributes
    return sum(int(attributes[name]) for name in COUNTS)


async def check_queue_holds(channel: grpc.aio.Channel, queue_url: str, expected: int) -> None:
    """Raises CountsDisagreeError unless the broker counts as many messages as were acknowledged and not deleted."""
    check_counts(f"messages in {queue_url}", expected=expected, actual=await messages_in(channel, queue_url))
