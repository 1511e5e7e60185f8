"""`heddle queue`: queues themselves. What is done with their messages is in modules of its own."""

import json
import sys
from typing import Final

import click

from broker.cli.connection import Target, takes_target
from broker.cli.depths import COUNTS, depth
from broker.cli.messages import ack, peek, receive, send
from broker.cli.permissions import permission
from broker.cli.redrive import move, redrive
from broker.cli.stats import stats
from broker.cli.tables import print_table

MAX_RECEIVE_COUNT: Final = 10  # what the console of Amazon SQS offers

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group(short_help="Work with queues: create, send, receive, look, delete.")
def queue() -> None:
    """Work with the queues of a running broker.

    NAME is a queue's name or its URL.
    """


def parse_pairs(ctx: click.Context, param: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG001
    """KEY=VALUE arguments as a mapping; the value may hold further equals signs."""
    parsed: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f'"{pair}" is not KEY=VALUE')
        parsed[key] = value
    return parsed


@queue.command()
@click.argument("name")
@click.option("--fifo", is_flag=True, help="Keep order within message groups. NAME ends in .fifo.")
@click.option("--content-based-dedup", is_flag=True, help="With --fifo: messages with the same body are the same.")
@click.option("--dlq", metavar="QUEUE", help="Dead-letter queue: takes what is received too often.")
@click.option(
    "--max-receive-count", type=click.IntRange(1, 1000), metavar="N", help="With --dlq: how often; 10 if absent."
)
@click.option(
    "--attribute", "-a", "attributes", multiple=True, metavar="KEY=VALUE", callback=parse_pairs, help="Repeatable."
)
@click.option("--tag", "-t", "tags", multiple=True, metavar="KEY=VALUE", callback=parse_pairs, help="Repeatable.")
@as_json_option
@takes_target
def create(
    target: Target,
    *,
    name: str,
    fifo: bool,
    content_based_dedup: bool,
    dlq: str | None,
    max_receive_count: int | None,
    attributes: dict[str, str],
    tags: dict[str, str],
    as_json: bool,
) -> None:
    """Create a queue and print its URL.

    \b
    heddle queue create orders -a VisibilityTimeout=60
    heddle queue create orders.fifo --fifo --dlq dead-orders.fifo --max-receive-count 5
    """
    if fifo and not name.endswith(".fifo"):
        raise click.UsageError("the name of a FIFO queue ends in .fifo")
    if content_based_dedup and not fifo:
        raise click.UsageError("--content-based-dedup needs --fifo")
    if max_receive_count is not None and dlq is None:
        raise click.UsageError("--max-receive-count needs --dlq")
    if fifo:
        attributes["FifoQueue"] = "true"
    if content_based_dedup:
        attributes["ContentBasedDeduplication"] = "true"
    with target.client() as client:
        if dlq is not None:
            policy = {
                "deadLetterTargetArn": client.queue(dlq).arn(),
                "maxReceiveCount": max_receive_count or MAX_RECEIVE_COUNT,
            }
            attributes["RedrivePolicy"] = json.dumps(policy)
        created = client.create_queue(name, attributes=attributes, tags=tags)
    click.echo(json.dumps({"name": name, "url": created.url}) if as_json else created.url)


@queue.command("list")
@click.option("--prefix", default="", help="Only queues whose names begin with this.")
@click.option("--names", is_flag=True, help="Names only, one a line: a single call a thousand queues.")
@as_json_option
@takes_target
def list_queues(target: Target, prefix: str, names: bool, as_json: bool) -> None:
    """List queues and what is in them."""
    with target.client() as client:
        found = list(client.list_queues(prefix))
        rows = [{"name": q.name, "url": q.url} if names else {"name": q.name, "url": q.url, **depth(q)} for q in found]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif names:
        for row in rows:
            click.echo(row["name"])
    else:
        keys = ("name", *(key for key, _ in COUNTS))
        print_table(("Queue", "Visible", "In flight", "Delayed"), ([row[key] for key in keys] for row in rows))


@queue.command()
@click.argument("name")
@as_json_option
@takes_target
def show(target: Target, name: str, as_json: bool) -> None:
    """Show the attributes and tags of a queue."""
    with target.client() as client:
        handle = client.queue(name)
        attributes, tags = handle.attributes(), handle.tags()
    if as_json:
        click.echo(json.dumps({"name": handle.name, "attributes": attributes, "tags": tags}, indent=2))
        return
    print_table(("Attribute", "Value"), sorted(attributes.items()))
    if tags:
        click.echo()
        print_table(("Tag", "Value"), sorted(tags.items()))


@queue.command()
@click.argument("name")
@yes_option
@takes_target
def delete(target: Target, name: str, yes: bool) -> None:
    """Delete a queue with all of its messages."""
    with target.client() as client:
        handle = client.queue(name)
        if not yes:
            _confirm(f"Delete the queue {name} with its {sum(depth(handle).values()):,} messages?")
        handle.delete_queue()
    click.echo(f"deleted {name}", err=True)


@queue.command()
@click.argument("name")
@yes_option
@takes_target
def purge(target: Target, name: str, yes: bool) -> None:
    """Delete all messages of a queue, in whatever state, and keep the queue."""
    with target.client() as client:
        handle = client.queue(name)
        if not yes:
            _confirm(f"Delete the {sum(depth(handle).values()):,} messages of {name}?")
        handle.purge()
    click.echo(f"purged {name}", err=True)


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("this deletes messages: say --yes when nobody can be asked")
    click.confirm(question, abort=True, err=True)


for command in (send, receive, ack, peek, redrive, move, permission, stats):
    queue.add_command(command)
