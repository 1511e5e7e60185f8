"""What people see of the demo: a live picture on a terminal, plain lines elsewhere, and the account at the end."""

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final

import click
from rich import box
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from broker.cli.demo.account import Account
from broker.cli.demo.shop import Shop

FRAME_SECONDS: Final = 0.2
LINE_SECONDS: Final = 2.0
RATE_FRAMES: Final = 10  # frames over which a rate is taken: two seconds
BAR_CELLS: Final = 12


async def watch(shop: Shop) -> None:
    """Shows a shop until cancelled: live on a terminal, one line now and then elsewhere."""
    if sys.stdout.isatty():
        await _watch_live(shop)
    else:
        await _watch_lines(shop)


async def _watch_live(shop: Shop) -> None:
    frames: deque[tuple[float, dict[str, int]]] = deque(maxlen=RATE_FRAMES)
    with Live(console=Console(), auto_refresh=False) as live:
        try:
            while True:
                frames.append((shop.elapsed, _totals(shop)))
                live.update(_picture(shop, frames), refresh=True)
                await asyncio.sleep(FRAME_SECONDS)
        finally:
            live.update(_picture(shop, frames), refresh=True)


async def _watch_lines(shop: Shop) -> None:
    shown = 0
    try:
        while True:
            shown = _print_events(shop, shown)
            depths = ", ".join(f"{name} {depth.visible:,} waiting" for name, depth in shop.depths.items())
            done = sum(ledger.processed_total for ledger in shop.ledgers.values())
            retried = sum(ledger.retried_total for ledger in shop.ledgers.values())
            sent = sum(shop.sent.values())
            click.echo(f"{shop.elapsed:5.1f} s  sent {sent:,}  processed {done:,}  retried {retried:,}  {depths}")
            await asyncio.sleep(LINE_SECONDS)
    finally:
        _print_events(shop, shown)


def _print_events(shop: Shop, shown: int) -> int:
    new = min(shop.events_total - shown, len(shop.events))
    for at, event in list(shop.events)[len(shop.events) - new :]:
        click.echo(f"{at:5.1f} s  {event}")
    return shop.events_total


def _totals(shop: Shop) -> dict[str, int]:
    """Every counter that is shown with a rate."""
    totals = {f"sent {name}": count for name, count in shop.sent.items()}
    totals |= {f"worked {worker.temper.name}": worker.processed for worker in shop.workers}
    for name, ledger in shop.ledgers.items():
        totals |= {f"in {name}": len(ledger.sent), f"out {name}": ledger.processed_total}
    return totals


def _picture(shop: Shop, frames: Sequence[tuple[float, dict[str, int]]]) -> RenderableType:
    (first_at, first), (last_at, last) = frames[0], frames[-1]
    span = max(last_at - first_at, FRAME_SECONDS)

    def rate(counter: str) -> str:
        return f"{(last[counter] - first[counter]) / span:,.0f}/s"

    queues = _table("Queue", "Visible", "In flight", "Delayed", "In", "Out", "")
    for name, depth in shop.depths.items():
        cells = round(BAR_CELLS * depth.visible / max(depth.visible_most, 1))
        numbers = (f"{count:,}" for count in (depth.visible, depth.in_flight, depth.delayed))
        bar = Text("█" * cells + "░" * (BAR_CELLS - cells), style="cyan")
        queues.add_row(name, *numbers, rate(f"in {name}"), rate(f"out {name}"), bar)
    senders = _table("Sender", "Sent", "Rate", "")
    for feed in shop.feeds:
        senders.add_row(feed.name, f"{shop.sent[feed.name]:,}", rate(f"sent {feed.name}"), Text(feed.story, "dim"))
    workers = _table("Worker", "Done", "Rate", "Retried", "")
    for worker in shop.workers:
        name = worker.temper.name
        workers.add_row(name, f"{worker.processed:,}", rate(f"worked {name}"), f"{worker.retried:,}", worker.state)
    workers.add_row(shop.crashing.temper.name, "0", "0/s", "0", Text(shop.crashing.state, "red"))
    people = Columns((senders, workers), padding=(1, 4))  # beside each other where the terminal is wide enough
    events = Text("\n".join(f"{at:5.1f} s  {event}" for at, event in shop.events), style="yellow")
    title = f"heddle demo: a shop's orders, {min(shop.elapsed, shop.seconds):.0f} of {shop.seconds:.0f} s"
    return Panel(Group(queues, "", people, "", events), title=title, title_align="left", box=box.ROUNDED)


def _table(first: str, *headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def print_accounts(accounts: Sequence[Account]) -> None:
    """The account of every message, one column a queue, and what follows from it."""
    table = _table("", *(account.queue for account in accounts))
    for label, counts in (
        ("sent and acknowledged by the broker", [a.sent for a in accounts]),
        ("processed exactly once", [a.processed_once for a in accounts]),
        ("processed again after a crash", [a.processed_again_after_crash for a in accounts]),
        ("processed again without cause", [a.processed_again_unexplained for a in accounts]),
        ("lost", [a.lost for a in accounts]),
        ("processed but never sent", [a.unknown for a in accounts]),
        ("left in the queue", [a.left_in_queue for a in accounts]),
        ("failed attempts, retried", [a.retries for a in accounts]),
        ("held by the crashed worker, delivered to others", [a.returned for a in accounts]),
        ("most attempts that one message needed", [a.attempts_max for a in accounts]),
    ):
        table.add_row(label, *(f"{count:,}" for count in counts))
    click.echo()
    Console(highlight=False).print(table)
    sent = sum(account.sent for account in accounts)
    if all(account.balances for account in accounts):
        click.echo(f"\nThe account balances: {sent:,} messages sent, every one processed, none lost.")
    else:
        click.echo(f"\nThe account does NOT balance over {sent:,} messages.")
