"""Messages as people and programs read them."""

import json

import pytest
from heddle import Attribute, PeekedMessage, ReceivedMessage

from broker.cli.message_text import preview, print_json, print_received, printable, time_text


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"order 1", "order 1"),
        ("Grüße 🧶".encode(), "Grüße 🧶"),
        (b"two\nlines\t.", "two\nlines\t."),
        (b"\x1b[2Jgone", "\\x1b[2Jgone"),
        (b"\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe".encode(), "\\u202egnp.exe"),
        (b"\xff\x00", "\\xff\\x00"),
    ],
)
def test_a_body_cannot_write_on_the_terminal(body: bytes, shown: str) -> None:
    assert printable(body) == shown


def test_a_preview_is_one_short_line() -> None:
    assert preview(b"a\nb") == "a\\nb"
    assert preview(b"x" * 80) == "x" * 80
    assert preview(b"x" * 1_000_000) == "x" * 79 + "…"


def test_timestamps_are_utc() -> None:
    assert time_text(1_767_225_600_123) == "2026-01-01T00:00:00.123Z"
    assert time_text(0) == time_text(None) == "-"


def test_a_received_message_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    system = {"SentTimestamp": "1767225600123", "ApproximateReceiveCount": "2"}
    attributes = {"colour": Attribute("String", "red"), "raw": Attribute("Binary", b"\xff")}
    print_json(ReceivedMessage("id", "handle", b"\xff", attributes, system))
    assert json.loads(capsys.readouterr().out) == {
        "message_id": "id",
        "receipt_handle": "handle",
        "sequence": None,
        "sent_timestamp_ms": 1_767_225_600_123,
        "receive_count": 2,
        "group_id": None,
        "deduplication_id": None,
        "attributes": {
            "colour": {"type": "String", "value": "red"},
            "raw": {"type": "Binary", "value_base64": "/w=="},
        },
        "body_base64": "/w==",
    }


def test_a_message_of_a_fifo_dead_letter_queue(capsys: pytest.CaptureFixture[str]) -> None:
    system = {
        "SequenceNumber": "10000000000000000007",
        "MessageGroupId": "g",
        "MessageDeduplicationId": "d",
        "DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-1:000000000000:orders.fifo",
    }
    message = ReceivedMessage("id", "handle", b"text", {}, system)
    print_json(message)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["sequence"], shown["group_id"], shown["deduplication_id"]) == (7, "g", "d")
    assert shown["dead_letter_queue_source_arn"] == system["DeadLetterQueueSourceArn"]
    print_received(message)
    assert "group g  sequence 7  from orders.fifo" in capsys.readouterr().out


def test_a_peeked_message_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(PeekedMessage(7, "id", "delayed", 5, 3, 0, b"text", {}, "g"))
    shown = json.loads(capsys.readouterr().out)
    assert (shown["sequence"], shown["state"], shown["until_timestamp_ms"], shown["body"]) == (7, "delayed", 5, "text")
    assert "receipt_handle" not in shown
