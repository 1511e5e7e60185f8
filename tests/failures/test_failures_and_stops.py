"""Stops: SIGTERM in the middle of everything ends in order and in time, SIGKILL loses nothing and is soon over."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from heddle.v1 import queues_pb2 as pb

from tests.api.running import Broker, batch_of, broker, check_clean, counts, until
from tests.api.streams import ConsumeStream, ProduceStream
from tests.failures.load import Account, drain, produce

STOP_SECONDS_MAX = 6.0
"""Less than the broker's grace for those who do not end by themselves. Idle, a stop takes 0.3 s; machines are busy."""

RESTART_SECONDS_MAX = 10.0
"""With a store of some megabytes. Idle, a start takes 0.7 s."""


def parked(running: Broker) -> int:
    line = next(line for line in running.get("/metrics")[1].splitlines() if line.startswith("heddle_waiters "))
    return int(float(line.split()[1]))


def test_a_termination_in_the_middle_of_everything(tmp_path: Path) -> None:
    account = Account()
    with broker(tmp_path / "data") as running, running.stub() as stub:
        for name in ("q", "idle", "held"):
            stub.CreateQueue(pb.CreateQueueRequest(queue_name=name))
        wait = pb.ReceiveMessageRequest(queue_url="idle", wait_time_seconds=20)
        polls = [stub.ReceiveMessage.future(wait) for _ in range(5)]
        with (
            ProduceStream(stub) as load,
            ProduceStream(stub) as quiet,
            ConsumeStream(stub, pb.ConsumeRequest(queue_url="idle", credit=10)) as idle,
            ConsumeStream(stub, pb.ConsumeRequest(queue_url="held", credit=10)) as holding,
        ):
            stub.SendMessage(pb.SendMessageRequest(queue_url="held", message_body=b"held"))
            holding.take(1)
            quiet.send(pb.ProduceRequest(queue_url="idle"))
            assert quiet.results(1)[0].error_code
            until(lambda: parked(running) == 7)
            numbers: dict[int, range] = {}
            for request_id in range(1, 51):
                first = account.sent
                batch = batch_of(*account.bodies(200, 1_000))
                numbers[request_id] = range(first, account.sent)
                load.send(pb.ProduceRequest(queue_url="q", request_id=request_id, batch=batch))
            answered = load.results(1)  # the rest is under way
            started = time.monotonic()
            assert running.terminate(STOP_SECONDS_MAX + 10) == 0
            took = time.monotonic() - started
            for poll in polls:
                assert list(poll.result(STOP_SECONDS_MAX).messages) == []
            assert idle.status() == grpc.StatusCode.OK
            assert holding.status() == grpc.StatusCode.OK
            assert quiet.status() == grpc.StatusCode.UNAVAILABLE
            try:
                while True:
                    answered.extend(load.receive().results)
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNAVAILABLE  # noqa: PT017
            except EOFError:
                pass
        assert "Traceback" not in running.log()
        assert took < STOP_SECONDS_MAX
    for result in answered:
        if not result.error_code:
            account.acknowledged.update(numbers[result.request_id])
    check_clean(tmp_path / "data")
    with broker(tmp_path / "data") as restarted, restarted.stub() as stub:
        visible, in_flight, _ = counts(stub, "q")
        assert in_flight == 0
        assert counts(stub, "held") == (1, 0, 0)
        drain(stub, account, visible)
        assert account.acknowledged <= account.received
        assert restarted.terminate(15) == 0


@pytest.mark.parametrize("watching", ["health", "reflection"])
def test_those_who_only_watch_do_not_hold_up_a_stop(watching: str, tmp_path: Path) -> None:
    with broker(tmp_path / "data") as running, running.channel() as channel:
        if watching == "health":
            states = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        else:
            services = reflection_pb2.ServerReflectionRequest(list_services="")
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)

            def ask() -> Iterator[reflection_pb2.ServerReflectionRequest]:
                yield services
                running.process.wait(20)

            assert next(stub.ServerReflectionInfo(ask())).list_services_response.service
        started = time.monotonic()
        assert running.terminate(20) == 0
        assert time.monotonic() - started < STOP_SECONDS_MAX


def test_a_kill_loses_nothing_and_a_restart_is_quick(tmp_path: Path) -> None:
    account = Account()
    with broker(tmp_path / "data") as running, running.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="q"))
        produce(stub, account, batches=20, messages=500, size=100)
        assert len(account.acknowledged) == 10_000
        with ProduceStream(stub) as load:
            for _ in range(20):
                load.send(pb.ProduceRequest(queue_url="q", batch=batch_of(*account.bodies(500, 100))))
            load.results(1)
            running.kill()
    check_clean(tmp_path / "data")
    started = time.monotonic()
    with broker(tmp_path / "data") as restarted, restarted.stub() as stub:
        (message,) = stub.ReceiveMessage(pb.ReceiveMessageRequest(queue_url="q")).messages
        assert time.monotonic() - started < RESTART_SECONDS_MAX
        stub.ChangeMessageVisibility(
            pb.ChangeMessageVisibilityRequest(
                queue_url="q", receipt_handle=message.receipt_handle, visibility_timeout=0
            )
        )
        drain(stub, account, counts(stub, "q")[0])
        assert account.acknowledged <= account.received
        assert restarted.terminate(15) == 0
