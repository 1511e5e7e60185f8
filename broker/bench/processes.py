"""Servers of a benchmark as child processes: a private broker, the bare echo, and how to start and stop any of them."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30


class ServerDidNotStartError(Exception):
    """A server process ended, or stayed silent, before it was ready."""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and whose CPU and memory to read (None: not on this machine)."""

    target: str
    pid: int | None
    data_dir: Path | None = None


@contextmanager
def child_process(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Runs `command`; at the end SIGTERM, and SIGKILL to what does not obey. Its stderr is ours."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[str], with_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ends the process and waits for it."""
    if process.poll() is None:
        process.send_signal(with_signal)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_line(process: subprocess.Popen[str], timeout_seconds: float = READY_SECONDS_MAX) -> str:
    """The line by which a server says that it is ready. Whatever it prints later is read and dropped."""
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    output = process.stdout

    def pump() -> None:
        with output:
            lines.put(output.readline())
            for _ in output:
                pass

    threading.Thread(target=pump, daemon=True).start()
    try:
        line = lines.get(timeout=timeout_seconds)
    except queue.Empty:
        raise ServerDidNotStartError(f"{process.args!r} was not ready after {timeout_seconds} s") from None
    if not line:
        raise ServerDidNotStartError(f"{process.args!r} ended with status {process.wait()}")
    return line


@contextmanager
def broker_on(data_dir: Path, durability: str, *, door: str = "grpc") -> Iterator[Server]:
    """A broker of this installation on the given data directory, on free ports of the loopback. ``door``: whose address
    is the target, ``grpc`` or ``aws``."""
    aws = "127.0.0.1:0" if door == "aws" else "off"
    ports = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", aws, "--print-ports"]
    command = [sys.executable, "-m", "broker", "serve", "--data-dir", str(data_dir), *ports]
    with child_process(command, {"HEDDLE_DURABILITY": durability, "HEDDLE_LOG_LEVEL": "warning"}) as process:
        yield Server(json.loads(first_line(process))[door], process.pid, data_dir)


@contextmanager
def broker_at(target: str | None, durability: str, *, door: str = "grpc") -> Iterator[Server]:
    """The broker at `target`, or a private one with an empty data directory; `door` as for `broker_on`."""
    if target is not None:
        yield Server(target, None)
        return
    with (
        TemporaryDirectory(prefix="heddle-bench-") as directory,
        broker_on(Path(directory), durability, door=door) as server,
    ):
        yield server


@contextmanager
def echo_server() -> Iterator[Server]:
    """The bare grpc.aio echo of `broker.bench.echo`."""
    with child_process([sys.executable, "-m", "broker.bench.echo"]) as process:
        yield Server(json.loads(first_line(process))["grpc"], process.pid)
