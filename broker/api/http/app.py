"""The routes of the HTTP port.

``/healthz``: the process runs (200). ``/readyz``: it takes requests (200), or why not (503). ``/metrics``: Prometheus.
``POST /reset``, only on an ephemeral broker: empties it. Web pages may not, but those of the machine itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.api.aws.cors import is_local

NotReady = Callable[[], str | None]


def http_app(
    registry: CollectorRegistry,
    *,
    prepare: Callable[[], Iterable[None]],
    not_ready: NotReady,
    about: dict[str, str],
    reset: Callable[[], Awaitable[None]] | None = None,
) -> Starlette:
    """``prepare``: reads what the registry will show, in slices. ``not_ready``: the reason why requests are not taken
    now, None when they are. ``about``: added to /healthz. ``reset``: empties the broker; None where nobody may."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok", **about})

    async def readyz(_request: Request) -> Response:
        reason = not_ready()
        if reason is not None:
            return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)
        return JSONResponse({"status": "ready"})

    async def metrics(_request: Request) -> Response:
        for _ in prepare():
            await asyncio.sleep(0)
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def empty(request: Request) -> Response:
        assert reset is not None
        origin = request.headers.get("origin")  # browsers name it with every POST; other clients have none
        if origin is not None and not is_local(origin):
            return JSONResponse({"status": "not emptied", "reason": "asked by a page of another site"}, status_code=403)
        await reset()
        return JSONResponse({"status": "empty"})

    async def index(_request: Request) -> Response:
        return PlainTextResponse("Heddle. See /metrics, /healthz and /readyz.\n")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *([Route("/reset", empty, methods=["POST"])] if reset is not None else []),
        ]
    )
