"""Metrics: what Prometheus scrapes, by the names that docs/metrics.md lists.

Counters live as plain integers where the work is done and are read at the scrape; only latencies are observed as they
happen. Per-queue series are bounded: the busiest queues have their own, the others share ``queue="(other)"``.
"""

from collections.abc import Callable, Iterator
from heapq import nlargest
from typing import Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from broker.log import Batches
from broker.queues import Queue, Queues
from broker.queues.fifo import FifoQueue
from broker.store import Store

OTHER_QUEUES: Final = "(other)"
_LABELS: Final = ("account", "region", "queue")
_LATENCY_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_ROW_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)

QueueKey = tuple[str, str, str]
_QUEUE_GAUGES: Final = (
    ("visible_messages", "Messages available for receive (AWS ApproximateNumberOfMessagesVisible)."),
    ("in_flight_messages", "Messages received and not yet deleted (AWS ApproximateNumberOfMessagesNotVisible)."),
    ("delayed_messages", "Messages whose delay is not over (AWS ApproximateNumberOfMessagesDelayed)."),
    ("oldest_message_age_seconds", "Age of the oldest message (AWS ApproximateAgeOfOldestMessage)."),
    (
        "in_flight_groups",
        "FIFO queues: message groups with messages in flight (AWS ApproximateNumberOfGroupsWithInflightMessages).",
    ),
    (
        "quiet_visible_messages",
        "Standard queues: visible messages of groups that are not noisy "
        "(AWS ApproximateNumberOfMessagesVisibleInQuietGroups).",
    ),
    (
        "quiet_in_flight_messages",
        "Standard queues: messages in flight of groups that are not noisy "
        "(AWS ApproximateNumberOfMessagesNotVisibleInQuietGroups).",
    ),
    ("noisy_groups", "Standard queues: groups that others are delivered before (AWS ApproximateNumberOfNoisyGroups)."),
)
_QUEUE_COUNTERS: Final = (
    ("sent_messages", "Messages sent (AWS NumberOfMessagesSent)."),
    ("sent_bytes", "Bytes of messages sent, packed."),
    ("deduplicated_messages", "Messages sent again and dropped (AWS NumberOfDeduplicatedSentMessages)."),
    ("received_messages", "Messages handed out by receives (AWS NumberOfMessagesReceived)."),
    ("deleted_messages", "Messages deleted (AWS NumberOfMessagesDeleted)."),
    ("expired_messages", "Messages removed because their retention ended."),
    ("moved_messages", "Messages moved to the dead-letter queue."),
    ("empty_receives", "Receives that returned nothing (AWS NumberOfEmptyReceives)."),
)
_QUEUES_A_SLICE: Final = 100


