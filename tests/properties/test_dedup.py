"""The deduplication history of a FIFO queue beside a list of what was accepted."""

import copy
import gc
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.queues import dedup as dedup_module
from broker.queues import dedup_tables
from broker.queues.dedup import Dedup, Original
from broker.queues.dedup_tables import HashKey, IdTables
from broker.queues.runs import NEVER_MS
from broker.store import EngineFull, InlineCommitter, Store, Table, WriteBatch
from broker.store.keys import SEQUENCE_END, pair, pair_sequence
from broker.store.memory import MemoryEngine

_LOG_ID = 5
_WINDOW_MS = 60
_FIVE_MINUTES_MS = 300_000


def _five_values(key: Hashable) -> int:
    return hash(key) % 5


def _one_value(key: Hashable) -> int:
    return -1


@dataclass(frozen=True)
class _Accepted:
    original: Original
    id: str
    group: str
    accepted_ms: int


@dataclass
class _Model:
    """``last_ms``: when the last message was accepted; ``next_sequence``: that of the next."""

    accepted: list[_Accepted] = field(default_factory=list)
    last_ms: int = 0
    next_sequence: int = 1

    def original(self, message_id: str, group: str, now_ms: int, *, per_group: bool) -> Original | None:
        for message in reversed(self.accepted):
            if (
                message.id == message_id
                and (not per_group or message.group == group)
                and abs(now_ms - message.accepted_ms) < _WINDOW_MS
            ):
                return message.original
        return None


