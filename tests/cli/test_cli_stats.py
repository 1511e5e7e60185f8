"""`heddle queue stats`: rates from counters and depths, without a broker."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from broker.cli.failures import Failure
from broker.cli.stats import Metrics, Sample, counters_in, row

PAGE = """\
# HELP heddle_queue_sent_messages_total Messages sent.
# TYPE heddle_queue_sent_messages_total counter
heddle_queue_sent_messages_total{account="1",region="r",queue="orders"} 120
heddle_queue_sent_messages_total{account="1",region="r",queue="other"} 7
# HELP heddle_queue_deleted_messages_total Messages deleted.
# TYPE heddle_queue_deleted_messages_total counter
heddle_queue_deleted_messages_total{account="1",region="r",queue="orders"} 20
# HELP heddle_queues Queues.
# TYPE heddle_queues gauge
heddle_queues 2
"""


def sample(at: float, visible: int, **counters: float) -> Sample:
    return Sample("orders", at, {"visible": visible, "in_flight": 1, "delayed": 0}, counters)


def test_the_counters_of_a_page() -> None:
    assert counters_in(PAGE) == {
        ("1", "r", "orders"): {"sent": 120.0, "deleted": 20.0},
        ("1", "r", "other"): {"sent": 7.0},
    }


def test_a_rate_is_what_changed_between_two_looks() -> None:
    before, now = sample(10.0, 5, sent=100, received=10, deleted=0), sample(12.0, 9, sent=120, received=10, deleted=16)
    assert now.rates_since(before) == {"sent": 10.0, "received": 0.0, "deleted": 8.0, "change": 2.0}


def test_there_is_no_rate_at_first_without_counters_and_across_a_restart() -> None:
    nothing = {"sent": None, "received": None, "deleted": None}
    assert sample(1.0, 5, sent=1).rates_since(None) == {**nothing, "change": None}
    assert sample(2.0, 4).rates_since(sample(1.0, 5)) == {**nothing, "change": -1.0}
    assert sample(2.0, 5, sent=3).rates_since(sample(1.0, 5, sent=90)) == {**nothing, "change": 0.0}


def test_a_row_has_all_keys_from_the_first_look_on() -> None:
    assert row(sample(1.0, 5), None) == {
        "name": "orders",
        "visible": 5,
        "in_flight": 1,
        "delayed": 0,
        "sent_per_second": None,
        "received_per_second": None,
        "deleted_per_second": None,
        "change_per_second": None,
    }


@pytest.fixture
def endpoint() -> Iterator[str]:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/metrics" else 404)
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *arguments: object) -> None:
            """Nothing of it on standard error."""

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join(10)


def test_metrics_are_read_from_their_endpoint(endpoint: str) -> None:
    assert Metrics(endpoint, required=True).read()["1", "r", "orders"]["sent"] == 120.0


def test_a_broker_without_metrics_is_one_without_rates_unless_they_were_asked_for() -> None:
    nobody = "127.0.0.1:1"
    assert Metrics(None, required=False).read() == {}
    assert Metrics(nobody, required=False).read() == {}
    with pytest.raises(Failure, match=r"no metrics at http://127\.0\.0\.1:1/metrics"):
        Metrics(nobody, required=True).read()
