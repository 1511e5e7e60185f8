"""`heddle bench`: the command."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import click
import grpc.aio
import heddle
from rich.console import Console

from broker.bench.compare import COMPARISONS, GROUPS, Setting, expand, run_workload
from broker.bench.measure import CountsDisagreeError, Plan
from broker.bench.processes import ServerDidNotStartError
from broker.bench.rows import Row, table_of
from broker.bench.scenarios import SCENARIOS
from broker.bench.workloads import WORKLOADS

PAIRS = {"producer": ("producer", "producer-asyncio"), "consumer": ("consumer", "consumer-asyncio")}
NAMES = ("produce", "consume", "unary", "latency", "wakeup", "producer", "consumer", *SCENARIOS)
BATCH_OF_LARGE = 500  # the shapes: 100 bytes by 1000, 1000 bytes by 500


def rows_of(
    name: str, changes: dict[str, float | None], setting: Setting, compared: dict[tuple[str, str, Plan], Row]
) -> Iterator[Row]:
    """The rows of one benchmark; `changes` are the fields of its plan that were given on the command line."""
    given = {key: value for key, value in changes.items() if value is not None}
    if name in SCENARIOS:
        scenario = SCENARIOS[name]
        yield from scenario.run(replace(scenario.plan, **given), setting)  # type: ignore[arg-type]
        return
    for workload in PAIRS.get(name, (name,)):
        plan: Plan = replace(WORKLOADS[workload].plan, **given)  # type: ignore[arg-type]
        if "batch" not in given and plan.batch > BATCH_OF_LARGE and plan.size_bytes >= 1000:
            plan = replace(plan, batch=BATCH_OF_LARGE)
        yield from run_workload(workload, plan, setting, compared)


def _words(error: BaseException) -> Iterator[str]:
    """What went wrong, without the groups around it."""
    if isinstance(error, BaseExceptionGroup):
        yield from chain.from_iterable(_words(each) for each in error.exceptions)
    elif isinstance(error, grpc.aio.AioRpcError):
        yield f"the broker answered {error.code().name}: {error.details()}"
    else:
        yield str(error)


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # by way of the exits that stop the servers


@click.command()
@click.argument("name", type=click.Choice([*NAMES, "all"]))
@click.option("--messages", type=click.IntRange(1), help="End the window, or bound the filling, at so many messages.")
@click.option("--size", "size_bytes", type=click.IntRange(1, 2**20), help="Bytes of a message's body.")
@click.option("--batch", type=click.IntRange(1, 10_000), help="Messages of a batch.")
@click.option("--concurrency", "--in-flight", "in_flight", type=click.IntRange(1, 4096), help="Requests in flight.")
@click.option("--streams", type=click.IntRange(1, 64), help="Produce: connections, each with one stream.")
@click.option("--seconds", type=click.FloatRange(0.1), help="Length of the measured window.")
@click.option("--warm-up", "warm_up_seconds", type=click.FloatRange(0), help="Seconds of load before the window.")
@click.option("--durability", type=click.Choice(["fsync", "relaxed"]), default="fsync", show_default=True)
@click.option("--target", metavar="HOST:PORT", help="A running broker; without it a private one is started.")
@click.option(
    "--compare", type=click.Choice([*COMPARISONS, *GROUPS]), multiple=True, help="Run beside it. May be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per row, as soon as it is there.")
def bench(
    name: str,
    durability: str,
    target: str | None,
    compare: tuple[str, ...],
    as_json: bool,
    **changes: float | None,
) -> None:
    """Measure the broker: messages a second, latencies, CPU and memory of the server.

    Fails with status 1 when messages were lost or counted twice.
    """
    setting = Setting(target, durability, expand(compare))
    names = NAMES if name == "all" else (name,)
    rows: list[Row] = []
    compared: dict[tuple[str, str, Plan], Row] = {}
    before = signal.signal(signal.SIGTERM, _end)
    try:
        for row in chain.from_iterable(rows_of(each, changes, setting, compared) for each in names):
            rows.append(row)
            if as_json:
                click.echo(row.to_json())
    except* (CountsDisagreeError, ServerDidNotStartError, grpc.RpcError, heddle.HeddleError) as group:
        raise click.ClickException("\n".join(_words(group))) from group
    finally:
        signal.signal(signal.SIGTERM, before)
        if not as_json and rows:
            Console().print(table_of(rows))
