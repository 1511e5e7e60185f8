"""The one form of durable change: plain puts and deletes, by table and key.

Applying a write batch reads nothing and asks neither clock nor chance: the same batches give the same bytes on any
machine. Never: anything that depends on what is in the store already.
"""

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final, Self

import msgpack

from broker.store.keys import Table

FORMAT_VERSION: Final = 1


class WriteBatch:
    """Puts and deletes in the order of their first writing; a later write of a key replaces the earlier one."""

    __slots__ = ("_put_keys", "_put_keys_sorted", "nbytes", "tables")

    def __init__(self) -> None:
        self.tables: dict[Table, dict[bytes, bytes | None]] = {}
        self._put_keys: dict[Table, list[bytes]] = {}  # in the order of their first writing, and
        self._put_keys_sorted: dict[Table, list[bytes]] = {}  # as many of them as when they were last asked for
        self.nbytes = 0
        """Bytes of the values written, those replaced included: what back-pressure counts."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        rows = self.tables.get(table)
        if rows is None:
            self.tables[table], self._put_keys[table] = {key: value}, [key]
        else:
            if rows.get(key) is None:
                self._put_keys[table].append(key)
            rows[key] = value
        self.nbytes += len(value)

    def delete(self, table: Table, key: bytes) -> None:
        rows = self.tables.get(table)
        if rows is None:
            self.tables[table], self._put_keys[table] = {key: None}, []
        else:
            rows[key] = None

    def put_keys(self, table: Table, start: bytes, stop: bytes) -> list[bytes]:
        """Keys of [start, stop) in order that were put, those deleted since included. Sorted once after each change, so
        that many looks at a batch of many deletes cost little."""
        written = self._put_keys.get(table, [])
        in_order = self._put_keys_sorted.get(table, [])
        if len(in_order) != len(written):
            in_order = self._put_keys_sorted[table] = sorted(written)
        return in_order[bisect_left(in_order, start) : bisect_left(in_order, stop)]

    def __bool__(self) -> bool:
        return bool(self.tables)

    def __iter__(self) -> Iterator[tuple[Table, bytes, bytes | None]]:
        for table, rows in self.tables.items():
            for key, value in rows.items():
                yield table, key, value

    def checksum(self, previous: int) -> int:
        """The rolling CRC-32 of all batches up to this one, given that of the batches before it."""
        crc = previous
        for table, key, value in self:
            crc = zlib.crc32(b"%d%b" % (table, key), crc)
            if value is not None:
                crc = zlib.crc32(value, crc)
        return crc

    def encode(self) -> bytes:
        """The batch as bytes, with the version of the format first."""
        rows = [(int(table), key, value) for table, key, value in self]
        packed: bytes = msgpack.packb((FORMAT_VERSION, rows))
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse of ``encode``. Raises ValueError for another format."""
        version, rows = msgpack.unpackb(data)
        if version != FORMAT_VERSION:
            raise ValueError(f"write batch of format {version}, this is format {FORMAT_VERSION}")
        batch = cls()
        for table, key, value in rows:
            if value is None:
                batch.delete(Table(table), key)
            else:
                batch.put(Table(table), key, value)
        return batch
