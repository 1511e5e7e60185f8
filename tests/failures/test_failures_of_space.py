"""No room: sends are refused and say so, receives and deletes go on, and nothing that was acknowledged is lost."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc

from tests.api.running import Broker, batch_of, broker, check_clean, counts, reason, until
from tests.api.streams import ProduceStream
from tests.failures.load import Account, drain, fill_to_the_brim, produce, send, send_again

MIB = 2**20


@contextmanager
def with_queue(running: Broker) -> Iterator[pb_grpc.QueuesStub]:
    with running.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="q"))
        yield stub


def nothing_is_lost(stub: pb_grpc.QueuesStub, account: Account) -> None:
    """What is left in the queue, together with what was received, is what was acknowledged (a refused send may have
    been kept only if its answer was lost, and here every answer came)."""
    visible, in_flight, delayed = counts(stub, "q")
    assert (in_flight, delayed) == (0, 0)
    drain(stub, account, visible)
    assert account.acknowledged - account.received == set()
    assert account.received - account.acknowledged == set()


def full_and_back(running: Broker, stub: pb_grpc.QueuesStub, seconds: float) -> None:
    """Fills, reads, deletes, and sends again."""
    account = Account()
    fill_to_the_brim(stub, account, seconds=seconds)
    visible, _, _ = counts(stub, "q")
    assert visible == len(account.acknowledged)
    drain(stub, account, visible // 2)
    send_again(stub, account)
    assert running.process.poll() is None
    assert running.terminate(10) == 0
    assert "Traceback" not in running.log()
    assert "internal error" not in running.log()
    check_clean(running.data_dir)
    with broker(running.data_dir) as restarted, restarted.stub() as again:
        nothing_is_lost(again, account)
        assert restarted.terminate(10) == 0
    assert check_clean(running.data_dir)["messages visible"] == 0


@pytest.mark.parametrize("size", ["4MiB", pytest.param("32MiB", marks=pytest.mark.full)])
def test_the_store_has_its_largest_size(size: str, tmp_path: Path) -> None:
    with broker(tmp_path / "data", "--map-bytes-max", size) as running, with_queue(running) as stub:
        full_and_back(running, stub, 2.0)


def test_one_message_larger_than_the_store(tmp_path: Path) -> None:
    with broker(tmp_path / "data", "--map-bytes-max", "512KiB") as running, with_queue(running) as stub:
        account = Account()
        assert not send(stub, account, MIB)
        send_again(stub, account)
        nothing_is_lost(stub, account)


@pytest.mark.parametrize("watermark", [pytest.param("0", marks=pytest.mark.full), "4MiB"])
def test_the_disk_is_full(watermark: str, small_disk: Callable[[int], Path]) -> None:
    data_dir = small_disk(24) / "data"
    with broker(data_dir, "--disk-free-bytes-min", watermark) as running, with_queue(running) as stub:
        full_and_back(running, stub, 2.0)


def test_somebody_else_fills_the_disk_and_clears_it(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(24)
    ballast = disk / "ballast"
    with broker(disk / "data", "--disk-free-bytes-min", "0") as running, with_queue(running) as stub:
        account = Account()
        produce(stub, account, batches=4, messages=100, size=1_000)
        assert account.refused == 0
        with ballast.open("wb") as file, pytest.raises(OSError, match="space"):
            while True:
                os.write(file.fileno(), bytes(4096))
        produce(stub, account, batches=4, messages=100, size=10_000)
        assert account.refused == 4
        with running.stub() as other:
            assert counts(other, "q") == (400, 0, 0)
        ballast.unlink()
        send_again(stub, account)
        nothing_is_lost(stub, account)
        assert running.terminate(10) == 0
    check_clean(disk / "data")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs prlimit (Linux)")
def test_the_data_file_may_not_grow(tmp_path: Path) -> None:
    """The limit on a process's files: the same as a full disk, and no disk is needed to show it."""
    with broker(tmp_path / "data", "--disk-free-bytes-min", "0") as running, with_queue(running) as stub:
        account = Account()
        produce(stub, account, batches=4, messages=100, size=1_000)
        assert account.refused == 0
        _, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (8 * MIB, hard))
        fill_to_the_brim(stub, account, seconds=1.5)
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        send_again(stub, account)
        nothing_is_lost(stub, account)
        assert running.terminate(10) == 0
    check_clean(tmp_path / "data")


def test_the_watermark_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    account = Account()
    with broker(data_dir) as running, with_queue(running) as stub:
        produce(stub, account, batches=1, messages=100, size=100)
    with broker(data_dir, "--disk-free-bytes-min", "1000000GiB") as running, running.stub() as stub:
        until(lambda: running.get("/readyz")[0] == 503)
        assert "disk_free_bytes_min" in running.get("/readyz")[1]
        assert running.get("/healthz")[0] == 200
        requests = pb.SendMessageRequest(queue_url="q", message_body=b"x"), pb.CreateQueueRequest(queue_name="new")
        for method, request in zip((stub.SendMessage, stub.CreateQueue), requests, strict=True):
            with pytest.raises(grpc.RpcError) as refused:
                method(request)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert reason(refused.value) == "heddle.StorageFull"
        with ProduceStream(stub) as stream:
            stream.send(pb.ProduceRequest(queue_url="q", batch=batch_of(b"x")))
            assert stream.status() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "heddle_accepting_sends 0.0" in running.get("/metrics")[1]
        nothing_is_lost(stub, account)
        stub.DeleteQueue(pb.DeleteQueueRequest(queue_url="q"))
        assert running.terminate(10) == 0
    check_clean(data_dir)
