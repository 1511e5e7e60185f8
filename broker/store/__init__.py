"""The store: what is durable, and when.

LMDB underneath, a write batch as the only form of change, one committer. Never: knowledge of what a message means.
"""

from broker.store.backup import backup
from broker.store.engine import Engine, EngineError, EngineFull
from broker.store.keys import Table
from broker.store.store import Commit, Committer, Flushable, InlineCommitter, Store, ThreadCommitter
from broker.store.write_batch import WriteBatch

__all__ = [
    "Commit",
    "Committer",
    "Engine",
    "EngineError",
    "EngineFull",
    "Flushable",
    "InlineCommitter",
    "Store",
    "Table",
    "ThreadCommitter",
    "WriteBatch",
    "backup",
]
