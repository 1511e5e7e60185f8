"""Figures: percentiles, what is read from /proc, and the shape of rows."""

import io
import json
import os

import pytest
from rich.console import Console

from broker.bench import proc
from broker.bench.compare import ratios
from broker.bench.measure import CountsDisagreeError, Measured, Meter, check_counts, percentile
from broker.bench.rows import FIGURES, Row, latency_ratio, row_of, skipped_row, table_of, throughput_ratio

# A process whose name holds a space and a bracket, as the kernel prints it.
STAT = "4242 (odd) name) S 17 4242 4242 0 -1 4194560 100 200 0 0 150 50 30 20 20 0 1 0 1000 0 0"
STATUS = "Name:\tbroker\nVmRSS:\t  900000 kB\nRssAnon:\t   12345 kB\nRssFile:\t  887655 kB\n"


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        ([float(i) for i in range(1, 101)], 50, 50.0),
        ([float(i) for i in range(1, 101)], 99, 99.0),
        ([float(i) for i in range(1, 101)], 100, 100.0),
        ([float(i) for i in range(1, 1001)], 99, 990.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_stat_is_read_behind_the_last_bracket() -> None:
    assert proc.parse_ppid(STAT) == 17
    assert proc.parse_cpu_ticks(STAT) == 150 + 50 + 30 + 20


def test_anonymous_memory_leaves_mapped_files_out() -> None:
    assert proc.parse_rss_anon_kib(STATUS) == 12345
    assert proc.parse_rss_anon_kib("Name:\tzombie\n") == 0


def test_this_process_has_used_cpu_and_memory() -> None:
    assert os.getpid() in proc.family(os.getppid())
    assert proc.cpu_seconds(os.getpid()) > 0
    assert proc.rss_anon_mb(os.getpid()) > 1


def test_counts_that_disagree_are_an_error() -> None:
    check_counts("messages", expected=3, actual=3)
    with pytest.raises(CountsDisagreeError, match="expected 3 messages, counted 2"):
        check_counts("messages", expected=3, actual=2)


def test_a_meter_knows_nothing_of_a_server_elsewhere() -> None:
    meter = Meter(None).start()
    meter.latencies_seconds.extend([0.001, 0.002, 0.003])
    measured = meter.stop(3, note="three")
    assert (measured.server_cpu_seconds, measured.rss_mb) == (None, None)
    assert measured.p50_ms == pytest.approx(2.0)
    assert measured.p99_ms == pytest.approx(3.0)
    assert measured.extra == {"note": "three"}


def test_a_row_has_every_key_whatever_is_known() -> None:
    row = row_of("produce", "fsync before every ack", Measured(1000, 2.0, 0.5, 0.25), size_bytes=100)
    row.ratios["echo"] = 0.5
    printed = json.loads(row.to_json())
    assert set(FIGURES) | {"name", "durability", "messages", "ratio_to_echo"} == set(printed)
    assert printed["messages_per_second"] == 500
    assert printed["megabytes_per_second"] == 0.05
    assert printed["server_cpu_us_per_message"] == 500
    assert printed["client_cpu_us_per_message"] == 250
    assert printed["p50_ms"] is None


def test_a_skipped_row_says_why() -> None:
    printed = json.loads(skipped_row("produce (redis)", "redis-server is not installed").to_json())
    assert printed["skipped"] == "redis-server is not installed"
    assert all(printed[key] is None for key in FIGURES)


def test_ratios_are_of_rates_for_throughput_and_of_p50_for_latency() -> None:
    fast = row_of("a", "", Measured(1000, 1.0, p50_ms=2.0, p99_ms=3.0), 100)
    slow = row_of("b", "", Measured(250, 1.0, p50_ms=8.0, p99_ms=9.0), 100)
    assert throughput_ratio(fast, slow) == 4
    assert latency_ratio(fast, 8.0) == 0.25
    assert throughput_ratio(fast, skipped_row("c", "not here")) is None
    assert ratios(fast, "produce", {"redis": slow, "moto": skipped_row("d", "not here")}) == {"redis": 4}


def test_latency_stands_beside_the_sum_of_echo_and_commit() -> None:
    def latency(p50_ms: float) -> Row:
        return row_of("latency", "", Measured(10, 1.0, p50_ms=p50_ms, p99_ms=p50_ms), 100)

    found = ratios(latency(3.0), "latency", {"echo": latency(0.5), "lmdb": latency(1.5)})
    assert found == {"echo": 6, "lmdb": 2, "echo_plus_lmdb": 1.5}


def test_the_table_shows_ratios_and_reasons() -> None:
    row = row_of("produce", "fsync before every ack", Measured(2_000_000, 1.0), 100)
    row.ratios["redis"] = 8.5
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(table_of([row, skipped_row("produce (nats)", "nats-server is not installed")]))
    text = console.export_text()
    assert "2,000,000" in text
    assert "8.50 x redis" in text
    assert "nats-server is not installed" in text
