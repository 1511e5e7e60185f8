"""How a command talks to a running broker: its address, its identity, and what becomes of errors."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.cli.failures import Failure, Unreachable

if TYPE_CHECKING:
    import heddle


@dataclass(frozen=True, slots=True)
class Target:
    """The broker that a command speaks to, and as whom."""

    server: str
    account: str | None
    region: str | None
    timeout_seconds: float
    ca: Path | None
    client_cert: Path | None
    client_key: Path | None

    @contextmanager
    def client(self) -> Iterator["heddle.Client"]:
        """A connected client; the errors of its calls become failures of the command."""
        import heddle

        try:
            with heddle.Client(
                self.server, account=self.account, region=self.region, timeout=self.timeout_seconds, tls=self._tls()
            ) as client:
                yield client
        except (heddle.Unavailable, heddle.DeadlineExceeded) as error:
            raise Unreachable(f"no answer from a broker at {self.server}: {error.message}") from error
        except heddle.HeddleError as error:
            raise Failure(f"{error.message} ({error.code})") from error

    def _tls(self) -> "heddle.Tls | None":
        import heddle

        if (self.client_cert is None) != (self.client_key is None):
            raise click.UsageError("--client-cert and --client-key need each other")
        if self.ca is None:
            if self.client_cert is not None:
                raise click.UsageError("--client-cert needs --ca: without it the connection is not encrypted")
            return None
        ca, cert, key = (path.read_bytes() if path else None for path in (self.ca, self.client_cert, self.client_key))
        return heddle.Tls(ca, cert, key)


_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def takes_target(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say which broker, as its argument `target`."""

    @functools.wraps(command)
    def with_target(**params: Any) -> None:
        target = Target(**{name: params.pop(name) for name in Target.__dataclass_fields__})
        command(target=target, **params)

    decorated: Callable[..., None] = with_target
    for option in (
        click.option(
            "--timeout",
            "timeout_seconds",
            type=click.FloatRange(min=0, min_open=True),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long a call may take.",
        ),
        click.option("--client-key", type=_file, envvar="HEDDLE_CLIENT_KEY", help="Key of --client-cert."),
        click.option("--client-cert", type=_file, envvar="HEDDLE_CLIENT_CERT", help="Certificate to show, in PEM."),
        click.option("--ca", type=_file, envvar="HEDDLE_CA", help="Speak TLS, and trust these authorities (PEM)."),
        click.option("--region", envvar="HEDDLE_REGION", help="Region, the broker's default when absent."),
        click.option("--account", envvar="HEDDLE_ACCOUNT", help="Account of 12 digits, the broker's when absent."),
        click.option(
            "--server",
            envvar="HEDDLE_SERVER",
            default="127.0.0.1:7420",
            show_default=True,
            metavar="HOST:PORT",
            help="gRPC endpoint of the broker (HEDDLE_SERVER).",
        ),
    ):
        decorated = option(decorated)
    return decorated
