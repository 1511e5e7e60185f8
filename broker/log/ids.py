"""Ids that are never given out twice by one store: of batches and of deliveries.

An id is a generation and a count. The generation grows with every start, durably with the first commit, and the count
only within the process, also over failed commits. So an id that a crash or a failed commit took back with its record
does not come again, and giving out ids writes nothing.
"""

from typing import Final

from broker.store import Store, Table
from broker.store.keys import META_GENERATION, u64, u64_value

_COUNT_BITS: Final = 40
"""A trillion ids between two starts; the generation has the 24 bits above."""


class Ids:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._generation = _stored_generation(store) + 1
        self._last = self._generation << _COUNT_BITS
        self.reset()

    def reset(self) -> None:
        """After a failed commit, which may have been the one with the generation."""
        if _stored_generation(self._store) < self._generation:
            self._store.put(Table.META, META_GENERATION, u64(self._generation))

    def new(self) -> int:
        self._last += 1
        return self._last


def generation_of(identifier: int) -> int:
    return identifier >> _COUNT_BITS


def _stored_generation(store: Store) -> int:
    stored = store.get(Table.META, META_GENERATION)
    return 0 if stored is None else u64_value(stored)
