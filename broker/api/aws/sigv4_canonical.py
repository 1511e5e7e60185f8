"""The canonical form of a request, which is what a signature covers. Never: keys, clocks, refusals.

As the IAM user guide describes it for all services but S3: the path as it was sent, without dot segments and empty
segments, encoded once more; the query decoded, encoded again and sorted; header values trimmed, inner spaces
collapsed. No two requests that mean different things share a canonical form: what is folded together (``+`` and
``%20`` in a query, ``%2f`` and ``%2F``, the order of differently named parameters) parses to the same.

Strings hold octets as latin-1 does, as HTTP's headers arrive; a string with other characters stands for its UTF-8.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]*")
_PLAIN_PATH: Final = re.compile(r"/|(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")
"""Paths that are their own canonical form: nearly all. A segment with a leading dot may be a dot segment."""
_SPACES: Final = re.compile(r"[ \t]{2,}|\t")


def octets(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def canonical_path(path: str) -> str:
    if _PLAIN_PATH.fullmatch(path):
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    trailing = "/" if kept and path.endswith("/") else ""
    return quote(octets("/" + "/".join(kept) + trailing), safe="/~")


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values in canonical encoding, in the order that they were sent in."""
    if not query:
        return []
    pairs = (part.partition("=") for part in query.split("&") if part)
    return [(_encoded(name), _encoded(value)) for name, _, value in pairs]


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def canonical_request(
    *, method: str, path: str, query: str, headers: Mapping[str, str], signed_names: Sequence[str], payload_hash: str
) -> str:
    """``path`` and ``query`` are canonical; ``signed_names`` are lower case and sorted. A name without a header has no
    line, so that a header cannot be taken away from what was signed, even an empty one."""
    lines = [method, path, query]
    for name in signed_names:
        value = headers.get("host" if name == ":authority" else name)
        if value is not None:
            if "  " in value or "\t" in value:
                value = _SPACES.sub(" ", value)
            lines.append(f"{name}:{value.strip(' ')}")
    lines += ("", ";".join(signed_names), payload_hash)
    return "\n".join(lines)


def _encoded(text: str) -> str:
    if _UNRESERVED.fullmatch(text):
        return text
    return quote(unquote_to_bytes(octets(text.replace("+", " "))), safe="~")
