"""A broker of one's own for the length of a demo: a subprocess of this interpreter on a temporary directory."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.cli.failures import Failure

START_SECONDS_MAX: Final = 30
STOP_SECONDS_MAX: Final = 15  # above the broker's default shutdown grace
LOG_TAIL_CHARACTERS: Final = 2_000


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """Where the broker can be reached."""

    grpc: str
    http: str
    data_dir: Path
    pid: int


@contextmanager
def running_broker(*flags: str) -> Iterator[RunningBroker]:
    """A broker that is ready; stopped on the way out, its data directory removed.

    Failure when it does not get ready, with the end of its log.
    """
    with tempfile.TemporaryDirectory(prefix="heddle-demo-") as directory:
        log_path, data_dir = Path(directory, "broker.log"), Path(directory, "data")
        command = [sys.executable, "-m", "broker", "serve", "--data-dir", str(data_dir)]
        command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", "127.0.0.1:0", "--print-ports", *flags]
        with (
            log_path.open("wb") as log,
            # A session of its own: Ctrl-C is for the demo, which then stops the broker in order.
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=_environment(), start_new_session=True
            ) as process,
        ):
            try:
                ports = _wait_until_ready(process, log_path)
                yield RunningBroker(ports["grpc"], ports["http"], data_dir, process.pid)
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    process.kill()


def _environment() -> dict[str, str]:
    """This environment without configuration meant for another broker."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEDDLE_")}


def _wait_until_ready(process: subprocess.Popen[bytes], log_path: Path) -> dict[str, str]:
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS_MAX, process.kill)  # ends the blocking read below
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    if not line:
        code = process.wait()
        tail = log_path.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()
        raise Failure(f"the broker did not start (exit code {code}){': ' + tail if tail else ''}")
    ports = json.loads(line)
    assert isinstance(ports, dict), ports
    return ports
