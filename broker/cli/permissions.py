"""`heddle queue permission`: which accounts may do what to a queue."""

import json

import click

from broker import limits
from broker.cli.connection import Target, takes_target


@click.group()
def permission() -> None:
    """Let other accounts use a queue.

    A permission is a statement of the queue's policy, known by its LABEL; `heddle queue show` shows the policy.
    """


@permission.command()
@click.argument("name")
@click.argument("label")
@click.option("--account-id", "accounts", multiple=True, required=True, metavar="ID", help="12 digits. Repeatable.")
@click.option(
    "--action",
    "actions",
    multiple=True,
    required=True,
    type=click.Choice(limits.PERMISSION_ACTIONS),
    help="Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def add(
    target: Target, *, name: str, label: str, accounts: tuple[str, ...], actions: tuple[str, ...], as_json: bool
) -> None:
    """Allow accounts actions on a queue, for instance with --account-id 111122223333 --action SendMessage."""
    with target.client() as client:
        client.queue(name).add_permission(label, accounts, actions)
    if as_json:
        click.echo(json.dumps({"label": label, "accounts": accounts, "actions": actions}))
    else:
        click.echo(f"added {label} to {name}", err=True)


@permission.command()
@click.argument("name")
@click.argument("label")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@takes_target
def remove(target: Target, name: str, label: str, as_json: bool) -> None:
    """Take the permission LABEL back."""
    with target.client() as client:
        client.queue(name).remove_permission(label)
    click.echo(json.dumps({"label": label}) if as_json else f"removed {label} from {name}", err=not as_json)
