"""A connection that speaks HTTP/1.1: one request at a time, in the order in which they came.

Reading goes on while a request is answered: only so is the end of the connection seen, which cancels the handler (a
long poll of a client that is gone must not take messages). Requests that arrive meanwhile wait. A client that closes
its sending half counts as gone.
"""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from broker.api.web.body import Pace, Refused
from broker.api.web.clock import http_date
from broker.api.web.exchange import Exchanges, close_pieces, log, refusal
from broker.api.web.http1_reader import Arrival, Phase, RequestReader
from broker.api.web.messages import Response

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_BODILESS: Final = frozenset({204, 304})
_PIPELINED_BEFORE_PAUSE: Final = 16
_NEVER: Final = float("inf")
_COPIED_BYTES_MAX: Final = 65_536  # up to here one write of head and body together is cheaper than two


class Http1Connection(asyncio.Protocol):
    """Made for a transport that is connected already."""

    def __init__(self, exchanges: Exchanges, transport: asyncio.Transport, scheme: str, peer: str) -> None:
        self._exchanges, self._transport = exchanges, transport
        self._limits = exchanges.limits
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader(self._limits, exchanges.budget, scheme, peer)
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._unwritten_bytes = 0
        self._reading = True
        self._retiring = False
        self._closing = False
        self._begun = 0
        self._pace: Pace | None = None
        self._deadline_s = self._loop.time() + self._limits.idle_seconds

    # --- the loop's calls

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # what a refused client still sends
        self._reader.feed(data)
        self._advance()

    def eof_received(self) -> None:
        """Closes the transport: see the module's first words."""

    def connection_lost(self, _exc: Exception | None) -> None:
        self._exchanges.leave(self)
        self._closing = True
        self._deadline_s = _NEVER
        if self._task is not None:
            self._task.cancel()
            self._task = None  # it refers to this object, and to an answer of megabytes
        self._reader.close()

    def pause_writing(self) -> None:
        self._writable.clear()
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self._deadline_s = self._loop.time() + self._limits.stall_seconds

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._closing:
            self._deadline_s = _NEVER

    # --- the server's calls

    def check(self, now_s: float) -> None:
        if now_s < self._deadline_s:
            return
        unwritten_bytes = self._transport.get_write_buffer_size()
        if 0 < unwritten_bytes <= self._unwritten_bytes - self._limits.stall_bytes:
            self._unwritten_bytes = unwritten_bytes
            self._deadline_s = now_s + self._limits.stall_seconds
        elif self._closing or not self._writable.is_set():
            self._transport.abort()
        elif self._reader.phase is Phase.BETWEEN:
            self._close()
        else:
            self._refuse(Refused(408, "the request came too slowly"))

    def retire(self) -> None:
        self._retiring = True
        if self._task is None and not self._closing:
            self._advance()

    def abort(self) -> None:
        self._transport.abort()

    # --- requests

    def _advance(self) -> None:
        """Whatever is next: a request to answer, a refusal to tell, or more to read."""
        reader = self._reader
        if self._task is not None:
            if len(reader.complete) >= _PIPELINED_BEFORE_PAUSE:
                self._read(on=False)
        elif reader.complete:
            self._deadline_s = _NEVER
            arrival = reader.complete.popleft()
            self._task = self._exchanges.run(self._serve(arrival), arrival.body)
        elif reader.refused is not None:
            self._refuse(reader.refused)
        else:
            self._read(on=True)
            self._await_more()

    def _read(self, *, on: bool) -> None:
        if on is not self._reading and not self._transport.is_closing():
            self._reading = on
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def _await_more(self) -> None:
        reader, limits, now_s = self._reader, self._limits, self._loop.time()
        if reader.started != self._begun:
            self._begun = reader.started
            self._pace = None
            self._deadline_s = now_s + limits.header_seconds
        if reader.phase is Phase.BETWEEN:
            if self._retiring:
                self._close()
            elif self._deadline_s is _NEVER:
                self._deadline_s = now_s + limits.idle_seconds
        elif reader.phase is Phase.BODY:
            if reader.continue_wanted:
                reader.continue_wanted = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self._pace is None:
                self._pace = Pace(limits, now_s)
            self._pace.progress(reader.body_bytes, now_s)
            self._deadline_s = self._pace.deadline_s

    # --- answers

    async def _serve(self, arrival: Arrival) -> None:
        request = arrival.request
        try:
            response = await self._exchanges.answer(request, arrival.body)
            keep_alive = arrival.keep_alive and not self._retiring
            if isinstance(response.body, bytes):
                self._send(response, response.body, request.method, keep_alive=keep_alive)
            else:
                keep_alive = keep_alive and arrival.chunks_understood
                await self._stream(response, response.body, arrival, keep_alive=keep_alive)
            await self._writable.wait()
        except asyncio.CancelledError:
            self._transport.abort()  # nothing to do where the client is gone; the handler may have been, from within
            raise
        except Exception:  # half an answer is sent: only the end of the connection can tell
            log.exception("an answer broke off", method=request.method, path=request.path)
            self._transport.abort()
            return
        self._task = None
        if self._closing:
            return
        if keep_alive:
            self._advance()
        else:
            self._close()

    def _send(self, response: Response, body: bytes, method: str, *, keep_alive: bool) -> None:
        try:
            head = _head(
                response,
                b"" if response.status in _BODILESS else b"content-length: %d\r\n" % len(body),
                keep_alive=keep_alive,
            )
        except ValueError:
            log.exception("an answer cannot be sent", status=response.status)
            self._send(Response(500), b"", method, keep_alive=keep_alive)
            return
        if self._transport.is_closing():
            return
        if method == "HEAD" or response.status in _BODILESS:
            body = b""
        if len(body) <= _COPIED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])

    async def _stream(
        self, response: Response, pieces: AsyncIterator[bytes], arrival: Arrival, *, keep_alive: bool
    ) -> None:
        """Sends an answer piece by piece, no faster than it is read. A client of HTTP/1.0 reads until the end."""
        chunked = arrival.chunks_understood
        try:
            framing = b"transfer-encoding: chunked\r\n" if chunked else b""
            self._transport.write(_head(response, framing, keep_alive=keep_alive))
            if arrival.request.method != "HEAD" and response.status not in _BODILESS:
                await self._send_pieces(pieces, chunked=chunked)
        finally:
            await close_pieces(pieces)

    async def _send_pieces(self, pieces: AsyncIterator[bytes], *, chunked: bool) -> None:
        async for piece in pieces:
            if not piece:
                continue
            self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await self._writable.wait()
            if self._transport.is_closing():
                return
        if chunked:
            self._transport.write(b"0\r\n\r\n")

    def _refuse(self, refused: Refused) -> None:
        """Tells why, and reads on for a moment: a reset would take the answer from a client that is still sending."""
        log.info("refused a request", status=refused.status, reason=refused.reason)
        if not self._transport.is_closing():
            self._transport.write(_head(refusal(refused), b"content-length: 0\r\n", keep_alive=False))
            if self._transport.can_write_eof():
                self._transport.write_eof()
        self._end_by(self._limits.linger_seconds)

    def _close(self) -> None:
        """Once everything written is sent; not for longer than a stalled reader is borne."""
        self._end_by(self._limits.stall_seconds)
        self._transport.close()

    def _end_by(self, seconds: float) -> None:
        self._closing = True
        self._reader.close()
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self._deadline_s = self._loop.time() + seconds


def _head(response: Response, framing: bytes, *, keep_alive: bool) -> bytes:
    """Raises ValueError for headers that would break the message open."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
    if not lines.count("\r") == lines.count("\n") == len(response.headers):
        raise ValueError("a header contains a line break")
    status = _STATUS_LINES.get(response.status) or f"HTTP/1.1 {response.status} \r\n"
    ending = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    return (status + http_date() + lines).encode("latin-1") + framing + ending
