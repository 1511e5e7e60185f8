"""The layout of the data at rest: every table, key and record, in one place.

=============  ============================  ========================================================================
table          key                           value
=============  ============================  ========================================================================
META           name                          raw bytes or msgpack, by name (``META_*`` below)
RESOURCES      kind, account, region, name   msgpack map: what a queue is (see ``queues/resource.py``)
BATCHES        batch id                      the packed ``MessageBatch``, as sent
BATCH_REFS     batch id                      msgpack: reference count; only where it is above one
ENTRIES        log id, base sequence         msgpack array ``EntryRecord``
RUNS           log id, first sequence        msgpack array ``RunRecord``
COUNTERS       log id                        msgpack array (see ``queues/state.py``)
GARBAGE        log id                        msgpack: entries below this sequence number are to be swept
DEDUP          log id, first sequence        msgpack: ids of messages that a FIFO queue accepted; at 0: what is cleared
AGES           log id, time, base sequence   empty; one for each entry that was moved here and kept its time
=============  ============================  ========================================================================

Numbers in keys are unsigned, big-endian and 8 bytes wide, so that ranges are scans. A log id carries its partition in
its top 16 bits (0 while there is one partition). Tables added later get a new number; numbers are never reused.
"""

import struct
from enum import IntEnum
from typing import Final

SCHEMA_VERSION: Final = 1

META_SCHEMA: Final = b"schema"
META_STORE_ID: Final = b"store_id"
META_POSITION: Final = b"position"
META_GENERATION: Final = b"generation"
META_NEXT_LOG_ID: Final = b"next_log_id"

SEQUENCE_END: Final = 2**64 - 1
"""Above every sequence number: the open end of a range."""


class Table(IntEnum):
    """A named LMDB database. The value is stable: it is in serialized write batches."""

    META = 1
    RESOURCES = 2
    BATCHES = 3
    BATCH_REFS = 4
    ENTRIES = 5
    RUNS = 6
    COUNTERS = 7
    GARBAGE = 8
    DEDUP = 9
    AGES = 10


_U64 = struct.Struct(">Q")
_U64_PAIR = struct.Struct(">QQ")
_U64_TRIPLE = struct.Struct(">QQQ")

u64 = _U64.pack
"""Key of a table whose key is one number."""

pair = _U64_PAIR.pack
"""Key of a table whose key is (log id, sequence)."""


triple = _U64_TRIPLE.pack
"""Key of a table whose key is (log id, time in ms, sequence)."""

triple_parts = _U64_TRIPLE.unpack


def pair_sequence(key: bytes) -> int:
    """The sequence number of a (log id, sequence) key."""
    return int.from_bytes(key[8:16], "big")


def u64_value(key: bytes) -> int:
    return int.from_bytes(key, "big")


def resource(kind: str, account: str, region: str, name: str) -> bytes:
    """Key of a resource: NUL-separated, so that the resources of one account and region are a range, by name."""
    return "\0".join((kind, account, region, name)).encode()


def resource_prefix(kind: str) -> tuple[bytes, bytes]:
    """The range [start, stop) of all resources of a kind."""
    prefix = kind.encode() + b"\0"
    return prefix, kind.encode() + b"\x01"
