"""A row of a report: its figures, as a JSON object or as a line of a table.

Ratios: for throughput, this row's messages a second over the other's (more is better); for latency, this row's p50
over the other's (less is better).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from broker.bench.measure import Measured

FIGURES = (
    "messages_per_second",
    "megabytes_per_second",
    "server_cpu_us_per_message",
    "client_cpu_us_per_message",
    "p50_ms",
    "p99_ms",
    "rss_mb",
)
HEADINGS = ("msg/s", "MB/s", "server\nµs/msg", "client\nµs/msg", "p50\nms", "p99\nms", "RSS\nMB")  # 80 columns wide
ROW_COLUMN_WIDTH_MIN = 28


@dataclass
class Row:
    """`figures` has every key of FIGURES; None is "not known here"."""

    name: str
    durability: str
    figures: dict[str, float | None] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        figures = {key: self.figures.get(key) for key in FIGURES}
        ratios = {f"ratio_to_{other}": ratio for other, ratio in self.ratios.items()}
        return {"name": self.name, **figures, "durability": self.durability, **ratios, **self.extra}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _per_message_us(cpu_seconds: float | None, messages: int) -> float | None:
    return None if cpu_seconds is None or messages == 0 else round(cpu_seconds * 1e6 / messages, 3)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def row_of(name: str, durability: str, measured: Measured, size_bytes: int) -> Row:
    """`size_bytes`: of one message's body; MB are bodies only, 10^6 bytes."""
    rate = measured.messages / measured.seconds
    figures: dict[str, float | None] = {
        "messages_per_second": round(rate, 1),
        "megabytes_per_second": round(rate * size_bytes / 1e6, 3),
        "server_cpu_us_per_message": _per_message_us(measured.server_cpu_seconds, measured.messages),
        "client_cpu_us_per_message": _per_message_us(measured.client_cpu_seconds, measured.messages),
        "p50_ms": _rounded(measured.p50_ms, 4),
        "p99_ms": _rounded(measured.p99_ms, 4),
        "rss_mb": _rounded(measured.rss_mb, 1),
    }
    return Row(name, durability, figures, extra={"messages": measured.messages, **measured.extra})


def skipped_row(name: str, reason: str) -> Row:
    return Row(name, "not run", extra={"skipped": reason})


def throughput_ratio(row: Row, other: Row) -> float | None:
    """How many times the other's rate this row reaches; None where either has none."""
    mine, its = row.figures.get("messages_per_second"), other.figures.get("messages_per_second")
    return round(mine / its, 3) if mine and its else None


def latency_ratio(row: Row, other_p50_ms: float) -> float | None:
    """This row's p50 as a multiple of another p50."""
    mine = row.figures.get("p50_ms")
    return round(mine / other_p50_ms, 3) if mine and other_p50_ms else None


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def table_of(rows: Sequence[Row]) -> Table:
    """The rows as people read them; what a row has beyond its figures stands under its name."""
    table = Table(title="heddle bench", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("row", min_width=ROW_COLUMN_WIDTH_MIN, overflow="fold")
    for heading in HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        notes = [row.durability]
        notes += [f"{ratio:.2f} x {other}" for other, ratio in row.ratios.items()]
        notes += [f"{key}: {value}" for key, value in row.extra.items() if key != "messages"]
        label = Text.assemble((row.name, "bold"), *((f"\n  {note}", "dim") for note in notes))
        table.add_row(label, *(_cell(row.figures.get(key)) for key in FIGURES))
    return table
