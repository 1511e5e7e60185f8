"""The data directory: made if need be, and locked for one process."""

import fcntl
import os
from pathlib import Path
from typing import Final

from broker.errors import DataDirectoryLocked, StartupError

_LOCK_FILE: Final = "heddle.lock"


class DataDirectory:
    """Holds the lock from creation until ``close`` or the end of the process. Raises DataDirectoryLocked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartupError(f"cannot use the data directory {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise DataDirectoryLocked(
                f"the data directory {path} is in use by another broker (process {owner}): stop it, or choose another"
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def close(self) -> None:
        os.close(self._lock)
