"""`heddle` on a disk that fails: once the file that the first argument names exists, no commit succeeds any more.

Run as a program, in place of `python -m broker`.
"""

import sys
from pathlib import Path

from broker.cli import main
from broker.store.engine import EngineError
from broker.store.lmdb_engine import LmdbEngine
from broker.store.write_batch import WriteBatch

_apply = LmdbEngine.apply


def _failing(self: LmdbEngine, batch: WriteBatch) -> None:
    if _trigger.exists():
        raise EngineError("the commit failed: Input/output error", fatal=True)
    _apply(self, batch)


if __name__ == "__main__":
    _trigger = Path(sys.argv.pop(1))
    LmdbEngine.apply = _failing  # type: ignore[method-assign]
    main()
