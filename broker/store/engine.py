"""What a store is kept in: the interface of the LMDB engine and of the one in memory, and the errors of both.

Never: knowledge of queues or messages.
"""

from typing import Protocol

from broker.store.keys import Table
from broker.store.write_batch import WriteBatch


class EngineError(Exception):
    """The batch was not applied; what was durable before still is. ``fatal``: nothing later may be trusted either."""

    def __init__(self, message: str, *, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal


class EngineFull(EngineError):
    """No room: the disk is full or the store has its largest allowed size."""

    def __init__(self, message: str) -> None:
        super().__init__(message, fatal=False)


class Engine(Protocol):
    """Ordered tables of bytes with one atomic, durable write operation.

    ``apply`` is called by the committer's thread only, the reads by any thread.
    """

    def apply(self, batch: WriteBatch) -> None:
        """Makes the whole batch durable, or nothing of it. Raises EngineError."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def get_many(self, table: Table, keys: list[bytes]) -> list[bytes | None]:
        """The values as of one moment, in the order of the keys."""

    def scan(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """At most ``limit`` records with start <= key < stop, ascending, or descending from stop when ``reverse``."""

    def reusable_bytes(self) -> int:
        """How much of what the engine takes on the disk is free for reuse."""

    def free_bytes(self) -> int:
        """How much more messages the engine may take, the disk's own limit aside; deletes need a little more."""

    def close(self) -> None: ...
