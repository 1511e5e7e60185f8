"""Batches at rest: ids, reference counts, and a cache of the packed bytes that is bounded in bytes.

A batch is written once and read as it is. Any number of entries may refer to it; when the last one goes, so does the
batch. New batches stay in the cache, so that consumers near the tail never touch the disk.
"""

from collections import OrderedDict

import msgpack

from broker.log.ids import Ids
from broker.log.packed import PackedBatch
from broker.store import Store, Table
from broker.store.keys import u64


class Batches:
    """``cache_bytes``: the most memory that cached batches may take, the bookkeeping included."""

    def __init__(self, store: Store, *, cache_bytes: int) -> None:
        self._store = store
        self._cache: OrderedDict[int, PackedBatch] = OrderedDict()
        self._cache_bytes_max = cache_bytes
        self.cached_bytes = 0
        self.cache_hits = 0
        self.cache_misses = 0
        self.ids = Ids(store)

    def reset(self) -> None:
        """After a failed commit: what it would have stored is not there."""
        self._cache.clear()
        self.cached_bytes = 0
        self.ids.reset()

    def write(self, batch_id: int, packed: bytes) -> None:
        """Puts the batch into the open write batch and the cache. Its one reference is its writer's."""
        self._store.put(Table.BATCHES, u64(batch_id), packed)
        self.keep(batch_id, PackedBatch(packed))

    def add_reference(self, batch_id: int) -> None:
        count = self._references(batch_id) + 1
        self._store.put(Table.BATCH_REFS, u64(batch_id), msgpack.packb(count))

    def release(self, batch_id: int) -> None:
        """Gives up one reference; the last one deletes the batch."""
        count = self._references(batch_id) - 1
        key = u64(batch_id)
        if count > 1:
            self._store.put(Table.BATCH_REFS, key, msgpack.packb(count))
        elif count == 1:
            self._store.delete(Table.BATCH_REFS, key)
        else:
            self._store.delete(Table.BATCHES, key)
            dropped = self._cache.pop(batch_id, None)
            if dropped is not None:
                self.cached_bytes -= dropped.counted_bytes

    def cached(self, batch_id: int) -> PackedBatch | None:
        """The batch when it can be had without the disk."""
        batch = self._cache.get(batch_id)
        if batch is not None:
            self._cache.move_to_end(batch_id)
            self.cache_hits += 1
            self._count(batch)  # it may have been split since
            return batch
        packed = self._store.pending(Table.BATCHES, u64(batch_id))
        if packed is not None:
            self.cache_hits += 1
            return self.keep(batch_id, PackedBatch(packed))
        self.cache_misses += 1
        return None

    def read(self, batch_id: int) -> PackedBatch | None:
        """The batch, from the disk if need be; None when it is gone (purged or expired meanwhile)."""
        batch = self.cached(batch_id)
        if batch is None:
            packed = self._store.get(Table.BATCHES, u64(batch_id))
            if packed is not None:
                batch = self.keep(batch_id, PackedBatch(packed))
        return batch

    def keep(self, batch_id: int, batch: PackedBatch) -> PackedBatch:
        """Caches a batch, the longest unused ones making room."""
        if batch_id not in self._cache:
            self._cache[batch_id] = batch
            self._count(batch)
            while self.cached_bytes > self._cache_bytes_max and len(self._cache) > 1:
                _, dropped = self._cache.popitem(last=False)
                self.cached_bytes -= dropped.counted_bytes
        return batch

    def _count(self, batch: PackedBatch) -> None:
        nbytes = batch.memory_bytes()
        self.cached_bytes += nbytes - batch.counted_bytes
        batch.counted_bytes = nbytes

    def _references(self, batch_id: int) -> int:
        stored = self._store.get(Table.BATCH_REFS, u64(batch_id))
        return 1 if stored is None else int(msgpack.unpackb(stored))
