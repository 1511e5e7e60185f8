"""A connection that speaks HTTP/2: the h2 library keeps the protocol, this keeps time, memory and the handlers.

Every stream's request is gathered, answered by a task of its own, and sent as its windows allow. A stream that is
reset, or whose connection ends, has its task cancelled at once. Few frames are taken a turn, so that a client that
sends much does not hold up the loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import h2.events
import h2.exceptions
from h2.errors import ErrorCodes

from broker.api.web.body import Body, Pace, Refused
from broker.api.web.exchange import Exchanges, close_pieces, log, refusal
from broker.api.web.flood import Flood, FrameGate
from broker.api.web.http2_headers import request_of, response_headers
from broker.api.web.http2_state import PREFACE, bound_header_table, goaway, new_state
from broker.api.web.http2_stream import NEVER, Stream
from broker.api.web.messages import Request, Response

_FRAMES_A_TURN: Final = 16  # of HEADERS, the dearest: about 5 ms
_DATA_FRAME_BYTES_MAX: Final = 16_384  # sent; a client may allow more, which would only hold up its other streams
_BODILESS: Final = frozenset({204, 304})
_FLUSH_BYTES: Final = 65_536


class Http2Connection(asyncio.Protocol):
    """Made for a transport that is connected already; its first bytes are the preface."""

    def __init__(self, exchanges: Exchanges, transport: asyncio.Transport, scheme: str, peer: str) -> None:
        self._exchanges, self._transport = exchanges, transport
        self._scheme, self._peer = scheme, peer
        self._limits = limits = exchanges.limits
        self._loop = asyncio.get_running_loop()
        now_s = self._loop.time()
        self._gate = FrameGate(limits, now_s)
        self._inbox = bytearray()
        self._working = False
        self._reading = True
        self._streams: dict[int, Stream] = {}
        self._reset: set[int] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._unwritten_bytes = 0
        self._preface_missing = len(PREFACE)
        self._unfinished_since_s = now_s
        self._idle_since_s = now_s
        self._deadline_s = NEVER  # of writing, or of closing
        self._retiring = False
        self._closing = False
        self._h2 = new_state(limits)
        self._on_event: dict[type[h2.events.Event], Callable[[Any], None]] = {
            h2.events.RequestReceived: self._request_received,
            h2.events.DataReceived: self._data_received,
            h2.events.StreamEnded: self._stream_ended,
            h2.events.WindowUpdated: self._window_updated,
            h2.events.RemoteSettingsChanged: self._settings_changed,
        }
        self._flush()

    # --- the loop's calls

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._inbox += data
        if not self._working:
            self._work()

    def eof_received(self) -> None:
        """Closes the transport: a client that sends nothing more counts as gone."""

    def connection_lost(self, _exc: Exception | None) -> None:
        self._exchanges.leave(self)
        self._closing = True
        self._deadline_s = NEVER
        for stream_id in list(self._streams):
            self._drop(stream_id)
        self._on_event.clear()  # it refers to this object

    def pause_writing(self) -> None:
        self._writable.clear()
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self._deadline_s = self._loop.time() + self._limits.stall_seconds

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._closing:
            self._deadline_s = NEVER

    # --- the server's calls

    def check(self, now_s: float) -> None:
        if now_s >= self._deadline_s:
            unwritten_bytes = self._transport.get_write_buffer_size()
            if not 0 < unwritten_bytes <= self._unwritten_bytes - self._limits.stall_bytes:
                self._transport.abort()
                return
            self._unwritten_bytes = unwritten_bytes
            self._deadline_s = now_s + self._limits.stall_seconds
        if self._closing:
            return
        if now_s >= self._unfinished_since_s + self._limits.header_seconds:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, "a frame or header came too slowly")
        elif not self._streams and now_s >= self._idle_since_s + self._limits.idle_seconds:
            self._end(ErrorCodes.NO_ERROR, "idle")
        else:
            for stream_id, stream in list(self._streams.items()):
                if now_s >= stream.deadline_s:
                    self._too_slow(stream_id, stream)
            self._flush()

    def retire(self) -> None:
        """Streams that are open go on; clients send further requests elsewhere."""
        self._retiring = True
        if self._closing:
            return
        self._send_goaway(ErrorCodes.NO_ERROR)
        if not self._streams:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # --- frames

    def _work(self) -> None:
        """Takes a few frames, answers what they ask for at once, and comes back for more."""
        self._working = False
        if self._closing:
            return
        now_s = self._loop.time()
        try:
            passed_bytes = self._passed(now_s)
            if passed_bytes:
                data = bytes(self._inbox[:passed_bytes])
                del self._inbox[:passed_bytes]
                self._take(data)
        except Flood as flood:
            self._end(ErrorCodes.ENHANCE_YOUR_CALM, f"flood: {flood}")
            return
        except h2.exceptions.ProtocolError as error:
            self._flush()  # the library's own GOAWAY
            log.info("refused an HTTP/2 connection", reason=repr(error), peer=self._peer)
            self._close()
            return
        except Exception:  # the library's state is not to be trusted after it: this connection ends, the others go on
            log.exception("an HTTP/2 connection failed", peer=self._peer)
            self._transport.abort()
            return
        self._flush()
        if self._retiring and not self._streams:
            self._close()
        self._note_unfinished(now_s, progressed=passed_bytes > 0)
        if passed_bytes and self._inbox and not self._closing:
            self._working = True
            self._loop.call_soon(self._work)
        self._read()

    def _take(self, frames: bytes) -> None:
        if self._gate.goaway:
            self._retiring = True  # the library would let nothing more be answered; what was asked before still is
            return
        events = self._h2.receive_data(frames)
        # The library is ahead of its events: where a reset is among them, nothing can be sent on its stream any more.
        self._reset = {event.stream_id for event in events if isinstance(event, h2.events.StreamReset)}
        for stream_id in self._reset:
            self._drop(stream_id)
        for event in events:
            if (handle := self._on_event.get(type(event))) is not None:
                handle(event)

    def _note_unfinished(self, now_s: float, *, progressed: bool) -> None:
        """Since when the client owes the rest of a frame, of a header in several frames, or of the preface."""
        if not (self._inbox or self._gate.in_header_block or self._preface_missing):
            self._unfinished_since_s = NEVER
        elif self._unfinished_since_s is NEVER or (progressed and not self._gate.in_header_block):
            self._unfinished_since_s = now_s

    def _passed(self, now_s: float) -> int:
        if self._preface_missing:
            taken = min(self._preface_missing, len(self._inbox))
            self._preface_missing -= taken
            return taken
        return self._gate.whole_frames(self._inbox, _FRAMES_A_TURN, now_s)

    def _read(self) -> None:
        """Reads on unless there is work left."""
        on = not self._working
        if on is not self._reading and not self._transport.is_closing():
            self._reading = on
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, code: ErrorCodes, reason: str) -> None:
        """Ends the connection, whatever is under way on it."""
        log.info("ended an HTTP/2 connection", reason=reason, peer=self._peer)
        self._flush()
        self._send_goaway(code)
        for stream_id in list(self._streams):
            self._drop(stream_id)
        self._close()

    def _send_goaway(self, code: ErrorCodes) -> None:
        if not self._transport.is_closing():
            self._transport.write(goaway(self._h2, code))

    def _close(self) -> None:
        """Once everything written is sent; not for longer than a stalled reader is borne."""
        self._closing = True
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        self._deadline_s = self._loop.time() + self._limits.stall_seconds
        self._transport.close()

    # --- events

    def _request_received(self, event: h2.events.RequestReceived) -> None:
        stream_id, limits = event.stream_id, self._limits
        if stream_id in self._reset:
            return
        if self._retiring:
            self._h2.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)  # clients may send it again elsewhere
            return
        now_s = self._loop.time()
        body, pace = Body(self._exchanges.budget, limits.body_bytes_max), Pace(limits, now_s)
        try:
            request = request_of(event.headers, limits, self._scheme, self._peer)
        except Refused as refused:
            self._streams[stream_id] = Stream(Request("", "", {}, b""), body, pace)
            self._refuse(stream_id, refused, arrived=event.stream_ended is not None)
            return
        self._streams[stream_id] = Stream(request, body, pace, pace.deadline_s)
        if event.stream_ended is None and request.headers.get("expect", "").lower() == "100-continue":
            self._h2.send_headers(stream_id, [(b":status", b"100")])

    def _data_received(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.refused:
            try:
                stream.body.add(event.data)
            except Refused as refused:
                self._refuse(stream_id, refused, arrived=event.stream_ended is not None)
            else:
                stream.pace.progress(stream.body.charged, self._loop.time())
                stream.deadline_s = stream.pace.deadline_s
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, stream_id)

    def _stream_ended(self, event: h2.events.StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            return
        if stream.refused:
            self._drop(event.stream_id)
            return
        stream.arrived = True
        stream.deadline_s = NEVER
        stream.request.body = stream.body.complete()
        stream.task = self._exchanges.run(self._serve(event.stream_id, stream), stream.body)

    def _window_updated(self, event: h2.events.WindowUpdated) -> None:
        if event.stream_id == 0:
            self._wake_all()
        elif (stream := self._streams.get(event.stream_id)) is not None:
            stream.wake()

    def _settings_changed(self, _event: h2.events.RemoteSettingsChanged) -> None:
        bound_header_table(self._h2)
        self._wake_all()

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake()

    # --- streams

    def _drop(self, stream_id: int) -> None:
        """The end of a stream: its handler is cancelled if it runs; the one that ends by itself finds it gone."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if stream.task is not None:
            stream.task.cancel()
            stream.task = None  # it refers to the stream
        else:
            stream.body.release()
        if not self._streams:
            self._idle_since_s = self._loop.time()

    def _too_slow(self, stream_id: int, stream: Stream) -> None:
        if stream.arrived or stream.refused:
            self._h2.reset_stream(stream_id, ErrorCodes.CANCEL if stream.arrived else ErrorCodes.NO_ERROR)
            self._drop(stream_id)
        else:
            self._refuse(stream_id, Refused(408, "the body came too slowly"), arrived=False)

    def _refuse(self, stream_id: int, refused: Refused, *, arrived: bool) -> None:
        """The stream is reset a little later only: curl 7.88 loses an answer that a reset follows at once."""
        log.info("refused a request", status=refused.status, reason=refused.reason)
        self._h2.send_headers(stream_id, response_headers(refusal(refused), 0), end_stream=True)
        if arrived:
            self._drop(stream_id)
        else:
            stream = self._streams[stream_id]
            stream.refused = True
            stream.deadline_s = self._loop.time() + self._limits.linger_seconds
            stream.body.release()

    async def _serve(self, stream_id: int, stream: Stream) -> None:
        try:
            response = await self._exchanges.answer(stream.request, stream.body)
            try:
                await self._send(stream_id, stream, response)
            finally:
                await close_pieces(response.body)
        except asyncio.CancelledError:
            self._break_off(stream_id, stream)  # if it is still there the handler was cancelled from within
            raise
        except Exception:  # half an answer is sent: the reset of its stream tells
            log.exception("an answer broke off", method=stream.request.method, path=stream.request.path)
            self._break_off(stream_id, stream)
        else:
            stream.task = None
            self._served(stream_id)

    def _break_off(self, stream_id: int, stream: Stream) -> None:
        if stream_id not in self._streams:
            return
        stream.task = None
        if not self._closing:
            with suppress(h2.exceptions.ProtocolError):  # which the library may have ended already
                self._h2.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        self._served(stream_id)

    def _served(self, stream_id: int) -> None:
        """Goes on without a stream that has ended by itself."""
        self._drop(stream_id)
        if self._closing:
            return
        self._flush()
        if self._retiring and not self._streams:
            self._close()

    async def _send(self, stream_id: int, stream: Stream, response: Response) -> None:
        await self._writable.wait()  # what clients that do not read have asked for waits in the handlers' answers
        body = response.body
        bare = stream.request.method == "HEAD" or response.status in _BODILESS or body == b""
        length = len(body) if isinstance(body, bytes) and response.status not in _BODILESS else None
        try:
            headers = response_headers(response, length)
        except ValueError:
            log.exception("an answer cannot be sent", status=response.status)
            headers, bare = response_headers(Response(500), 0), True
        self._h2.send_headers(stream_id, headers, end_stream=bare)
        if bare:
            return
        if isinstance(body, bytes):
            await self._send_data(stream_id, stream, body, last=True)
            return
        self._flush()
        async for piece in body:
            await self._send_data(stream_id, stream, piece, last=False)
            self._flush()
        self._h2.end_stream(stream_id)

    async def _send_data(self, stream_id: int, stream: Stream, data: bytes, *, last: bool) -> None:
        """In frames, as the client's windows and its reading allow."""
        offset, flushed, pace = 0, 0, None
        while offset < len(data):
            room_bytes = min(self._h2.local_flow_control_window(stream_id), _DATA_FRAME_BYTES_MAX)
            if room_bytes <= 0:
                self._flush()
                pace = pace or Pace(self._limits, self._loop.time())
                pace.progress(offset, self._loop.time())
                await stream.window(pace.deadline_s)
                continue
            piece = data[offset : offset + room_bytes]
            offset += len(piece)
            self._h2.send_data(stream_id, piece, end_stream=last and offset == len(data))
            self._gate.sent_data()
            if offset - flushed >= _FLUSH_BYTES:
                self._flush()
                flushed = offset
            await self._writable.wait()
