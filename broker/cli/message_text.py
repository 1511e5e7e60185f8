"""Messages as text: for people, as JSON lines, or the bare body.

A body is whatever a sender wrote: on a terminal its control characters are shown as escapes, so that it cannot move the
cursor or recolour the screen; in a pipe it goes out byte for byte.
"""

import base64
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    import heddle

PREVIEW_CHARACTERS: Final = 80


def time_text(timestamp_ms: int | None) -> str:
    """Milliseconds since the epoch as UTC; a dash for none."""
    if not timestamp_ms:
        return "-"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def printable(body: bytes) -> str:
    """The body as text of which every character can be shown; line ends and tabs stay."""
    text = body.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def preview(body: bytes) -> str:
    """The beginning of the body in one line."""
    text = printable(body[: 4 * PREVIEW_CHARACTERS]).replace("\n", "\\n").replace("\t", "\\t")
    whole = len(text) <= PREVIEW_CHARACTERS and len(body) <= 4 * PREVIEW_CHARACTERS
    return text if whole else text[: PREVIEW_CHARACTERS - 1] + "…"


def print_body(message: "heddle.ReceivedMessage") -> None:
    """The body alone and a line end."""
    if sys.stdout.isatty():
        click.echo(printable(message.body))
    else:
        click.echo(message.body)


def print_received(message: "heddle.ReceivedMessage") -> None:
    """A message for people: what is known about it, then the body."""
    facts = [
        ("message", message.message_id),
        ("sent", time_text(message.sent_timestamp_ms)),
        ("receives", str(message.receive_count or "-")),
    ]
    facts += [("group", message.group_id)] if message.group_id else []
    facts += [("sequence", str(message.sequence))] if message.sequence is not None else []
    facts += [("from", origin.rpartition(":")[2])] if (origin := message.dead_letter_queue_source_arn) else []
    click.secho("  ".join(f"{name} {fact}" for name, fact in facts), bold=True)
    for name, attribute in message.attributes.items():
        value = attribute.value.encode() if isinstance(attribute.value, str) else attribute.value
        click.echo(f"{printable(name.encode())} ({attribute.data_type}): {preview(value)}")
    click.secho(f"receipt handle {message.receipt_handle}", dim=True)
    print_body(message)
    click.echo()


def print_json(message: "heddle.ReceivedMessage | heddle.PeekedMessage") -> None:
    """A message as one line of JSON. A body that is not UTF-8 is in base64, under `body_base64`."""
    shown: dict[str, object] = {
        "message_id": message.message_id,
        "sequence": message.sequence,
        "sent_timestamp_ms": message.sent_timestamp_ms,
        "receive_count": message.receive_count,
        "group_id": message.group_id,
        "deduplication_id": message.deduplication_id,
        "attributes": {
            name: {"type": a.data_type, **_json_value("value", a.value)} for name, a in message.attributes.items()
        },
        **_json_value("body", message.body),
    }
    for key in ("receipt_handle", "state", "until_timestamp_ms", "dead_letter_queue_source_arn"):
        if (value := getattr(message, key, None)) is not None:
            shown[key] = value
    click.echo(json.dumps(shown))


def _json_value(key: str, value: str | bytes) -> dict[str, str]:
    if isinstance(value, str):
        return {key: value}
    try:
        return {key: value.decode()}
    except UnicodeDecodeError:
        return {key + "_base64": base64.b64encode(value).decode()}
