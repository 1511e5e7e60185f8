"""`heddle queue redrive` and `heddle queue move`: dead letters on their way back, as tasks of the broker."""

import json
import time
from typing import TYPE_CHECKING, Final

import click

from broker.cli.connection import Target, takes_target
from broker.cli.failures import Failure
from broker.cli.message_text import time_text
from broker.cli.progress import progress_bar
from broker.cli.tables import print_table

if TYPE_CHECKING:
    import heddle

LOOK_SECONDS: Final = 0.2  # between two looks at a task that is waited for


@click.command()
@click.argument("name", metavar="DLQ")
@click.option("--to", "destination", metavar="QUEUE", help="Where to; each message's own source queue when absent.")
@click.option("--rate", type=click.IntRange(1, 500), metavar="N", help="Messages a second; else as fast as it goes.")
@click.option("--wait", is_flag=True, help="Watch it to its end. Interrupted, the task goes on without you.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def redrive(target: Target, *, name: str, destination: str | None, rate: int | None, wait: bool, as_json: bool) -> None:
    """Move the messages of the dead-letter queue DLQ back to where they came from, or to another queue.

    The broker does it in the background: see `heddle queue move`. Moved messages are new ones, received 0 times.
    """
    with target.client() as client:
        task = client.queue(name).start_redrive(destination, rate)
        status = _watched(task) if wait else task.status()
    if as_json:
        click.echo(json.dumps({"task_handle": task.task_handle} | as_mapping(status)))
    elif wait:
        click.echo(f"moved {status.moved:,} messages", err=True)
    else:
        click.echo(f"moving {status.to_move or 0:,} messages; `heddle queue move status {name}` tells more", err=True)
        click.echo(task.task_handle)
    if wait and status.status != "COMPLETED":
        raise Failure(f"the task was {status.status} after {status.moved:,} messages")


def _watched(task: "heddle.MoveTask") -> "heddle.MoveTaskStatus":
    """The task's last status. Raises why it failed."""
    with progress_bar("moving") as progress:
        while (status := task.status()).active:
            progress(status.moved, status.to_move or 0)
            time.sleep(LOOK_SECONDS)
    if status.error is not None:
        raise status.error
    return status


@click.group()
def move() -> None:
    """Look at redrives, and end them."""


@move.command("status")
@click.argument("name", metavar="DLQ")
@click.option("--max", "-n", "limit", type=click.IntRange(1, 10), default=10, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def move_status(target: Target, name: str, limit: int, as_json: bool) -> None:
    """Show the last redrives of a dead-letter queue, newest first."""
    with target.client() as client:
        tasks = client.queue(name).move_tasks(limit)
    if as_json:
        click.echo(json.dumps([as_mapping(task) for task in tasks], indent=2))
        return
    print_table(
        ("Started", "Status", "Moved", "Of", "To", "Rate", "Failure"),
        [
            (
                time_text(task.started_timestamp_ms),
                task.status,
                task.moved,
                "-" if task.to_move is None else task.to_move,
                (task.destination_arn or "where they came from").rpartition(":")[2],
                task.rate or "-",
                task.failure_reason or "-",
            )
            for task in tasks
        ],
    )


@move.command("cancel")
@click.argument("name", metavar="DLQ")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def move_cancel(target: Target, name: str, as_json: bool) -> None:
    """End the running redrive of a dead-letter queue. What was moved stays moved."""
    with target.client() as client:
        queue = client.queue(name)
        handle = next((task.task_handle for task in queue.move_tasks() if task.task_handle is not None), None)
        if handle is None:
            raise Failure(f"no redrive of {name} is running")
        moved = queue.cancel_move_task(handle)
    click.echo(json.dumps({"moved": moved}) if as_json else f"cancelled after {moved:,} messages", err=not as_json)


def as_mapping(status: "heddle.MoveTaskStatus") -> dict[str, object]:
    """A task as JSON shows it: what is not known is left out."""
    shown = {
        "status": status.status,
        "source_arn": status.source_arn,
        "destination_arn": status.destination_arn,
        "rate": status.rate,
        "moved": status.moved,
        "to_move": status.to_move,
        "started_timestamp_ms": status.started_timestamp_ms,
        "failure_reason": status.failure_reason,
        "task_handle": status.task_handle,
    }
    return {key: value for key, value in shown.items() if value is not None}
