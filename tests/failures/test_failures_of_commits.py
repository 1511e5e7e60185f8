"""A commit that fails, a map that grows under readers: callers learn the truth, and the process ends when it must."""

import queue
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from heddle.v1 import queues_pb2 as pb

from broker.errors import StorageUnavailable
from broker.store import EngineError, EngineFull, Store, Table, ThreadCommitter, WriteBatch, lmdb_engine
from broker.store.lmdb_engine import LmdbEngine
from tests.api.running import broker, check_clean, reason
from tests.api.streams import ConsumeStream
from tests.failures import failing_disk
from tests.failures.load import Account, drain, produce

MIB = 2**20


def test_a_failing_disk_ends_the_process_and_loses_nothing(tmp_path: Path) -> None:
    trigger, data_dir = tmp_path / "trigger", tmp_path / "data"
    account = Account()
    program = (sys.executable, str(failing_disk.__file__), str(trigger))
    with broker(data_dir, program=program) as running, running.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="q"))
        produce(stub, account, batches=4, messages=100, size=100)
        assert len(account.acknowledged) == 400
        with ConsumeStream(stub, pb.ConsumeRequest(queue_url="q", credit=1)) as consume:
            consume.take(1)
            trigger.touch()
            with pytest.raises(grpc.RpcError) as failed:
                stub.SendMessage(pb.SendMessageRequest(queue_url="q", message_body=b"never"))
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert reason(failed.value) == "InternalFailure"
            assert "nothing of it was kept" in (failed.value.details() or "")
            assert running.process.wait(15) == 1
            assert consume.status() in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        assert "Input/output error" in running.log()
        assert "Traceback" not in running.log()
    check_clean(data_dir)
    with broker(data_dir) as restarted, restarted.stub() as stub:
        # The commit that would have put it back failed too, so one message is in flight for its 30 seconds.
        drain(stub, account, 399)
        assert account.received <= account.acknowledged
        assert len(account.received) == 399
        assert restarted.terminate(10) == 0


class FailingEngine:
    """An engine of one record whose next ``apply`` raises what the test wants; a test double."""

    def __init__(self) -> None:
        self.error: EngineError | None = None

    def apply(self, batch: WriteBatch) -> None:
        if self.error is not None:
            raise self.error

    def get(self, table: Table, key: bytes) -> bytes | None:
        return None

    def get_many(self, table: Table, keys: list[bytes]) -> list[bytes | None]:
        return [None] * len(keys)

    def scan(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        return []

    def free_bytes(self) -> int:
        return 1

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "fatal"),
    [(EngineError("broken", fatal=True), True), (EngineError("odd", fatal=False), False), (EngineFull("full"), False)],
)
def test_who_learns_of_a_failed_commit(error: EngineError, fatal: bool) -> None:
    engine = FailingEngine()
    told: list[EngineError] = []
    steps: list[object] = []
    main_thread: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    store = Store(engine, call_soon=main_thread.put)
    store.on_reset(lambda: steps.append("reset"))
    store.on_fatal(told.append)
    store.start(ThreadCommitter(engine, store.committed, call_main=main_thread.put, clock=lambda: 0.0))
    engine.error = error
    store.put(Table.META, b"key", b"value")
    commit = store.durable()
    assert commit is not None
    commit.add_done_callback(steps.append)
    while not commit.done:
        main_thread.get(timeout=5)()
    store.close()
    # Callers learn of it only when memory is what the disk is; after a fatal error nobody is served from either.
    assert steps == ([commit] if fatal else ["reset", commit])
    assert isinstance(commit.error, StorageUnavailable)
    assert told == ([error] if fatal else [])
    assert (store.full is error) == isinstance(error, EngineFull)
    assert store.get(Table.META, b"key") is None


def test_the_map_grows_while_readers_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_engine, "_BYTES_AHEAD", MIB)
    (tmp_path / "data").mkdir()
    engine = LmdbEngine(tmp_path / "data", map_bytes_initial=64 * MIB)
    assert engine.map_bytes == 64 * MIB
    stop, failures, reads = threading.Event(), [], [0]
    values = [bytes([number]) * (4 * MIB) for number in range(40)]

    def read() -> None:
        while not stop.is_set():
            found = engine.scan(Table.META, b"", b"\xff", limit=100)
            for key, value in found:
                if value != values[key[0]][: len(value)] or len(value) != 4 * MIB:
                    failures.append(key)
            if found and engine.get_many(Table.META, [found[-1][0], b"none"]) != [found[-1][1], None]:
                failures.append(found[-1][0])
            reads[0] += 1

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number, value in enumerate(values):
            batch = WriteBatch()
            batch.put(Table.META, bytes([number]), value)
            engine.apply(batch)
    finally:
        stop.set()
        for reader in readers:
            reader.join(20)
    assert engine.growths == 2
    assert engine.map_bytes == 256 * MIB
    assert failures == []
    assert reads[0] > 2
    assert engine.get(Table.META, bytes([39])) == values[39]
    engine.close()


def test_the_map_does_not_grow_beyond_its_largest_size(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    engine = LmdbEngine(tmp_path / "data", map_bytes_max=4 * MIB)
    batch = WriteBatch()
    batch.put(Table.META, b"large", bytes(5 * MIB))
    with pytest.raises(EngineFull, match="map_bytes_max"):
        engine.apply(batch)
    small = WriteBatch()
    small.put(Table.META, b"small", b"value")
    engine.apply(small)
    assert engine.get(Table.META, b"small") == b"value"
    assert engine.get(Table.META, b"large") is None
    assert engine.growths == 0
    engine.close()