class Observations:
    """What is measured as it happens. Thread-safe, since commits are observed on the committer's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._commit_seconds = Histogram(
            "heddle_commit_seconds", "Time of a commit with its fsync.", buckets=_LATENCY_BUCKETS, registry=registry
        )
        self._commit_rows = Histogram(
            "heddle_commit_rows", "Records written by a commit.", buckets=_ROW_BUCKETS, registry=registry
        )
        self._loop_lag = Histogram(
            "heddle_loop_lag_seconds", "How late the main loop was.", buckets=_LATENCY_BUCKETS, registry=registry
        )

    def commit(self, seconds: float, rows: int) -> None:
        self._commit_seconds.observe(seconds)
        self._commit_rows.observe(rows)

    def lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)


class BrokerCollector(Collector):
    """Reads the state of the planes at each scrape: first ``prepare`` in slices, then ``collect`` what it found.

    ``file_bytes``: size of the data file.
    """

    def __init__(
        self,
        *,
        store: Store,
        batches: Batches,
        queues: Queues,
        now_ms: Callable[[], int],
        file_bytes: Callable[[], int],
        queues_max: int,
    ) -> None:
        self._store, self._batches, self._queues = store, batches, queues
        self._now_ms, self._file_bytes, self._queues_max = now_ms, file_bytes, queues_max
        self._rows: dict[QueueKey, dict[str, float]] = {}
        self._parked = 0

    def prepare(self) -> Iterator[None]:
        """Reads the queues; the caller lets others run at each yield."""
        rows: dict[QueueKey, dict[str, float]] = {}
        parked = 0
        for number, (key, queue) in enumerate(self._keyed(), start=1):
            _add(rows.setdefault(key, {}), queue, self._now_ms())
            parked += len(queue.takers)
            if number % _QUEUES_A_SLICE == 0:
                yield
        self._rows, self._parked = rows, parked

    def collect(self) -> Iterator[Metric]:
        yield from self._broker()
        yield from self._per_queue()

    def _broker(self) -> Iterator[Metric]:
        store, batches = self._store, self._batches
        yield _gauge("heddle_queues", "Queues.", len(self._queues))
        yield _gauge("heddle_waiters", "Receives and consumers parked at queues.", self._parked)
        yield _gauge("heddle_data_file_bytes", "Size of the data file, free pages included.", self._file_bytes())
        yield _gauge("heddle_commit_pending_bytes", "Bytes that wait for their commit.", store.bytes_pending)
        yield _gauge("heddle_accepting_sends", "1 while sends are taken, 0 past the watermark.", store.full is None)
        yield _gauge("heddle_cache_bytes", "Memory of cached batches.", batches.cached_bytes)
        yield _counter("heddle_cache_hits", "Batches read from memory.", batches.cache_hits)
        yield _counter("heddle_cache_misses", "Batches read from the data file.", batches.cache_misses)
        # One fsync of the data and one write-through of the meta page make a commit.
        yield _counter("heddle_commits", "Commits, each with its fsync.", store.statistics.commits)
        yield _counter("heddle_commit_failures", "Commits that failed.", store.statistics.failed_commits)
        yield _counter("heddle_committed_bytes", "Bytes of records committed.", store.statistics.committed_bytes)

    def _per_queue(self) -> Iterator[Metric]:
        rows = self._rows
        for name, documentation in _QUEUE_GAUGES:
            gauge = GaugeMetricFamily(f"heddle_queue_{name}", documentation, labels=_LABELS)
            _fill(gauge, rows, name)
            yield gauge
        for name, documentation in _QUEUE_COUNTERS:
            counter = CounterMetricFamily(f"heddle_queue_{name}", documentation, labels=_LABELS)
            _fill(counter, rows, name)
            yield counter
        size = SummaryMetricFamily(
            "heddle_queue_sent_message_size_bytes",
            "Sizes of the messages sent, packed (AWS SentMessageSize).",
            labels=_LABELS,
        )
        for key, row in rows.items():
            size.add_metric(key, int(row["sent_messages"]), row["sent_bytes"])
        yield size

    def _keyed(self) -> Iterator[tuple[QueueKey, Queue]]:
        """Each queue with the series that it counts for: its own for the busiest, one for all others together."""
        queues = list(self._queues)
        own = set(queues)
        if len(queues) > self._queues_max:
            own = set(nlargest(self._queues_max, queues, key=_busyness))
        for queue in queues:
            yield (queue.account, queue.region, queue.name) if queue in own else ("", "", OTHER_QUEUES), queue


def _busyness(queue: Queue) -> int:
    return queue.activity.sent_messages + queue.activity.received_messages


def _add(row: dict[str, float], queue: Queue, now_ms: int) -> None:
    """Adds a queue's numbers to its series (of the ages it is the highest), and nothing that does not concern it."""
    for name, _ in _QUEUE_COUNTERS:
        _sum(row, name, getattr(queue.activity, name))
    if not queue.loaded:  # just started: the engine room loads it soon, a scrape does not wait for the disk
        return
    visible, in_flight, delayed = queue.counts(now_ms)
    _sum(row, "visible_messages", visible)
    _sum(row, "in_flight_messages", in_flight)
    _sum(row, "delayed_messages", delayed)
    if isinstance(queue, FifoQueue):
        _sum(row, "in_flight_groups", queue.groups_in_flight())
    else:
        _sum(row, "noisy_groups", queue.noisy_groups())
        noisy_visible, noisy_in_flight = queue.noisy_messages()
        _sum(row, "quiet_visible_messages", visible - noisy_visible)
        _sum(row, "quiet_in_flight_messages", in_flight - noisy_in_flight)
    oldest_ms = queue.oldest_sent_ms()
    age_seconds = 0.0 if oldest_ms is None else (now_ms - oldest_ms) / 1000
    row["oldest_message_age_seconds"] = max(row.get("oldest_message_age_seconds", 0.0), age_seconds)


def _sum(row: dict[str, float], name: str, value: float) -> None:
    row[name] = row.get(name, 0.0) + value


def _fill(family: GaugeMetricFamily | CounterMetricFamily, rows: dict[QueueKey, dict[str, float]], name: str) -> None:
    for key, row in rows.items():
        if name in row:
            family.add_metric(key, row[name])


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=float(value))


def _counter(name: str, documentation: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, documentation, value=float(value))
