"""The broker under test as a child process: started, killed, started again on the same directory."""

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_START_SECONDS_MAX: Final = 30.0
_STOP_SECONDS_MAX: Final = 30.0


class BrokerProcess:
    """Serves when the constructor returns. Its log goes to ``log_file``."""

    def __init__(self, data_dir: Path, log_file: Path) -> None:
        started = time.monotonic()
        self.killed = False
        """From just before the kill on, calls may fail."""
        # Configuration of whoever runs the tests must not reach the broker.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")}
        flags = [
            "--data-dir",
            str(data_dir),
            "--grpc",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--aws",
            "off",
            "--print-ports",
        ]
        flags += ["--disk-free-bytes-min", "0", "--log-level", "warning"]
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "broker", "serve", *flags], stdout=subprocess.PIPE, stderr=log, env=environment
            )
        try:
            self.target: str = json.loads(self._first_line(log_file))["grpc"]
        except BaseException:
            self.kill()
            raise
        self.start_seconds = time.monotonic() - started

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        self.killed = True
        self._process.kill()
        self._end()

    def stop(self) -> int:
        """SIGTERM. Returns the exit code."""
        self._process.terminate()
        self._end()
        return self._process.returncode

    @property
    def ended(self) -> bool:
        """Whether it ended by itself: it must not."""
        return self._process.poll() is not None

    def _end(self) -> None:
        try:
            self._process.wait(_STOP_SECONDS_MAX)
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _first_line(self, log_file: Path) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(_START_SECONDS_MAX)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"the broker did not start; its log ends with: {log_file.read_text()[-2000:]}")
        return line
