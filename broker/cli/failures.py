"""How a command fails: one line on standard error and an exit code that scripts can rely on."""

from typing import Final

import click

FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells count


class Failure(click.ClickException):
    """What went wrong, in a sentence for people."""

    exit_code = FAILED


class ConfigurationFailure(Failure):
    """A configuration that cannot be used: the key, the value, where it came from, what is allowed."""

    exit_code = USAGE


class Unreachable(Failure):
    """No broker answers where one was expected."""

    exit_code = UNREACHABLE
