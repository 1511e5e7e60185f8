"""The demo's shop: who sends what how fast, who works on it how well, and what an order looks like on the wire."""

import json
from dataclasses import dataclass
from random import Random
from typing import Final

GOODS: Final = ("teapot", "loom", "lamp", "kettle", "rug", "chair", "scarf", "shuttle")
ORDERS: Final = "orders"
CATALOG: Final = "catalog-updates"
QUEUES: Final = (ORDERS, CATALOG)
RETRY_DELAY_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class Feed:
    """A sender: from `begin_seconds` on, `burst` messages together every `pause_seconds`."""

    name: str
    queue: str
    story: str
    burst: int
    pause_seconds: float
    begin_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Temper:
    """A worker: its pace, and the share of its attempts (0 to 1) that fail."""

    name: str
    queue: str
    messages_per_second: int
    failures: float


def feeds_for(seconds: float) -> tuple[Feed, ...]:
    """The senders of a run of this length: the nightly import is as large as its worker can do in half of it."""
    return (
        Feed("web shop", ORDERS, "in bursts", burst=190, pause_seconds=0.5),
        Feed("partner", ORDERS, "now and then", burst=1, pause_seconds=0.4),
        Feed(
            "nightly import",
            CATALOG,
            "all at once",
            burst=int(500 * seconds),
            pause_seconds=seconds,
            begin_seconds=seconds / 10,
        ),
    )


WORKERS: Final = (
    Temper("ada", ORDERS, messages_per_second=180, failures=0.01),
    Temper("ben", ORDERS, messages_per_second=140, failures=0.02),
    Temper("cleo", ORDERS, messages_per_second=90, failures=0.10),
    Temper("dan", ORDERS, messages_per_second=50, failures=0.25),
    Temper("catalog", CATALOG, messages_per_second=1_000, failures=0.0),
)
CRASHING: Final = Temper("eve", ORDERS, messages_per_second=0, failures=1.0)


def make_order(number: int, feed: Feed, chance: Random) -> bytes:
    """The body of order `number`."""
    order = {"order": number, "from": feed.name, "item": chance.choice(GOODS), "quantity": chance.randint(1, 5)}
    return json.dumps(order, separators=(",", ":")).encode()


def order_number(body: bytes) -> int:
    """The number of the order that a message is about."""
    number = json.loads(body)["order"]
    assert isinstance(number, int)
    return number
