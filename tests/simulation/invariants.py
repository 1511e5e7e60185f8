"""``heddle check`` on an engine in memory: the same verification, without files."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import broker.check
from broker.store import Table
from broker.store.engine import Engine

_END = b"\xff" * 512


def problems(engine: Engine) -> list[str]:
    """What ``broker.check`` finds wrong with the records of an engine."""
    with mock.patch.object(broker.check, "open_read_only", return_value=_Environment(engine)):
        return broker.check.check(Path("in-memory"), lambda _done, _of: None).problems


def records(engine: Engine, table: Table) -> list[tuple[bytes, bytes]]:
    return engine.scan(table, b"", _END, limit=1 << 30)


class _Environment:
    """As much of an LMDB environment and its read transaction as the check needs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def begin(self) -> Iterator["_Environment"]:
        yield self

    def open_db(self, name: bytes, **_options: object) -> Table:
        return Table[name.decode().upper()]

    def stat(self, table: Table) -> dict[str, int]:
        return {"entries": len(records(self._engine, table))}

    def cursor(self, db: Table) -> AbstractContextManager[Any]:
        @contextmanager
        def opened() -> Iterator[Iterator[tuple[bytes, bytes]]]:
            yield iter(records(self._engine, db))

        return cast("AbstractContextManager[Any]", opened())

    def close(self) -> None:
        """Nothing is open."""
