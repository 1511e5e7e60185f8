"""A request and a response of HTTP, whichever version carried them. Never: sockets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Request:
    """One request, its body complete.

    ``target``: path and query exactly as sent, percent-escapes kept (signatures cover them). ``headers``: names in
    lower case; values decoded as latin-1, of repeated headers joined by ``,``; ``host`` holds HTTP/2's ``:authority``.
    ``body``: with every transfer and content encoding undone; ``sent_body``: before its content encoding was undone,
    None when it had none (signatures cover what was sent). ``scheme``: ``http`` or ``https``. ``peer``: HOST:PORT.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    scheme: str = "http"
    peer: str = ""
    sent_body: bytes | None = None

    @property
    def path(self) -> str:
        """As sent, percent-escapes kept."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """As sent, without the question mark."""
        return self.target.partition("?")[2]


@dataclass(slots=True)
class Response:
    """``headers``: names in lower case; the server adds length, date and what the connection needs. A ``body`` that
    comes in pieces is sent as they come."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterator[bytes] = b""


Handler = Callable[[Request], Awaitable[Response]]
"""Runs as a task of its own and is cancelled when the client goes away."""
