"""The store as planes see it: one open write batch, reads that see what is not committed yet, and group commit.

All methods belong to one thread (the main thread). Changes gather in the open batch; when no commit is under way the
batch is sealed and handed to the committer, and everything that arrives meanwhile shares the next one. Nothing else
writes the engine.

The commit rule: a response that rests on anything seen here waits for ``durable()``. When a commit fails, its batch and
the open one (built on it) are dropped, the planes reload from the engine (``on_reset``), and only then do the waiting
callers learn of it: memory is never ahead of the disk.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final, Protocol

import msgpack

from broker.errors import StorageUnavailable
from broker.store.engine import Engine, EngineError, EngineFull
from broker.store.keys import META_POSITION, Table
from broker.store.write_batch import WriteBatch

CallLater = Callable[[Callable[[], None]], object]
"""Runs a function on the main thread, later: a loop's ``call_soon`` or the like."""


_SCAN_AHEAD: Final = 8  # records read beyond those wanted, where some may be deleted
_GATHER_SECONDS_MAX: Final = 0.002
_QUIET_TURN_SECONDS: Final = 0.00004
_QUIET_TURNS: Final = 2


class Flushable(Protocol):
    """Something that writes its changed records once a commit, at the seal, and not at every change."""

    def flush(self) -> None: ...


