"""Queues as resources at rest: what a queue is, and which were deleted a short while ago.

A record of ``RESOURCES`` under the kind "queue" is a msgpack map of the constructor's fields; one under the kind
"queue.deleted" is when the queue of that name was deleted. Never: messages, or rules.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import msgpack

from broker.queues.attributes import QueueAttributes
from broker.queues.queue import Queue
from broker.queues.runs import NEVER_MS
from broker.queues.scope import Scope
from broker.store import Store, Table
from broker.store.keys import META_NEXT_LOG_ID, resource, resource_prefix, u64, u64_value

_KIND: Final = "queue"
_TOMBSTONE: Final = "queue.deleted"
_SCAN_RECORDS: Final = 10_000


def new_log_id(store: Store) -> int:
    """A log id that no queue has had."""
    stored = store.get(Table.META, META_NEXT_LOG_ID)
    log_id = 1 if stored is None else u64_value(stored)
    store.put(Table.META, META_NEXT_LOG_ID, u64(log_id + 1))
    return log_id


def save(store: Store, queue: Queue) -> None:
    record = {
        "log_id": queue.log_id,
        "created_ms": queue.created_ms,
        "modified_ms": queue.modified_ms,
        "purged_ms": queue.purged_ms,
        "attributes": queue.attributes.values,
        "tags": queue.tags,
    }
    store.put(Table.RESOURCES, _key(_KIND, queue), msgpack.packb(record))


def remove(store: Store, queue: Queue) -> None:
    store.delete(Table.RESOURCES, _key(_KIND, queue))


def saved(store: Store) -> Iterator[dict[str, Any]]:
    """The fields of all queues, named as those of the constructor."""
    for key, record in _records(store, _KIND):
        _, account, region, name = key.decode().split("\0")
        fields = msgpack.unpackb(record)
        fields["attributes"] = QueueAttributes(fields["attributes"])
        yield {"account": account, "region": region, "name": name, **fields}


class Tombstones:
    """The deletions that stand in the way of a new queue for ``kept_ms``."""

    def __init__(self, store: Store, *, kept_ms: int) -> None:
        self._store, self._kept_ms = store, kept_ms
        self._deleted: deque[tuple[int, bytes]] = deque()  # (deleted at, key), oldest first
        self.load()

    def load(self) -> None:
        """Reads all from the store."""
        records = _records(self._store, _TOMBSTONE)
        self._deleted = deque(sorted((msgpack.unpackb(record), key) for key, record in records))

    def add(self, queue: Queue, now_ms: int) -> None:
        if self._kept_ms:
            key = _key(_TOMBSTONE, queue)
            self._store.put(Table.RESOURCES, key, msgpack.packb(now_ms))
            self._deleted.append((now_ms, key))

    def stands(self, scope: Scope, name: str, now_ms: int) -> bool:
        """Whether a queue of this name was deleted less than ``kept_ms`` ago."""
        stored = self._store.get(Table.RESOURCES, resource(_TOMBSTONE, scope.account, scope.region, name))
        return stored is not None and bool(now_ms < msgpack.unpackb(stored) + self._kept_ms)

    def clear(self) -> None:
        """Nothing stands in the way any more."""
        self.forget(NEVER_MS)

    def forget(self, now_ms: int) -> None:
        """Removes the records that no longer stand in the way."""
        while self._deleted and self._deleted[0][0] + self._kept_ms <= now_ms:
            deleted_ms, key = self._deleted.popleft()
            if self._store.get(Table.RESOURCES, key) == msgpack.packb(deleted_ms):
                self._store.delete(Table.RESOURCES, key)


def _records(store: Store, kind: str) -> Iterator[tuple[bytes, bytes]]:
    start, stop = resource_prefix(kind)
    while rows := store.engine.scan(Table.RESOURCES, start, stop, limit=_SCAN_RECORDS):
        yield from rows
        start = rows[-1][0] + b"\0"


def _key(kind: str, queue: Queue) -> bytes:
    return resource(kind, queue.account, queue.region, queue.name)
