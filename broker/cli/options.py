# ruff: noqa: ARG001, ARG002  # callbacks have the signatures that click calls them with
"""The configuration of a command: flags over environment variables over the TOML file over defaults.

Every option is made from the table in `broker.node.config`; click resolves the sources and remembers which one won.
"""

import difflib
import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from broker.cli.failures import ConfigurationFailure
from broker.node.config import OPTIONS, Config, ConfigError, Option

_OPTION_OF_KEY: Final = {option.key: option for option in OPTIONS}
_SOURCES: Final = {
    ParameterSource.COMMANDLINE: "flag",
    ParameterSource.ENVIRONMENT: "environment",
    ParameterSource.DEFAULT_MAP: "file",
    ParameterSource.DEFAULT: "default",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: `source` is flag, environment, file or default; `name` is which one of them."""

    source: str
    name: str

    def __str__(self) -> str:
        return f"{self.source} {self.name}".rstrip()


@dataclass(frozen=True, slots=True)
class Settings:
    """A configuration and where each of its keys came from."""

    config: Config
    origins: Mapping[str, Origin]


class _Value(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A value of one option, checked by the option itself whatever its source."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = option.kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        assert ctx is not None
        if ctx.get_parameter_source(self.option.key) is ParameterSource.DEFAULT:
            return value
        try:
            return self.option.parse(value)
        except ConfigError as error:
            raise _failure(ctx, error) from error

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,
        incomplete: str,
    ) -> list[CompletionItem]:
        if self.option.kind.metavar in {"FILE", "DIR"}:
            return [CompletionItem(incomplete, type=self.option.kind.metavar.lower())]
        return [CompletionItem(choice) for choice in self.option.kind.choices if choice.startswith(incomplete)]


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command every configuration option, and their outcome as its argument `settings`."""

    @functools.wraps(command)
    def with_settings(**params: Any) -> None:
        ctx = click.get_current_context()
        values = {option.key: params.pop(option.key) for option in OPTIONS}
        try:
            config = Config(**values)
        except ConfigError as error:
            raise _failure(ctx, error) from error
        command(settings=Settings(config, {key: _origin(ctx, key) for key in values}), **params)

    decorated: Callable[..., None] = with_settings
    for option in reversed(OPTIONS):
        decorated = click.option(
            option.flag,
            option.key,
            type=_Value(option),
            metavar=option.kind.metavar,
            default=option.default,
            show_default=option.render(option.default) or "none",
            envvar=option.variable,
            help=option.help,
        )(decorated)
    return click.option(
        "--config",
        "config_file",
        type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
        envvar="HEDDLE_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_read_file,
        help="TOML file with configuration keys.",
    )(decorated)


def _read_file(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationFailure(f"{path} is not a TOML file: {error}") from error
    for key in values:
        if key not in _OPTION_OF_KEY:
            nearest = difflib.get_close_matches(key.replace("-", "_"), _OPTION_OF_KEY, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "; `heddle config` lists the keys"
            raise ConfigurationFailure(f"{path} has an unknown key {key}{hint}")
    ctx.default_map = values
    ctx.meta[__name__] = path


def _origin(ctx: click.Context, key: str) -> Origin:
    source = _SOURCES[ctx.get_parameter_source(key) or ParameterSource.DEFAULT]
    option = _OPTION_OF_KEY[key]
    names = {
        "flag": option.flag,
        "environment": option.variable,
        "file": str(ctx.meta.get(__name__, "")),
        "default": "",
    }
    return Origin(source, names[source])


def _failure(ctx: click.Context, error: ConfigError) -> ConfigurationFailure:
    value = f'"{error.value}"' if isinstance(error.value, str) else str(error.value)
    return ConfigurationFailure(f"{error.key} = {value} (from {_origin(ctx, error.key)}): {error.problem}")
