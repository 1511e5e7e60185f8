"""`heddle serve`: reads the configuration, sets up logs and runs a broker until it is told to stop."""

import click

from broker.cli.options import Settings, takes_settings


@click.command(short_help="Run a broker.")
@takes_settings
@click.option("--aws", metavar="HOST:PORT", help="Accepted for scripts; the AWS endpoint is not served yet.")
@click.option(
    "--print-ports",
    is_flag=True,
    help="When ready, print the endpoints as one line of JSON. They are also in DATA_DIR/endpoints.json.",
)
def serve(settings: Settings, aws: str | None, print_ports: bool) -> None:
    """Run a broker in the foreground until SIGTERM or SIGINT.

    Each option is also a key of the TOML file (data_dir) and an environment variable (HEDDLE_DATA_DIR). A flag goes
    before the environment, the environment before the file. `heddle config` shows what is in force.
    """
    import os

    import structlog

    from broker import node
    from broker.node.logs import configure_logs

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would write past the structured logs
    configure_logs(settings.config.log_level, settings.config.log_format)
    if aws is not None:
        structlog.get_logger("broker.cli").warning("the AWS endpoint is not served yet", aws=aws)
    raise click.exceptions.Exit(node.serve(settings.config, print_ports=print_ports))
