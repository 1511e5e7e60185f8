"""The defaults of the scenarios at the AWS endpoint, and what they need: apart, so that naming them needs nothing."""

import importlib.util
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Final, cast

from broker.bench.compare import Setting
from broker.bench.measure import Plan
from broker.bench.rows import Row, skipped_row

AWS: Final = Plan(messages=10**12, size_bytes=1000, batch=10, in_flight=64, seconds=4.0)
COST: Final = Plan(messages=60, size_bytes=1000, batch=10, in_flight=64, seconds=10.0)  # messages: lots of 64 calls
PARKED: Final = Plan(messages=1000, size_bytes=1000, batch=1, in_flight=2000, seconds=25.0)

Run = Callable[[Plan, Setting], Iterator[Row]]


def lazily(module: str) -> Run:
    """`run` of a module of this package, imported when it is wanted; a skipped row without the extra `aws`."""

    def run(plan: Plan, setting: Setting) -> Iterator[Row]:
        if importlib.util.find_spec("httptools") is None:
            yield skipped_row(f"aws ({module})", "needs heddle-broker[aws]")
            return
        yield from cast("Run", import_module(f"broker.bench.aws.{module}").run)(plan, setting)

    return run
