"""What a data directory says of itself: the schema version, and the identity of the store.

Never: changes to a directory that a newer Heddle wrote.
"""

from broker.errors import DataFileForeign, SchemaTooNew
from broker.store.engine import Engine
from broker.store.keys import META_SCHEMA, META_STORE_ID, SCHEMA_VERSION, Table, u64, u64_value
from broker.store.write_batch import WriteBatch


def initialise(engine: Engine, *, new_store_id: bytes) -> None:
    """Makes an empty store Heddle's, or checks that it is. Raises SchemaTooNew, DataFileForeign."""
    stored = engine.get(Table.META, META_SCHEMA)
    if stored is None:
        for table in Table:
            if engine.scan(table, b"", b"\xff" * 64, limit=1):
                raise DataFileForeign("the data directory holds records, but no schema version: it is not Heddle's")
        batch = WriteBatch()
        batch.put(Table.META, META_SCHEMA, u64(SCHEMA_VERSION))
        batch.put(Table.META, META_STORE_ID, new_store_id)
        engine.apply(batch)
        return
    version = u64_value(stored)
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"the data directory has schema version {version}, this Heddle reads up to {SCHEMA_VERSION}: "
            "run the newer version, or restore a backup made before the upgrade"
        )
