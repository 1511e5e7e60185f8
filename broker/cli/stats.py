"""`heddle queue stats`: how full queues are and how fast messages go through them, once or live.

Depths come from the broker's gRPC door. Rates come from the counters of its metrics endpoint; where that is not to be
had, from the depths: what a queue has more or less of than a moment ago.
"""

import json
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from broker.cli.connection import Target, takes_target
from broker.cli.depths import COUNTS, depth_of
from broker.cli.failures import Failure
from broker.cli.tables import live_table, print_table

if TYPE_CHECKING:
    import heddle

GRPC_PORT: Final = "7420"
METRICS_PORT: Final = "7421"
METRICS_SECONDS_MAX: Final = 5.0
COUNTERS: Final = {
    "heddle_queue_sent_messages_total": "sent",
    "heddle_queue_received_messages_total": "received",
    "heddle_queue_deleted_messages_total": "deleted",
}
RATES: Final = ("sent", "received", "deleted", "change")  # messages a second

Totals = dict[tuple[str, str, str], dict[str, float]]
"""Counters by account, region and queue."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A queue at one moment. `counters`: messages since the broker's start; empty where they are not known."""

    name: str
    at: float
    depths: Mapping[str, int]
    counters: Mapping[str, float] = field(default_factory=dict)

    def rates_since(self, before: "Sample | None") -> dict[str, float | None]:
        """Messages a second since an earlier sample; None where that cannot be said."""
        if before is None or self.at <= before.at:
            return dict.fromkeys(RATES)
        seconds = self.at - before.at
        rates: dict[str, float | None] = {}
        for name in ("sent", "received", "deleted"):
            now, then = self.counters.get(name), before.counters.get(name)
            # A counter that fell is that of a broker that was started again.
            rates[name] = None if now is None or then is None or now < then else (now - then) / seconds
        rates["change"] = (sum(self.depths.values()) - sum(before.depths.values())) / seconds
        return rates


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--prefix", default="", help="Queues whose names begin with this, when none is named.")
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: time between two looks.",
)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="With --watch: end after so many.")
@click.option(
    "--metrics",
    envvar="HEDDLE_METRICS",
    metavar="HOST:PORT",
    help=f"HTTP endpoint of the broker, for rates. Port {METRICS_PORT} beside a --server with port {GRPC_PORT}.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: with --watch one line a sample.")
@takes_target
def stats(
    target: Target,
    *,
    names: tuple[str, ...],
    prefix: str,
    watch: bool,
    interval: float,
    samples: int | None,
    metrics: str | None,
    as_json: bool,
) -> None:
    """Show how many messages queues have, and with --watch how many go in and out a second."""
    if samples is not None and not watch:
        raise click.UsageError("--samples needs --watch")
    source = Metrics(metrics or _beside(target.server), required=metrics is not None) if watch else None
    with target.client() as client:
        look = Look(client, names, prefix, source)
        if not watch:
            _print_once([row(sample, None) for sample in look()], as_json=as_json)
        elif as_json:
            for rows in _rows(look, interval, samples):
                click.echo(json.dumps({"time_ms": time.time_ns() // 1_000_000, "queues": rows}))
                sys.stdout.flush()
        else:
            with live_table() as show:
                for rows in _rows(look, interval, samples):
                    show(*_table(rows))


class Look:
    """Calling it looks at the queues now."""

    def __init__(self, client: "heddle.Client", names: tuple[str, ...], prefix: str, metrics: "Metrics | None") -> None:
        self._client, self._names, self._prefix, self._metrics = client, names, prefix, metrics

    def __call__(self) -> list[Sample]:
        """A queue that goes while it is looked at is left out, unless it was named."""
        import heddle

        totals = self._metrics.read() if self._metrics is not None else {}
        if self._names:
            return [_sample(self._client.queue(name), totals) for name in self._names]
        found = []
        for queue in self._client.list_queues(self._prefix):
            with suppress(heddle.QueueDoesNotExist):
                found.append(_sample(queue, totals))
        return found


def _sample(queue: "heddle.Queue", totals: Totals) -> Sample:
    attributes = queue.attributes(["QueueArn", *(attribute for _, attribute in COUNTS)])
    _, _, _, region, account, name = attributes["QueueArn"].split(":")
    return Sample(name, time.monotonic(), depth_of(attributes), totals.get((account, region, name), {}))


class Metrics:
    """The broker's counters, read anew at each look. Where they are not `required`, a broker may do without."""

    def __init__(self, endpoint: str | None, *, required: bool) -> None:
        self._endpoint = endpoint
        self._required = required

    def read(self) -> Totals:
        """Raises Failure when they are required and cannot be had."""
        if self._endpoint is None:
            return {}
        url = f"http://{self._endpoint}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=METRICS_SECONDS_MAX) as answer:
                return counters_in(answer.read().decode())
        except (OSError, ValueError) as error:
            if self._required:
                raise Failure(f"no metrics at {url}: {error}") from error
            self._endpoint = None  # not asked again: whoever wants rates names the endpoint
            return {}


def counters_in(exposition: str) -> Totals:
    """The counters of a page of metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    totals: Totals = {}
    for family in text_string_to_metric_families(exposition):
        for name, labels, value, *_ in family.samples:
            if name in COUNTERS:
                key = labels["account"], labels["region"], labels["queue"]
                totals.setdefault(key, {})[COUNTERS[name]] = value
    return totals


def _beside(server: str) -> str | None:
    """Where a broker at its usual address has its metrics."""
    host, _, port = server.rpartition(":")
    return f"{host}:{METRICS_PORT}" if port == GRPC_PORT else None


def _rows(look: Look, interval: float, samples: int | None) -> Iterator[list[dict[str, object]]]:
    """One list of rows a look, the looks `interval` seconds apart."""
    before: dict[str, Sample] = {}
    number = 0
    while True:
        now = {sample.name: sample for sample in look()}
        yield [row(sample, before.get(name)) for name, sample in now.items()]
        before = now
        number += 1
        if number == samples:
            return
        time.sleep(interval)


def row(sample: Sample, before: Sample | None) -> dict[str, object]:
    """A sample as JSON shows it."""
    rates = {f"{name}_per_second": rate for name, rate in sample.rates_since(before).items()}
    return {"name": sample.name, **sample.depths, **rates}


def _table(rows: Iterable[Mapping[str, object]]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    headings = ("Queue", "Visible", "In flight", "Delayed", "Sent/s", "Recv/s", "Del/s", "Net/s")
    keys = [f"{name}_per_second" for name in RATES]
    return headings, [
        (*(each[key] for key in ("name", *(key for key, _ in COUNTS))), *(_shown(each[key]) for key in keys))
        for each in rows
    ]


def _shown(rate: object) -> object:
    return round(rate, 1) if isinstance(rate, float) else "-"


def _print_once(rows: list[dict[str, object]], *, as_json: bool) -> None:
    keys = ("name", *(key for key, _ in COUNTS))
    if as_json:
        click.echo(json.dumps([{key: each[key] for key in keys} for each in rows], indent=2))
    else:
        print_table(("Queue", "Visible", "In flight", "Delayed"), ([each[key] for key in keys] for each in rows))