class Commit:
    """The durability of everything that was in the open batch when this was taken: pending, then done or failed."""

    __slots__ = ("_callbacks", "done", "error")

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Commit], None]] = []
        self.done = False
        self.error: StorageUnavailable | None = None

    def add_done_callback(self, callback: Callable[["Commit"], None]) -> None:
        """Calls back on the main thread, at once when already settled."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[["Commit"], None]) -> None:
        """Forgets a callback, for a caller that went away. Nothing happens when it is not there."""
        if callback in self._callbacks:
            self._callbacks.remove(callback)

    def settle(self, error: StorageUnavailable | None) -> None:
        self.done, self.error = True, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


class Committer(Protocol):
    """Applies sealed batches one after the other and reports each on the main thread."""

    def submit(self, batch: WriteBatch) -> None: ...

    def close(self) -> None: ...


Report = Callable[[EngineError | None], None]


@dataclass(slots=True)
class StoreStatistics:
    commits: int = 0
    committed_bytes: int = 0
    failed_commits: int = 0


class Store:
    """``call_soon`` runs a function on the main thread after the current step; it is how small changes that happen
    together come to share a commit. ``call_relaxed`` runs one after the interval of relaxed durability: with it,
    answers do not wait for commits, and a crash may lose what was acknowledged since the last one. ``gather_clock``:
    seconds; with it, a commit waits for a burst to end (see ``_gather``).
    """

    def __init__(
        self,
        engine: Engine,
        *,
        call_soon: CallLater,
        call_relaxed: CallLater | None = None,
        gather_clock: Callable[[], float] | None = None,
    ) -> None:
        self.engine = engine
        self.statistics = StoreStatistics()
        self.full: EngineFull | None = None
        """Why new messages are refused at present; None when they are taken."""
        self.fatal: EngineError | None = None
        self._call_soon, self._call_relaxed = call_soon, call_relaxed
        self._gather_clock = gather_clock
        self._callers = 0  # who wait for the open batch
        self._submit_scheduled = False
        self._committer: Committer | None = None
        self._open = WriteBatch()
        self._open_commit = Commit()
        self._dirty: dict[Flushable, None] = {}
        self._in_flight: WriteBatch | None = None
        self._in_flight_commit: Commit | None = None
        self._seal_scheduled = False
        self._sealing = False
        self._admission: deque[Callable[[], None]] = deque()
        self._on_reset: list[Callable[[], None]] = []
        self._on_fatal: list[Callable[[EngineError], None]] = []
        self.bytes_in_flight_max = 1 << 26
        self.appended_bytes = 0
        """Bytes of messages appended to the open batch and not yet in its records (they are written at the seal)."""

    def start(self, committer: Committer) -> None:
        self._committer = committer
        if self._has_changes():
            self._schedule_seal()

    def on_reset(self, callback: Callable[[], None]) -> None:
        """``callback`` drops in-memory state that a failed commit made untrue, so that it is read from disk again."""
        self._on_reset.append(callback)

    def on_fatal(self, callback: Callable[[EngineError], None]) -> None:
        """``callback`` learns of an error after which the process must end."""
        self._on_fatal.append(callback)

    # --- changes

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._open.put(table, key, value)
        self._schedule_seal()

    def delete(self, table: Table, key: bytes) -> None:
        self._open.delete(table, key)
        self._schedule_seal()

    def touch(self, flushable: Flushable) -> None:
        """``flushable`` has changed: its ``flush`` is called once, when the open batch is sealed."""
        self._dirty[flushable] = None
        self._schedule_seal()

    # --- reads: the open batch first, then the one in flight, then the engine

    def get(self, table: Table, key: bytes) -> bytes | None:
        for batch in (self._open, self._in_flight):
            if batch is not None:
                rows = batch.tables.get(table)
                if rows is not None and key in rows:
                    return rows[key]
        return self.engine.get(table, key)

    def pending(self, table: Table, key: bytes) -> bytes | None:
        """The value where it is not committed yet, without touching the engine."""
        for batch in (self._open, self._in_flight):
            if batch is not None and (rows := batch.tables.get(table)) is not None and key in rows:
                return rows[key]
        return None

    def scan(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """At most ``limit`` records of [start, stop), in key order, or from the end when ``reverse``."""
        layers = [batch for batch in (self._open, self._in_flight) if batch is not None and table in batch.tables]
        if not layers:
            return self.engine.scan(table, start, stop, limit=limit, reverse=reverse)
        found: dict[bytes, bytes] = {}
        for batch in layers:
            for key in batch.put_keys(table, start, stop):
                value = self.pending(table, key)
                if value is not None:
                    found[key] = value
        stored, ask = 0, limit + _SCAN_AHEAD
        while stored < limit:
            rows = self.engine.scan(table, start, stop, limit=ask, reverse=reverse)
            for key, value in rows:  # but for those that the layers have put anew, or deleted
                if not any(key in batch.tables[table] for batch in layers):
                    found[key] = value
                    stored += 1
            if len(rows) < ask:
                break
            start, stop = (start, rows[-1][0]) if reverse else (rows[-1][0] + b"\0", stop)
            ask *= 2
        return sorted(found.items(), reverse=reverse)[:limit]

    # --- durability

    def durable(self) -> Commit | None:
        """The commit after which everything seen and changed until now is on disk; None when there is nothing to wait
        for: it is there already, or durability is relaxed."""
        if self.fatal is not None:
            refused = Commit()
            refused.settle(_refusal(self.fatal))
            return refused
        if self._call_relaxed is not None:
            return None
        self._callers += 1
        return self.last_commit()

    @property
    def bytes_pending(self) -> int:
        in_flight = self._in_flight.nbytes if self._in_flight is not None else 0
        return self.appended_bytes + self._open.nbytes + in_flight

    @property
    def overloaded(self) -> bool:
        """More bytes wait for their commit than ``bytes_in_flight_max``: new sends should wait for room."""
        return self.bytes_pending > self.bytes_in_flight_max

    def has_room(self) -> bool:
        """Whether the engine has room for more than deletes."""
        return self.engine.free_bytes() > 0

    def when_room(self, callback: Callable[[], None]) -> None:
        """Calls back once after the next commit."""
        self._admission.append(callback)

    def seal(self) -> None:
        """Completes the open batch and submits it, unless a commit is under way or nothing has changed."""
        self._seal_scheduled = False
        if self._in_flight is not None or self._committer is None or not self._has_changes():
            return
        self._callers = 0
        if self._call_relaxed is None:
            self.submit()
            return
        self._flush_dirty()  # those who wait are served now, the disk later
        if self._dirty:
            self._schedule_seal()
        if not self._submit_scheduled:
            self._submit_scheduled = True
            self._call_relaxed(self.submit)

    def _flush_dirty(self) -> None:
        """Completes the records of the open batch. What is touched meanwhile is of the next one."""
        dirty, self._dirty = self._dirty, {}
        self._sealing = True
        try:
            for flushable in dirty:
                flushable.flush()
        except Exception as failure:
            # Half of a change may be in the batch: nothing of it may be committed, nobody may think that it was.
            self.fatal = EngineError(f"a record could not be written: {failure!r}", fatal=True)
            self._drop_open(self.fatal)
            raise
        finally:
            self._sealing = False

    def submit(self) -> None:
        """Hands the open batch to the committer."""
        self._submit_scheduled = False
        if self._in_flight is not None or self._committer is None:
            return
        if self.fatal is not None:  # nothing that is written now could be trusted
            self._drop_open(self.fatal)
            return
        self._flush_dirty()
        if not self._open:  # what was touched had nothing to write: whoever waits need not
            commit, self._open_commit = self._open_commit, Commit()
            commit.settle(None)
            if self._dirty:
                self._schedule_seal()
            return
        self._in_flight, self._open = self._open, WriteBatch()
        self._in_flight_commit, self._open_commit = self._open_commit, Commit()
        self._committer.submit(self._in_flight)

    def submit_all(self) -> None:
        """For shutdown: seals and submits now, whatever the durability."""
        self.seal()
        self.submit()

    def last_commit(self) -> Commit | None:
        """The commit that all changes made so far end with; None when all are on disk."""
        return self._open_commit if self._sealing or self._has_changes() else self._in_flight_commit

    def committed(self, error: EngineError | None) -> None:
        """The committer's report on the batch in flight."""
        assert self._in_flight is not None
        assert self._in_flight_commit is not None
        batch, commit = self._in_flight, self._in_flight_commit
        self._in_flight = self._in_flight_commit = None
        if error is None:
            self.statistics.commits += 1
            self.statistics.committed_bytes += batch.nbytes
            if self._has_changes():
                self._schedule_seal()
            commit.settle(None)
        else:
            self._drop(commit, error)
        self._let_in()

    def _let_in(self) -> None:
        waiting, self._admission = self._admission, deque()
        for callback in waiting:
            callback()

    def _drop(self, commit: Commit, error: EngineError) -> None:
        self.statistics.failed_commits += 1
        if isinstance(error, EngineFull):
            self.full = error
        elif error.fatal:
            self.fatal = error
        self._drop_open(error, commit)

    def _drop_open(self, error: EngineError, *failed: Commit) -> None:
        """Forgets the open batch, and tells those who waited for it and for the ``failed`` commits."""
        self._open, self._dirty, self.appended_bytes = WriteBatch(), {}, 0
        open_commit, self._open_commit = self._open_commit, Commit()
        if self.fatal is not None:
            for fatal in self._on_fatal:
                fatal(self.fatal)
        else:
            for reset in self._on_reset:
                reset()
        for commit in (*failed, open_commit):
            commit.settle(_refusal(error))
        self._let_in()

    def close(self) -> None:
        """Ends the committer and closes the engine. What is not committed is lost: await ``durable()`` first."""
        if self._committer is not None:
            self._committer.close()
        self.engine.close()

    def _has_changes(self) -> bool:
        return bool(self._dirty) or bool(self._open)

    def _schedule_seal(self) -> None:
        if not self._seal_scheduled and self._in_flight is None and not self._sealing:
            self._seal_scheduled = True
            if self._gather_clock is None:
                self._call_soon(self.seal)
            else:
                self._call_soon(_Gathering(self, self._gather_clock, self._call_soon))

    @property
    def callers(self) -> int:
        """How many have asked for the open batch's commit so far."""
        return self._callers


