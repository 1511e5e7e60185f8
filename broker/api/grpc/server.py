"""The gRPC server: services, health, reflection, limits, keepalive, TLS."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from heddle.v1 import queues_pb2

from broker import limits
from broker.api.desk import Desk
from broker.api.grpc.queues_service import QueuesService
from broker.api.grpc.status import abort
from broker.errors import AddressInUse, InvalidParameterValue

QUEUES_SERVICE: Final = queues_pb2.DESCRIPTOR.services_by_name["Queues"].full_name
Request = TypeVar("Request", bound=Message)


class GrpcServer:
    """``address``: HOST:PORT; port 0 picks a free one, see ``port``. ``credentials``: TLS, None for cleartext."""

    def __init__(
        self, desk: Desk, address: str, *, message_bytes_max: int, credentials: grpc.ServerCredentials | None
    ) -> None:
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_options(message_bytes_max))
        self.service = QueuesService(desk)
        self._server.add_generic_rpc_handlers((_handlers(QUEUES_SERVICE, self.service),))
        self._server.add_generic_rpc_handlers((self._health_handlers(desk),))
        names = (QUEUES_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise AddressInUse(
                f"cannot listen on {address} for gRPC: another process uses it, or it is not ours"
            ) from error

    def _health_handlers(self, desk: Desk) -> grpc.GenericRpcHandler:
        """The library's health service, with our manners: what is no request is refused, a watch ends at the stop."""
        parse = health_pb2.HealthCheckRequest.FromString

        async def check(data: bytes, context: Any) -> health_pb2.HealthCheckResponse:
            return await self._health.Check(await _parsed(parse, data, context), context)

        async def watch(data: bytes, context: Any) -> None:
            request = await _parsed(parse, data, context)
            watching = asyncio.ensure_future(self._health.Watch(request, context))
            stopping = asyncio.ensure_future(desk.stopping.wait())
            try:
                await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watching.cancel()
                stopping.cancel()

        serialize = health_pb2.HealthCheckResponse.SerializeToString
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(check, response_serializer=serialize),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, response_serializer=serialize),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)

    async def start(self) -> None:
        await self._server.start()
        await self.set_serving(serving=True)

    async def set_serving(self, *, serving: bool) -> None:
        """What grpc.health.v1 answers, for the server as a whole and for the service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", QUEUES_SERVICE):
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new calls, lets those under way end, and cuts off what is left after the grace."""
        await self._server.stop(grace_seconds)


def _options(message_bytes_max: int) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_receive_message_length", limits.REQUEST_BYTES_MAX),
        ("grpc.max_send_message_length", message_bytes_max),
        ("grpc.so_reuseport", 0),  # a second broker on the port is an error, not a share of the calls
        ("grpc.max_metadata_size", 16_384),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    )


def _handlers(service_name: str, service: QueuesService) -> grpc.GenericRpcHandler:
    descriptor = queues_pb2.DESCRIPTOR.services_by_name[service_name.rpartition(".")[2]]
    methods = {method.name: _handler(method, service) for method in descriptor.methods}
    return grpc.method_handlers_generic_handler(service_name, methods)


def _handler(method: MethodDescriptor, service: QueuesService) -> "grpc.RpcMethodHandler[Any, Any]":
    if method.client_streaming:  # parsed and packed by the stream itself, as views
        return grpc.stream_stream_rpc_method_handler(getattr(service, method.name))
    parse = GetMessageClass(method.input_type).FromString
    call = getattr(service.calls, method.name)

    async def parse_and_answer(data: bytes, context: Any) -> Message | bytes:
        answering = service.answer(call, await _parsed(parse, data, context), context)
        del data  # see QueuesService.answer
        return await answering

    return grpc.unary_unary_rpc_method_handler(parse_and_answer, response_serializer=_serialized)


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


async def _parsed(parse: Callable[[bytes], Request], data: bytes, context: Any) -> Request:
    """The request, or the end of the call: what gRPC's own deserializer cannot read it calls an internal error."""
    try:
        return parse(data)
    except DecodeError as error:
        refusal = InvalidParameterValue(f"Not a request of this method: {error}")
    del data
    await abort(context, refusal)
