"""A store of a fixed size, filled by whatever sends fit: what is in it can always be deleted."""

from pathlib import Path

import pytest

from broker.store import EngineFull, Table, WriteBatch
from broker.store.keys import u64
from broker.store.lmdb_engine import LmdbEngine

MIB = 2**20


@pytest.mark.parametrize("sizes", [(1_000_000, 80_000, 5_000, 10), (10,), (3_000,), (120_000,)])
def test_a_full_store_can_be_emptied(sizes: tuple[int, ...], tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, map_bytes_max=4 * MIB)
    number = 0
    for size in sizes:
        with pytest.raises(EngineFull, match=rf"its largest size, {4 * MIB} bytes \(map_bytes_max\)"):
            while True:
                batch = WriteBatch()
                for _ in range(50):
                    batch.put(Table.BATCHES, u64(number), bytes(size))
                    batch.put(Table.ENTRIES, u64(number), b"entry")
                    number += 1
                engine.apply(batch)
    kept = [key for key, _ in engine.scan(Table.BATCHES, u64(0), u64(number), limit=2_000)]
    assert kept or sizes == (120_000,)  # fifty of which are more than the store
    for key in kept:  # each in a commit of its own, with a record of what is left
        batch = WriteBatch()
        batch.put(Table.RUNS, b"state", key * 20)
        batch.delete(Table.BATCHES, key)
        batch.delete(Table.ENTRIES, key)
        engine.apply(batch)
    assert not {key for key, _ in engine.scan(Table.BATCHES, u64(0), u64(number), limit=number)} & set(kept)
    again = WriteBatch()
    again.put(Table.BATCHES, u64(number), bytes(10_000))
    engine.apply(again)
    engine.close()
