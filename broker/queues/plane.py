"""The queue plane: queues by name, and the operations that make, change, list and remove them.

What concerns the messages of one queue is in ``queue.py``. Never: I/O beyond the store's reads, a clock, or an await.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

import msgpack

from broker import limits
from broker.errors import (
    InvalidParameterValue,
    MissingParameter,
    PurgeQueueInProgress,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
    UnsupportedOperation,
)
from broker.log import Batches, Sweeper
from broker.queues import attributes as attribute_rules
from broker.queues.attributes import QueueAttributes
from broker.queues.identity import Identity
from broker.queues.queue import Queue
from broker.queues.runs import NEVER_MS
from broker.store import Store, Table
from broker.store.keys import META_NEXT_LOG_ID, META_STORE_ID, resource, resource_prefix, u64, u64_value

_KIND: Final = "queue"
_TOMBSTONE: Final = "queue.deleted"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_FIFO_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo", re.ASCII)
_SCAN_RECORDS: Final = 10_000
_STALE_MAX: Final = 1_000  # items of the timer heap that need not count, beyond one for each queue


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose resources a request speaks of."""

    account: str
    region: str


@dataclass(frozen=True, slots=True)
class QueuePage:
    queues: list[Queue]
    next_token: str


class Queues:
    """``deleted_recently_ms`` and ``purge_interval_ms``: how long AWS makes callers wait after a delete and a purge."""

    def __init__(
        self,
        store: Store,
        batches: Batches,
        sweeper: Sweeper,
        *,
        deleted_recently_ms: int = limits.QUEUE_DELETED_RECENTLY_SECONDS * 1000,
        purge_interval_ms: int = limits.PURGE_INTERVAL_SECONDS * 1000,
    ) -> None:
        self._store, self._batches, self._sweeper = store, batches, sweeper
        self._deleted_recently_ms, self._purge_interval_ms = deleted_recently_ms, purge_interval_ms
        store_id = store.get(Table.META, META_STORE_ID)
        assert store_id is not None, "the store has no id: initialise it first"
        self.identity = Identity(store_id)
        self._queues: dict[tuple[str, str, str], Queue] = {}
        self._tombstones: deque[tuple[int, bytes]] = deque()  # (deleted at, key), oldest first
        self._due: list[tuple[int, int, Queue]] = []
        self.on_due: Callable[[int], None] = lambda _due_ms: None
        """Told whenever something new becomes due, and when."""
        self._due_pushes = 0  # breaks ties in the heap: queues have no order
        self._load()

    # --- finding

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._queues.values())

    def __len__(self) -> int:
        return len(self._queues)

    def find(self, scope: Scope, queue_url: str) -> Queue:
        """The queue of a URL (its last two path segments are account and name) or of a bare name.

        Raises MissingParameter for an empty URL, QueueDoesNotExist for anything that names no queue.
        """
        if not queue_url:
            raise MissingParameter.named("QueueUrl")
        queue = self._queues.get((scope.account, scope.region, queue_url))
        if queue is None:
            account, name = split_url(scope.account, queue_url)
            queue = self._queues.get((account, scope.region, name))
            if queue is None or account != scope.account:
                raise QueueDoesNotExist
        return queue

    def by_name(self, scope: Scope, name: str, owner: str = "") -> Queue:
        """GetQueueUrl. Raises InvalidParameterValue for an empty name, QueueDoesNotExist."""
        if not name:
            raise InvalidParameterValue("Value for parameter QueueName is invalid. Reason: Must specify a queue name.")
        queue = self._queues.get((owner or scope.account, scope.region, name))
        if queue is None:
            raise QueueDoesNotExist
        return queue

    def page(self, scope: Scope, *, prefix: str, max_results: int | None, next_token: str) -> QueuePage:
        """ListQueues: by name. Raises InvalidParameterValue."""
        if max_results is not None and not 1 <= max_results <= limits.LIST_RESULTS_MAX:
            raise InvalidParameterValue(
                "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000."
            )
        if next_token and max_results is None:
            raise InvalidParameterValue("MaxResults is a mandatory parameter when you provide a value for NextToken.")
        after = _decode_token(next_token) if next_token else ""
        names = sorted(
            name
            for account, region, name in self._queues
            if (account, region) == (scope.account, scope.region) and name.startswith(prefix) and name > after
        )
        shown = names[: max_results or limits.LIST_RESULTS_MAX]
        more = max_results is not None and len(names) > len(shown)
        token = urlsafe_b64encode(shown[-1].encode()).decode() if more else ""
        return QueuePage([self._queues[scope.account, scope.region, name] for name in shown], token)

    # --- creating and deleting

    def create(
        self, scope: Scope, name: str, requested: Mapping[str, str], tags: Mapping[str, str], now_ms: int
    ) -> Queue:
        """CreateQueue: the existing queue when nothing that is requested differs from it."""
        if not name:
            raise MissingParameter.named("QueueName")
        if attribute_rules.requested_fifo(requested):
            if not _FIFO_NAME.fullmatch(name):
                raise InvalidParameterValue(
                    "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
                    "must end with .fifo suffix and be 1 to 80 in length."
                )
            raise UnsupportedOperation("FIFO queues are not supported by this version of Heddle.")
        if not _NAME.fullmatch(name):
            raise InvalidParameterValue(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            )
        attributes = QueueAttributes({}).changed_by(requested)
        checked_tags = attribute_rules.check_tags(name, {}, tags)
        self._refuse_deleted_recently(scope, name, now_ms)
        existing = self._queues.get((scope.account, scope.region, name))
        if existing is not None:
            different = existing.attributes.first_difference(requested)
            if different is not None:
                raise QueueNameExists(
                    f"A queue already exists with the same name and a different value for attribute {different}"
                )
            return existing
        queue = Queue(
            self._store,
            self._batches,
            on_due=self._on_due,
            account=scope.account,
            region=scope.region,
            name=name,
            log_id=self._new_log_id(),
            created_ms=now_ms,
            modified_ms=now_ms,
            attributes=attributes,
            tags=checked_tags,
        )
        self._queues[scope.account, scope.region, name] = queue
        self._save(queue)
        return queue

    def delete(self, scope: Scope, queue_url: str, now_ms: int) -> None:
        """DeleteQueue: at once, with all messages. Raises QueueDoesNotExist."""
        queue = self.find(scope, queue_url)
        del self._queues[queue.account, queue.region, queue.name]
        self._store.delete(Table.RESOURCES, _key(_KIND, queue))
        if self._deleted_recently_ms:
            key = _key(_TOMBSTONE, queue)
            self._store.put(Table.RESOURCES, key, msgpack.packb(now_ms))
            self._tombstones.append((now_ms, key))
        self._sweeper.discard_log(queue.log_id)
        queue.end()

    def purge(self, scope: Scope, queue_url: str, now_ms: int) -> None:
        """PurgeQueue: all messages, whatever their state. Raises PurgeQueueInProgress."""
        queue = self.find(scope, queue_url)
        if queue.purged_ms and now_ms < queue.purged_ms + self._purge_interval_ms:
            raise PurgeQueueInProgress(
                f"Only one PurgeQueue operation on {queue.name} is allowed every "
                f"{self._purge_interval_ms // 1000} seconds."
            )
        self._sweeper.discard(queue.log_id, queue.purge(now_ms))
        queue.purged_ms = now_ms
        self._save(queue)

    # --- attributes and tags

    def get_attributes(self, queue: Queue, requested: list[str], now_ms: int) -> dict[str, str]:
        """GetQueueAttributes: those asked for and set. Raises InvalidAttributeName."""
        wanted = attribute_rules.wanted_names(requested)
        if not wanted:
            return {}
        visible, in_flight, delayed = queue.counts(now_ms)
        every = {
            **queue.attributes.values,
            **dict(zip(attribute_rules.COUNTS, map(str, (visible, in_flight, delayed)), strict=True)),
            "CreatedTimestamp": str(queue.created_ms // 1000),
            "LastModifiedTimestamp": str(queue.modified_ms // 1000),
            "QueueArn": queue.arn,
        }
        return {name: value for name, value in every.items() if name in wanted}

    def set_attributes(self, queue: Queue, requested: Mapping[str, str], now_ms: int) -> None:
        """SetQueueAttributes: all or nothing, at once."""
        if not requested:
            raise MissingParameter.named("Attribute.Name")
        queue.set_attributes(queue.attributes.changed_by(requested), now_ms)
        self._save(queue)
        self._store.touch(queue)  # a shorter retention may be due earlier than announced

    def tag(self, queue: Queue, tags: Mapping[str, str]) -> None:
        """TagQueue. Raises MissingParameter, InvalidParameterValue."""
        if not tags:
            raise MissingParameter.named("Tags")
        queue.tags = attribute_rules.check_tags(queue.name, queue.tags, tags)
        self._save(queue)

    def untag(self, queue: Queue, keys: list[str]) -> None:
        """UntagQueue: keys that are not there are no error. Raises MissingParameter."""
        if not keys:
            raise MissingParameter.named("TagKeys")
        queue.tags = {key: value for key, value in queue.tags.items() if key not in keys}
        self._save(queue)

    # --- time

    def next_due_ms(self) -> int:
        """When ``advance`` next has something to do."""
        return self._due[0][0] if self._due else NEVER_MS

    def advance(self, now_ms: int) -> bool:
        """Does what time has brought to one queue. True when more is due already."""
        if not self._due or self._due[0][0] > now_ms:
            return False
        due_ms, _, queue = heappop(self._due)
        if not queue.deleted and queue.announced_due_ms == due_ms:
            queue.announced_due_ms = NEVER_MS
            queue.advance(now_ms)
            queue.announce_due()
        return self.next_due_ms() <= now_ms

    def warm(self, queue: Queue) -> None:
        """Loads a queue's state, so that its timers run although nobody uses it."""
        if not queue.deleted:
            queue.announce_due()
            if queue.takers:
                self._store.touch(queue)

    # --- after a failed commit

    def reset(self) -> None:
        """Reads everything from the engine again. Those parked at queues that still exist stay parked."""
        before, self._queues = self._queues, {}
        self._due.clear()
        self._load()
        for key, old in before.items():
            new = self._queues.get(key)
            old.forget_state()
            if new is None or new.log_id != old.log_id:
                old.end()
                continue
            # The queue object lives on, since callers and takers hold it; what it knows is what the disk knows.
            old.attributes, old.tags = new.attributes, new.tags
            old.modified_ms, old.purged_ms = new.modified_ms, new.purged_ms
            self._queues[key] = old

    # --- at rest

    def _load(self) -> None:
        self._tombstones = deque(sorted((msgpack.unpackb(record), key) for key, record in self._resources(_TOMBSTONE)))
        for key, record in self._resources(_KIND):
            _, account, region, name = key.decode().split("\0")
            fields = msgpack.unpackb(record)
            fields["attributes"] = QueueAttributes(fields["attributes"])
            self._queues[account, region, name] = Queue(
                self._store, self._batches, on_due=self._on_due, account=account, region=region, name=name, **fields
            )

    def _resources(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        start, stop = resource_prefix(kind)
        while rows := self._store.engine.scan(Table.RESOURCES, start, stop, limit=_SCAN_RECORDS):
            yield from rows
            start = rows[-1][0] + b"\0"

    def _save(self, queue: Queue) -> None:
        record = {
            "log_id": queue.log_id,
            "created_ms": queue.created_ms,
            "modified_ms": queue.modified_ms,
            "purged_ms": queue.purged_ms,
            "attributes": queue.attributes.values,
            "tags": queue.tags,
        }
        self._store.put(Table.RESOURCES, _key(_KIND, queue), msgpack.packb(record))

    def _new_log_id(self) -> int:
        stored = self._store.get(Table.META, META_NEXT_LOG_ID)
        log_id = 1 if stored is None else u64_value(stored)
        self._store.put(Table.META, META_NEXT_LOG_ID, u64(log_id + 1))
        return log_id

    def _refuse_deleted_recently(self, scope: Scope, name: str, now_ms: int) -> None:
        stored = self._store.get(Table.RESOURCES, resource(_TOMBSTONE, scope.account, scope.region, name))
        if stored is not None and now_ms < msgpack.unpackb(stored) + self._deleted_recently_ms:
            raise QueueDeletedRecently(
                "You must wait 60 seconds after deleting a queue before you can create another with the same name."
            )

    def forget_tombstones(self, now_ms: int) -> None:
        """Removes the records of deletions that no longer stand in the way of a new queue."""
        while self._tombstones and self._tombstones[0][0] + self._deleted_recently_ms <= now_ms:
            deleted_ms, key = self._tombstones.popleft()
            if self._store.get(Table.RESOURCES, key) == msgpack.packb(deleted_ms):
                self._store.delete(Table.RESOURCES, key)

    def _on_due(self, queue: Queue, due_ms: int) -> None:
        if len(self._due) > 2 * len(self._queues) + _STALE_MAX:
            self._due = [item for item in self._due if not item[2].deleted and item[2].announced_due_ms == item[0]]
            heapify(self._due)
        self._due_pushes += 1
        heappush(self._due, (due_ms, self._due_pushes, queue))
        self.on_due(due_ms)


def split_url(account: str, queue_url: str) -> tuple[str, str]:
    """(account, name) of a queue URL; a bare name is of the caller's own account."""
    head, slash, name = queue_url.rstrip("/").rpartition("/")
    if not slash:
        return account, name
    return head.rpartition("/")[2], name


def _key(kind: str, queue: Queue) -> bytes:
    return resource(kind, queue.account, queue.region, queue.name)


def _decode_token(token: str) -> str:
    try:
        return urlsafe_b64decode(token.encode("ascii")).decode()
    except ValueError as error:
        raise InvalidParameterValue("Invalid or expired next token.") from error
