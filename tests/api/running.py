"""A broker in a process of its own, on ports that the system chooses, and raw ways to speak with it.

What tests of the doors, of failures and of hostile input share. Never: the broker's own modules; only what crosses the
process's boundary is looked at.
"""

import json
import os
import re
import selectors
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import Channel
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc
from heddle.v1.message_pb2 import Message, MessageBatch

READY_SECONDS_MAX: Final = 30.0
CALL_SECONDS_MAX: Final = 20.0
BROKER: Final = (sys.executable, "-m", "broker")
_ANY_LENGTH: Final = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
Metadata = Sequence[tuple[str, str]]


class DidNotStart(Exception):
    """The broker ended, or stayed silent, before it was ready: its exit code and what it wrote to standard error."""

    def __init__(self, exit_code: int | None, log: str) -> None:
        super().__init__(f"exit code {exit_code}: {log[-2000:]}")
        self.exit_code, self.log = exit_code, log


@dataclass
class Broker:
    """A running broker process."""

    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    aws: str | None
    data_dir: Path
    log_path: Path

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    @contextmanager
    def stub(self, *options: tuple[str, Any], metadata: Metadata = ()) -> Iterator[pb_grpc.QueuesStub]:
        """Raw stubs on a channel of their own."""
        with self.channel(*options) as channel:
            yield queues_stub(grpc.intercept_channel(channel, _WithMetadata(metadata)) if metadata else channel)

    @contextmanager
    def channel(self, *options: tuple[str, Any]) -> Iterator[Channel]:
        # A subchannel pool of its own: closing one channel must close its connection and nobody else's.
        arguments = [*_ANY_LENGTH, ("grpc.use_local_subchannel_pool", 1), *options]
        with grpc.insecure_channel(self.grpc, options=arguments) as channel:
            yield channel

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of an HTTP GET."""
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=CALL_SECONDS_MAX) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def anonymous_bytes(self) -> int:
        """Memory of the process that is not a mapped file (RssAnon)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def terminate(self, seconds: float) -> int:
        """SIGTERM; the exit code. TimeoutExpired when it takes longer than ``seconds``."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(CALL_SECONDS_MAX)


@contextmanager
def broker(data_dir: Path, *flags: str, wrapper: Sequence[str] = (), program: Sequence[str] = ()) -> Iterator[Broker]:
    """A broker that is ready, killed on the way out if it still runs. Raises DidNotStart.

    ``wrapper``: a command that runs the broker's in its own place; ``program``: what stands for `python -m broker`. The
    log is beside the data directory.
    """
    beside = next(parent for parent in data_dir.parents if parent.is_dir())
    log_path = beside / f"{data_dir.name}.log"
    with log_path.open("ab") as log:
        started_at = log.tell()
        process = subprocess.Popen(
            [*wrapper, *(program or BROKER), *serve_flags(data_dir), *flags],
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
        )
    try:
        line = first_line(process, READY_SECONDS_MAX)
        if not line:
            try:
                exit_code: int | None = process.wait(5)
            except subprocess.TimeoutExpired:
                exit_code = None
            raise DidNotStart(exit_code, log_path.read_bytes()[started_at:].decode(errors="replace"))
        ports = json.loads(line)
        yield Broker(process, ports["grpc"], ports["http"], ports["aws"], data_dir, log_path)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(CALL_SECONDS_MAX)
        if process.stdout is not None:
            process.stdout.close()


def serve_flags(data_dir: Path) -> list[str]:
    doors = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", "off", "--print-ports", "--log-level", "info"]
    waits = ["--purge-interval-seconds", "0", "--queue-deleted-recently-seconds", "0"]
    return ["serve", "--data-dir", str(data_dir), *doors, *waits]


def environment() -> dict[str, str]:
    """This environment without configuration meant for another broker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEDDLE_")}


def first_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The first line of a process's output; empty when it ends, or takes too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline() if selector.select(seconds) else b""


def check_clean(data_dir: Path) -> dict[str, int]:
    """`heddle check` finds nothing; the counts that it reports."""
    result = subprocess.run(
        [*BROKER, "check", str(data_dir), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    assert result.returncode == 0, (result.stdout, result.stderr)
    counts: dict[str, int] = json.loads(result.stdout)["counts"]
    return counts


# --- raw gRPC


class _WithMetadata(grpc.UnaryUnaryClientInterceptor):
    """Adds the same metadata to every unary call."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or ()), *self._metadata]), request)


def reason(error: grpc.RpcError) -> str:
    """The AWS code in a status' details; empty when there is none."""
    trailing: Any = error.trailing_metadata()
    for key, value in trailing or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    assert info.domain == "heddle"
                    return str(info.reason)
    return ""


def raw_unary(channel: Channel, method: str) -> Any:
    """A unary method of ``Queues`` that takes and returns bytes as they are."""
    return channel.unary_unary(f"/heddle.v1.Queues/{method}")


def raw_stream(channel: Channel, method: str) -> Any:
    """A stream of ``Queues`` that takes and returns bytes as they are."""
    return channel.stream_stream(f"/heddle.v1.Queues/{method}")


def queues_stub(channel: Channel) -> pb_grpc.QueuesStub:
    return pb_grpc.QueuesStub(channel)  # type: ignore[no-untyped-call]


def batch_of(*bodies: bytes) -> MessageBatch:
    return MessageBatch(messages=[Message(body=body) for body in bodies])


def until(condition: Callable[[], bool], seconds: float = CALL_SECONDS_MAX, *, step_seconds: float = 0.01) -> None:
    """Polls what another process shows only to those who ask."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(step_seconds)


def counts(stub: pb_grpc.QueuesStub, queue_url: str) -> tuple[int, int, int]:
    """Messages visible, in flight, delayed."""
    answer = stub.GetQueueAttributes(
        pb.GetQueueAttributesRequest(queue_url=queue_url, attribute_names=["All"]), timeout=CALL_SECONDS_MAX
    )
    names = ("", "NotVisible", "Delayed")
    visible, in_flight, delayed = (int(answer.attributes[f"ApproximateNumberOfMessages{name}"]) for name in names)
    return visible, in_flight, delayed
