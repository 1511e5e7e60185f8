"""The bodies of requests: gathered within bounds, content encodings undone. Never: sockets or connections."""

import asyncio
import zlib
from typing import Final

from broker.api.web.limits import WebLimits
from broker.api.web.messages import Request

_INFLATE_STEP_BYTES: Final = 262_144  # about 1 ms of inflating; then the loop's other work has its turn
_SMALL_BYTES_MAX: Final = 1_048_576
_WINDOW_BITS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}  # deflate: with zlib's header, or raw


class Refused(Exception):
    """A request that is answered with ``status`` before any handler sees it. ``retry_after_seconds``: it may pass."""

    def __init__(self, status: int, reason: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_seconds = status, reason, retry_after_seconds


class Budget:
    """The bytes of all bodies that are held at once, over all connections.

    A quarter is for small ones alone: a few clients that take their time over large ones do not shut out the others.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max, self._large_bytes_max = bytes_max, bytes_max * 3 // 4
        self.bytes = 0

    def take(self, size_bytes: int, taken_bytes: int = 0) -> None:
        """``taken_bytes``: for the same body before. Raises Refused (503) when there is no room: the client tries
        again."""
        is_small = taken_bytes + size_bytes <= _SMALL_BYTES_MAX
        if self.bytes + size_bytes > (self._bytes_max if is_small else self._large_bytes_max):
            raise Refused(503, "too many bytes of requests are under way", retry_after_seconds=1)
        self.bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        self.bytes -= size_bytes
        assert self.bytes >= 0, self.bytes


class Body:
    """One body as it arrives. ``charged``: what it took from the budget; whoever holds the body last gives it back.
    ``answer_bytes``: of the answer to its request, charged elsewhere."""

    __slots__ = ("_budget", "_bytes_max", "_data", "answer_bytes", "charged")

    def __init__(self, budget: Budget, bytes_max: int) -> None:
        self._budget, self._bytes_max = budget, bytes_max
        self._data: bytes | bytearray = b""
        self.charged = 0
        self.answer_bytes = 0

    def add(self, piece: bytes) -> None:
        """Raises Refused: 413 for a body over its bound, 503 without room."""
        size_bytes = len(piece)
        if self.charged + size_bytes > self._bytes_max:
            raise Refused(413, "the body is too large")
        self._budget.take(size_bytes, self.charged)
        self.charged += size_bytes
        if not self._data:
            self._data = piece  # most bodies come in one piece, which is then not copied
            return
        if not isinstance(self._data, bytearray):
            self._data = bytearray(self._data)
        self._data += piece

    def release(self) -> None:
        """Gives back what was charged and forgets the data."""
        self._budget.give(self.charged)
        self.charged = 0
        self._data = b""

    def complete(self) -> bytes:
        data, self._data = bytes(self._data), b""
        return data


class Pace:
    """How fast a body has to come or to be taken: a byte every ``stall_seconds``, and on average a minimum of them."""

    __slots__ = ("_bytes", "_limits", "_since_s", "deadline_s")

    def __init__(self, limits: WebLimits, now_s: float) -> None:
        self._limits, self._since_s = limits, now_s
        self._bytes = 0
        self.deadline_s = now_s + limits.stall_seconds

    def progress(self, total_bytes: int, now_s: float) -> None:
        if total_bytes > self._bytes:
            self._bytes = total_bytes
            on_average_s = self._since_s + total_bytes / self._limits.body_bytes_per_second_min
            self.deadline_s = min(now_s, on_average_s) + self._limits.stall_seconds


async def undo_content_encoding(request: Request, body: Body, budget: Budget, bytes_max: int) -> None:
    """Inflates the request's body, in steps. Raises Refused: 413 over ``bytes_max``, 400 for what is no such encoding,
    415 for one that is not known, 503 without room."""
    encoding = request.headers["content-encoding"].strip().lower()
    if encoding in {"", "identity", "aws-chunked"} or not request.body:
        return
    if encoding not in _WINDOW_BITS:
        raise Refused(415, f"content encoding {encoding[:40]!r} is not supported")
    for bits in _WINDOW_BITS[encoding]:
        inflated = bytearray()
        try:
            await _inflate(zlib.decompressobj(bits), request.body, inflated, budget, bytes_max)
        except zlib.error:
            continue
        finally:
            body.charged += len(inflated)
        request.sent_body, request.body = request.body, bytes(inflated)
        return
    raise Refused(400, f"the body is not {encoding}")


async def _inflate(
    decompressor: "zlib._Decompress", data: bytes, inflated: bytearray, budget: Budget, bytes_max: int
) -> None:
    """One member only: a body of thousands of tiny ones would cost quadratic time, and no SDK sends two."""
    while not decompressor.eof:
        piece = decompressor.decompress(data, _INFLATE_STEP_BYTES)
        if not (piece or decompressor.unconsumed_tail or decompressor.eof):
            raise zlib.error("truncated")
        if len(inflated) + len(piece) > bytes_max:
            raise Refused(413, "the inflated body is too large")
        budget.take(len(piece), len(inflated))
        inflated += piece
        if data := decompressor.unconsumed_tail:
            await asyncio.sleep(0)
    if decompressor.unused_data:
        raise zlib.error("more than one member")
