"""Browsers: which pages of other origins may call the endpoint (CORS), and a door shut to the others.

A page need not ask first for what a form could send, and a broker without signatures would do it. So a request that
names an origin which is not allowed is refused, not only left without the headers that would show its answer. Never:
who calls; that is ``sigv4``.
"""

import re
from collections.abc import Iterable
from typing import Final

from broker.api.web.messages import Request, Response

LOCAL_ORIGINS: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\]|[a-z0-9-]+\.localhost)(:\d+)?")
"""Pages of the machine itself, which are always allowed."""

_METHODS: Final = "HEAD,GET,PUT,POST,DELETE,OPTIONS,PATCH"
_EXPOSED: Final = "x-amzn-requestid,x-amzn-errortype,x-amzn-query-error,x-amz-crc32,date"
_MAX_AGE_SECONDS: Final = 172_800


class Cors:
    """``origins``: allowed besides those of the machine itself (``https://app.example.com``); ``*``: any."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self._origins = frozenset(origins)

    def _allowed(self, origin: str) -> bool:
        return "*" in self._origins or origin in self._origins or bool(LOCAL_ORIGINS.fullmatch(origin))

    def refusal(self, request: Request) -> Response | None:
        """The whole answer, where there is nothing to call: to a preflight, or to an origin that is not allowed."""
        origin = request.headers.get("origin")
        if origin is None:
            return None
        if not self._allowed(origin):
            return Response(403, (("content-type", "text/plain"),), b"This origin is not allowed (aws_cors_origins).\n")
        if request.method != "OPTIONS":
            return None
        wanted = request.headers.get("access-control-request-headers", "*")
        return Response(
            200,
            (
                *_allowing(origin),
                ("access-control-allow-methods", _METHODS),
                ("access-control-allow-headers", wanted),
                ("access-control-max-age", str(_MAX_AGE_SECONDS)),
            ),
        )

    def allow(self, request: Request, response: Response) -> Response:
        """The response as its page may read it."""
        origin = request.headers.get("origin")
        if origin is not None:
            exposed = ("access-control-expose-headers", _EXPOSED)
            response.headers = (*response.headers, *_allowing(origin), exposed)
        return response


def _allowing(origin: str) -> tuple[tuple[str, str], ...]:
    return (("access-control-allow-origin", origin), ("vary", "origin"))
