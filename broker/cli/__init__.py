# ruff: noqa: ARG002  # overridden methods have the signatures that click calls them with
"""The `heddle` command: what it is made of, its exit codes, and how errors reach people.

Commands live in modules of their own, imported when they are called: `heddle --version` and shell completion stay fast.
An error is one line on standard error; a traceback appears only with `--debug`.

Never: anything here that needs a broker, a store or the network.
"""

import errno
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from broker.cli.failures import INTERRUPTED, ConfigurationFailure, Failure
from broker.errors import ConfigurationError, StartupError

__all__ = ["main"]

COMMANDS: Final = {
    "serve": ("broker.cli.serve:serve", "Run a broker."),
    "queue": ("broker.cli.queue:queue", "Work with queues: create, send, receive, look, delete."),
    "demo": ("broker.cli.demo:demo", "Watch a shop's orders go through a broker, every message accounted for."),
    "bench": ("broker.bench.cli:bench", "Measure throughput and latency, beside bare ceilings and peers."),
    "aws": ("broker.cli.aws:aws", "List the AWS operations that are served."),
    "config": ("broker.cli.config:config", "Show the configuration in force and where each value came from."),
    "check": ("broker.cli.data:check", "Verify a data directory."),
    "backup": ("broker.cli.data:backup", "Copy a data directory, also while a broker runs on it."),
    "restore": ("broker.cli.data:restore", "Put a backup where a broker can serve it."),
    "completion": ("broker.cli.completion:completion", "Print the completion script of a shell."),
}
EXIT_CODES: Final = """\b
Exit codes:
  0    done
  1    it failed, or a check found problems
  2    the command line or the configuration is wrong
  3    the broker cannot be reached
  130  interrupted"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their names and one-line helps are known before."""

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=help_text)
            for name, (_, help_text) in self._lazy.items()
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (click.ClickException, click.Abort, click.exceptions.Exit) as outcome:
            if ctx.params["debug"] and outcome.__cause__ is not None:
                raise outcome.__cause__ from None
            raise
        except OSError as error:
            if ctx.params["debug"] or error.errno == errno.EPIPE:  # a closed pipe is click's to end quietly
                raise
            raise Failure(str(error)) from error
        except Exception as error:
            if ctx.params["debug"]:
                raise
            if isinstance(error, StartupError):
                failure = ConfigurationFailure if isinstance(error, ConfigurationError) else Failure
                raise failure(str(error)) from error
            name = type(error).__name__
            raise Failure(f"internal error: {name}: {error} (run `heddle --debug ...` for the traceback)") from error


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="heddle-broker", prog_name="heddle", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:  # read by LazyGroup.invoke
    """Heddle, a self-hosted message broker with AWS semantics."""
