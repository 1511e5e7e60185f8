"""A measured window: messages, seconds, CPU of both sides, latencies.

Only the standard library, as in `proc`: peers' load generators use it too.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from broker.bench import proc

EXIT_COUNTS_DISAGREE = 3  # status of a load generator in a process of its own that raised CountsDisagreeError


class CountsDisagreeError(Exception):
    """What was acknowledged is not what was sent: the figure is worthless and the system under test has a bug."""


def check_counts(what: str, *, expected: int, actual: int) -> None:
    """Raises CountsDisagreeError unless the two numbers of messages are the same."""
    if expected != actual:
        raise CountsDisagreeError(f"{what}: expected {expected:,} messages, counted {actual:,}")


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` of all values do not exceed."""
    if not sorted_values:
        raise ValueError("no values")
    rank = math.ceil(len(sorted_values) * percent / 100)
    return sorted_values[max(rank, 1) - 1]


@dataclass(frozen=True)
class Measured:
    """One measured window. `messages` were acknowledged within `seconds`."""

    messages: int
    seconds: float
    server_cpu_seconds: float | None = None
    client_cpu_seconds: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_mb: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def with_latencies(measured: Measured, latencies_seconds: Sequence[float]) -> Measured:
    """The window with the percentiles of these latencies; unchanged when there are none."""
    if not latencies_seconds:
        return measured
    ordered = sorted(latencies_seconds)
    return replace(measured, p50_ms=percentile(ordered, 50) * 1e3, p99_ms=percentile(ordered, 99) * 1e3)


@dataclass
class Meter:
    """Takes CPU times at both ends of a window and the latencies within it.

    `server_pid` None: the server is not ours (a --target elsewhere), its CPU and memory stay unknown.
    """

    server_pid: int | None
    latencies_seconds: list[float] = field(default_factory=list)
    _started: float = 0.0
    _server_cpu: float = 0.0
    _client_cpu: float = 0.0

    def start(self) -> Self:
        """Opens the window; what was collected before is forgotten."""
        self.latencies_seconds.clear()
        self._server_cpu = 0.0 if self.server_pid is None else proc.cpu_seconds(self.server_pid)
        self._client_cpu = time.process_time()
        self._started = time.perf_counter()
        return self

    def stop(self, messages: int, **extra: Any) -> Measured:
        """Closes the window, in which `messages` were acknowledged."""
        seconds = time.perf_counter() - self._started
        client_cpu = time.process_time() - self._client_cpu
        server_cpu = rss_mb = None
        if self.server_pid is not None:
            server_cpu = proc.cpu_seconds(self.server_pid) - self._server_cpu
            rss_mb = proc.rss_anon_mb(self.server_pid)
        measured = Measured(messages, seconds, server_cpu, client_cpu, rss_mb=rss_mb, extra=extra)
        return with_latencies(measured, self.latencies_seconds)


@dataclass(frozen=True)
class Plan:
    """How much load, for how long. A window ends at `seconds` or at `messages`, whichever comes first."""

    messages: int
    size_bytes: int
    batch: int
    in_flight: int
    seconds: float
    streams: int = 1
    warm_up_seconds: float = 1.0
