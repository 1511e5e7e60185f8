"""What every door promises: health, reflection, rich errors, limits, TLS, and the HTTP port."""

from functools import partial
from pathlib import Path
from typing import Any

import grpc
import heddle
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.api.running import Broker, broker, raw_stream, raw_unary, reason

SQS = "AWS.SimpleQueueService"
TLS = Path(__file__).parent.parent / "cli" / "tls"
STATUSES = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}


def refused(call: object, request: object) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call(request)  # type: ignore[operator]
    found: grpc.RpcError = error.value
    return found


@pytest.mark.parametrize("service", ["", "heddle.v1.Queues"])
def test_health_says_serving(service: str, running: Broker) -> None:
    with running.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        unknown = refused(health.Check, health_pb2.HealthCheckRequest(service="nobody"))
        assert unknown.code() == grpc.StatusCode.NOT_FOUND


# --- reflection: a client that knows nothing but the address


class Reflected:
    """What a broker tells of itself."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        self._pool = descriptor_pool.DescriptorPool()
        self._known: set[str] = set()

    def services(self) -> list[str]:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = self._stub.ServerReflectionInfo(iter([request]))
        return [service.name for service in answer.list_services_response.service]

    def methods(self, service: str) -> list[MethodDescriptor]:
        self._load(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
        return list(self._pool.FindServiceByName(service).methods)

    def _load(self, request: reflection_pb2.ServerReflectionRequest) -> None:
        (answer,) = self._stub.ServerReflectionInfo(iter([request]))
        for packed in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(packed)
            if file.name in self._known:
                continue
            self._known.add(file.name)
            for needed in file.dependency:
                self._load(reflection_pb2.ServerReflectionRequest(file_by_filename=needed))
            self._pool.Add(file)


def test_reflection_lists_and_calls_every_method(running: Broker, name: str) -> None:
    with running.channel() as channel:
        reflected = Reflected(channel)
        assert {"heddle.v1.Queues", "grpc.health.v1.Health"} <= set(reflected.services())
        called = set()
        for method in reflected.methods("heddle.v1.Queues"):
            request: Any = GetMessageClass(method.input_type)()
            if "queue_url" in method.input_type.fields_by_name:
                request.queue_url = name
            path = f"/{method.containing_service.full_name}/{method.name}"
            answers = GetMessageClass(method.output_type).FromString
            code = grpc.StatusCode.OK
            try:
                if method.client_streaming:
                    call: Any = channel.stream_stream(path, lambda message: message.SerializeToString(), answers)
                    assert isinstance(list(call(iter([request]), timeout=5)), list)
                else:
                    unary: Any = channel.unary_unary(path, lambda message: message.SerializeToString(), answers)
                    assert unary(request, timeout=5).DESCRIPTOR.full_name == method.output_type.full_name
            except grpc.RpcError as error:
                code = error.code()
            assert code in STATUSES, (method.name, code)
            called.add(method.name)
        assert called == set(pb.DESCRIPTOR.services_by_name["Queues"].methods_by_name)


def test_a_message_goes_round_by_reflection_alone(running: Broker, name: str) -> None:
    with running.channel() as channel:
        methods = {method.name: method for method in Reflected(channel).methods("heddle.v1.Queues")}

        def call(method_name: str, **fields: object) -> object:
            method = methods[method_name]
            request = GetMessageClass(method.input_type)(**fields)
            path = f"/heddle.v1.Queues/{method_name}"
            answer = GetMessageClass(method.output_type).FromString
            return channel.unary_unary(path, type(request).SerializeToString, answer)(request, timeout=5)

        sent = call("SendMessage", queue_url=name, message_body=b"hello")
        (received,) = call("ReceiveMessage", queue_url=name).messages  # type: ignore[attr-defined]
        assert (received.body, received.message_id) == (b"hello", sent.message_id)  # type: ignore[attr-defined]


# --- errors


def test_errors_carry_the_aws_code(stub: pb_grpc.QueuesStub, name: str) -> None:
    send, batch, delete = pb.SendMessageRequest, pb.SendMessageBatchRequest, pb.DeleteMessageRequest
    cases = [
        (stub.SendMessage, send(queue_url="nobody", message_body=b"x"), "NOT_FOUND", f"{SQS}.NonExistentQueue"),
        (stub.SendMessage, send(queue_url=name), "INVALID_ARGUMENT", "MissingParameter"),
        (stub.SendMessage, send(queue_url=name, message_body=b"\0"), "INVALID_ARGUMENT", "InvalidMessageContents"),
        (stub.SendMessageBatch, batch(queue_url=name), "INVALID_ARGUMENT", f"{SQS}.EmptyBatchRequest"),
        (stub.DeleteMessage, delete(queue_url=name, receipt_handle="x"), "INVALID_ARGUMENT", "ReceiptHandleIsInvalid"),
        (
            stub.CreateQueue,
            pb.CreateQueueRequest(queue_name=name, attributes={"DelaySeconds": "7"}),
            "ALREADY_EXISTS",
            "QueueAlreadyExists",
        ),
    ]
    for call, request, status, code in cases:
        error = refused(call, request)
        assert (error.code().name, reason(error)) == (status, code)
        assert error.details()


@pytest.mark.parametrize("length", [1_025, 10_000, 100_000, 1_500_000])
def test_an_error_about_something_long_arrives_whole(length: int, stub: pb_grpc.QueuesStub, name: str) -> None:
    """A status travels in headers, which clients bound (16 KiB): a message that quotes must not quote all."""
    long = "x" * length
    create, get, delete = pb.CreateQueueRequest, pb.GetQueueAttributesRequest, pb.DeleteMessageRequest
    send = partial(pb.SendMessageRequest, queue_url=name, message_body=b"x")
    cases = [
        (stub.DeleteMessage, delete(queue_url=name, receipt_handle=long), "ReceiptHandleIsInvalid"),
        (stub.CreateQueue, create(queue_name="q", attributes={long: "1"}), "InvalidAttributeName"),
        (stub.GetQueueAttributes, get(queue_url=name, attribute_names=[long]), "InvalidAttributeName"),
        (stub.SendMessage, send(message_group_id="ä" * length), "InvalidParameterValue"),
        (stub.SendMessage, send(message_deduplication_id=long), "InvalidParameterValue"),
    ]
    for call, request, code in cases:
        error = refused(call, request)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error.details()
        assert reason(error) == code


@pytest.mark.parametrize("service", ["heddle.v1.Queues/SendMessage", "grpc.health.v1.Health/Check"])
def test_bytes_that_are_no_request_are_refused_as_such(service: str, running: Broker) -> None:
    with running.channel() as channel:
        error = refused(channel.unary_unary(f"/{service}"), b"\xff\xff\xff")
    assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL}
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT or service.startswith("grpc.")


@pytest.mark.parametrize("streaming", ["Produce", "Consume"])
def test_bytes_that_are_no_frame_end_the_stream(streaming: str, running: Broker) -> None:
    with running.channel() as channel:
        call = raw_stream(channel, streaming)
        error = refused(lambda frame: list(call(iter([frame]))), b"\xff\xff\xff")
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_an_unknown_method(running: Broker) -> None:
    with running.channel() as channel:
        error = refused(raw_unary(channel, "Nothing"), b"")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED


# --- limits


def test_a_request_above_the_limit_is_refused_and_one_below_is_not(tmp_path: Path) -> None:
    with broker(tmp_path / "data", "--grpc-message-bytes-max", "12MiB") as small, small.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="q"))
        over = refused(stub.SendMessage, pb.SendMessageRequest(queue_url="q", message_body=b"x" * (12 * 2**20)))
        assert over.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.SendMessage(pb.SendMessageRequest(queue_url="q", message_body=b"x" * 2**20)).message_id


def test_a_trace_header_is_bounded(stub: pb_grpc.QueuesStub, name: str) -> None:
    """It is not part of the size of a message (SQS), so it needs a bound of its own: answers carry it."""
    request = pb.SendMessageRequest(queue_url=name, message_body=b"x")
    request.message_system_attributes["AWSTraceHeader"].data_type = "String"
    request.message_system_attributes["AWSTraceHeader"].string_value = "t" * 1_500_000
    assert refused(stub.SendMessage, request).code() == grpc.StatusCode.INVALID_ARGUMENT


def test_attributes_of_queues_are_bounded(stub: pb_grpc.QueuesStub, name: str) -> None:
    """They stay in memory for as long as the queue is there."""
    request = pb.SetQueueAttributesRequest(queue_url=name, attributes={"KmsMasterKeyId": "k" * 1_500_000})
    assert refused(stub.SetQueueAttributes, request).code() == grpc.StatusCode.INVALID_ARGUMENT


# --- TLS


def test_tls(tmp_path: Path) -> None:
    files = ["--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key")]
    with broker(tmp_path / "data", *files) as secure:
        port = secure.grpc.rpartition(":")[2]
        trusted = heddle.Tls(ca=(TLS / "server.pem").read_bytes())
        with heddle.Client(f"localhost:{port}", tls=trusted) as client:
            client.create_queue("q").send("secret")
            assert client.queue("q").receive()[0].text == "secret"
        with heddle.Client(f"localhost:{port}", timeout=2) as cleartext, pytest.raises(heddle.HeddleError):
            cleartext.create_queue("q")


# --- HTTP


def test_health_over_http(running: Broker) -> None:
    assert running.get("/healthz")[0] == 200
    assert '"durability":"fsync"' in running.get("/healthz")[1]
    assert running.get("/readyz") == (200, '{"status":"ready"}')
    assert running.get("/nothing")[0] == 404


def test_metrics_can_be_parsed_and_tell_of_the_queue(running: Broker, stub: pb_grpc.QueuesStub, name: str) -> None:
    for _ in range(3):
        stub.SendMessage(pb.SendMessageRequest(queue_url=name, message_body=b"x"))
    stub.ReceiveMessage(pb.ReceiveMessageRequest(queue_url=name))
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(running.get("/metrics")[1])
        for sample in family.samples
        if sample.labels.get("queue") == name
    }
    assert values["heddle_queue_visible_messages"] == 2
    assert values["heddle_queue_in_flight_messages"] == 1
    assert values["heddle_queue_sent_messages_total"] == 3
    assert values["heddle_queue_received_messages_total"] == 1


@pytest.mark.parametrize("most", [0, 3])
def test_labels_are_bounded(most: int, tmp_path: Path) -> None:
    with broker(tmp_path / "data", "--metrics-queues-max", str(most)) as running, running.stub() as stub:
        for number in range(10):
            stub.CreateQueue(pb.CreateQueueRequest(queue_name=f"q{number}"))
            for _ in range(number):
                stub.SendMessage(pb.SendMessageRequest(queue_url=f"q{number}", message_body=b"x"))
        families = list(text_string_to_metric_families(running.get("/metrics")[1]))
        sent = {
            sample.labels["queue"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "heddle_queue_sent_messages_total"
        }
        assert sum(sent.values()) == 45
        assert set(sent) == ({"q9", "q8", "q7", "(other)"} if most else {"(other)"})