def _refusal(error: EngineError) -> StorageUnavailable:
    return StorageUnavailable(f"The request was not made durable and nothing of it was kept: {error}")


class _Gathering:
    """The turns of the loop between the first change of a commit and its seal.

    The seal waits until the loop has nothing else to do, two milliseconds at most, so that the calls of one burst share
    a commit; a lone call loses two empty turns. Without it a busy broker sometimes settles into commits of about two
    calls each. Measured on a busy machine, so a hint and no proof (SendMessageBatch of ten, 64 in flight, three runs
    each): 2,867 to 3,378 commits without, 2,525 to 2,600 with. On a quiet machine no difference in calls a second was
    seen.
    """

    __slots__ = ("_before", "_call_soon", "_callers", "_clock", "_deadline", "_quiet_turns", "_store")

    def __init__(self, store: Store, clock: Callable[[], float], call_soon: CallLater) -> None:
        self._store, self._clock, self._call_soon = store, clock, call_soon
        self._before = clock()
        self._deadline = self._before + _GATHER_SECONDS_MAX
        self._quiet_turns = 0
        self._callers = store.callers

    def __call__(self) -> None:
        now, callers = self._clock(), self._store.callers
        idle = now - self._before < _QUIET_TURN_SECONDS and callers == self._callers
        self._quiet_turns = self._quiet_turns + 1 if idle else 0
        if self._quiet_turns == _QUIET_TURNS or now >= self._deadline:
            self._store.seal()
        else:
            self._before, self._callers = now, callers
            self._call_soon(self)


