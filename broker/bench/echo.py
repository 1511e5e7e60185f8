"""The bare echo: grpc.aio on uvloop with the broker's method names and nothing behind them.

It is the ceiling that Python's gRPC sets. Produce answers each request with a few constant bytes; Consume pushes one
constant delivery for each batch of credit; unary calls answer with the bytes that came. The payload of Consume is
given by the client's queue_url ("SIZE,BATCH"). Nothing is stored and nothing is parsed that need not be.
Run as `python -m broker.bench.echo`: prints one JSON line with its address, ends on SIGTERM.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import ConsumeRequest, ProduceResponse, ProduceResult
from heddle.v1.views_pb2 import ConsumeResponseView, DeliveryView, ProduceRequestView

from broker.bench.payload import payload_of
from broker.bench.wire import SERVICE

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


def echo_queue(size_bytes: int, batch: int) -> str:
    """The queue_url by which a client tells the echo what to push, and how many messages its batches have."""
    return f"{size_bytes},{batch}"


def shape_of(queue_url: str) -> tuple[int, int]:
    size_bytes, _, batch = queue_url.partition(",")
    return int(size_bytes), int(batch)


async def produce(requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
    answer: bytes | None = None
    async for request in requests:
        if answer is None:
            _, batch = shape_of(ProduceRequestView.FromString(request).queue_url)
            answer = ProduceResponse(results=[ProduceResult(request_id=1, count=batch)]).SerializeToString()
        yield answer


async def consume(requests: AsyncIterator[bytes], _context: Context) -> AsyncIterator[bytes]:
    delivery: bytes | None = None
    batch = credit = 0
    async for request in requests:
        parsed = ConsumeRequest.FromString(request)
        if parsed.stop:
            return
        if delivery is None:
            size_bytes, batch = shape_of(parsed.queue_url)
            view = DeliveryView(delivery_id=1, base_sequence=1, batch=payload_of(size_bytes, batch).packed)
            delivery = ConsumeResponseView(deliveries=[view]).SerializeToString()
        credit += parsed.credit
        while credit >= batch:
            credit -= batch
            yield delivery


async def unary(request: bytes, _context: Context) -> bytes:
    return request


def handlers() -> grpc.GenericRpcHandler:
    service = SERVICE.strip("/")
    return grpc.method_handlers_generic_handler(
        service,
        {
            "Produce": grpc.stream_stream_rpc_method_handler(produce),
            "Consume": grpc.stream_stream_rpc_method_handler(consume),
            "SendMessage": grpc.unary_unary_rpc_method_handler(unary),
            "SendMessageBatch": grpc.unary_unary_rpc_method_handler(unary),
        },
    )


async def serve() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}"}), flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(grace=None)


if __name__ == "__main__":
    uvloop.run(serve())
