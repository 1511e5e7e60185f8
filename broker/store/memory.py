"""The engine in memory: for tests and simulation. It keeps nothing when the process ends.

The same contract as the LMDB engine, with what tests need besides: a commit that fails on demand.
"""

from sortedcontainers import SortedDict

from broker.store.engine import EngineError
from broker.store.keys import Table
from broker.store.write_batch import WriteBatch


class MemoryEngine:
    def __init__(self) -> None:
        self._tables: dict[Table, SortedDict] = {table: SortedDict() for table in Table}
        self.fail_next: EngineError | None = None
        """When set, the next ``apply`` raises it and applies nothing."""

    def apply(self, batch: WriteBatch) -> None:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        for table, key, value in batch:
            if value is None:
                self._tables[table].pop(key, None)
            else:
                self._tables[table][key] = value

    def get(self, table: Table, key: bytes) -> bytes | None:
        value: bytes | None = self._tables[table].get(key)
        return value

    def get_many(self, table: Table, keys: list[bytes]) -> list[bytes | None]:
        return [self.get(table, key) for key in keys]

    def scan(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        rows = self._tables[table]
        found: list[tuple[bytes, bytes]] = []
        for key in rows.irange(start, stop, inclusive=(True, False), reverse=reverse):
            if len(found) == limit:
                break
            found.append((key, rows[key]))
        return found

    def reusable_bytes(self) -> int:
        return 0

    def free_bytes(self) -> int:
        return 1 << 62

    def close(self) -> None:
        pass
