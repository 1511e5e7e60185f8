"""The one form of durable change: plain puts and deletes, by table and key.

Applying a write batch reads nothing and asks neither clock nor chance: the same batches give the same bytes on any
machine. Never: anything that depends on what is in the store already.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Self

import msgpack

from broker.store.keys import Table

FORMAT_VERSION: Final = 1


class WriteBatch:
    """Puts and deletes in the order of their first writing; a later write of a key replaces the earlier one."""

    __slots__ = ("nbytes", "tables")

    def __init__(self) -> None:
        self.tables: dict[Table, dict[bytes, bytes | None]] = {}
        self.nbytes = 0
        """Bytes of the values written, those replaced included: what back-pressure counts."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        try:
            self.tables[table][key] = value
        except KeyError:
            self.tables[table] = {key: value}
        self.nbytes += len(value)

    def delete(self, table: Table, key: bytes) -> None:
        try:
            self.tables[table][key] = None
        except KeyError:
            self.tables[table] = {key: None}

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
