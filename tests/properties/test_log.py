"""A log beside a list of its messages."""

from collections.abc import Callable

from heddle.v1.message_pb2 import Message, MessageBatch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.limits import COALESCED_BATCH_BYTES_MAX, COALESCED_BATCH_MS_MAX
from broker.log import Batches, Entry, Log
from broker.store import InlineCommitter, Store, Table
from broker.store.keys import SEQUENCE_END, pair
from broker.store.memory import MemoryEngine

_LOG_ID = 3


class LogMachine(RuleBasedStateMachine):
    """``model``: the body and the time of each message whose entry is left, by sequence number."""

    @initialize()
    def start(self) -> None:
        self.engine = MemoryEngine()
        self.model: dict[int, tuple[bytes, int]] = {}
        self.entries: dict[int, int] = {}  # base -> end
        self.now_ms = 1
        self.sent = 0
        self._open(next_sequence=1)

    def _open(self, next_sequence: int) -> None:
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        self.store.start(InlineCommitter(self.engine, self.store.committed, call_soon=self.steps.append))
        # The smallest cache: everything else is read again.
        self.batches = Batches(self.store, cache_bytes=1)
        self.log = Log(self.store, self.batches, _LOG_ID, start=0, next_sequence=next_sequence)

    @rule(
        count=st.integers(1, 4),
        later_ms=st.sampled_from([0, 0, 1, 7, COALESCED_BATCH_MS_MAX, -1]),
        sender=st.sampled_from(["a", "a", "b"]),
    )
    def append(self, count: int, later_ms: int, sender: str) -> None:
        self.now_ms += later_ms
        bodies = [b"%d" % (self.sent + index) for index in range(count)]
        self.sent += count
        packed = MessageBatch(messages=[Message(body=body) for body in bodies]).SerializeToString()
        base, _, _ = self.log.append(packed, count, self.now_ms, sender)
        assert base == self.log.next_sequence - count
        self.model.update({base + index: (body, self.now_ms) for index, body in enumerate(bodies)})

    @rule(steps=st.integers(1, 6))
    def commit(self, steps: int) -> None:
        while self.steps and steps:
            self.steps.pop(0)()
            steps -= 1

    @rule()
    def restart(self) -> None:
        while self.steps:
            self.steps.pop(0)()
        self._open(self.log.next_sequence)

    @rule(sequence=st.integers(0, 60))
    def trim(self, sequence: int) -> None:
        entry = self.log.entry_at(sequence)
        if entry is not None:
            self.log.trim(entry)
            for gone in range(entry.base, entry.end):
                del self.model[gone]
            assert self.log.entry_at(sequence) is None

    @rule(first=st.integers(0, 60), length=st.integers(0, 30))
    def look(self, first: int, length: int) -> None:
        found: list[int] = []
        for entry, lo, hi in list(self.log.slices(first, first + length)):
            assert entry.base <= lo < hi <= entry.end
            found.extend(range(lo, hi))
            self._check(entry, lo, hi)
        assert found == [sequence for sequence in sorted(self.model) if first <= sequence < first + length]

    @rule(sequence=st.integers(0, 60))
    def look_for_the_next(self, sequence: int) -> None:
        entry = self.log.first_entry(sequence)
        bases = {self._entry(known).base for known in self.model}
        assert (None if entry is None else entry.base) == min(
            (base for base in bases if base >= sequence), default=None
        )

    @rule()
    def forget(self) -> None:
        if self.sent > 40:
            start = self.log.forget()
            assert start == self.log.next_sequence
            for key, _ in self.store.scan(Table.ENTRIES, pair(_LOG_ID, 0), pair(_LOG_ID, start), limit=1000):
                self.store.delete(Table.ENTRIES, key)
            self.model.clear()

    def _entry(self, sequence: int) -> Entry:
        entry = self.log.entry_at(sequence)
        assert entry is not None
        return entry

    def _check(self, entry: Entry, lo: int, hi: int) -> None:
        assert entry.nbytes <= COALESCED_BATCH_BYTES_MAX
        batch = self.batches.read(entry.batch_id)
        assert batch is not None
        for sequence in range(lo, hi):
            message = batch.message(entry.first_index + sequence - entry.base)
            body, sent_ms = self.model[sequence]
            assert message.body == body
            # That of the last that joined, and of nobody's from another moment.
            assert entry.appended_at_ms == max(self.model[held][1] for held in range(entry.base, entry.end))
            assert 0 <= entry.appended_at_ms - sent_ms <= COALESCED_BATCH_MS_MAX

    @invariant()
    def every_message_has_one_entry(self) -> None:
        for sequence in self.model:
            entry = self._entry(sequence)
            assert entry.base <= sequence < entry.end
        assert self.log.entry_at(self.log.next_sequence) is None

    @invariant()
    def what_is_written_is_the_model(self) -> None:
        written = [
            Entry.decode(key, record)
            for key, record in self.store.scan(
                Table.ENTRIES, pair(_LOG_ID, self.log.start), pair(_LOG_ID, SEQUENCE_END), limit=1000
            )
        ]
        sequences = [sequence for entry in written for sequence in range(entry.base, entry.end)]
        assert sequences == sorted(set(sequences))
        assert set(sequences) <= self.model.keys()


LogMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestLog = LogMachine.TestCase
