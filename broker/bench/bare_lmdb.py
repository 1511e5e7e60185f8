"""The bare store: LMDB puts of a benchmark's batches, one transaction with its fsync for each window of batches.

It is the ceiling that the disk and LMDB set: no index, no delivery state, no network.
"""

import os
import shutil
import tempfile
import time
from contextlib import closing
from pathlib import Path

import lmdb

from broker.bench.measure import Measured, Meter, Plan, check_counts
from broker.bench.payload import payload_of

MAP_BYTES = 64 * 2**30
BYTES_MAX = 16 * 10**9  # of one run, so that a fast disk does not fill


def measure_commits(plan: Plan, batches_per_commit: int) -> Measured:
    """Puts batches under growing keys until the plan ends; latencies are those of the commits.

    Runs in this process: its CPU is the "server" CPU.
    """
    payload = payload_of(plan.size_bytes, plan.batch)
    directory = Path(tempfile.mkdtemp(prefix="heddle-bench-lmdb-"))
    try:
        with closing(lmdb.open(str(directory), map_size=MAP_BYTES, max_dbs=1)) as environment:
            return _measure(environment, plan, payload.packed, batches_per_commit)
    finally:
        shutil.rmtree(directory)


def _measure(environment: lmdb.Environment, plan: Plan, packed: bytes, batches_per_commit: int) -> Measured:
    put = 0

    def commit() -> None:
        nonlocal put
        with environment.begin(write=True) as transaction:
            for _ in range(batches_per_commit):
                transaction.put(put.to_bytes(8, "big"), packed, append=True)
                put += 1

    def run(seconds: float, meter: Meter) -> None:
        deadline = time.perf_counter() + seconds
        before = put
        while (now := time.perf_counter()) < deadline:
            commit()
            meter.latencies_seconds.append(time.perf_counter() - now)
            if (put - before) * plan.batch >= plan.messages or put * len(packed) >= BYTES_MAX:
                return

    meter = Meter(os.getpid())
    run(plan.warm_up_seconds, meter)
    before = put
    meter.start()
    run(plan.seconds, meter)
    measured = meter.stop((put - before) * plan.batch)
    check_counts("LMDB entries", expected=put, actual=environment.stat()["entries"])
    return measured
