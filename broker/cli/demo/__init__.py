"""`heddle demo`: a broker on a temporary directory, a shop's orders through it, and an account of every message."""

import asyncio
import dataclasses
import json
import signal
from random import Random
from typing import TYPE_CHECKING

import click

from broker.cli.failures import FAILED

if TYPE_CHECKING:
    from broker.cli.demo.account import Account


@click.command(short_help="Watch a shop's orders go through a broker, every message accounted for.")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True, help="How long it runs, about."
)
@click.option("--seed", type=int, default=1, show_default=True, help="What fails when, and how large orders are.")
@click.option("--json", "as_json", is_flag=True, help="Print only the account, as JSON.")
def demo(seconds: float, seed: int, as_json: bool) -> None:
    """Start a broker on a temporary directory and send an online shop's orders through it.

    Senders of different speeds, workers that fail and retry, and one that is killed while it holds orders. In the end
    every message is accounted for; the exit code is 1 if the account does not balance.
    """
    from broker.cli.demo.process import running_broker
    from broker.cli.demo.view import print_accounts

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the broker and its directory go also then
    with running_broker() as broker:
        if not as_json:
            click.echo(f"a broker on a temporary directory: gRPC {broker.grpc}, metrics http://{broker.http}/metrics")
        try:
            accounts = asyncio.run(_play(broker.grpc, seconds, seed, quiet=as_json))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(a) | {"balances": a.balances} for a in accounts], indent=2))
    else:
        print_accounts(accounts)
    if not all(account.balances for account in accounts):
        raise click.exceptions.Exit(FAILED)


async def _play(server: str, seconds: float, seed: int, *, quiet: bool) -> "list[Account]":
    from broker.cli.demo.shop import Shop
    from broker.cli.demo.view import watch

    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    shop = Shop(server, seconds, Random(seed))
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(shop.run())
        watching = None if quiet else tasks.create_task(watch(shop))
        accounts = await playing
        if watching is not None:
            watching.cancel()
    return accounts
