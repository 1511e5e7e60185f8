"""What the HTTP server allows. Every bound has a default that no SDK comes near; tests pass short ones."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WebLimits:
    """Sizes in bytes, times in seconds. A bound on memory holds for all connections together only where it says so."""

    connections_max: int = 10_000  # over it a connection is told 503 and closed
    header_bytes_max: int = 16_384  # target, names and values of one request; over it: 431
    headers_max: int = 100  # over it: 431
    body_bytes_max: int = 16_777_216  # as sent, and again once inflated; the largest of AWS here is 10 MiB (PutRecords)
    buffered_bytes_max: int = 268_435_456  # bodies of all requests, from their first byte to their answer; over it: 503
    unread_bytes_max: int = 268_435_456  # answers of all requests until their clients have taken them; over it: 503
    requests_max: int = 25_000  # of all connections, whose handlers run; 9 KB each for long polls; over it: 503

    header_seconds: float = 10.0  # from the first byte of a request to the end of its headers; also the TLS handshake
    idle_seconds: float = 75.0  # without a request; longer than the pools of SDKs keep theirs (Java 60 s, JS 60 s)
    stall_seconds: float = 20.0  # without a byte of a body, or without a byte taken by a reader of an answer
    body_bytes_per_second_min: int = 4_096  # of a body or an answer: on average, after the first stall_seconds
    linger_seconds: float = 2.0  # what a client still sends after a refusal is read and dropped so that it sees why

    pipelined_max: int = 256  # requests of one connection that arrived before the one in progress was answered
    streams_max: int = 256  # HTTP/2: concurrent streams of one connection
    window_bytes: int = 1_048_576  # HTTP/2: what a client may send ahead on one stream; a connection gets four times it
    control_frames_burst: int = 1_000  # HTTP/2: frames that carry no request, at once
    control_frames_per_second: float = 100.0  # and after that; over it the connection is ended
    resets_burst: int = 512  # HTTP/2: streams that the client resets, at once: two whole connections' worth
    resets_per_second: float = 50.0

    @property
    def stall_bytes(self) -> int:
        """What the reader of an answer takes at least in ``stall_seconds``, or it counts as stalled."""
        return int(self.stall_seconds * self.body_bytes_per_second_min)
