"""A workload on the broker beside its ceilings and peers, in one run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import uvloop

from broker.bench import ceilings
from broker.bench.measure import Plan
from broker.bench.peers.run import PeerRunError, run_peer
from broker.bench.peers.servers import PEERS, PeerNotInstalledError
from broker.bench.processes import Server, ServerDidNotStartError, broker_at, echo_server
from broker.bench.rows import Row, latency_ratio, row_of, skipped_row, throughput_ratio
from broker.bench.workloads import WORKLOADS

CEILINGS = ("echo", "lmdb")
COMPARISONS = (*CEILINGS, *PEERS)
GROUPS = {"ceilings": CEILINGS, "peers": tuple(PEERS)}
BROKER_DURABILITY = {
    "fsync": "fsync before every ack",
    "relaxed": "relaxed: acks before the fsync, which follows within milliseconds",
}


@dataclass(frozen=True)
class Setting:
    """Where a benchmark's broker is, and what stands beside it."""

    target: str | None
    durability: str
    comparisons: tuple[str, ...]

    @property
    def durability_in_words(self) -> str:
        return "as its configuration says (--target)" if self.target else BROKER_DURABILITY[self.durability]


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Comparisons in the order asked for, groups replaced by their members, each once."""
    members = [member for name in names for member in GROUPS.get(name, (name,))]
    return tuple(dict.fromkeys(members))


def compared_row(workload: str, comparison: str, plan: Plan) -> Row:
    """The row of one ceiling or peer; a skipped row where it cannot run here."""
    name = f"{workload} ({comparison})"
    try:
        if comparison == "echo":
            with echo_server() as server:
                measured = uvloop.run(ceilings.measure_echo(server, workload, plan))
            return row_of(name, ceilings.ECHO_DURABILITY, measured, plan.size_bytes)
        if comparison == "lmdb":
            measured, durability = ceilings.measure_lmdb(workload, plan)
            return row_of(name, durability, measured, plan.size_bytes)
        measured = run_peer(comparison, workload, plan)
        return row_of(name, PEERS[comparison].durability, measured, plan.size_bytes)
    except (ceilings.NoSuchCeilingError, PeerNotInstalledError, PeerRunError, ServerDidNotStartError) as reason:
        return skipped_row(name, str(reason))


def run_workload(name: str, plan: Plan, setting: Setting, compared: dict[tuple[str, str, Plan], Row]) -> Iterator[Row]:
    """The rows of the comparisons, then the broker's own with its ratios.

    `compared` keeps the comparisons of this run: two workloads that stand beside the same one share it.
    """
    compared_as = WORKLOADS[name].compared_as
    others: dict[str, Row] = {}
    for comparison in setting.comparisons:
        key = (compared_as, comparison, plan)
        if key not in compared:
            compared[key] = compared_row(*key)
            yield compared[key]
        others[comparison] = compared[key]
    with broker_at(setting.target, setting.durability) as server:
        row = broker_row(name, plan, server, setting)
    row.ratios.update(ratios(row, compared_as, others))
    yield row


def broker_row(name: str, plan: Plan, server: Server, setting: Setting) -> Row:
    async def run() -> Row:
        measured = await WORKLOADS[name].run(server, plan)
        return row_of(name, setting.durability_in_words, measured, plan.size_bytes)

    return uvloop.run(run())


def ratios(row: Row, compared_as: str, others: dict[str, Row]) -> dict[str, float]:
    """Throughput over throughput; for latency p50 over p50, and over the sum of an echo and a commit."""
    ran = {name: other for name, other in others.items() if other.figures}
    if compared_as != "latency":
        found = {name: throughput_ratio(row, other) for name, other in ran.items()}
    else:
        p50s = {name: other.figures["p50_ms"] or 0.0 for name, other in ran.items()}
        found = {name: latency_ratio(row, p50_ms) for name, p50_ms in p50s.items()}
        if p50s.keys() >= set(CEILINGS):
            found["echo_plus_lmdb"] = latency_ratio(row, sum(p50s[name] for name in CEILINGS))
    return {name: ratio for name, ratio in found.items() if ratio is not None}
