"""The ceilings beside a workload: the bare echo (Python's gRPC) and bare LMDB (the store and the disk)."""

from broker.bench import wire
from broker.bench.bare_lmdb import measure_commits
from broker.bench.calls import accepted_by_echo, measure_latency, measure_unary
from broker.bench.consume import measure_push
from broker.bench.echo import echo_queue
from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.processes import Server
from broker.bench.produce import measure_produce

ECHO_DURABILITY = "none (echo: nothing is stored)"


class NoSuchCeilingError(Exception):
    """The ceiling says nothing of this workload."""


async def measure_echo(server: Server, workload: str, plan: Plan) -> Measured:
    """The same load generators and payload as on the broker, against the bare echo."""
    meter = Meter(server.pid)
    queue = echo_queue(plan.size_bytes, plan.batch)
    async with wire.channels_to(server.target, plan.streams) as channels:
        if workload == "produce":
            return (await measure_produce(channels, queue, plan, meter))[0]
        if workload == "consume":
            return await measure_push(channels[0], plan, meter)
        if workload == "unary":
            return (await measure_unary(channels[0], queue, plan, meter, accepted_by_echo))[0]
        if workload == "latency":
            return (await measure_latency(channels[0], queue, plan, meter))[0]
    raise NoSuchCeilingError(f"there is no echo of {workload}")


def measure_lmdb(workload: str, plan: Plan) -> tuple[Measured, str]:
    """Returns the window and its durability in words. A commit holds as many batches as the workload has in flight."""
    if workload == "consume":
        raise NoSuchCeilingError("consume writes no messages: bare LMDB sets no ceiling for it")
    batches = plan.in_flight
    measured = measure_commits(plan, batches)
    check_counts("LMDB: messages of whole batches", expected=0, actual=measured.messages % plan.batch)
    return measured, f"fsync every {batches} batches (one commit)" if batches > 1 else "fsync every message"
