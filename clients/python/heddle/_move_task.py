"""A move task, on threads."""

import time

from heddle import _redrive
from heddle._errors import deadline_exceeded
from heddle._redrive import MoveTaskStatus
from heddle._sync_connection import SyncConnection


class MoveTask:
    """A redrive that was started with `Queue.start_redrive`; the broker goes on with it without this client."""

    def __init__(
        self, connection: SyncConnection, source_arn: str, task_handle: str, started_timestamp_ms: int
    ) -> None:
        self._connection = connection
        self.source_arn = source_arn
        self.task_handle = task_handle
        self.started_timestamp_ms = started_timestamp_ms

    def status(self) -> MoveTaskStatus:
        """How far it has come."""
        tasks = self._connection.perform(_redrive.list_move_tasks(self.source_arn, _redrive.TASKS_LISTED_MAX))
        return _redrive.task_started_at(tasks, self.started_timestamp_ms)

    def cancel(self) -> int:
        """End it; what was moved stays moved. Returns how much that is. Raises if it has ended already."""
        return self._connection.perform(_redrive.cancel_move_task(self.task_handle))

    def wait(self, timeout: float | None = None) -> MoveTaskStatus:
        """Wait until it has ended, and return how: COMPLETED or CANCELLED.

        Raises the reason if it FAILED, and `DeadlineExceeded` after `timeout` seconds (None: never).
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        pause = _redrive.FIRST_LOOK_SECONDS
        while (status := self.status()).active:
            if give_up_at is not None and time.monotonic() + pause > give_up_at:
                raise deadline_exceeded("the move task", timeout)
            time.sleep(pause)  # the broker tells the end of a task to nobody: one has to look
            pause = min(pause * 2, _redrive.LOOK_SECONDS_MAX)
        if status.error is not None:
            raise status.error
        return status

    def __repr__(self) -> str:
        return f"<heddle.MoveTask from {self.source_arn}>"