class Position:
    """How far a store has come: written in each transaction with the batch that made it so.

    ``checksum`` rolls over all batches: two stores with equal positions went through the same changes.
    """

    def __init__(self, engine: Engine) -> None:
        stored = engine.get(Table.META, META_POSITION)
        record: tuple[int, int, int, int] = (0, 0, 0, 0) if stored is None else tuple(msgpack.unpackb(stored))
        self.generation, self.sequence, self.epoch, self.checksum = record

    def advance(self, batch: WriteBatch) -> None:
        """Counts ``batch`` and puts the new position into it."""
        self.checksum = batch.checksum(self.checksum)
        self.sequence += 1
        record = (self.generation, self.sequence, self.epoch, self.checksum)
        batch.put(Table.META, META_POSITION, msgpack.packb(record))


class InlineCommitter:
    """Applies each batch at once, on the main thread: for the engine in memory, where commits take no time."""

    def __init__(self, engine: Engine, report: Report, *, call_soon: CallLater) -> None:
        self._engine, self._report, self._call_soon = engine, report, call_soon
        self._position = Position(engine)

    def submit(self, batch: WriteBatch) -> None:
        error: EngineError | None = None
        try:
            self._position.advance(batch)
            self._engine.apply(batch)
        except EngineError as failure:
            error = failure
            self._position = Position(self._engine)
        self._call_soon(lambda: self._report(error))

    def close(self) -> None:
        pass


class ThreadCommitter:
    """One thread that applies the batches in order: puts, the commit and its fsync happen off the main thread.

    ``observe`` learns the seconds and the rows of each commit (for metrics), on the committer's thread.
    """

    def __init__(
        self,
        engine: Engine,
        report: Report,
        *,
        call_main: CallLater,
        observe: Callable[[float, int], None] = lambda _seconds, _rows: None,
        clock: Callable[[], float],
    ) -> None:
        self._engine, self._report, self._call_main = engine, report, call_main
        self._observe, self._clock = observe, clock
        self._inbox: SimpleQueue[WriteBatch | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, batch: WriteBatch) -> None:
        self._inbox.put(batch)

    def close(self) -> None:
        """Waits for the batches submitted so far, then ends the thread."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        position: Position | None = None
        while (batch := self._inbox.get()) is not None:
            started = self._clock()
            error: EngineError | None = None
            try:
                position = position or Position(self._engine)
                position.advance(batch)
                self._engine.apply(batch)
            except EngineError as failure:
                error = failure
            except Exception as failure:  # a defect here must fail the callers, not leave them waiting
                error = EngineError(f"the committer failed: {failure!r}", fatal=True)
            self._call_main(lambda error=error: self._report(error))  # type: ignore[misc]
            # The callers are on their way to their answers; the rest can follow.
            self._observe(self._clock() - started, sum(map(len, batch.tables.values())))
            if error is not None:
                position = None  # read again: the failed batch is not part of it
