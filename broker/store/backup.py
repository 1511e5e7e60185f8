"""Hot backup: a consistent, compacted copy of a data directory, while a broker works on it or not.

The copy is the state of one moment. While it is made, the pages of that moment cannot be reused, so the data file may
grow by what is written meanwhile. Never: a write to the source.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb

from broker.errors import StartupError
from broker.store.lmdb_engine import DATA_FILE, open_read_only

_REPORT_SECONDS = 0.1


def backup(data_dir: Path, destination: Path, progress: Callable[[int, int], None]) -> None:
    """Copies the data of ``data_dir`` into the existing directory ``destination``, durably.

    ``progress`` is told the bytes written and those expected (0: unknown, since free pages are left out). Raises
    StartupError for what is not a data directory, or a destination that cannot take the copy.
    """
    env = open_read_only(data_dir)
    try:
        target = os.open(destination / DATA_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            _copy(env, target, progress)
            os.fsync(target)
        finally:
            os.close(target)
    except (lmdb.Error, OSError) as error:
        raise StartupError(f"cannot copy {data_dir} to {destination}: {error}") from error
    finally:
        env.close()


def _copy(env: lmdb.Environment, target: int, progress: Callable[[int, int], None]) -> None:
    failures: list[Exception] = []
    done = threading.Event()

    def copy() -> None:
        try:
            env.copyfd(target, compact=True)
        except (lmdb.Error, OSError) as error:
            failures.append(error)
        finally:
            done.set()

    worker = threading.Thread(target=copy, name="backup")
    worker.start()
    while not done.wait(_REPORT_SECONDS):
        progress(os.fstat(target).st_size, 0)
    worker.join()
    if failures:
        raise failures[0]
    size = os.fstat(target).st_size
    progress(size, size)
