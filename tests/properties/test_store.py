"""Reads of the store see the open batch over the one in flight over the engine; a write batch survives the wire."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.store import EngineFull, InlineCommitter, Store, Table, WriteBatch
from broker.store.memory import MemoryEngine

_keys = st.sampled_from([bytes([a]) + b"k" * b for a in range(6) for b in range(3)])
_values = st.binary(min_size=1, max_size=3)
_changes = st.lists(st.tuples(_keys, st.none() | _values), max_size=12)
_bounds = st.tuples(_keys, _keys).map(lambda pair: (min(pair), max(pair) + b"\xff"))
_batches = st.lists(
    st.tuples(st.sampled_from(list(Table)), st.binary(min_size=1, max_size=8), st.none() | st.binary(max_size=8)),
    max_size=20,
)


class _Later:
    """A loop that runs what it is given when told to."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], None]] = []

    def __call__(self, step: Callable[[], None]) -> None:
        self.steps.append(step)

    def run(self, count: int = 1 << 30) -> None:
        while self.steps and count:
            self.steps.pop(0)()
            count -= 1


def _change(store: Store, model: dict[bytes, bytes], changes: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in changes:
        if value is None:
            store.delete(Table.ENTRIES, key)
            model.pop(key, None)
        else:
            store.put(Table.ENTRIES, key, value)
            model[key] = value


def _started() -> tuple[Store, _Later, MemoryEngine]:
    engine, later = MemoryEngine(), _Later()
    store = Store(engine, call_soon=later)
    store.start(InlineCommitter(engine, store.committed, call_soon=later))
    return store, later, engine


class _Stuck:
    """A committer that never applies: what it was given stays in flight."""

    def submit(self, batch: WriteBatch) -> None:
        """Nothing happens."""

    def close(self) -> None:
        """Nothing to end."""


@given(
    at_rest=_changes,
    in_flight=_changes,
    in_the_open=_changes,
    bounds=_bounds,
    limit=st.integers(1, 8),
    reverse=st.booleans(),
)
def test_reads_see_every_layer(
    *,
    at_rest: list[tuple[bytes, bytes | None]],
    in_flight: list[tuple[bytes, bytes | None]],
    in_the_open: list[tuple[bytes, bytes | None]],
    bounds: tuple[bytes, bytes],
    limit: int,
    reverse: bool,
) -> None:
    store, later, _ = _started()
    model: dict[bytes, bytes] = {}
    _change(store, model, at_rest)
    later.run()
    store.start(_Stuck())
    _change(store, model, in_flight)
    later.run()
    _change(store, model, in_the_open)
    start, stop = bounds
    expected = sorted(((k, v) for k, v in model.items() if start <= k < stop), reverse=reverse)[:limit]
    assert store.scan(Table.ENTRIES, start, stop, limit=limit, reverse=reverse) == expected
    for key in {key for key, _ in at_rest + in_flight + in_the_open}:
        assert store.get(Table.ENTRIES, key) == model.get(key)
        pending = store.pending(Table.ENTRIES, key)
        assert pending is None or (key, pending) in in_flight + in_the_open


@given(st.lists(st.tuples(_changes, st.integers(0, 3), st.booleans()), max_size=8))
def test_a_failed_commit_takes_back_all_that_stands_on_it(
    rounds: list[tuple[list[tuple[bytes, bytes | None]], int, bool]],
) -> None:
    store, later, engine = _started()
    model: dict[bytes, bytes] = {}
    durable: dict[bytes, bytes] = {}
    for changes, steps, fails in rounds:
        _change(store, model, changes)
        commit = store.durable()
        if fails and commit is not None:
            later.run()  # what was before is durable
            durable = dict(model)
            engine.fail_next = EngineFull("full")
            _change(store, model, [*changes, (b"doomed", b"1")])
            doomed = store.durable()
            later.run()
            assert doomed is not None
            assert doomed.done
            assert doomed.error is not None
            model = dict(durable)
        else:
            later.run(steps)
    later.run()
    assert store.durable() is None
    assert dict(engine.scan(Table.ENTRIES, b"", b"\xff", limit=1000)) == model


@given(_batches)
def test_a_write_batch_is_the_same_after_the_wire(rows: list[tuple[Table, bytes, bytes | None]]) -> None:
    batch = WriteBatch()
    model: dict[tuple[Table, bytes], bytes | None] = {}
    for table, key, value in rows:
        model[table, key] = value
        if value is None:
            batch.delete(table, key)
        else:
            batch.put(table, key, value)
    assert {(table, key): value for table, key, value in batch} == model
    assert bool(batch) == bool(model)
    decoded = WriteBatch.decode(batch.encode())
    assert list(decoded) == list(batch)
    assert decoded.checksum(7) == batch.checksum(7)
    engines = MemoryEngine(), MemoryEngine()
    for engine, form in zip(engines, (batch, decoded), strict=True):
        engine.apply(form)
        for table, key, expected in batch:
            assert engine.get(table, key) == expected


@given(_batches.filter(bool), st.integers(0, 2**32 - 1))
def test_the_checksum_tells_batches_and_histories_apart(
    rows: list[tuple[Table, bytes, bytes | None]], previous: int
) -> None:
    batch, other = WriteBatch(), WriteBatch()
    for table, key, value in rows:
        for each in (batch, other):
            each.put(table, key, value or b"")
    assert batch.checksum(previous) == other.checksum(previous)
    other.put(Table.META, b"one more", b"record")
    assert batch.checksum(previous) != other.checksum(previous)
    assert batch.checksum(previous) != batch.checksum(previous ^ 1)


def test_a_write_batch_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        WriteBatch.decode(b"\x92\x02\x90")
