"""Windows that are compared with their neighbours: what takes turns, round by round.

A machine is faster in one second than in the next, so two rates of one run say little of each other unless their
windows lie side by side. The ratio is the median of the rounds', so that a round which something else disturbed does
not count; the lowest and the highest stand beside it and tell how much of it is noise.
"""

import statistics
from collections.abc import Sequence

from broker.bench.measure import Measured
from broker.bench.rows import Row


def _sum(values: Sequence[float | None]) -> float | None:
    """None where any is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def together(windows: Sequence[Measured]) -> Measured:
    """All windows as one; its memory is the highest of theirs."""
    return Measured(
        messages=sum(window.messages for window in windows),
        seconds=sum(window.seconds for window in windows),
        server_cpu_seconds=_sum([window.server_cpu_seconds for window in windows]),
        client_cpu_seconds=_sum([window.client_cpu_seconds for window in windows]),
        rss_mb=max((window.rss_mb for window in windows if window.rss_mb is not None), default=None),
    )


def compare(row: Row, other: str, windows: Sequence[Measured], others: Sequence[Measured]) -> None:
    """Gives the row its ratio to ``other``, of windows of the same round."""
    pairs = zip(windows, others, strict=True)
    ratios = [mine.messages / mine.seconds / (its.messages / its.seconds) for mine, its in pairs if its.messages]
    if ratios:
        row.ratios[other] = round(statistics.median(ratios), 3)
        row.extra |= {"lowest_round": round(min(ratios), 3), "highest_round": round(max(ratios), 3)}
