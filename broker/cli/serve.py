"""`heddle serve`: reads the configuration, sets up logs and runs a broker until it is told to stop."""

import dataclasses
import tempfile
from pathlib import Path

import click

from broker.cli.failures import ConfigurationFailure
from broker.cli.options import Settings, takes_settings


@click.command(short_help="Run a broker.")
@takes_settings
@click.option(
    "--ephemeral",
    is_flag=True,
    help="For test suites: data in a temporary directory that is removed at the end, commits relaxed, and POST /reset "
    "on the HTTP port empties the broker.",
)
@click.option(
    "--print-ports",
    is_flag=True,
    help="When ready, print the endpoints as one line of JSON. They are also in DATA_DIR/endpoints.json.",
)
def serve(settings: Settings, ephemeral: bool, print_ports: bool) -> None:
    """Run a broker in the foreground until SIGTERM or SIGINT.

    Each option is also a key of the TOML file (data_dir) and an environment variable (HEDDLE_DATA_DIR). A flag goes
    before the environment, the environment before the file. `heddle config` shows what is in force.
    """
    import os

    from broker import node
    from broker.node.logs import configure_logs

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write past the structured logs
    config = settings.config
    configure_logs(config.log_level, config.log_format)
    if not ephemeral:
        raise click.exceptions.Exit(node.serve(config, print_ports=print_ports))
    _refuse_ephemeral(settings)
    with tempfile.TemporaryDirectory(prefix="heddle-") as directory:
        config = dataclasses.replace(config, data_dir=Path(directory), durability="relaxed")
        code = node.serve(config, print_ports=print_ports, ephemeral=True)
    raise click.exceptions.Exit(code)


def _refuse_ephemeral(settings: Settings) -> None:
    """What contradicts a broker that forgets."""
    for key in ("data_dir", "durability"):
        if (origin := settings.origins[key]).source != "default":
            raise ConfigurationFailure(f"--ephemeral and {key} (from {origin}) contradict each other")
    if settings.config.profile == "production":
        raise ConfigurationFailure("--ephemeral is refused in production (profile)")
