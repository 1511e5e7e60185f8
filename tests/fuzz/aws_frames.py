"""HTTP/2 as bytes: requests in frames that are right, and frames of every type in any order."""

import struct
from collections.abc import Sequence
from typing import Final

import h2.config
import h2.connection
import hpack
from hypothesis import strategies as st

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CONFIG: Final = h2.config.H2Configuration(
    client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
)
_CONNECTION_HEADERS: Final = frozenset({b"connection", b"transfer-encoding", b"upgrade"})
_BODY_BYTES_MAX: Final = 60_000
"""What the windows of a server that has said nothing yet hold, for all streams together."""

Call = tuple[str, bytes, Sequence[tuple[bytes, bytes]], bytes]
"""Method, target, headers, body."""


def frames_of(calls: Sequence[Call]) -> bytes:
    """A connection that makes these calls at once."""
    client = h2.connection.H2Connection(_CONFIG)
    client.initiate_connection()
    room_bytes = _BODY_BYTES_MAX
    for method, target, headers, body in calls:
        stream_id = client.get_next_available_stream_id()
        fields = [(b":method", method.encode()), (b":scheme", b"http"), (b":authority", b"localhost:4566")]
        fields.append((b":path", target))
        fields += [(name.lower(), value) for name, value in headers if name.lower() not in _CONNECTION_HEADERS]
        client.send_headers(stream_id, fields, end_stream=not body)
        body, room_bytes = body[:room_bytes], room_bytes - len(body[:room_bytes])
        for start in range(0, len(body), 16_384):
            last = start + 16_384 >= len(body)
            client.send_data(stream_id, body[start : start + 16_384], end_stream=last)
    return client.data_to_send()


_HEADER_BLOCKS: Final = (
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/")),
    ((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/?Action=ListQueues")),
    ((b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b"origin", b"http://localhost"),
     (b"access-control-request-headers", b"a\r\nset-cookie: b")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h\r\nx: y"), (b":path", b"/a b\r\n")),
    ((b":method", b"GET"), (b":path", b"/")),
    ((b":method", b"CONNECT"), (b":authority", b"h:1")),
    ((b":method", b"POST"), (b":method", b"GET"), (b":scheme", b""), (b":path", b"")),
    ((b":status", b"200"),),
    ((b"x", b"y"), (b":path", b"/")),
    ((b"Upper", b"Case"), (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/"), (b"connection", b"close")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/"), (b"content-length", b"7")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/"), (b"host", b"other"),
     (b"expect", b"100-continue"), (b"transfer-encoding", b"chunked"), (b"te", b"x")),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/"), (b"x", b"y" * 40_000)),
    ((b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"\xff"), (b":path", b"/\xff"), (b"\xff", b"\0")),
    tuple((b":method", b"POST") for _ in range(200)),
    (),
)  # fmt: skip
_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_ids: Final = st.sampled_from((0, 1, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1))
_NUMBERS: Final = (0, 1, 2, 8, 100, 16_384, 2**16, 2**31 - 1, 2**32 - 1)
_number: Final = st.sampled_from(_NUMBERS).map(lambda number: struct.pack(">I", number))
_pairs: Final = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(_NUMBERS)), max_size=6).map(
    lambda pairs: b"".join(struct.pack(">HI", *pair) for pair in pairs)
)


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


def _block(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    return hpack.Encoder().encode(list(fields))


_blocks: Final = st.sampled_from([_block(fields) for fields in _HEADER_BLOCKS])
_payloads: Final = {
    _DATA: st.binary(max_size=100) | st.just(b"{}"),
    _HEADERS: _blocks,
    _PRIORITY: st.binary(min_size=4, max_size=6),
    _RESET: _number,
    _SETTINGS: _pairs,
    _PUSH: _blocks,
    _PING: st.binary(min_size=8, max_size=8),
    _GOAWAY: st.tuples(_number, _number, st.binary(max_size=9)).map(b"".join),
    _WINDOW: _number,
    _CONTINUATION: _blocks | st.just(b""),
}
_kinds: Final = st.sampled_from((_DATA, _HEADERS, _HEADERS, _HEADERS, *range(10)))
_flags: Final = st.sampled_from((0, 1, 4, 4, 5, 5, 5, 8, 32, 0x2D, 0xFF))  # END_STREAM or ACK 1, END_HEADERS 4
_one: Final = _kinds.flatmap(lambda kind: st.tuples(st.just(kind), _flags, _ids, _payloads[kind])).map(
    lambda chosen: frame(*chosen)
)
_RAW: Final = (
    b"\0\0\0\x01\x05\0\0\0\x01", b"\xff\xff\xff\0\0\0\0\0\x01", b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\x01\0",
    b"\0\0\x04\x05\x04\0\0\0\x01\0\0\0\x02", b"\0\0\x01\xfe\xff\0\0\0\x01x", b"\0\0\x08\x06\0\0\0\0\x01abcdefgh",
    b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0", b"\0\0\x03\x04\0\0\0\0\0abc", b"\0\0\x02\x00\x08\0\0\0\x01\xffx",
    b"\0\0\x05\x01\x05\0\0\0\x03\x3f\xe1\xff\x07\x82", b"\0\0\x01\x01\x05\0\0\0\x05\x80",
)  # fmt: skip

frames: Final[st.SearchStrategy[bytes]] = st.tuples(
    st.sampled_from((PREFACE + b"\0\0\0\x04\0\0\0\0\0",) * 5 + (PREFACE, PREFACE[:20], b"")),
    st.lists(_one | st.sampled_from(_RAW), max_size=8),
    st.integers(1, 60),
).map(lambda chosen: chosen[0] + b"".join(chosen[1]) * chosen[2])
"""The beginning of a connection, and frames after it, repeated."""
