"""The benchmarks that are more than one window of one load."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker.bench import backlog, dead_letters, duplicates, fairness, idle, mixed, ordered, steady, unary
from broker.bench.aws import plans
from broker.bench.aws.plans import lazily
from broker.bench.compare import Setting
from broker.bench.measure import Plan
from broker.bench.rows import Row


@dataclass(frozen=True)
class Scenario:
    """`plan`: its defaults; `run` yields its rows."""

    plan: Plan
    run: Callable[[Plan, Setting], Iterator[Row]]


SCENARIOS = {
    "idle": Scenario(idle.PLAN, idle.run),
    "backlog": Scenario(backlog.PLAN, backlog.run),
    "steady": Scenario(steady.PLAN, steady.run),
    "mixed": Scenario(mixed.PLAN, mixed.run),
    "fifo": Scenario(ordered.PLAN, ordered.run),
    "calls": Scenario(unary.PLAN, unary.run),
    "dead-letters": Scenario(dead_letters.PLAN, dead_letters.run),
    "dedup": Scenario(duplicates.PLAN, duplicates.run),
    "fairness": Scenario(fairness.PLAN, fairness.run),
    "aws": Scenario(plans.AWS, lazily("scenario")),
    "aws-cost": Scenario(plans.COST, lazily("cost")),
    "aws-parked": Scenario(plans.PARKED, lazily("parked")),
}
