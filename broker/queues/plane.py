"""The queue plane: queues by name, and the operations that make, change, list and remove them.

What concerns the messages of one queue is in ``queue.py``. Never: I/O beyond the store's reads, a clock, or an await.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from broker import limits
from broker.errors import (
    AccessDenied,
    InvalidParameterValue,
    MissingParameter,
    PurgeQueueInProgress,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
)
from broker.log import Batches, Sweeper
from broker.queues import attributes as attribute_rules
from broker.queues import resource
from broker.queues.attributes import QueueAttributes
from broker.queues.dead_letters import DeadLetterSources
from broker.queues.due import DueQueues
from broker.queues.fifo import FifoQueue
from broker.queues.identity import Identity
from broker.queues.move_tasks import MoveTasks
from broker.queues.paging import page
from broker.queues.permissions import with_permission, without_permission
from broker.queues.policy import allows
from broker.queues.queue import Queue
from broker.queues.redrive import check_target
from broker.queues.runs import NEVER_MS
from broker.queues.scope import Scope
from broker.store import Store, Table
from broker.store.keys import META_STORE_ID

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_FIFO_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo", re.ASCII)
_ARN: Final = re.compile(r"arn:aws:sqs:([^:]+):([^:]+):([^:]+)")


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
        self._purge_interval_ms = purge_interval_ms
        store_id = store.get(Table.META, META_STORE_ID)
        assert store_id is not None, "the store has no id: initialise it first"
        self.identity = Identity(store_id)
        self._queues: dict[tuple[str, str, str], Queue] = {}
        self._tombstones = resource.Tombstones(store, kept_ms=deleted_recently_ms)
        self._sources = DeadLetterSources()
        self._due = DueQueues()
        self.on_due: Callable[[int], None] = lambda _due_ms: None
        """Told whenever something new becomes due, and when."""
        self._load()
        self.move_tasks = MoveTasks(store, self.by_arn, self._is_dead_letter_queue, self._new_task_id)

    # --- finding

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._queues.values())

    def __len__(self) -> int:
        return len(self._queues)

    def find(self, scope: Scope, queue_url: str, *actions: str) -> Queue:
        """The queue of a URL (its last two path segments are account and name) or of a bare name.

        ``actions``: what the caller wants to do with it, by the names of AWS's operations. Other accounts may if the
        queue's policy allows all of them; without any, only the owner may.

        Raises MissingParameter for an empty URL, QueueDoesNotExist for anything that names no queue, AccessDenied.
        """
        if not queue_url:
            raise MissingParameter.named("QueueUrl")
        queue = self._queues.get((scope.account, scope.region, queue_url))
        if queue is None:
            account, name = split_url(scope.account, queue_url)
            queue = self._queues.get((account, scope.region, name))
            if queue is None:
                raise QueueDoesNotExist
            if account != scope.account:
                _authorize(scope, queue, actions)
        return queue

    def by_name(self, scope: Scope, name: str, owner: str = "") -> Queue:
        """GetQueueUrl. Raises InvalidParameterValue for an empty name, QueueDoesNotExist, AccessDenied."""
        if not name:
            raise InvalidParameterValue("Value for parameter QueueName is invalid. Reason: Must specify a queue name.")
        queue = self._queues.get((owner or scope.account, scope.region, name))
        if queue is None:
            raise QueueDoesNotExist
        if queue.account != scope.account:
            _authorize(scope, queue, ("GetQueueUrl",))
        return queue

    def by_arn(self, arn: str) -> Queue | None:
        """The queue of an ARN, if there is one."""
        parts = _ARN.fullmatch(arn)
        return None if parts is None else self._queues.get((parts[2], parts[1], parts[3]))

    def page(self, scope: Scope, *, prefix: str, max_results: int | None, next_token: str) -> QueuePage:
        """ListQueues: by name. Raises InvalidParameterValue."""
        names = (
            name
            for account, region, name in self._queues
            if (account, region) == (scope.account, scope.region) and name.startswith(prefix)
        )
        shown, token = page(names, max_results=max_results, next_token=next_token)
        return QueuePage([self._queues[scope.account, scope.region, name] for name in shown], token)

    def page_of_sources(self, queue: Queue, *, max_results: int | None, next_token: str) -> QueuePage:
        """ListDeadLetterSourceQueues: the queues whose redrive policy names this one, by name. Raises
        InvalidParameterValue."""
        sources = {source.name: source for source in self._sources.of(queue.arn)}
        shown, token = page(sources, max_results=max_results, next_token=next_token)
        return QueuePage([sources[name] for name in shown], token)

    def _is_dead_letter_queue(self, queue: Queue) -> bool:
        return bool(self._sources.of(queue.arn))

    # --- creating and deleting

    def create(
        self, scope: Scope, name: str, requested: Mapping[str, str], tags: Mapping[str, str], now_ms: int
    ) -> Queue:
        """CreateQueue: the existing queue when nothing that is requested differs from it."""
        if not name:
            raise MissingParameter.named("QueueName")
        _check_name(name, fifo=attribute_rules.requested_fifo(requested))
        attributes = QueueAttributes.of_new_queue(requested)
        self._check_dead_letter_target(scope.queue_arn(name), attributes, requested)
        checked_tags = attribute_rules.check_tags(name, {}, tags)
        if self._tombstones.stands(scope, name, now_ms):
            raise QueueDeletedRecently(
                "You must wait 60 seconds after deleting a queue before you can create another with the same name."
            )
        existing = self._queues.get((scope.account, scope.region, name))
        if existing is not None:
            different = existing.attributes.first_difference(requested)
            if different is not None:
                raise QueueNameExists(
                    f"A queue already exists with the same name and a different value for attribute {different}"
                )
            return existing
        queue = self._take_up(
            account=scope.account,
            region=scope.region,
            name=name,
            log_id=resource.new_log_id(self._store),
            created_ms=now_ms,
            modified_ms=now_ms,
            attributes=attributes,
            tags=checked_tags,
        )
        resource.save(self._store, queue)
        self.warm(queue)  # as all are a while after the start: its counts are known from here on
        return queue

    def delete(self, scope: Scope, queue_url: str, now_ms: int) -> None:
        """DeleteQueue: at once, with all messages. Raises QueueDoesNotExist."""
        queue = self.find(scope, queue_url)
        self._remove(queue)
        self._tombstones.add(queue, now_ms)

    def clear(self) -> None:
        """Deletes every queue, and what is known of those deleted before: as if the broker were new."""
        for queue in list(self):
            self._remove(queue)
        self._tombstones.clear()

    def _remove(self, queue: Queue) -> None:
        del self._queues[queue.account, queue.region, queue.name]
        self._sources.forget(queue)
        self.move_tasks.forget(queue.arn)
        resource.remove(self._store, queue)
        self._sweeper.discard_log(queue.log_id)
        queue.end()

    def purge(self, scope: Scope, queue_url: str, now_ms: int) -> None:
        """PurgeQueue: all messages, whatever their state. Raises PurgeQueueInProgress."""
        queue = self.find(scope, queue_url, "PurgeQueue")
        if queue.purged_ms and now_ms < queue.purged_ms + self._purge_interval_ms:
            raise PurgeQueueInProgress(
                f"Only one PurgeQueue operation on {queue.name} is allowed every "
                f"{self._purge_interval_ms // 1000} seconds."
            )
        self._sweeper.discard(queue.log_id, queue.purge(now_ms))
        queue.purged_ms = now_ms
        resource.save(self._store, queue)

    # --- attributes, permissions and tags

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
        attributes = queue.attributes.changed_by(requested)
        self._check_dead_letter_target(queue.arn, attributes, requested)
        queue.set_attributes(attributes, now_ms)
        self._sources.record(queue)
        resource.save(self._store, queue)
        self._store.touch(queue)  # a shorter retention may be due earlier than announced

    def add_permission(
        self, queue: Queue, label: str, account_ids: Sequence[str], actions: Sequence[str], now_ms: int
    ) -> None:
        """AddPermission. Raises InvalidParameterValue, OverLimit."""
        policy = with_permission(queue.attributes.values.get("Policy", ""), queue.arn, label, account_ids, actions)
        self.set_attributes(queue, {"Policy": policy}, now_ms)

    def remove_permission(self, queue: Queue, label: str, now_ms: int) -> None:
        """RemovePermission. Raises InvalidParameterValue."""
        policy = without_permission(queue.attributes.values.get("Policy", ""), label)
        self.set_attributes(queue, {"Policy": policy}, now_ms)

    def _check_dead_letter_target(self, arn: str, attributes: QueueAttributes, requested: Mapping[str, str]) -> None:
        """Raises InvalidParameterValue for a requested redrive policy whose dead-letter queue is not there, or not for
        the queue ``arn``."""
        if attributes.redrive is not None and "RedrivePolicy" in requested:
            check_target(
                attributes.redrive,
                requested["RedrivePolicy"],
                source_arn=arn,
                source_fifo=attributes.fifo,
                target=self.by_arn(attributes.redrive.dead_letter_target_arn),
            )

    def tag(self, queue: Queue, tags: Mapping[str, str]) -> None:
        """TagQueue. Raises MissingParameter, InvalidParameterValue."""
        if not tags:
            raise MissingParameter.named("Tags")
        queue.tags = attribute_rules.check_tags(queue.name, queue.tags, tags)
        resource.save(self._store, queue)

    def untag(self, queue: Queue, keys: list[str]) -> None:
        """UntagQueue: keys that are not there are no error. Raises MissingParameter."""
        if not keys:
            raise MissingParameter.named("TagKeys")
        queue.tags = {key: value for key, value in queue.tags.items() if key not in keys}
        resource.save(self._store, queue)

    # --- time

    def next_due_ms(self) -> int:
        """When ``advance`` next has something to do."""
        return self._due.next_due_ms()

    def advance(self, now_ms: int) -> bool:
        """Does what time has brought to one queue. True when more is due already."""
        queue = self._due.pop(now_ms)
        if queue is not None:
            queue.announced_due_ms = NEVER_MS
            queue.advance(now_ms)
            queue.announce_due()
        return self.next_due_ms() <= now_ms

    def forget_tombstones(self, now_ms: int) -> None:
        """Removes the records of deletions that no longer stand in the way of a new queue."""
        self._tombstones.forget(now_ms)

    def _on_due(self, queue: Queue, due_ms: int) -> None:
        self._due.push(queue, due_ms)
        self.on_due(due_ms)

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
        self._tombstones.load()
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
        self._sources.replace(self)
        self.move_tasks.reset()

    # --- at rest

    def _load(self) -> None:
        for fields in resource.saved(self._store):
            self._take_up(**fields)

    def _take_up(self, *, attributes: QueueAttributes, **fields: Any) -> Queue:
        """A queue of these fields, among the others from here on."""
        kind = FifoQueue if attributes.fifo else Queue
        queue = kind(self._store, self._batches, on_due=self._on_due, attributes=attributes, **fields)
        queue.resolve = self.by_arn
        self._queues[queue.account, queue.region, queue.name] = queue
        self._sources.record(queue)
        return queue

    def _new_task_id(self) -> str:
        """A UUID that names no message and no other task: batch ids are given out once, and this one is of no batch."""
        (task_id,) = self.identity.message_ids(self._batches.ids.new(), 0, 1)
        return task_id


def split_url(account: str, queue_url: str) -> tuple[str, str]:
    """(account, name) of a queue URL; a bare name is of the caller's own account."""
    head, slash, name = queue_url.rstrip("/").rpartition("/")
    if not slash:
        return account, name
    return head.rpartition("/")[2], name


def _check_name(name: str, *, fifo: bool) -> None:
    if fifo and not _FIFO_NAME.fullmatch(name):
        raise InvalidParameterValue(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
            "must end with .fifo suffix and be 1 to 80 in length."
        )
    if not fifo and not _NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )


def _authorize(scope: Scope, queue: Queue, actions: Sequence[str]) -> None:
    """Raises AccessDenied unless the queue's policy allows the caller, who does not own it, all the actions."""
    if not actions:
        raise AccessDenied(f"Access to the resource {queue.arn} is denied.")
    policy = queue.attributes.values.get("Policy", "")
    for action in actions:
        if not allows(policy, scope.account, action, queue.arn):
            name = f"sqs:{action.lower()}"
            raise AccessDenied(
                f"User: arn:aws:iam::{scope.account}:root is not authorized to perform: {name} on resource: "
                f"{queue.arn} because no resource-based policy allows the {name} action"
            )
