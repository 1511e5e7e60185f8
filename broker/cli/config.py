"""`heddle config`: the configuration in force and where each value came from, without starting anything."""

import json
from pathlib import Path

import click

from broker.cli.options import Settings, takes_settings
from broker.node.config import OPTIONS, Endpoint, Option


@click.command(short_help="Show the configuration in force and where each value came from.")
@takes_settings
@click.option("--json", "as_json", is_flag=True, help="One JSON object: key to value, source and origin.")
@click.option("--markdown", is_flag=True, hidden=True, help="The table of docs/configuration.md.")
def config(settings: Settings, as_json: bool, markdown: bool) -> None:
    """Show what `heddle serve` would run with, given the same flags, environment and file."""
    if markdown:
        click.echo(markdown_table())
    elif as_json:
        click.echo(json.dumps(_as_json(settings), indent=2))
    else:
        _print_table(settings)


def markdown_table() -> str:
    """The option table as docs/configuration.md shows it."""
    rows = ["| Key | Default | Allowed | Meaning |", "| --- | --- | --- | --- |"]
    rows += [f"| `{o.key}` | {_default(o)} | {o.kind.allowed} | {o.help} |" for o in OPTIONS]
    return "\n".join(rows)


def _default(option: Option) -> str:
    text = option.render(option.default)
    return f"`{text}`" if text else "none"


def _as_json(settings: Settings) -> dict[str, dict[str, object]]:
    shown: dict[str, dict[str, object]] = {}
    for option in OPTIONS:
        value = getattr(settings.config, option.key)
        origin = settings.origins[option.key]
        shown[option.key] = {
            "value": str(value) if isinstance(value, Path | Endpoint) else value,
            "source": origin.source,
            "origin": origin.name or None,
        }
    return shown


def _print_table(settings: Settings) -> None:
    from broker.cli.tables import print_table

    rows = [
        (option.key, option.render(getattr(settings.config, option.key)) or "-", str(settings.origins[option.key]))
        for option in OPTIONS
    ]
    print_table(("Key", "Value", "From"), rows)
