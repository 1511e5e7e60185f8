"""`heddle bench aws`: SQS over HTTP, the broker beside other servers of SQS, with the same client and the same load."""

from collections.abc import Iterator

import uvloop

from broker.bench.aws.calls import OPERATIONS, measure, warm_up
from broker.bench.aws.http import RefusedCallError
from broker.bench.compare import Setting
from broker.bench.measure import Measured, Plan
from broker.bench.peers.servers import PEERS, SQS_PEERS, PeerNotInstalledError, peer_server
from broker.bench.processes import Server, ServerDidNotStartError, broker_at
from broker.bench.rows import Row, row_of, skipped_row, throughput_ratio

CONNECTIONS = (1, 16)  # and the plan's, 64 unless told otherwise

Kind = tuple[str, int]
"""An operation and a number of connections."""

NOT_RUN: Kind = ("", 0)


def kinds(plan: Plan) -> list[Kind]:
    counts = [*(count for count in CONNECTIONS if count < plan.in_flight), plan.in_flight]
    return [(operation, count) for operation in OPERATIONS for count in counts]


def name_of(kind: Kind, server: str = "") -> str:
    operation, connections = kind
    return f"aws: {operation}, {connections} connection{'s' * (connections > 1)}" + (f" ({server})" if server else "")


def measured_rows(server: Server, plan: Plan, *, exact: bool) -> Iterator[tuple[Kind, Measured]]:
    uvloop.run(warm_up(server, plan, exact=exact))
    for kind in kinds(plan):
        yield kind, uvloop.run(measure(server, *kind, plan, exact=exact))


def peer_rows(peer: str, plan: Plan) -> Iterator[tuple[Kind, Row]]:
    """Ends with a skipped row where the peer is not here, or fails."""
    reasons: list[str] = []
    try:
        with peer_server(PEERS[peer]) as server:
            for kind, measured in measured_rows(server, plan, exact=False):
                yield kind, row_of(name_of(kind, peer), PEERS[peer].durability, measured, plan.size_bytes)
    except* (PeerNotInstalledError, ServerDidNotStartError, RefusedCallError, ConnectionError) as group:
        reasons = [str(reason) for reason in group.exceptions]
    if reasons:
        yield NOT_RUN, skipped_row(f"aws ({peer})", "; ".join(dict.fromkeys(reasons)))


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    """The peers that speak SQS first, then the broker with its ratios to each."""
    others: dict[str, dict[Kind, Row]] = {}
    for peer in setting.comparisons:
        if peer in SQS_PEERS:
            others[peer] = {}
            for kind, row in peer_rows(peer, plan):
                others[peer][kind] = row
                yield row
    with broker_at(setting.target, setting.durability, door="aws") as server:
        for kind, measured in measured_rows(server, plan, exact=True):
            row = row_of(name_of(kind), setting.durability_in_words, measured, plan.size_bytes)
            for peer, rows in others.items():
                ratio = throughput_ratio(row, rows[kind]) if kind in rows else None
                if ratio is not None:
                    row.ratios[peer] = ratio
            yield row
