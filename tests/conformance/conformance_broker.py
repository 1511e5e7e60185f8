"""A broker process for conformance tests: AWS's own intervals and limits, a data directory that starts empty."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

STOP_SECONDS_MAX: Final = 20


@contextmanager
def running_broker(directory: Path) -> Iterator[dict[str, Any]]:
    """Its endpoints. Asserts that it lives until the end of the block and then stops cleanly."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEDDLE_")}
    addresses = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", "127.0.0.1:0", "--print-ports")
    command = [sys.executable, "-m", "broker", "serve", "--data-dir", str(directory / "data"), *addresses]
    log_path = directory / "broker.log"
    with (
        log_path.open("w", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log_path.read_text(encoding="utf-8")
            yield json.loads(line)
            assert process.poll() is None, log_path.read_text(encoding="utf-8")
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0, log_path.read_text(encoding="utf-8")
