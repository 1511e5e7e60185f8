"""Message move tasks: redriving the messages of a dead-letter queue, in slices, over restarts, as fast as allowed.

A task moves what is visible in its source, oldest first, at most as many messages as were visible when it started. So
a message that fails again and comes back is not sent round in circles, and a task ends also while others send to its
source. It ends early when no message is visible; what others have in flight stays. Of a FIFO queue only messages that
could be received are visible in this sense. There is no limit of 36 hours as on AWS. When a source is deleted, its
tasks are gone with it.

A task's record is written with the messages that it moved: after a crash the count and the messages agree. Tasks name
queues by ARN; a destination that was deleted fails the task, and what was not moved yet stays where it is.

Source: section 6.4 of the queue reference. Never: a clock, chance, an await, or a look at a message's contents.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgpack

from broker import limits
from broker.errors import InvalidParameterValue, MissingParameter, OverLimit, QueueDoesNotExist, ResourceNotFound
from broker.queues.moving import move, oldest_visible
from broker.queues.queue import Queue
from broker.queues.redrive import is_arn
from broker.queues.runs import NEVER_MS
from broker.queues.scope import Scope
from broker.store import Store, Table
from broker.store.keys import resource, resource_prefix

_KIND: Final = "queue.move_task"
_SCAN_RECORDS: Final = 10_000

RATE_MAX: Final = 500  # SQS, StartMessageMoveTask: MaxNumberOfMessagesPerSecond
RESULTS_MAX: Final = 10  # SQS, ListMessageMoveTasks: MaxResults; ours: as many are kept for each source
ACTIVE_TASKS_MAX: Final = 100  # SQS, for each account
SLICE_MESSAGES_MAX: Final = 2_500  # ours: listed at 2 µs each where every one is an entry of its own
SLICE_ORDERED_MESSAGES_MAX: Final = 1_000  # ours: of FIFO queues, whose groups are looked at; 3 µs each
SLICE_PARTS_MAX: Final = 50  # ours: parts of entries, moved at 40 µs each
_SLICES_A_SECOND: Final = 10  # ours: of a task with a rate; 50 messages each at the highest
_NO_ROOM_MS: Final = 1_000  # ours: how often a task looks again while the disk is past its watermark

_NO_SOURCE: Final = "CouldNotDetermineMessageSource"


class Status(StrEnum):
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"


_ACTIVE: Final = frozenset({Status.RUNNING, Status.CANCELLING})


@dataclass(slots=True)
class MoveTask:
    """``rate``: messages a second, 0 for as fast as slices allow."""

    key: bytes
    task_id: str
    source_arn: str
    destination_arn: str
    """Empty when each message goes back to the queue that it came from."""
    rate: int
    started_ms: int
    to_move: int
    """Visible messages at the start, and the most that are moved."""
    moved: int = 0
    status: Status = Status.RUNNING
    failure_reason: str = ""
    next_slice_ms: int = 0
    """Like what follows not kept at rest: after a restart a task goes on at once."""
    slices: int = 0
    reach: int = SLICE_PARTS_MAX
    """How many messages to look for, so that they are in about as many parts as a slice takes."""

    @property
    def active(self) -> bool:
        return self.status in _ACTIVE

    @property
    def handle(self) -> str:
        """The task handle; empty when the task is not running."""
        return _handle(self.task_id, self.source_arn) if self.status is Status.RUNNING else ""

    def allowance(self) -> int:
        """How many messages the next slice may move: with a rate, its share of it. In no second is that more than the
        rate: slices that came late are not made up for."""
        left = self.to_move - self.moved
        if not self.rate:
            return left
        per_second = self._slices_a_second()
        place = self.slices % per_second
        return min(left, (place + 1) * self.rate // per_second - place * self.rate // per_second)

    def pace(self, now_ms: int) -> None:
        """Counts a slice of now, and sets the time of the next."""
        self.slices += 1
        self.next_slice_ms = now_ms + -(-1000 // self._slices_a_second()) if self.rate else now_ms

    def _slices_a_second(self) -> int:
        return min(self.rate, _SLICES_A_SECOND)

    def look_ahead(self, found_parts: int) -> None:
        """Follows the size of the parts that were found: the next slice lists about as many as it may move."""
        if found_parts > 2 * SLICE_PARTS_MAX:
            self.reach = SLICE_PARTS_MAX
        elif found_parts <= SLICE_PARTS_MAX // 2:
            self.reach = min(2 * self.reach, SLICE_MESSAGES_MAX)

    def encode(self) -> bytes:
        record: bytes = msgpack.packb(
            {
                "task_id": self.task_id,
                "source_arn": self.source_arn,
                "destination_arn": self.destination_arn,
                "rate": self.rate,
                "started_ms": self.started_ms,
                "to_move": self.to_move,
                "moved": self.moved,
                "status": str(self.status),
                "failure_reason": self.failure_reason,
            }
        )
        return record

    @classmethod
    def decode(cls, key: bytes, record: bytes) -> "MoveTask":
        fields = msgpack.unpackb(record)
        return cls(key, **{**fields, "status": Status(fields["status"])})


class MoveTasks:
    """``find_queue``: the queue of an ARN. ``is_dead_letter_queue``: whether the redrive policy of any queue names it.
    ``new_uuid``: a task id that was never given out before.

    The owner calls ``forget`` when it deletes a queue, and ``reset`` after a failed commit, when it has its queues
    back; the engine room calls ``advance`` when it is due, and lets a commit pass between two calls.
    """

    def __init__(
        self,
        store: Store,
        find_queue: Callable[[str], Queue | None],
        is_dead_letter_queue: Callable[[Queue], bool],
        new_uuid: Callable[[], str],
    ) -> None:
        self._store, self._find_queue = store, find_queue
        self._is_dead_letter_queue, self._new_uuid = is_dead_letter_queue, new_uuid
        self._tasks: dict[str, list[MoveTask]] = {}
        """Those kept of each source, by its ARN, oldest first; only the last one may be active."""
        self._active: dict[str, MoveTask] = {}
        """By the ARN of the source; the one that has waited longest since its last slice is first."""
        self.on_due: Callable[[], None] = lambda: None
        """Told when there is something to do earlier than ``next_due_ms`` said before."""
        self._load()

    # --- operations

    def start(self, scope: Scope, source_arn: str, destination_arn: str | None, rate: int | None, now_ms: int) -> str:
        """StartMessageMoveTask: the task handle. ``rate``: messages a second; None for as fast as possible.

        Raises MissingParameter, InvalidParameterValue, ResourceNotFound, OverLimit.
        """
        _check_arn("SourceArn", source_arn)
        if destination_arn:
            _check_arn("DestinationArn", destination_arn)
        source = self._queue(scope, "SourceArn", source_arn)
        if not self._is_dead_letter_queue(source):
            raise InvalidParameterValue("Source queue must be configured as a Dead Letter Queue.")
        if destination_arn:
            if destination_arn == source_arn:
                raise InvalidParameterValue("Source queue arn and destination queue arn cannot be the same.")
            if self._queue(scope, "DestinationArn", destination_arn).fifo != source.fifo:
                raise InvalidParameterValue("The source queue and destination queue must be of the same queue type.")
        if rate is not None and not 1 <= rate <= RATE_MAX:
            raise InvalidParameterValue(
                "Value for parameter MaxNumberOfMessagesPerSecond is invalid. "
                "Reason: You must enter a number that's between 1 and 500."
            )
        if source_arn in self._active:
            raise InvalidParameterValue(
                "There is already a task running. "
                "Only one active task is allowed for a source queue arn at a given time."
            )
        self._refuse_over_limit(scope)
        kept = self._tasks.setdefault(source_arn, [])
        task = MoveTask(
            key=_key(source, _number(kept[-1].key) + 1 if kept else 1),
            task_id=self._new_uuid(),
            source_arn=source_arn,
            destination_arn=destination_arn or "",
            rate=rate or 0,
            started_ms=now_ms,
            to_move=source.counts(now_ms)[0],
        )
        kept.append(task)
        while len(kept) > RESULTS_MAX:
            self._store.delete(Table.RESOURCES, kept.pop(0).key)
        self._active[source_arn] = task
        self._save(task)
        self.on_due()
        return task.handle

    def list(self, scope: Scope, source_arn: str, max_results: int | None) -> Sequence[MoveTask]:
        """ListMessageMoveTasks: newest first. Raises MissingParameter, InvalidParameterValue, ResourceNotFound."""
        _check_arn("SourceArn", source_arn)
        self._queue(scope, "SourceArn", source_arn)
        count = 1 if max_results is None else max_results
        if not 1 <= count <= RESULTS_MAX:
            raise InvalidParameterValue(
                "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 10."
            )
        return self._tasks.get(source_arn, [])[: -count - 1 : -1]

    def cancel(self, scope: Scope, handle: str) -> int:
        """CancelMessageMoveTask: how many messages were moved. The task is cancelled with its next slice.

        Raises MissingParameter, InvalidParameterValue, ResourceNotFound.
        """
        if not handle:
            raise MissingParameter.named("TaskHandle")
        task_id, source_arn = _parse_handle(handle)
        self._queue(scope, "SourceArn", source_arn)
        task = next((task for task in self._tasks.get(source_arn, []) if task.task_id == task_id), None)
        if task is None:
            raise ResourceNotFound("Task does not exist.")
        if task.status is not Status.RUNNING:
            raise InvalidParameterValue("Only active tasks can be cancelled.")
        task.status, task.next_slice_ms = Status.CANCELLING, 0
        self._save(task)
        self.on_due()
        return task.moved

    def forget(self, source_arn: str) -> None:
        """The queue is deleted, and with it all tasks that it was the source of."""
        for task in self._tasks.pop(source_arn, []):
            self._store.delete(Table.RESOURCES, task.key)
        self._active.pop(source_arn, None)

    def _queue(self, scope: Scope, parameter: str, arn: str) -> Queue:
        queue = self._find_queue(arn)
        if queue is None or (queue.account, queue.region) != (scope.account, scope.region):
            raise ResourceNotFound(f"The resource that you specified for the {parameter} parameter doesn't exist.")
        return queue

    def _refuse_over_limit(self, scope: Scope) -> None:
        if sum(_account(arn) == scope.account for arn in self._active) >= ACTIVE_TASKS_MAX:
            raise OverLimit(f"An account can have at most {ACTIVE_TASKS_MAX} active message move tasks.")

    # --- time

    def next_due_ms(self) -> int:
        """When ``advance`` next has something to do; ``NEVER_MS`` when no task is active."""
        return min((task.next_slice_ms for task in self._active.values()), default=NEVER_MS)

    def advance(self, now_ms: int) -> int:
        """Does one slice of each task that is due, as many as one step may do; the others are first next time. Returns
        ``next_due_ms``."""
        parts = 0
        for task in sorted(self._active.values(), key=lambda task: task.next_slice_ms):
            if task.next_slice_ms > now_ms or parts >= SLICE_PARTS_MAX:
                break
            self._active[task.source_arn] = self._active.pop(task.source_arn)
            parts += self._slice(task, now_ms)
        return self.next_due_ms()

    def _slice(self, task: MoveTask, now_ms: int) -> int:
        """Moves what one slice may, and writes the record. Returns how many parts of entries that took."""
        if task.status is Status.CANCELLING:
            self._end(task, Status.CANCELLED)
            return 0
        if self._store.full is not None:  # moving needs a little room; deletes, which make some, go first
            task.next_slice_ms = now_ms + _NO_ROOM_MS
            return 0
        source = self._find_queue(task.source_arn)
        if source is None:
            self.forget(task.source_arn)
            return 0
        wanted = min(task.allowance(), task.reach, SLICE_ORDERED_MESSAGES_MAX if source.fifo else SLICE_MESSAGES_MAX)
        task.pace(now_ms)
        found = oldest_visible(source, wanted, now_ms) if wanted else []
        horizon_ms = now_ms - source.attributes.retention_ms
        parts = 0
        for entry, lo, hi in found[:SLICE_PARTS_MAX]:
            parts += 1
            if entry.appended_at_ms <= horizon_ms:  # moved, it would be young again
                source.remove_moved(lo, hi, now_ms)
                source.activity.expired_messages += hi - lo
                continue
            destination_arn = task.destination_arn or entry.origin_arn
            destination = self._find_queue(destination_arn)
            if destination is None:
                self._end(task, Status.FAILED, QueueDoesNotExist.code if destination_arn else _NO_SOURCE)
                return parts
            move(source, entry, lo, hi, destination, now_ms=now_ms, as_new=True)
            task.moved += hi - lo
        task.look_ahead(len(found))
        none_left = not found and not source.deliverable()  # or they are behind many that are blocked
        if none_left or task.moved >= task.to_move:
            self._end(task, Status.COMPLETED)
        else:
            self._save(task)
        return parts

    def _end(self, task: MoveTask, status: Status, failure_reason: str = "") -> None:
        task.status, task.failure_reason = status, failure_reason
        del self._active[task.source_arn]
        self._save(task)

    # --- at rest

    def reset(self) -> None:
        """After a failed commit: reads everything from the engine again."""
        self._load()
        self.on_due()

    def _load(self) -> None:
        self._tasks, self._active = {}, {}
        for key, record in self._records():
            task = MoveTask.decode(key, record)
            self._tasks.setdefault(task.source_arn, []).append(task)
            if task.active:
                self._active[task.source_arn] = task

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        start, stop = resource_prefix(_KIND)
        while rows := self._store.engine.scan(Table.RESOURCES, start, stop, limit=_SCAN_RECORDS):
            yield from rows
            start = rows[-1][0] + b"\0"

    def _save(self, task: MoveTask) -> None:
        self._store.put(Table.RESOURCES, task.key, task.encode())


def _key(source: Queue, number: int) -> bytes:
    """The tasks of a source are a range, in the order of their starts. No queue has a slash in its name."""
    return resource(_KIND, source.account, source.region, f"{source.name}/{number:012}")


def _number(key: bytes) -> int:
    return int(key[-12:])


def _account(arn: str) -> str:
    return arn.split(":")[4]


def _check_arn(parameter: str, arn: str) -> None:
    if not arn:
        raise MissingParameter.named(parameter)
    if not is_arn(arn):
        raise InvalidParameterValue(
            f"You must use this format to specify the {parameter}: "
            "arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
        )


def _handle(task_id: str, source_arn: str) -> str:
    return b64encode(json.dumps({"taskId": task_id, "sourceArn": source_arn}, separators=(",", ":")).encode()).decode()


def _parse_handle(handle: str) -> tuple[str, str]:
    """The task id and source ARN of a handle. Raises InvalidParameterValue."""
    try:
        if len(handle) > limits.TASK_HANDLE_CHARACTERS_MAX:  # decoding megabytes would hold up everybody
            raise ValueError(len(handle))
        match json.loads(b64decode(handle, validate=True)):
            case {"taskId": str(task_id), "sourceArn": str(source_arn)}:
                return task_id, source_arn
            case other:
                raise ValueError(other)
    except (ValueError, RecursionError) as error:
        raise InvalidParameterValue("Value for parameter TaskHandle is invalid.") from error
