"""A queue, on threads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from heddle import _calls, _redrive
from heddle._consumer import Consumer
from heddle._ledger import ConsumeOptions
from heddle._model import (
    ALL,
    Attributes,
    BatchError,
    OutgoingMessage,
    PeekedMessage,
    ReceivedMessage,
    SentMessage,
)
from heddle._move_task import MoveTask
from heddle._outbox import Outbox
from heddle._producer import Producer
from heddle._redrive import MoveTaskStatus
from heddle._sync_connection import SyncConnection


class Queue:
    """A handle to a queue; light, and valid as long as its client.

    Limits are Amazon SQS's. Every method raises a `HeddleError`: `QueueDoesNotExist`, `InvalidParameterValue`,
    `Unavailable`, `DeadlineExceeded` and what it names besides.
    """

    def __init__(self, connection: SyncConnection, url: str) -> None:
        self._connection = connection
        self.url = url

    @property
    def name(self) -> str:
        """The queue's name."""
        return _calls.queue_name(self.url)

    def send(
        self,
        body: bytes | str,
        *,
        delay_seconds: int | None = None,
        attributes: Attributes | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        trace_header: str | None = None,
    ) -> SentMessage:
        """Send one message; when this returns, it is durable. `delay_seconds` is 0 to 900, None: the queue's.

        FIFO queues need a `group_id`, within which order is kept, and a `deduplication_id` unless the queue takes the
        body's hash for it: a message that repeats one of the last five minutes is not appended again, and answered
        with the message id and the sequence number of the first. On standard queues `group_id` is the tenant.

        Exactly once if it returns. After `Unavailable` or `DeadlineExceeded` the message may have been taken or not
        (a send is never repeated behind your back, unless it surely never left): whoever sends again gets at least
        once. On a FIFO queue deduplication makes the repetition harmless for five minutes.
        """
        message = OutgoingMessage(body, delay_seconds, attributes, group_id, deduplication_id, trace_header)
        return self._connection.perform(_calls.send(self.url, message))

    def send_batch(self, entries: Iterable[OutgoingMessage | bytes | str]) -> list[SentMessage | BatchError]:
        """Send 1 to 10 messages in one call: what became of each, in order. Guarantees are those of `send`."""
        return self._connection.perform(_calls.send_batch(self.url, entries))

    def receive(
        self,
        max_messages: int = 1,
        *,
        wait_seconds: int | None = None,
        visibility_timeout: int | None = None,
        attribute_names: Sequence[str] = ALL,
        message_attribute_names: Sequence[str] = ALL,
        receive_request_attempt_id: str | None = None,
    ) -> list[ReceivedMessage]:
        """Receive up to `max_messages` (1 to 10), waiting up to `wait_seconds` (0 to 20, None: the queue's) for one.

        They stay in flight for `visibility_timeout` (0 to 43200 seconds, None: the queue's). `attribute_names` are
        names of system attributes, `message_attribute_names` of message attributes ("All" and "prefix.*" work).

        FIFO queues: a call that is made again with the same `receive_request_attempt_id` (1 to 128 characters) within
        five minutes returns the same messages, as long as nothing was done to them. Give each receive an id of its own
        where an answer that gets lost must not hold up its groups until the visibility timeout.
        """
        call = _calls.receive(
            self.url,
            max_messages=max_messages,
            wait_seconds=wait_seconds,
            visibility_timeout=visibility_timeout,
            attribute_names=attribute_names,
            message_attribute_names=message_attribute_names,
            receive_request_attempt_id=receive_request_attempt_id,
        )
        return self._connection.perform(call)

    def delete(self, receipt_handle: str) -> None:
        """Delete a received message. Raises `ReceiptHandleIsInvalid`; that it is gone already is no error."""
        self._connection.perform(_calls.delete(self.url, receipt_handle))

    def delete_batch(self, receipt_handles: Iterable[str]) -> list[BatchError | None]:
        """Delete 1 to 10 received messages: for each, None or why it failed."""
        return self._connection.perform(_calls.delete_batch(self.url, receipt_handles))

    def change_visibility(self, receipt_handle: str, visibility_timeout: int) -> None:
        """Make a received message visible again `visibility_timeout` (0 to 43200) seconds from now."""
        self._connection.perform(_calls.change_visibility(self.url, receipt_handle, visibility_timeout))

    def change_visibility_batch(self, changes: Iterable[tuple[str, int]]) -> list[BatchError | None]:
        """The same for 1 to 10 pairs of receipt handle and seconds: for each, None or why it failed."""
        return self._connection.perform(_calls.change_visibility_batch(self.url, changes))

    def peek(self, max_messages: int = 10, from_sequence: int | None = None) -> list[PeekedMessage]:
        """Look at up to `max_messages` (1 to 100) from `from_sequence` (None: the head) on; nothing changes state."""
        return self._connection.perform(_calls.peek(self.url, max_messages, from_sequence))

    def purge(self) -> None:
        """Delete all messages. Raises `PurgeQueueInProgress` within 60 seconds of the last purge."""
        self._connection.perform(_calls.purge(self.url))

    def attributes(self, names: Iterable[str] = ALL) -> dict[str, str]:
        """The queue's attributes, as text."""
        return self._connection.perform(_calls.get_attributes(self.url, names))

    def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Change attributes. Raises `InvalidAttributeName` or `InvalidAttributeValue`."""
        self._connection.perform(_calls.set_attributes(self.url, attributes))

    def tags(self) -> dict[str, str]:
        """The queue's tags."""
        return self._connection.perform(_calls.get_tags(self.url))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Add tags, or overwrite those of the same key."""
        self._connection.perform(_calls.tag(self.url, tags))

    def untag(self, keys: Iterable[str]) -> None:
        """Remove tags; a key that is not there is no error."""
        self._connection.perform(_calls.untag(self.url, keys))

    def add_permission(self, label: str, account_ids: Iterable[str], actions: Iterable[str]) -> None:
        """Allow accounts (12 digits) up to 7 actions ("SendMessage", ..., or "*") on this queue.

        `label` (1 to 80 of A-Z a-z 0-9 _ -) names the statement in the queue's policy. Raises `InvalidParameterValue`
        when it is taken, and `OverLimit`.
        """
        self._connection.perform(_calls.add_permission(self.url, label, account_ids, actions))

    def remove_permission(self, label: str) -> None:
        """Take the permission `label` back. Raises `InvalidParameterValue` when there is none."""
        self._connection.perform(_calls.remove_permission(self.url, label))

    def arn(self) -> str:
        """The queue's ARN, asked of the broker."""
        return self.attributes(["QueueArn"])["QueueArn"]

    def set_dead_letter_queue(self, target: "Queue | str", max_receive_count: int) -> None:
        """Move messages to `target` that were received `max_receive_count` (1 to 1000) times and would be once more.

        `target` is a queue, its name, URL or ARN; a FIFO queue's must be FIFO. Raises `InvalidParameterValue`.
        """
        policy = _redrive.redrive_policy(self._arn_of(target), max_receive_count)
        self.set_attributes({"RedrivePolicy": policy})

    def clear_dead_letter_queue(self) -> None:
        """Move messages nowhere any more, however often they are received."""
        self.set_attributes({"RedrivePolicy": ""})

    def dead_letter_sources(self) -> "Iterator[Queue]":
        """Handles of the queues whose dead-letter queue this is; pages are fetched as needed."""
        token = ""
        while True:
            urls, token = self._connection.perform(_redrive.list_dead_letter_sources(self.url, token))
            for url in urls:
                yield Queue(self._connection, url)
            if not token:
                return

    def start_redrive(self, destination: "Queue | str | None" = None, rate: int | None = None) -> MoveTask:
        """Start to move the messages of this dead-letter queue to `destination` (a queue, its name, URL or ARN).

        None: each to the queue it came from. `rate` is 1 to 500 messages a second, None: as fast as the broker can.
        Moved messages are new ones: a new message id, a receive count from 0. Raises `InvalidParameterValue` (this is
        nobody's dead-letter queue, a task runs already) and `ResourceNotFound`.
        """
        source_arn = self.arn()
        destination_arn = None if destination is None else self._arn_of(destination)
        handle = self._connection.perform(_redrive.start_move_task(source_arn, destination_arn, rate))
        tasks = self._connection.perform(_redrive.list_move_tasks(source_arn, _redrive.TASKS_LISTED_MAX))
        started_timestamp_ms = _redrive.task_of_handle(tasks, handle).started_timestamp_ms
        return MoveTask(self._connection, source_arn, handle, started_timestamp_ms)

    def move_tasks(self, limit: int = _redrive.TASKS_LISTED_MAX) -> list[MoveTaskStatus]:
        """The last `limit` (1 to 10) redrives of this queue, newest first."""
        return self._connection.perform(_redrive.list_move_tasks(self.arn(), limit))

    def cancel_move_task(self, task_handle: str) -> int:
        """End a redrive; what was moved stays moved. Returns how much that is."""
        return self._connection.perform(_redrive.cancel_move_task(task_handle))

    def _arn_of(self, queue: "Queue | str") -> str:
        if isinstance(queue, str):
            if queue.startswith("arn:"):
                return queue
            queue = Queue(self._connection, queue)
        return queue.arn()

    def delete_queue(self) -> None:
        """Delete the queue and all of its messages."""
        self._connection.perform(_calls.delete_queue(self.url))

    def producer(
        self,
        batch_messages: int = 1000,
        batch_bytes: int = 256 * 1024,
        linger_ms: float = 5,
        max_in_flight_bytes: int = 16 * 2**20,
        delay_seconds: int | None = None,
    ) -> Producer:
        """Send many messages over one stream, in batches.

        A batch leaves when it has `batch_messages` (at most 10,000) or `batch_bytes` (at most 2 MiB), or is
        `linger_ms` old. `max_in_flight_bytes` bounds what is taken and not yet durable: `send` waits beyond it.
        `delay_seconds` (0 to 900, None: the queue's) holds for all messages. On a FIFO queue a batch waits for the
        result of the one before it that has a group in common: larger batches, more messages a second.
        """
        outbox = Outbox(
            self.url,
            batch_messages=batch_messages,
            batch_bytes=batch_bytes,
            linger_ms=linger_ms,
            max_in_flight_bytes=max_in_flight_bytes,
            delay_seconds=delay_seconds,
        )
        return Producer(self._connection, outbox)

    def consumer(
        self,
        prefetch: int = 2000,
        visibility_timeout: int | None = None,
        auto_extend: bool = True,
        keep_in_flight_on_disconnect: bool = False,
    ) -> Consumer:
        """Receive many messages over one stream.

        `prefetch` (1 to 120,000) bounds the messages that are delivered and not settled: a message that is neither
        acked nor nacked keeps its place. `visibility_timeout` is 0 to 43200 seconds, None: the queue's. With
        `auto_extend`, what is held is extended at half of that, as long as the consumer lives, up to 12 hours.
        `keep_in_flight_on_disconnect`: when the stream breaks, what is held stays in flight until its visibility
        timeout, and can still be settled, instead of going back to the queue at once.

        On a FIFO queue a nack takes back, besides its message, what this consumer holds of the group after it: all of
        that comes again, in order. What was held when the stream broke can not be settled there on the next stream.
        """
        options = ConsumeOptions(prefetch, visibility_timeout, auto_extend, keep_in_flight_on_disconnect)
        return Consumer(self._connection, self.url, options)

    def __repr__(self) -> str:
        return f"<heddle.Queue {self.url}>"
