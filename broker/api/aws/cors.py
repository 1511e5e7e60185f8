"""Browsers: which pages of other origins may call the endpoint (CORS), and a door shut to the others.

A page need not ask first for what a form or an image could send, and a broker without signatures would do it. So a
request of an origin which is not allowed is refused, not only left without the headers that would show its answer.
Browsers name the origin of everything but GETs, within a page's own origin or without CORS. The second kind says with
``Sec-Fetch-Site`` that it crosses sites. The first is somebody else's if his page's name was made to point at this
machine (DNS rebinding): then the Host is a name that this endpoint does not have. Never: who calls; that is ``sigv4``.
"""

import re
from collections.abc import Iterable
from typing import Final

from broker.api.web.messages import Request, Response

LOCAL_ORIGINS: Final = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\]|[a-z0-9-]+\.localhost)(:\d+)?")
"""Pages of the machine itself, which are always allowed."""

_UNSTEALABLE_HOSTS: Final = re.compile(
    r"(?:\[[0-9a-f:.]+\]|[0-9.]+|[a-z0-9_-]+|(?:[a-z0-9_-]+\.)+(?:localhost|local|internal|svc))(?::\d*)?",
    re.IGNORECASE,
)
"""Names under which no page of the internet can be: addresses, names of one label (a machine, a container, a service of
compose), and those of local networks and clusters (``host.docker.internal``, ``heddle.jobs.svc.cluster.local``)."""

_METHODS: Final = "HEAD,GET,PUT,POST,DELETE,OPTIONS,PATCH"
_EXPOSED: Final = "x-amzn-requestid,x-amzn-errortype,x-amzn-query-error,x-amz-crc32,date"
_MAX_AGE_SECONDS: Final = 172_800


_OF_NO_OTHER_SITE: Final = frozenset({"none", "same-origin"})


def is_local(origin: str) -> bool:
    """Whether a page came from the machine itself."""
    return bool(LOCAL_ORIGINS.fullmatch(origin))


class Cors:
    """``origins``: allowed besides those of the machine itself (``https://app.example.com``); ``*``: any.

    ``hosts``: the endpoint's own names, without port, besides those that nobody else can have; None: any, where
    signatures are verified, which a page cannot make.
    """

    def __init__(self, origins: Iterable[str] = (), hosts: Iterable[str] | None = None) -> None:
        self._origins = frozenset(origins)
        self._hosts = None if hosts is None else frozenset(hosts)

    def _allowed(self, origin: str) -> bool:
        return "*" in self._origins or origin in self._origins or is_local(origin)

    def refusal(self, request: Request) -> Response | None:
        """The whole answer, where there is nothing to call: to a preflight, or to a page that is not allowed."""
        origin = request.headers.get("origin")
        if origin is None:
            return self._without_origin(request)
        if not self._allowed(origin):
            return _refused("This origin is not allowed (aws_cors_origins).")
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

    def _without_origin(self, request: Request) -> Response | None:
        headers = request.headers
        if headers.get("sec-fetch-site", "none") not in _OF_NO_OTHER_SITE and "*" not in self._origins:
            return _refused("A page of another site may not do this without CORS (aws_cors_origins).")
        if request.method == "GET" and self._hosts is not None:
            host = headers.get("host", "localhost")
            if not _UNSTEALABLE_HOSTS.fullmatch(host) and host.partition(":")[0].lower() not in self._hosts:
                return _refused("This is not a name of the endpoint (external_url): POST, or use its address.")
        return None

    def allow(self, request: Request, response: Response) -> Response:
        """The response as its page may read it."""
        origin = request.headers.get("origin")
        if origin is not None:
            exposed = ("access-control-expose-headers", _EXPOSED)
            response.headers = (*response.headers, *_allowing(origin), exposed)
        return response


def _refused(why: str) -> Response:
    return Response(403, (("content-type", "text/plain"),), f"{why}\n".encode())


def _allowing(origin: str) -> tuple[tuple[str, str], ...]:
    return (("access-control-allow-origin", origin), ("vary", "origin"))