class _WatchedEngine(MemoryEngine):
    """Tells when a batch became durable, and counts the records that scans return."""

    def __init__(self, applied: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._applied = applied
        self.scanned = 0

    def apply(self, batch: WriteBatch) -> None:
        super().apply(batch)
        self._applied()

    def scan(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        found = super().scan(table, start, stop, limit=limit, reverse=reverse)
        self.scanned += len(found)
        return found


class DedupMachine(RuleBasedStateMachine):
    """With rows, tables and slices so small that all of their edges are met. ``durable``: the model as of the last
    commit."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch.multiple(dedup_module, _ROW_IDS_MAX=3, _ROWS_DECODED_MAX=2, _LOAD_ROWS_MAX=2, _EXPIRE_ROWS_MAX=2),
            patch.multiple(dedup_tables, _HOMES_MIN=4, _HOMES_GROWN_MAX=16, _HOMES_MAX=32, _FEW=3, _MOVED_AT_ONCE=2),
        ]
        for each in self.patches:
            each.start()

    def teardown(self) -> None:
        for each in self.patches:
            each.stop()

    @initialize(
        hash_key=st.sampled_from([hash, hash, _five_values, _one_value]),
        per_group=st.booleans(),
        quick=st.sampled_from([0, 5, 1000]),
    )
    def start(self, hash_key: HashKey, per_group: bool, quick: int) -> None:
        self.patches.append(patch.multiple(dedup_tables, _QUICK_IDS_MAX=quick, _QUICK_IDS_LEFT_MIN=1))
        self.patches[-1].start()
        self.hash_key, self.per_group = hash_key, per_group
        self.model, self.durable = _Model(), _Model()
        self.now_ms = 1000
        self.batch_id = 1
        self.engine = _WatchedEngine(self._committed)
        self._open()

    def _open(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        self.store.start(InlineCommitter(self.engine, self.store.committed, call_soon=self.steps.append))
        self.dedup = Dedup(self.store, _LOG_ID, window_ms=_WINDOW_MS, hash_key=self.hash_key)
        self.store.on_reset(self._reset)

    def _committed(self) -> None:
        self.durable = copy.deepcopy(self.model)

    def _reset(self) -> None:
        given_out = self.model.next_sequence
        self.model = copy.deepcopy(self.durable)
        self.model.next_sequence = given_out
        self.dedup.forget()

    def _drain(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    @rule(
        names=st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from("GH")), max_size=8),
        same_batch=st.booleans(),
        gap=st.sampled_from([0, 0, 0, 1, 5]),
    )
    def send(self, names: list[tuple[str, str]], same_batch: bool, gap: int) -> None:
        """What is no duplicate is accepted, after messages that came another way (a dead letter)."""
        ids, groups = [name[0] for name in names], [name[1] for name in names]
        found = self._ask(ids, groups)
        fresh = [index for index in range(len(names)) if index not in found]
        self.batch_id += not same_batch
        self._accept([ids[index] for index in fresh], [groups[index] for index in fresh], gap)

    @rule()
    def ask_for_all(self) -> None:
        self._ask(list("abcdefghijkl") * 2, ["G"] * 12 + ["H"] * 12)

    def _ask(self, ids: list[str], groups: list[str]) -> dict[int, Original | int]:
        expected: dict[int, Original | int] = {}
        seen: dict[Hashable, int] = {}
        for index, (message_id, group) in enumerate(zip(ids, groups, strict=True)):
            original = self.model.original(message_id, group, self.now_ms, per_group=self.per_group)
            earlier = seen.setdefault((group, message_id) if self.per_group else message_id, index)
            if original is not None:
                expected[index] = original
            elif earlier != index:
                expected[index] = earlier
        assert self.dedup.find(ids, groups, self.now_ms, per_group=self.per_group) == expected
        return expected

    def _accept(self, ids: list[str], groups: list[str], gap: int) -> None:
        model = self.model
        base, first_index = model.next_sequence + gap, model.next_sequence + gap + 100
        self.dedup.add(base, self.batch_id, first_index, ids, groups, self.now_ms)
        if not ids:
            return
        # Never before the one before; a clock set back by more than the window is believed.
        last_ms = model.last_ms
        model.last_ms = last_ms if self.now_ms < last_ms < self.now_ms + _WINDOW_MS else self.now_ms
        for index, name in enumerate(zip(ids, groups, strict=True)):
            original = Original(base + index, self.batch_id, first_index + index)
            model.accepted.append(_Accepted(original, *name, model.last_ms))
        model.next_sequence = base + len(ids)

    @rule(ms=st.sampled_from([0, 1, 7, 29, 30, 31, 59, 60, 200]))
    def wait(self, ms: int) -> None:
        self.now_ms += ms

    @rule(steps=st.integers(1, 6))
    def commit(self, steps: int) -> None:
        while self.steps and steps:
            self.steps.pop(0)()
            steps -= 1

    @rule(
        steps=st.integers(0, 2),
        expiring=st.booleans(),
        before=st.sampled_from("abc"),
        between=st.sampled_from([None, "a", "b", "c", "d"]),
    )
    def fail_commit(self, steps: int, expiring: bool, before: str, between: str | None) -> None:
        """``between``: sent when the commit has failed but nobody knows yet."""
        self.commit(steps)
        self.engine.fail_next = EngineFull("full")
        self.send([(before, "G"), ("z", "H")], same_batch=False, gap=0)
        if expiring:
            self.dedup.expire(self.now_ms)
        while self.steps:
            if between is not None and not self._commit_will_fail():
                self.send([(between, "G"), (before, "G")], same_batch=False, gap=0)
                between = None
            self.steps.pop(0)()
        self.engine.fail_next = None

    def _commit_will_fail(self) -> bool:
        return self.engine.fail_next is not None

    @rule(back_ms=st.sampled_from([0, 0, 1, 31, 59]), crash=st.booleans())
    def restart(self, back_ms: int, crash: bool) -> None:
        """After a crash the sequence numbers of what was not committed come again. The clock may be set back, but not
        over the end of what had expired (it may be remembered again or not), nor by a window in all."""
        if crash:
            self.model = copy.deepcopy(self.durable)
        else:
            self._drain()
            self.durable = copy.deepcopy(self.model)  # also where nothing was left to commit
        for message in self.model.accepted:
            age_ms = self.now_ms - message.accepted_ms
            back_ms = min(back_ms, age_ms - _WINDOW_MS if age_ms >= _WINDOW_MS else age_ms + _WINDOW_MS - 1)
        self.now_ms -= back_ms
        self._open()
        self.model.last_ms = max([message.accepted_ms for message in self.model.accepted], default=0)

    @rule()
    def clear(self) -> None:
        self.dedup.clear()
        self.model.accepted.clear()
        self.model.last_ms = 0

    @rule()
    def expire(self) -> None:
        rows = self._rows()
        more = self.dedup.expire(self.now_ms)
        assert len(rows) - len(self._rows()) <= 2
        if more:
            assert self.dedup.next_due_ms() <= self.now_ms

    @rule()
    def expire_all(self) -> None:
        while self.dedup.expire(self.now_ms):
            pass
        assert self.dedup.next_due_ms() > self.now_ms
        alive = {
            message.original.sequence
            for message in self.model.accepted
            if abs(self.now_ms - message.accepted_ms) < _WINDOW_MS
        }
        assert all(alive & set(range(base, base + count)) for base, count in self._rows())

    @rule()
    def load_a_slice(self) -> None:
        self.dedup.load(self.now_ms, per_group=self.per_group)

    @rule()
    def change_scope(self) -> None:
        self.per_group = not self.per_group

    def _rows(self) -> list[tuple[int, int]]:
        """(first sequence number, count of ids) of the rows that the store would show."""
        start, stop = pair(_LOG_ID, 1), pair(_LOG_ID, SEQUENCE_END)
        rows = self.store.scan(Table.DEDUP, start, stop, limit=1000)
        return [(pair_sequence(key), len(dedup_module._Row.decode(key, record).ids)) for key, record in rows]

    @invariant()
    def rows_are_in_order(self) -> None:
        end = 0
        for base, count in self._rows():
            assert end <= base
            assert 1 <= count <= 3
            end = base + count


DedupMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDedup = DedupMachine.TestCase


class _Queue:
    """A history on a store of its own, with the bounds of production; each send takes the next sequence numbers."""

    def __init__(self, *, hash_key: HashKey = hash, first_sequence: int = 1) -> None:
        self.engine = _WatchedEngine()
        self.next_sequence = first_sequence
        self.hash_key = hash_key
        self.restart()

    def restart(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        self.store.start(InlineCommitter(self.engine, self.store.committed, call_soon=self.steps.append))
        self.dedup = Dedup(self.store, _LOG_ID, hash_key=self.hash_key)
        self.store.on_reset(self.dedup.forget)

    def send(self, ids: list[str], now_ms: int) -> None:
        """Batch id and index are those of a batch for each send."""
        self.dedup.add(self.next_sequence, self.next_sequence, 0, ids, ["g"] * len(ids), now_ms)
        self.next_sequence += len(ids)

    def find(self, ids: list[str], now_ms: int, *, per_group: bool = False) -> dict[int, Original | int]:
        return self.dedup.find(ids, ["g"] * len(ids), now_ms, per_group=per_group)

    def commit(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    def rows(self) -> int:
        start, stop = pair(_LOG_ID, 0), pair(_LOG_ID, SEQUENCE_END)
        return len(MemoryEngine.scan(self.engine, Table.DEDUP, start, stop, limit=1 << 30))


def _ids(first: int, count: int) -> list[str]:
    return [f"order-{number}" for number in range(first, first + count)]


@pytest.fixture
def in_bytes() -> Iterator[None]:
    """No table is a dict."""
    with patch.object(dedup_tables, "_QUICK_IDS_MAX", 0):
        yield


def test_the_window_ends_five_minutes_after_the_accepted_send() -> None:
    queue = _Queue()
    queue.send(["a"], 1000)
    last_ms = 1000 + _FIVE_MINUTES_MS - 1
    for now_ms in (1000, 1000 + _FIVE_MINUTES_MS // 2, last_ms):  # finding it does not extend the window
        assert queue.find(["a"], now_ms) == {0: Original(1, 1, 0)}
        queue.commit()
    assert queue.find(["a"], last_ms + 1) == {}


def test_after_a_change_of_scope_the_newest_message_is_the_original() -> None:
    queue = _Queue()
    for minute, group in enumerate("GHI"):
        now_ms = minute * 120_000
        assert queue.dedup.find(["a"], [group], now_ms, per_group=True) == {}
        queue.dedup.add(minute + 1, minute + 1, 0, ["a"], [group], now_ms)
        queue.commit()
    assert queue.dedup.find(["a"], ["G"], now_ms, per_group=True) == {0: Original(1, 1, 0)}
    assert queue.dedup.find(["a"], ["G"], now_ms, per_group=False) == {0: Original(3, 3, 0)}
    assert queue.dedup.find(["a"], ["G"], now_ms + _FIVE_MINUTES_MS - 1, per_group=False) == {0: Original(3, 3, 0)}
    assert queue.dedup.find(["a"], ["I"], now_ms + _FIVE_MINUTES_MS, per_group=True) == {}


@pytest.mark.parametrize("quick", [0, 1 << 17])
def test_a_change_of_scope_leaves_no_long_way_under_one_id(quick: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One id in 100,000 groups: no lookup of it, nor of another, walks along all of them."""
    monkeypatch.setattr(dedup_tables, "_QUICK_IDS_MAX", quick)
    queue, count = _Queue(), 100_000
    for first in range(0, count, 500):
        groups = [f"g{number}" for number in range(first, first + 500)]
        assert queue.dedup.find(["a"] * 500, groups, 1000, per_group=True) == {}
        queue.dedup.add(1 + first, 1 + first, 0, ["a"] * 500, groups, 1000 + first)
        queue.commit()
    newest_ms = 1000 + count - 500
    while queue.dedup.load(newest_ms, per_group=False):
        pass
    with patch.object(
        dedup_tables._Table, "_sequence", autospec=True, side_effect=dedup_tables._Table._sequence
    ) as place:
        last_ms = newest_ms + _FIVE_MINUTES_MS - 1
        for now_ms in (newest_ms, last_ms):
            queue.engine.scanned = 0
            assert queue.find(["a"], now_ms) == {0: Original(count, count - 499, 499)}
            assert queue.find(["a", "b", "a"], now_ms) == {
                0: Original(count, count - 499, 499),
                2: Original(count, count - 499, 499),
            }
            assert queue.find(_ids(0, 100), now_ms) == {}
            assert queue.engine.scanned <= 2
        # Expired and not deleted yet; the older ones deleted; all of them.
        assert queue.find(["a"], last_ms + 1) == {}
        while queue.dedup.expire(last_ms):
            queue.commit()
        assert queue.find(["a"], last_ms) == {0: Original(count, count - 499, 499)}
        while queue.dedup.expire(last_ms + 1):
            queue.commit()
        assert queue.find(["a"], last_ms + 1) == {}
        assert place.call_count <= 20


def test_a_change_of_scope_reads_the_history_in_slices() -> None:
    queue = _Queue()
    for number in range(100):
        queue.send(_ids(number, 1), 1000)
        queue.commit()
    assert queue.find(["order-7"], 1000) == {0: Original(8, 8, 0)}
    for per_group in (True, False):
        queue.engine.scanned, slices = 0, 1
        while queue.dedup.load(1000, per_group=per_group):
            slices += 1
            assert queue.engine.scanned <= 8 * slices + 20
        assert slices == 13
        assert queue.find(["order-7", "new"], 1000, per_group=per_group) == {0: Original(8, 8, 0)}


def test_messages_that_share_a_row_expire_one_after_the_other() -> None:
    queue = _Queue()
    queue.dedup.add(1, 7, 0, ["a", "b"], ["g", "g"], 1000)
    queue.dedup.add(3, 7, 2, ["c"], ["g"], 1001)
    queue.commit()
    assert queue.rows() == 1
    queue.restart()
    everything = {0: Original(1, 7, 0), 1: Original(2, 7, 1), 2: Original(3, 7, 2)}
    assert queue.find(["a", "b", "c"], 1000 + _FIVE_MINUTES_MS - 1) == everything
    assert queue.find(["a", "b", "c"], 1000 + _FIVE_MINUTES_MS) == {2: Original(3, 7, 2)}
    assert queue.find(["a", "b", "c"], 1001 + _FIVE_MINUTES_MS) == {}


@pytest.mark.parametrize("hash_key", [_one_value, _five_values])
def test_ids_whose_hashes_meet_are_told_apart(hash_key: HashKey) -> None:
    queue = _Queue(hash_key=hash_key)
    for first in range(0, 400, 100):
        queue.send(_ids(first, 100), 1000)
        queue.commit()
    queue.send(_ids(400, 10), 1000)
    assert queue.find(_ids(1000, 20), 1000) == {}
    for _ in range(2):
        found = queue.find(_ids(395, 10), 1000)
        assert found == {
            **{index: Original(396 + index, 301, 95 + index) for index in range(5)},
            **{index: Original(396 + index, 401, index - 5) for index in range(5, 10)},
        }
        queue.commit()
        queue.restart()


def test_sequence_numbers_may_be_as_large_as_they_can() -> None:
    queue = _Queue(first_sequence=SEQUENCE_END - 700)
    queue.send(_ids(0, 600), 1000)
    for _ in range(2):
        assert queue.find(["order-599", "new"], 1000) == {0: Original(SEQUENCE_END - 101, SEQUENCE_END - 700, 599)}
        queue.commit()
        queue.restart()


def test_sends_of_one_commit_share_rows() -> None:
    queue = _Queue()
    for first in range(0, 500, 10):
        queue.send(_ids(first, 10), 1000 + first)
    queue.commit()
    assert queue.rows() == 1
    queue.send(_ids(1000, 10_000), 2000)
    queue.commit()
    assert queue.rows() == 1 + 20
    queue.restart()
    assert queue.find(["order-495", "order-10999"], 2000) == {0: Original(496, 491, 5), 1: Original(10_500, 501, 9999)}


def test_expiry_works_in_slices_and_reads_no_more_than_it_deletes() -> None:
    queue = _Queue()
    for number in range(200):
        queue.send(_ids(number, 1), 1000 + number)
        queue.commit()
    assert queue.rows() == 200
    now_ms = 1000 + _FIVE_MINUTES_MS + 99  # a hundred have expired
    deleted = []
    more = True
    while more:
        before, queue.engine.scanned = queue.rows(), 0
        more = queue.dedup.expire(now_ms)
        assert queue.engine.scanned <= 2 * 64
        queue.commit()
        deleted.append(before - queue.rows())
    assert deleted == [64, 36]
    assert not queue.dedup.expire(now_ms)
    assert queue.rows() == 100
    assert now_ms < queue.dedup.next_due_ms() <= now_ms + _FIVE_MINUTES_MS


def test_nothing_is_due_while_the_history_is_empty() -> None:
    queue = _Queue()
    assert queue.dedup.next_due_ms() == NEVER_MS
    queue.send(["a"], 1000)
    queue.commit()
    due_ms = queue.dedup.next_due_ms()
    assert 1000 + _FIVE_MINUTES_MS <= due_ms <= 1000 + _FIVE_MINUTES_MS + 5000
    queue.restart()
    assert queue.dedup.next_due_ms() == due_ms
    assert not queue.dedup.expire(due_ms)
    queue.commit()
    assert queue.rows() == 0
    assert queue.dedup.next_due_ms() == NEVER_MS
    assert queue.dedup.table_bytes == 0


def test_a_cleared_history_is_deleted_in_slices_and_at_once_forgotten() -> None:
    queue = _Queue()
    for number in range(100):
        queue.send(_ids(number, 1), 1000)
        queue.commit()
    queue.dedup.clear()
    assert queue.find(_ids(0, 100), 1000) == {}
    assert queue.dedup.table_bytes == 0
    queue.send(["order-1"], 1000)
    queue.commit()
    assert queue.rows() == 1 + 100 + 1  # what says so, the cleared, the new
    queue.restart()
    assert queue.find(_ids(0, 100), 1000) == {1: Original(101, 101, 0)}
    while queue.dedup.expire(1000):
        queue.commit()
    queue.commit()
    assert queue.rows() == 1
    queue.restart()
    assert queue.find(_ids(0, 100), 1000) == {1: Original(101, 101, 0)}


def test_loading_reads_what_is_in_the_window_only() -> None:
    queue = _Queue()
    for number in range(1000):
        queue.send(_ids(number, 1), 1000 + number)
        queue.commit()
    for alive in (1000, 999, 500, 10, 3, 2, 1, 0):
        queue.restart()
        queue.engine.scanned = 0
        found = queue.find(_ids(0, 1000), 1000 + _FIVE_MINUTES_MS + 999 - alive)
        assert sorted(found) == list(range(1000 - alive, 1000))
        assert queue.engine.scanned <= 2 * alive + 20


def test_loading_can_be_done_in_slices() -> None:
    queue = _Queue()
    for number in range(100):
        queue.send(_ids(number, 1), 1000)
        queue.commit()
    queue.restart()
    slices = 1
    while queue.dedup.load(1000, per_group=False):
        slices += 1
    assert slices == 13
    queue.engine.scanned = 0
    assert queue.find(["new"], 1000) == {}
    assert queue.engine.scanned == 0


def test_a_failed_commit_costs_no_loading_unless_it_took_back_a_clearing() -> None:
    queue = _Queue()
    for number in range(100):
        queue.send(_ids(number, 1), 1000)
        queue.commit()
    assert queue.find(["order-7"], 1000) == {0: Original(8, 8, 0)}

    queue.send(["lost"], 1000)
    queue.engine.fail_next = EngineFull("full")
    queue.commit()
    queue.engine.scanned = 0
    assert queue.find(["lost", "order-7"], 1000) == {1: Original(8, 8, 0)}
    assert queue.engine.scanned < 10

    queue.dedup.clear()
    queue.engine.fail_next = EngineFull("full")
    assert queue.find(["order-7"], 1000) == {}
    queue.commit()
    assert queue.find(["order-7"], 1000) == {0: Original(8, 8, 0)}


def test_a_clock_set_back_a_little_leaves_the_history_in_order() -> None:
    queue = _Queue()
    for number, now_ms in enumerate((1000, 61_000, 31_000, 41_000, 71_000)):
        queue.send(_ids(number, 1), now_ms)
        queue.commit()
        queue.restart()
    for now_ms, alive in ((60_999, {1, 2, 3, 4}), (61_000, {4}), (70_999, {4}), (71_000, set())):
        queue.restart()
        assert queue.find(_ids(0, 5), now_ms + _FIVE_MINUTES_MS).keys() == alive


def test_a_clock_set_back_by_an_hour_is_believed() -> None:
    queue = _Queue()
    hour_ms = 3_600_000
    for number in range(40):
        queue.send(_ids(number, 1), 2 * hour_ms + number)
        queue.commit()
    queue.restart()
    assert queue.find(["order-1"], hour_ms) == {}
    queue.send(["order-1"], hour_ms)
    assert queue.find(["order-1"], hour_ms + _FIVE_MINUTES_MS - 1) == {0: Original(41, 41, 0)}
    assert queue.find(["order-1"], hour_ms + _FIVE_MINUTES_MS) == {}
    assert queue.dedup.next_due_ms() <= hour_ms
    while queue.dedup.expire(hour_ms):
        pass
    queue.commit()
    assert queue.rows() == 1


@pytest.mark.parametrize(("quick", "bytes_an_id"), [(0, (10, 28)), (1 << 18, (80, 200))])
def test_memory_is_bounded_by_rate_and_window(
    quick: int, bytes_an_id: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fourteen minutes at 50,000 ids a minute."""
    monkeypatch.setattr(dedup_tables, "_QUICK_IDS_MAX", quick)
    queue = _Queue()
    minute_ms, batch = 60_000, 500
    most_bytes = 0
    for number in range(1400):
        now_ms = 1000 + number * minute_ms // 100
        queue.send(_ids(number * batch, batch), now_ms)
        queue.commit()
        if queue.dedup.next_due_ms() <= now_ms:
            while queue.dedup.expire(now_ms):
                queue.commit()
        if number > 800:  # the table of the first half window, which grew, is gone
            most_bytes = max(most_bytes, queue.dedup.table_bytes)
    in_window = 5 * 100 * batch
    least, most = bytes_an_id
    assert least * in_window <= most_bytes <= most * in_window
    assert queue.rows() <= 5 * 100 + 10
    assert queue.find(_ids(1399 * batch, batch), now_ms)[batch - 1] == Original(1400 * batch, 1399 * batch + 1, 499)


@pytest.mark.parametrize("ids", [1, 5000, 70_000])
def test_dicts_grow_with_the_ids_and_give_their_room_back(ids: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup_tables, "_QUICK_IDS_MAX", 1 << 17)
    gc.collect()  # the histories of other tests
    left = dedup_tables._QuickTable.ids_left()
    tables = IdTables(_FIVE_MINUTES_MS, hash)
    for first in range(0, ids, 500):
        tables.add(_ids(first, min(500, ids - first)), 1 + first, 1000)
        assert tables.nbytes <= 190 * (first + 500)  # 120 on average, 190 when the dict has just grown
    assert dedup_tables._QuickTable.ids_left() == left - ids
    tables.drop(1000 + _FIVE_MINUTES_MS)
    assert dedup_tables._QuickTable.ids_left() == left


def test_dicts_of_all_histories_share_a_bound() -> None:
    gc.collect()  # the histories of other tests
    taken = dedup_tables._QUICK_IDS_IN_ALL_MAX - dedup_tables._QuickTable.ids_left()
    with patch.object(dedup_tables, "_QUICK_IDS_IN_ALL_MAX", 10_000 + taken):
        histories = [IdTables(_FIVE_MINUTES_MS, hash) for _ in range(4)]
        for first in range(0, 8000, 10):
            for tables in histories:
                tables.add(_ids(first, 10), 1 + first, 1000)
        assert dedup_tables._QuickTable.ids_left() == 0
        for tables in histories:
            assert sorted(_places(tables, _ids(0, 8000))) == [(place, 1 + place) for place in range(8000)]
        assert sum(isinstance(each, dedup_tables._Table) for tables in histories for each in tables._tables) == 4


@pytest.mark.usefixtures("in_bytes")
@pytest.mark.parametrize("ids", [1, 5000, 70_000])
def test_tables_grow_with_the_ids(ids: int) -> None:
    tables = IdTables(_FIVE_MINUTES_MS, hash)
    most_bytes = 0
    for first in range(0, ids, 500):
        tables.add(_ids(first, min(500, ids - first)), 1 + first, 1000)
        most_bytes = max(most_bytes, tables.nbytes)
    # A larger index has four times the homes of one that is three quarters full, and is built beside it.
    assert most_bytes <= 2 * 9 * ids + (4 + 1) * 4 * max(4096, ids * 4 // 3)
    tables.drop(1000 + _FIVE_MINUTES_MS - 1)
    assert tables.nbytes
    tables.drop(1000 + _FIVE_MINUTES_MS)
    assert not tables.nbytes


def _places(tables: IdTables, ids: list[str]) -> list[tuple[int, int]]:
    return [(index, sequence) for index, sequences in tables.find(ids) for sequence in sequences]


@pytest.mark.usefixtures("in_bytes")
@pytest.mark.parametrize("batch", [1, 10, 500, 20_000])
def test_tables_find_every_id_and_hardly_any_other(batch: int) -> None:
    tables = IdTables(_FIVE_MINUTES_MS, hash)
    for first in range(0, 20_000, batch):
        tables.add(_ids(first, batch), 1 + first, 1000)
    found = set(_places(tables, _ids(0, 20_000)))
    assert found >= {(index, 1 + index) for index in range(20_000)}
    assert len(found) < 20_000 + 20
    assert len(_places(tables, _ids(100_000, 20_000))) < 20
    assert [_places(tables, [each]) for each in _ids(7000, 5)] == [[(0, 7001 + place)] for place in range(5)]


@pytest.mark.usefixtures("in_bytes")
def test_an_index_that_grows_is_searched_all_the_while() -> None:
    """One id a step: the index of 4096 homes grows at 3072 ids, and is replaced some hundred ids later."""
    tables = IdTables(_FIVE_MINUTES_MS, hash)
    sizes = set()
    for number in range(4500):
        tables.add([f"order-{number}"], 1 + number, 1000)
        sizes.add(tables.nbytes - 9 * (number + 1))
        asked = [number, number // 2, 0]
        assert [each for _, each in _places(tables, [f"order-{each}" for each in asked])] == [
            1 + each for each in asked
        ]
        assert _places(tables, [f"order-{number + 1}"]) == []
    assert len(sizes) > 6  # while it grew, the larger one took ever more beside it
    assert len(tables._tables) == 1
