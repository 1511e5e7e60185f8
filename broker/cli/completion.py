"""`heddle completion`: the script that teaches a shell to complete `heddle`."""

import click
from click.shell_completion import get_completion_class

from broker.cli.failures import Failure


@click.command(epilog='For this session: eval "$(heddle completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL, to be sourced by it."""
    completer = get_completion_class(shell)
    if completer is None:
        raise Failure(f"this version of click knows no completion for {shell}")
    click.echo(completer(ctx.find_root().command, {}, "heddle", "_HEDDLE_COMPLETE").source())
