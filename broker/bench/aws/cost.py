"""`heddle bench aws-cost`: what each part of a call costs, in this process, without sockets and without a disk.

Each part is measured alone where it can be (parsing HTTP, route, signature, body, binding, serializing), or as the
difference of two ways of which one goes through it: through the plane, the operation, the application, the connection.
Differences also hold what the parts alone hide: those are measured with one request in warm caches.
``commit_in_memory_us`` is that of a lot of 64 calls, shared; on a broker it happens on a thread of its own, with the
disk. Times are of the best lots.
"""

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import click
import orjson
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningCredentials
from google.protobuf.message import Message
from heddle.v1 import queues_pb2

from broker.api.aws.binding import request_reader
from broker.api.aws.credentials import Credential, Credentials, root_arn
from broker.api.aws.model import service_model
from broker.api.aws.protocols.json import JsonProtocol
from broker.api.aws.protocols.query import QueryProtocol
from broker.api.aws.routing import Router
from broker.api.aws.service import Call, Members
from broker.api.aws.sigv4 import Caller, Verifier
from broker.api.web import Request, Response, WebLimits
from broker.api.web.body import Budget
from broker.api.web.http1_reader import RequestReader
from broker.bench.aws.in_process import ACCOUNT, REGION, InProcess
from broker.bench.aws.lots import LOT, best_us, run_lot
from broker.bench.aws.queue import ENTRIES, delete_entries, request_bytes, send_entries
from broker.bench.aws.wired import Wired
from broker.bench.compare import Setting
from broker.bench.measure import Plan
from broker.bench.payload import body_of
from broker.bench.rows import Row

HOST = "127.0.0.1:4566"
OPERATIONS = ("SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch")
MESSAGES = dict.fromkeys(OPERATIONS, ENTRIES) | {"SendMessage": 1}
STAGES = (
    "http_parse_us",
    "route_us",
    "sign_none_us",
    "protocol_parse_us",
    "binding_in_us",
    "plane_us",
    "commit_in_memory_us",
    "binding_out_us",
    "serialize_us",
    "application_us",
    "http_write_us",
    "total_us",
    "sign_sigv4_us",
)
"""In the order of a call. ``application_us``: request id, statistics, CORS. ``http_write_us``: with the task that
answers and the loop around it. ``sign_sigv4_us`` stands where ``sign_none_us`` does when signatures are checked; the
total has the latter."""

_GRPC = queues_pb2.DESCRIPTOR.services_by_name["Queues"]

Costs = dict[str, float]
Way = Callable[[str, Sequence[Members]], Coroutine[Any, Any, tuple[float, float, list[Members]]]]
"""An operation on a lot of inputs: seconds of the calls, seconds between them, outputs."""


class Ways:
    """The ways through more and more of the broker."""

    def __init__(self, broker: InProcess) -> None:
        self._broker = broker
        self._wired = Wired(broker.app.handle, LOT)
        self._caller = broker.gate.verify(request_of("SendMessage", {}))
        self.readers = {
            name: request_reader(
                service_model("sqs").operation_model(name).input_shape, _GRPC.methods_by_name[name].input_type
            )
            for name in OPERATIONS
        }

    async def plane(self, operation: str, inputs: Sequence[Members]) -> tuple[float, float, list[Members]]:
        call = getattr(self._broker.calls, operation)

        def step(request: Message) -> Coroutine[Any, Any, Any]:
            made: Coroutine[Any, Any, Any] = call(self._broker.scope, request)
            return made

        own, between, answers = await run_lot(step, [self.readers[operation](each) for each in inputs])
        received = [
            {"Messages": [{"ReceiptHandle": message.receipt_handle} for message in getattr(answer, "messages", ())]}
            for answer in answers
        ]
        return own, between, received

    async def operation(self, operation: str, inputs: Sequence[Members]) -> tuple[float, float, list[Members]]:
        _, served = self._broker.service.find(operation, "json")
        call = Call(self._caller, request_of(operation, {}), f"http://{HOST}", "json")

        async def step(members: Members) -> Members:
            return await served(call, members)

        return await run_lot(step, inputs)

    async def application(self, operation: str, inputs: Sequence[Members]) -> tuple[float, float, list[Members]]:
        requests = [request_of(operation, each) for each in inputs]
        own, between, answers = await run_lot(self._handle, requests)
        return own, between, [members_of(answer) for answer in answers]

    async def _handle(self, request: Request) -> Response:
        return await self._broker.app.handle(request)

    async def connection(self, operation: str, inputs: Sequence[Members]) -> tuple[float, float, list[Members]]:
        requests = [request_bytes(HOST, operation, each) for each in inputs]
        started = time.thread_time()
        answers = await self._wired.exchange(requests)
        seconds = time.thread_time() - started
        return seconds, 0.0, [orjson.loads(answer.partition(b"\r\n\r\n")[2] or b"{}") for answer in answers]


