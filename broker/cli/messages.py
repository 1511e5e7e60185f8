"""`heddle queue send`, `receive`, `ack` and `peek`: messages, one by one or a stream of lines."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

import click

from broker.cli.connection import Target, takes_target
from broker.cli.failures import Failure
from broker.cli.message_text import preview, print_body, print_json, print_received, time_text
from broker.cli.tables import console, print_table

if TYPE_CHECKING:
    import heddle

RECEIVE_MESSAGES_MAX: Final = 10  # SQS ReceiveMessage and the batch calls
FOLLOW_WAIT_SECONDS: Final = 20  # SQS ReceiveMessage, WaitTimeSeconds
PROGRESS_LINES: Final = 1_000  # lines between two movements of the progress bar


@click.command()
@click.argument("name")
@click.argument("bodies", nargs=-1, metavar="[BODY]...")
@click.option("--file", "-f", "source", type=click.File("rb"), help="Read the body from a file; - is standard input.")
@click.option("--lines", is_flag=True, help="One message a line of the input; empty lines are skipped.")
@click.option("--delay", "delay_seconds", type=click.IntRange(0, 900), metavar="SECONDS", help="Deliver later.")
@click.option("--group", "group_id", metavar="ID", help="Message group. FIFO queues need one.")
@click.option("--dedup-id", "deduplication_id", metavar="ID", help="FIFO: deduplication id, for one message.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def send(
    target: Target,
    *,
    name: str,
    bodies: tuple[str, ...],
    source: IO[bytes] | None,
    lines: bool,
    delay_seconds: int | None,
    group_id: str | None,
    deduplication_id: str | None,
    as_json: bool,
) -> None:
    """Send messages: each BODY, or a file, or standard input.

    \b
    heddle queue send orders '{"id": 1}' '{"id": 2}'
    heddle queue send orders --file order.json
    zcat orders.jsonl.gz | heddle queue send orders --lines
    heddle queue send orders.fifo '{"id": 1}' --group customer-7 --dedup-id order-1
    """
    if deduplication_id is not None and (lines or len(bodies) > 1):
        raise click.UsageError("--dedup-id is for one message: others with the same id would be duplicates of it")
    if bodies and (source or lines):
        raise click.UsageError("bodies come from arguments or from an input, not from both")
    if not bodies and source is None:
        source = sys.stdin.buffer
        if source.isatty():
            raise click.UsageError("no body: give one as an argument, with --file, or on standard input")
    with target.client() as client:
        queue = client.queue(name)
        if lines:
            assert source is not None
            sent, duplicates = _send_lines(queue, source, delay_seconds, group_id)
            if as_json:
                click.echo(json.dumps({"sent": sent, "duplicates": duplicates}))
            else:
                known = f", {duplicates:,} of them duplicates" if duplicates else ""
                click.echo(f"sent {sent:,} messages{known}", err=True)
            return
        for body in bodies or (source.read(),) if source else bodies:
            message = queue.send(
                body, delay_seconds=delay_seconds, group_id=group_id, deduplication_id=deduplication_id
            )
            if as_json:
                click.echo(json.dumps({"message_id": message.message_id, "sequence": message.sequence}))
            else:
                click.echo(message.message_id)


def _send_lines(
    queue: "heddle.Queue", source: IO[bytes], delay_seconds: int | None, group_id: str | None
) -> tuple[int, int]:
    """How many were sent, and how many of them were duplicates."""
    sent = 0
    pending_bytes = 0
    with _progress(source) as advance, queue.producer(delay_seconds=delay_seconds) as producer:
        for line in source:
            pending_bytes += len(line)
            if body := line.rstrip(b"\r\n"):
                producer.send(body, group_id=group_id)
                sent += 1
            if sent % PROGRESS_LINES == 0:
                advance(pending_bytes)
                pending_bytes = 0
        producer.flush()
        advance(pending_bytes)
    return sent, producer.duplicate_messages


@contextmanager
def _progress(source: IO[bytes]) -> Iterator[Callable[[int], None]]:
    """A bar over the bytes of a file, a counter for a pipe; nothing where standard error is not a terminal."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    total: int | None = None
    if source.seekable():
        start = source.tell()
        total = source.seek(0, 2) - start
        source.seek(start)
    columns = (TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("send", total=total)

        def advance(input_bytes: int) -> None:
            progress.advance(task, input_bytes)

        yield advance


@click.command()
@click.argument("name")
@click.option("--max", "-n", "max_messages", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--wait", "wait_seconds", type=click.IntRange(0, 20), metavar="SECONDS", help="Wait for the first.")
@click.option("--visibility-timeout", type=click.IntRange(0, 43_200), metavar="SECONDS", help="Hidden that long.")
@click.option("--ack", "acknowledge", is_flag=True, help="Delete each message once it is printed.")
@click.option("--follow", is_flag=True, help="Go on until interrupted.")
@click.option("--bodies", "bodies_only", is_flag=True, help="Print bodies alone, each with a line end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@takes_target
def receive(
    target: Target,
    *,
    name: str,
    max_messages: int,
    wait_seconds: int | None,
    visibility_timeout: int | None,
    acknowledge: bool,
    follow: bool,
    bodies_only: bool,
    as_json: bool,
) -> None:
    """Receive messages and print them.

    Without --ack they stay in flight until their visibility timeout, and then come again.
    """
    show = print_body if bodies_only else print_json if as_json else print_received
    received = 0
    with target.client() as client:
        queue = client.queue(name)
        while follow or received < max_messages:
            wanted = RECEIVE_MESSAGES_MAX if follow else min(RECEIVE_MESSAGES_MAX, max_messages - received)
            messages = queue.receive(
                wanted,
                wait_seconds=FOLLOW_WAIT_SECONDS if follow else wait_seconds,
                visibility_timeout=visibility_timeout,
            )
            for message in messages:
                show(message)
            sys.stdout.flush()  # printed before it is deleted: a message may be shown twice, never lost
            if acknowledge and messages:
                _delete(queue, [message.receipt_handle for message in messages])
            received += len(messages)
            if not messages and not follow:
                break
            wait_seconds = 0
    if not received:
        click.echo(f"no messages in {name}", err=True)


@click.command()
@click.argument("name")
@click.argument("receipt_handles", nargs=-1, required=True, metavar="RECEIPT_HANDLE...")
@takes_target
def ack(target: Target, name: str, receipt_handles: tuple[str, ...]) -> None:
    """Delete received messages by their receipt handles."""
    with target.client() as client:
        queue = client.queue(name)
        for start in range(0, len(receipt_handles), RECEIVE_MESSAGES_MAX):
            _delete(queue, list(receipt_handles[start : start + RECEIVE_MESSAGES_MAX]))


def _delete(queue: "heddle.Queue", receipt_handles: list[str]) -> None:
    for error in filter(None, queue.delete_batch(receipt_handles)):
        raise Failure(f"not deleted: {error.message} ({error.code})")


@click.command()
@click.argument("name")
@click.option("--max", "-n", "max_messages", type=click.IntRange(1, 100), default=10, show_default=True, metavar="N")
@click.option("--from-sequence", type=click.IntRange(min=0), metavar="SEQUENCE", help="Where to begin; else the head.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@takes_target
def peek(target: Target, name: str, max_messages: int, from_sequence: int | None, as_json: bool) -> None:
    """Look at messages without receiving them: nothing changes state."""
    with target.client() as client:
        messages = client.queue(name).peek(max_messages, from_sequence=from_sequence)
    if as_json:
        for message in messages:
            print_json(message)
        return
    print_table(
        ("Sequence", "Group", "State", "Until", "Sent", "Receives", "Body"),
        [
            (
                str(m.sequence),
                m.group_id or "-",
                m.state,
                time_text(m.until_timestamp_ms),
                time_text(m.sent_timestamp_ms),
                m.receive_count,
                preview(m.body),
            )
            for m in messages
        ],
    )
