"""A worker of a job library, as an operator runs it: started, and stopped or killed. Never: what its tasks do."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_STOP_SECONDS_MAX: Final = 40.0
_LOG_CHARACTERS: Final = 3000


@contextmanager
def running_worker(command: Sequence[str], environment: Mapping[str, str], log_file: Path) -> Iterator[None]:
    """Stops it in the end: what it still holds it gives back, what it has done it acknowledges. It must end well."""
    with _started(command, environment, log_file) as process:
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(_STOP_SECONDS_MAX)
    assert process.returncode == 0, log_file.read_text()[-_LOG_CHARACTERS:]


@contextmanager
def killed_worker(command: Sequence[str], environment: Mapping[str, str], log_file: Path) -> Iterator[None]:
    """Ends it in the middle of its work, children and all: it gives nothing back and acknowledges nothing more."""
    with _started(command, environment, log_file):
        yield


@contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], log_file: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    except BaseException as error:
        error.add_note(log_file.read_text()[-_LOG_CHARACTERS:])
        raise
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
