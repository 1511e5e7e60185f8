"""What every queue is made of: its name, its attributes, the state of its messages, and what time does to them.

Never: I/O beyond the store's reads, a clock, or an await.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from broker import limits
from broker.errors import QueueDoesNotExist
from broker.log import Batches
from broker.queues.attributes import QueueAttributes
from broker.queues.runs import NEVER_MS, State
from broker.queues.state import QueueState
from broker.queues.values import Activity, Taker
from broker.queues.window import Window
from broker.store import Store

if TYPE_CHECKING:
    from broker.queues.queue import Queue


class QueueCore(ABC):
    """A queue by name. Its messages' state is loaded when first asked for and dropped after a failed commit."""

    fifo: ClassVar[bool] = False

    def __init__(
        self,
        store: Store,
        batches: Batches,
        *,
        on_due: Callable[["Queue", int], None],
        account: str,
        region: str,
        name: str,
        log_id: int,
        created_ms: int,
        modified_ms: int,
        attributes: QueueAttributes,
        tags: dict[str, str],
        purged_ms: int = 0,
    ) -> None:
        self._store, self._batches, self._on_due = store, batches, on_due
        self.account, self.region, self.name = account, region, name
        self.log_id = log_id
        self.created_ms, self.modified_ms = created_ms, modified_ms
        self.attributes = attributes
        self.tags = tags
        self.purged_ms = purged_ms
        self.activity = Activity()
        self.deleted = False
        self.resolve: Callable[[str], Queue | None] = lambda _arn: None
        """The queue of an ARN: where dead letters go. Set by the plane."""
        self.takers: deque[Taker] = deque()
        self.announced_due_ms = NEVER_MS
        """The time of the earliest call of ``on_due`` that stands."""
        self._state: QueueState | None = None
        self._window: Window[Any] | None = None  # whose the messages are, where any names a group
        self._ahead_left = 0  # messages that the window may still load in this step
        self._unfinished = False  # it would have loaded more
        self._sequence_floor = 0  # sequence numbers below it were given out, perhaps by a commit that failed
        self.flushing = False
        """Whether what this queue changes now is of the write batch that is being completed."""
        self._retention_due_ms = NEVER_MS
        self._now_ms = 0

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def state(self) -> QueueState:
        if self._state is None:
            if self.deleted:
                raise QueueDoesNotExist
            self._state = QueueState(self._store, self._batches, self.log_id, sequence_floor=self._sequence_floor)
            self._loaded_state(self._state)
            self._look_at_retention()
        return self._state

    @abstractmethod
    def _loaded_state(self, state: QueueState) -> None:
        """Called for each state that was loaded or cleared, before anything else happens to it."""

    def load_more(self, now_ms: int) -> bool:  # noqa: ARG002
        """Loads a slice of what sends need to know. True while there is more: a send would load it all at once."""
        return False

    def forget_state(self) -> None:
        """After a failed commit: what is in memory may be ahead of the disk."""
        if self._state is not None:
            self._sequence_floor = self._state.log.next_sequence
        self._state = self._window = None
        self.announced_due_ms = NEVER_MS

    def changing(self, now_ms: int) -> QueueState:
        """The state as of now, about to be changed."""
        self.advance(now_ms)
        self._touch()
        return self.state

    def _touch(self) -> None:
        if not self.flushing:
            self._store.touch(self)

    @abstractmethod
    def flush(self) -> None:
        """Called at the seal: writes the changed records."""

    # --- time

    def advance(self, now_ms: int) -> None:
        """Does what time has brought: ends delays, visibility timeouts and retention, a slice of each."""
        state = self.state
        self._now_ms = max(self._now_ms, now_ms)
        if state.runs.next_due_ms() <= now_ms:
            state.runs.advance(now_ms, limits.EXPIRY_RUNS_MAX)
            self._touch()
        if self._retention_due_ms <= now_ms:
            self._expire(state, now_ms)

    def next_due_ms(self) -> int:
        """When ``advance`` has something to do; ``NEVER_MS`` when time brings nothing."""
        return min(self.state.runs.next_due_ms(), self._retention_due_ms)

    @property
    def loaded(self) -> bool:
        """Whether the state is in memory."""
        return self._state is not None

    def counts(self, now_ms: int) -> tuple[int, int, int]:
        """Messages visible, in flight and delayed; exact as of ``now_ms``."""
        self.advance(now_ms)
        counts = self.state.runs.counts
        return counts[State.VISIBLE], counts[State.IN_FLIGHT], counts[State.DELAYED]

    def oldest_sent_ms(self) -> int | None:
        """When the oldest message was sent, to within the entry that holds it; None when the queue is empty."""
        if not self.state.runs.total:
            return None
        run = next(iter(self.state.runs))
        entry = self.state.log.entry_at(run.lo)
        return None if entry is None else entry.appended_at_ms

    def set_attributes(self, attributes: QueueAttributes, now_ms: int) -> None:
        self.attributes = attributes
        self.modified_ms = now_ms
        self._look_at_retention()

    def _expire(self, state: QueueState, now_ms: int) -> None:
        horizon_ms = now_ms - self.attributes.retention_ms
        expired = state.log.moved_until(horizon_ms, limits.SWEEP_ENTRIES_MAX)
        for entry in state.log.first_entries(limits.SWEEP_ENTRIES_MAX):
            if entry.appended_at_ms > horizon_ms:
                break
            expired.append(entry)
        left = limits.EXPIRY_MESSAGES_MAX
        for entry in {entry.base: entry for entry in expired}.values():
            if left <= 0:
                break
            left -= entry.count
            self.activity.expired_messages += state.runs.delete(entry.base, entry.end)
            state.log.trim(entry)
            self._touch()
        self._look_at_retention()

    def _look_at_retention(self) -> None:
        log = self.state.log
        oldest = [entry for entry in (log.first_entry(), *log.moved_until(NEVER_MS, 1)) if entry is not None]
        self._retention_due_ms = min(
            (entry.appended_at_ms + self.attributes.retention_ms for entry in oldest), default=NEVER_MS
        )
