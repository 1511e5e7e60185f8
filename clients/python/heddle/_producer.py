"""The sync producer."""

import contextlib
from concurrent.futures import wait as wait_all
from types import TracebackType
from typing import Self

from heddle._calls import produced_message
from heddle._errors import HeddleError, deadline_exceeded
from heddle._model import Attributes
from heddle._outbox import Outbox
from heddle._sync_connection import SyncConnection
from heddle._ticket import Ticket, wait


class Producer:
    """Takes one message at a time and sends them in batches, in order, over one stream. Any thread may send.

    A batch is durable as a whole or refused as a whole. While the broker cannot be reached, the producer keeps what it
    has taken and tries again; after a reconnection it sends again what was not acknowledged, so that delivery is at
    least once. A status that is not about the connection (no such queue, no access) ends it: everything unsettled
    fails with it, and so does every later `send`.

    FIFO queues: messages need a `group_id`. Within a group nothing overtakes. What is sent again after a reconnection
    is dropped by the broker if it was taken before: by `deduplication_id`, or by the body on a queue with content-based
    deduplication, within five minutes; its tickets say `duplicate`. When a batch is refused, what was sent after it for
    its groups fails as well, with `PredecessorFailed`, and so does the next `send`, once: whoever then sends all that
    failed again, in order, has kept the order.
    """

    def __init__(self, connection: SyncConnection, outbox: Outbox) -> None:
        self._connection = connection
        self._outbox = outbox
        self._stream = connection.produce(outbox)

    def send(
        self,
        body: bytes | str,
        *,
        attributes: Attributes | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        trace_header: str | None = None,
    ) -> Ticket:
        """Take a message and return at once; blocks only while `max_in_flight_bytes` are not yet durable.

        Raises `DeadlineExceeded` if that lasts longer than the client's timeout: the message was not taken.
        """
        if isinstance(body, str):
            body = body.encode()
        outbox = self._outbox
        if attributes is None and group_id is None and deduplication_id is None and trace_header is None:
            while (place := outbox.put(body)) is None:
                wait(outbox.room(), self._connection.timeout, "waiting for room in the producer")
        else:
            message = produced_message(body, attributes, group_id, deduplication_id, trace_header)
            while (place := outbox.put_message(message)) is None:
                wait(outbox.room(), self._connection.timeout, "waiting for room in the producer")
        return Ticket(*place)

    def flush(self) -> None:
        """Wait until all that was taken is durable. Raises the first refusal since the last flush."""
        outcomes = [batch.outcome for batch in self._outbox.flush()]
        if wait_all(outcomes, self._connection.timeout).not_done:
            raise deadline_exceeded("flushing the producer", self._connection.timeout)
        failure = self._outbox.take_failure()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Flush and end the stream. What is not durable within the client's timeout fails. A second time: nothing."""
        self._outbox.close()
        self._connection.finish(self._stream, "closing the producer")
        failure = self._outbox.take_failure()
        if failure is not None:
            raise failure

    @property
    def accepted_messages(self) -> int:
        """How many became durable, duplicates included."""
        return self._outbox.accepted_messages

    @property
    def duplicate_messages(self) -> int:
        """FIFO queues: how many of those repeated a message of the last five minutes."""
        return self._outbox.duplicate_messages

    @property
    def failed_messages(self) -> int:
        """How many were refused."""
        return self._outbox.failed_messages

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What is already being raised matters more than how the closing went.
        with contextlib.suppress(*(() if error is None else (HeddleError,))):
            self.close()
