"""Dead-letter queues and move tasks: the calls, and what they tell. No I/O; both faces stand on it.

A finished task has no handle on the wire (Amazon SQS shows it only while the task runs), so that a task is known by its
source queue and the time of its start.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from heddle._calls import Call
from heddle._errors import HeddleError, error_of_code
from heddle.v1 import queues_pb2 as pb

RUNNING: Final = "RUNNING"
COMPLETED: Final = "COMPLETED"
CANCELLING: Final = "CANCELLING"
CANCELLED: Final = "CANCELLED"
FAILED: Final = "FAILED"
TASKS_LISTED_MAX: Final = 10  # Amazon SQS ListMessageMoveTasks
FIRST_LOOK_SECONDS: Final = 0.1  # ours: between two looks at a running task
LOOK_SECONDS_MAX: Final = 1.0


@dataclass(frozen=True, slots=True)
class MoveTaskStatus:
    """How far a move task has come.

    `status` is RUNNING, COMPLETED, CANCELLING, CANCELLED or FAILED. `to_move` is how many messages there were at the
    start, `moved` how many have been moved. `destination_arn` is None where each message goes back to the queue it came
    from, `rate` (messages a second) None where the broker goes as fast as it can. `task_handle` is known only while the
    task runs, `failure_reason` (an AWS error code) only when it failed.
    """

    status: str
    source_arn: str
    destination_arn: str | None
    rate: int | None
    moved: int
    to_move: int | None
    started_timestamp_ms: int
    failure_reason: str | None
    task_handle: str | None

    @property
    def active(self) -> bool:
        """It has not ended yet."""
        return self.status in {RUNNING, CANCELLING}

    @property
    def error(self) -> HeddleError | None:
        """Why it failed, as an exception to raise; None unless it did."""
        if self.status != FAILED:
            return None
        text = f"The move task from {self.source_arn} failed after {self.moved} messages."
        return error_of_code(self.failure_reason or "heddle.MoveTaskFailed", text)


def redrive_policy(target_arn: str, max_receive_count: int) -> str:
    """The value of a queue's RedrivePolicy attribute."""
    return json.dumps({"deadLetterTargetArn": target_arn, "maxReceiveCount": max_receive_count})


def list_dead_letter_sources(queue_url: str, next_token: str) -> Call[tuple[list[str], str]]:
    """Yields a page of URLs and the token of the next one ("": this was the last)."""
    request = pb.ListDeadLetterSourceQueuesRequest(queue_url=queue_url, max_results=1000, next_token=next_token)
    return Call(
        "ListDeadLetterSourceQueues", request, lambda response: (list(response.queue_urls), str(response.next_token))
    )


def start_move_task(source_arn: str, destination_arn: str | None, rate: int | None) -> Call[str]:
    """Yields the task's handle."""
    request = pb.StartMessageMoveTaskRequest(
        source_arn=source_arn, destination_arn=destination_arn, max_number_of_messages_per_second=rate
    )
    return Call("StartMessageMoveTask", request, lambda response: str(response.task_handle))


def list_move_tasks(source_arn: str, limit: int) -> Call[list[MoveTaskStatus]]:
    """Yields the tasks of a source queue, newest first."""
    request = pb.ListMessageMoveTasksRequest(source_arn=source_arn, max_results=limit)
    return Call("ListMessageMoveTasks", request, lambda response: [_status(entry) for entry in response.results])


def cancel_move_task(task_handle: str) -> Call[int]:
    """Yields how many messages were moved before."""
    request = pb.CancelMessageMoveTaskRequest(task_handle=task_handle)
    return Call("CancelMessageMoveTask", request, lambda response: int(response.approximate_number_of_messages_moved))


def task_of_handle(tasks: list[MoveTaskStatus], task_handle: str) -> MoveTaskStatus:
    """The task just started: the one with this handle, or, if it has ended already, the newest. One at a time runs."""
    return next((task for task in tasks if task.task_handle == task_handle), tasks[0])


def task_started_at(tasks: Iterable[MoveTaskStatus], started_timestamp_ms: int) -> MoveTaskStatus:
    """The task that was started then. Raises `HeddleError` when the broker remembers it no more."""
    for task in tasks:
        if task.started_timestamp_ms == started_timestamp_ms:
            return task
    raise HeddleError("heddle.MoveTaskForgotten", "newer tasks have taken the place of this one in the broker's list")


def _status(entry: pb.ListMessageMoveTasksResultEntry) -> MoveTaskStatus:
    return MoveTaskStatus(
        status=entry.status,
        source_arn=entry.source_arn,
        destination_arn=entry.destination_arn if entry.HasField("destination_arn") else None,
        rate=entry.max_number_of_messages_per_second if entry.HasField("max_number_of_messages_per_second") else None,
        moved=entry.approximate_number_of_messages_moved,
        to_move=(
            entry.approximate_number_of_messages_to_move
            if entry.HasField("approximate_number_of_messages_to_move")
            else None
        ),
        started_timestamp_ms=entry.started_timestamp,
        failure_reason=entry.failure_reason if entry.HasField("failure_reason") else None,
        task_handle=entry.task_handle if entry.HasField("task_handle") else None,
    )
