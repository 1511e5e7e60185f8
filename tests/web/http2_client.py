"""The other side of HTTP/2: the h2 library as the client, on a connection of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes

from broker.api.web import WebServer


@dataclass
class Stream:
    """What came on one stream. ``done``: set when it has ended or was reset."""

    status: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    reset: ErrorCodes | int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Http2Client:
    """``reading``: clear it to take nothing more from the socket. ``crediting``: whether windows are opened again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self.crediting = True
        self.ended = asyncio.Event()
        self.settled = asyncio.Event()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def start(self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), *, end: bool) -> Stream:
        pseudo = [(":method", method), (":path", target), (":authority", "localhost"), (":scheme", "http")]
        return self.start_with([*pseudo, *headers], end=end)

    def start_with(self, headers: Sequence[tuple[str, str]], *, end: bool) -> Stream:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers, end_stream=end)
        self.flush()
        self.streams[stream_id] = stream = Stream()
        return stream

    def id_of(self, stream: Stream) -> int:
        return next(stream_id for stream_id, known in self.streams.items() if known is stream)

    def data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """No more than the windows hold."""
        for start in range(0, max(1, len(data)), 16_384):
            piece = data[start : start + 16_384]
            self.h2.send_data(self.id_of(stream), piece, end_stream=end and start + 16_384 >= len(data))
        self.flush()

    async def ask(self, body: bytes, *headers: tuple[str, str], method: str = "POST", target: str = "/") -> Stream:
        stream = self.start(method, target, headers, end=not body)
        if body:
            self.data(stream, body, end=True)
        await stream.done.wait()
        return stream

    async def read(self) -> None:
        """Takes what the server sends until it closes."""
        try:
            while True:
                header = await self.reader.readexactly(9)
                payload = await self.reader.readexactly(int.from_bytes(header[:3], "big"))
                if header[3] == 7:  # after a GOAWAY the library would take nothing more
                    self.goaway = int.from_bytes(payload[4:8], "big")
                    continue
                for event in self.h2.receive_data(header + payload):
                    self.take(event)
                self.flush()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            for stream in self.streams.values():
                stream.done.set()

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged():
                self.settled.set()
            case h2.events.InformationalResponseReceived() | h2.events.ResponseReceived():
                stream = self.streams[event.stream_id]
                stream.headers = {str(name): str(value) for name, value in event.headers}
                stream.status.append(int(stream.headers[":status"]))
            case h2.events.DataReceived():
                self.streams[event.stream_id].body += event.data
                if self.crediting and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.streams[event.stream_id].done.set()
            case h2.events.StreamReset():
                stream = self.streams[event.stream_id]
                stream.reset = event.error_code
                stream.done.set()


@asynccontextmanager
async def http2_client(server: WebServer, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Http2Client]:
    name = None if tls is None else "localhost"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls, server_hostname=name)
    client = Http2Client(reader, writer)
    client.h2.initiate_connection()
    client.flush()
    reading = asyncio.ensure_future(client.read())
    try:
        yield client
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