def request_of(operation: str, members: Members) -> Request:
    """As the HTTP server makes it."""
    return parsed(request_bytes(HOST, operation, members))


def members_of(answer: Response) -> Members:
    assert isinstance(answer.body, bytes)
    members: Members = orjson.loads(answer.body or b"{}")
    return members


def parsed(raw: bytes) -> Request:
    limits = WebLimits()
    reader = RequestReader(limits, Budget(limits.buffered_bytes_max), "http", "127.0.0.1:1")
    reader.feed(raw)
    return reader.complete.popleft().request


async def costs_of_way(
    broker: InProcess, way: Way, size_bytes: int, rounds: int
) -> tuple[dict[str, Costs], dict[str, Members]]:
    """Microseconds of each operation on this way: of the best lot. And an output of each."""
    urls = []
    for kind in ("one", "ten"):
        request = request_of("CreateQueue", {"QueueName": f"{way.__name__}-{kind}"})
        urls.append(members_of(await broker.app.handle(request))["QueueUrl"])
    one, ten = urls
    inputs: dict[str, list[Members]] = {
        "SendMessage": [{"QueueUrl": one, "MessageBody": body_of(size_bytes).decode()}] * LOT,
        "SendMessageBatch": [{"QueueUrl": ten, "Entries": send_entries(size_bytes)}] * LOT,
        "ReceiveMessage": [{"QueueUrl": ten, "MaxNumberOfMessages": ENTRIES}] * LOT,
    }
    best = {name: {"own": float("inf"), "between": float("inf")} for name in OPERATIONS}
    samples: dict[str, Members] = {}
    for _ in range(rounds):
        for name in OPERATIONS:
            own, between, outputs = await way(name, inputs[name])
            samples[name] = outputs[0]
            best[name]["own"] = min(best[name]["own"], own / LOT * 1e6)
            best[name]["between"] = min(best[name]["between"], between / LOT * 1e6)
            if name == "ReceiveMessage":
                inputs["DeleteMessageBatch"] = [
                    {"QueueUrl": ten, "Entries": delete_entries(output["Messages"])} for output in outputs
                ]
    samples["input:DeleteMessageBatch"] = inputs["DeleteMessageBatch"][0]
    for name in ("SendMessage", "SendMessageBatch", "ReceiveMessage"):
        samples[f"input:{name}"] = inputs[name][0]
    return best, samples


def signed(raw: bytes) -> tuple[Request, Verifier]:
    """The request with a signature as boto3 makes it, and who verifies it."""
    plain = parsed(raw)
    secret = "not-a-secret-but-40-characters-long-----"
    headers = {name: plain.headers[name] for name in ("host", "content-type", "x-amz-target", "x-amzn-query-mode")}
    asked = AWSRequest("POST", f"http://{HOST}/", headers=headers, data=plain.body)
    SigV4Auth(SigningCredentials("benchmark", secret), "sqs", REGION).add_auth(asked)
    told = dict(plain.headers) | {name.lower(): str(value) for name, value in asked.headers.items()}
    credential = Credential("benchmark", secret, ACCOUNT, root_arn(ACCOUNT), ACCOUNT)
    request = Request("POST", "/", told, plain.body)
    return request, Verifier(Credentials([credential]), time.time)


async def measure_costs(size_bytes: int, rounds: int) -> dict[str, Costs]:
    """The stages of each operation, in microseconds a call."""
    with InProcess() as broker:
        ways = Ways(broker)
        plane, _ = await costs_of_way(broker, ways.plane, size_bytes, rounds)
        operation, samples = await costs_of_way(broker, ways.operation, size_bytes, rounds)
        application, _ = await costs_of_way(broker, ways.application, size_bytes, rounds)
        connection, _ = await costs_of_way(broker, ways.connection, size_bytes, rounds)
        router = Router((broker.service,), (JsonProtocol(), QueryProtocol()))
        found: dict[str, Costs] = {}
        for name in OPERATIONS:
            members = samples[f"input:{name}"]
            raw = request_bytes(HOST, name, members)
            request, codec = parsed(raw), JsonProtocol().codec(service_model("sqs").operation_model(name))
            signed_request, verifier = signed(raw)
            verified: Caller = verifier.verify(signed_request, "sqs")
            assert verified.account == ACCOUNT
            read = ways.readers[name]
            costs = {
                "http_parse_us": _http_parse_us(raw, rounds),
                "route_us": best_us(lambda request=request: router.route(request), rounds),  # type: ignore[misc]
                "sign_none_us": best_us(lambda request=request: broker.gate.verify(request, "sqs"), rounds),  # type: ignore[misc]
                "protocol_parse_us": best_us(lambda codec=codec, request=request: codec.parse(request), rounds),  # type: ignore[misc]
                "binding_in_us": best_us(lambda read=read, members=members: read(members), rounds),  # type: ignore[misc]
                "plane_us": plane[name]["own"],
                "commit_in_memory_us": plane[name]["between"],
                "serialize_us": best_us(
                    lambda codec=codec, output=samples[name]: codec.serialize(output, "-" * 36),  # type: ignore[misc]
                    rounds,
                ),
                "total_us": connection[name]["own"],
                "sign_sigv4_us": best_us(
                    lambda verifier=verifier, request=signed_request: verifier.verify(request, "sqs"),  # type: ignore[misc]
                    rounds,
                ),
            }
            costs["binding_out_us"] = operation[name]["own"] - costs["binding_in_us"] - costs["plane_us"]
            alone = ("route_us", "sign_none_us", "protocol_parse_us", "serialize_us")
            inside = operation[name]["own"] + sum(costs[stage] for stage in alone)
            handled = application[name]["own"] + application[name]["between"]
            costs["application_us"] = handled - costs["commit_in_memory_us"] - inside
            costs["http_write_us"] = costs["total_us"] - handled - costs["http_parse_us"]
            found[name] = {stage: round(costs[stage], 1) for stage in STAGES}
        return found


def _http_parse_us(raw: bytes, rounds: int) -> float:
    limits = WebLimits()
    reader = RequestReader(limits, Budget(limits.buffered_bytes_max), "http", "127.0.0.1:1")

    def parse() -> None:
        reader.feed(raw)
        reader.complete.popleft().body.release()

    return best_us(parse, rounds)


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    """A row an operation; the stages are in ``extra``."""
    if setting.target is not None:
        raise click.UsageError("aws-cost measures this process: it cannot run on a --target")
    costs = uvloop.run(measure_costs(plan.size_bytes, plan.messages))
    for name in OPERATIONS:
        per_message = round(costs[name]["total_us"] / MESSAGES[name], 3)
        figures: dict[str, float | None] = {"server_cpu_us_per_message": per_message}
        yield Row(f"aws-cost: {name}", "none (in memory, in this process)", figures, extra=dict(costs[name]))
