"""Hostile inputs for the AWS endpoint: bytes on a connection that no SDK would send.

Each begins as a request that is right as far as it goes (an operation's members in one of the protocols, signed or not,
over HTTP/1.1 or in frames of HTTP/2). Then headers are added that contradict it, its framing is broken, or bytes are
changed, cut and repeated. An input is plain data, so that one that fails can be kept and replayed.
"""

import base64
import gzip
import json
import re
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Final
from urllib.parse import quote

from hypothesis import strategies as st

from tests.fuzz.aws_bodies import OPERATIONS, SERVICES, as_cbor, as_form, as_json, members
from tests.fuzz.aws_bulk import bulks
from tests.fuzz.aws_frames import frames, frames_of
from tests.fuzz.inputs import HANDLE, QUEUE

AUTHORIZATION: Final = b"AUTHORIZATION-OF-THIS-REQUEST"
"""Stands for the value of an Authorization header that is right when the input is used."""
PRESIGNED: Final = b"PRESIGNED-QUERY-OF-THIS-REQUEST"
KINDS: Final = (
    "json", "query", "get", "cbor", "signed", "presigned", "framing", "headers", "encoded", "pipelined",
    "http2", "frames", "bulk",
)  # fmt: skip
Header = tuple[bytes, bytes]
_Step = tuple[str, int, int]
"""Of a mutation: what kind, where, and with what."""


@dataclass(frozen=True)
class AwsInput:
    """``pieces``: sent one after another. ``leave``: how the connection is left: "answer" (it is answered, then the
    broker closes), "leave" (the client ends it soon), "reset", or "linger" (left open until the broker ends it).
    ``verified``: whether it goes to the broker that checks signatures."""

    kind: str
    pieces: tuple[bytes, ...]
    leave: str = "leave"
    verified: bool = False

    def __repr__(self) -> str:
        start = self.pieces[0][:300] if self.pieces else b""
        return f"AwsInput({self.kind}, {self.leave}, {sum(map(len, self.pieces))} bytes, {start!r}...)"

    def dump(self) -> str:
        pieces = [base64.b64encode(zlib.compress(piece, 9)).decode() for piece in self.pieces]
        fields = {"kind": self.kind, "pieces": pieces, "leave": self.leave, "verified": self.verified}
        return json.dumps(fields) + "\n"

    @classmethod
    def load(cls, text: str) -> "AwsInput":
        fields = json.loads(text)
        pieces = tuple(zlib.decompress(base64.b64decode(piece)) for piece in fields["pieces"])
        return cls(fields["kind"], pieces, fields["leave"], fields["verified"])


@dataclass(frozen=True)
class _Call:
    """A request before it is bytes."""

    method: str
    target: bytes
    headers: tuple[Header, ...]
    body: bytes

    def bytes(self, *, length: bool = True) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.target), b"Host: localhost:4566"]
        lines += [b"%b: %b" % header for header in self.headers]
        if length:
            lines.append(b"Content-Length: %d" % len(self.body))
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def inputs(kind: str | None = None) -> st.SearchStrategy[AwsInput]:
    """Inputs of one kind, or of any."""
    if kind is None:
        return st.sampled_from(KINDS).flatmap(inputs)
    match kind:
        case "json" | "query" | "get" | "cbor":
            calls = _calls(kind) if kind != "cbor" else st.one_of(_calls("cbor"), _calls("rpc-cbor"))
            return st.one_of(_answered(kind, calls), _answered(kind, calls), _answered(kind, calls).flatmap(_spoil))
        case "signed" | "presigned":
            return st.one_of(_signed(kind), _signed(kind), _signed(kind).flatmap(_spoil))
        case "framing":
            return _leaving(kind, _framed)
        case "headers":
            return _leaving(kind, _with_headers)
        case "encoded":
            return _leaving(kind, _encoded)
        case "pipelined":
            several = st.lists(_any_call.map(_Call.bytes), min_size=1, max_size=4)
            joined = st.tuples(several, st.integers(1, 80)).map(lambda chosen: b"".join(chosen[0] * chosen[1]))
            return _leaving(kind, joined)
        case "http2":
            whole = st.lists(_any_call, min_size=1, max_size=4).map(
                lambda calls: frames_of([(call.method, call.target, call.headers, call.body) for call in calls])
            )
            return st.one_of(_leaving(kind, whole), _spoilt(kind, whole))
        case "frames":
            return st.one_of(_leaving(kind, frames), _spoilt(kind, frames))
        case "bulk":
            return bulks.map(lambda found: AwsInput(kind, (_bulk_call(*found).bytes(),), "answer"))
        case _:
            raise ValueError(kind)


def variant(attack: AwsInput, random: Random) -> AwsInput:
    """The same input, one of its pieces changed by chance."""
    if not attack.pieces:
        return attack
    pieces = list(attack.pieces)
    at = random.randrange(len(pieces))
    step = (random.choice(_MUTATION_KINDS), random.randrange(2**16), random.randrange(256))
    pieces[at] = _mutate_meaning(pieces[at], [step]) if len(pieces) == 1 else _mutate((pieces[at], [step]))
    return replace(attack, pieces=tuple(pieces), leave="leave")


# --- requests that are right


def _calls(kind: str) -> st.SearchStrategy[_Call]:
    named = st.sampled_from(SERVICES if kind in {"query", "get"} else SERVICES[:1]).flatmap(
        lambda service: st.tuples(st.just(service), st.sampled_from(OPERATIONS[service]))
    )
    return named.flatmap(lambda chosen: members(*chosen).map(lambda found: _call(kind, chosen[0], chosen[1], found)))


def _call(kind: str, service: str, operation: str, found: dict[str, object]) -> _Call:
    target = b"AmazonSQS." + operation.encode()
    match kind:
        case "json":
            return _Call("POST", b"/", ((b"Content-Type", _JSON), (b"X-Amz-Target", target)), as_json(found))
        case "cbor":
            return _Call("POST", b"/", ((b"Content-Type", _CBOR), (b"X-Amz-Target", target)), as_cbor(found))
        case "rpc-cbor":
            headers = ((b"Content-Type", b"application/cbor"), (b"Smithy-Protocol", b"rpc-v2-cbor"))
            return _Call("POST", b"/service/AmazonSQS/operation/" + operation.encode(), headers, as_cbor(found))
        case "get":
            query = as_form(service, operation, found)[:12_000]
            return _Call("GET", b"/?" + query, ((b"Accept", b"application/json"),) if len(query) % 2 else (), b"")
        case _:
            return _Call("POST", b"/", ((b"Content-Type", _FORM),), as_form(service, operation, found))


_JSON: Final = b"application/x-amz-json-1.0"
_CBOR: Final = b"application/x-amz-cbor-1.1"
_FORM: Final = b"application/x-www-form-urlencoded"
_TYPES: Final = {"json": _JSON, "cbor": _CBOR, "query": _FORM}
_any_call: Final = st.sampled_from(("json", "query", "get", "cbor", "rpc-cbor")).flatmap(_calls)


def _bulk_call(encoding: str, operation: str, body: bytes) -> _Call:
    headers: tuple[Header, ...] = ((b"Content-Type", _TYPES[encoding]),)
    if encoding != "query":
        headers += ((b"X-Amz-Target", b"AmazonSQS." + operation.encode()),)
    return _Call("POST", b"/", (*headers, (b"Connection", b"close")), body)


def _answered(kind: str, calls: st.SearchStrategy[_Call]) -> st.SearchStrategy[AwsInput]:
    def closing(call: _Call) -> AwsInput:
        call = replace(call, headers=(*call.headers, (b"Connection", b"close")))
        return AwsInput(kind, (call.bytes(),), "answer")

    return calls.map(closing)


def _signed(kind: str) -> st.SearchStrategy[AwsInput]:
    def sign(call: _Call) -> AwsInput:
        more: tuple[Header, ...] = ((b"Connection", b"close"),)
        if kind == "signed":
            more += ((b"Authorization", AUTHORIZATION), (b"X-Amz-Date", b"20990101T000000Z"))
        else:
            call = replace(call, target=call.target + (b"&" if b"?" in call.target else b"?") + PRESIGNED)
        return AwsInput(kind, (replace(call, headers=(*call.headers, *more)).bytes(),), "answer", verified=True)

    return st.sampled_from(("json", "query", "get") if kind == "signed" else ("get", "query")).flatmap(_calls).map(sign)


# --- requests that contradict themselves


_HOSTILE_HEADERS: Final[tuple[Header, ...]] = (
    (b"Content-Length", b"5"), (b"Content-Length", b"0"), (b"Content-Length", b"-1"), (b"Content-Length", b"+5"),
    (b"Content-Length", b"99999999999999999999"), (b"Content-Length", b"5, 5"), (b"Content-Length", b"0x5"),
    (b"Content-Length", b"16777217"), (b"Content-Length ", b"5"),
    (b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"gzip, chunked"), (b"Transfer-Encoding", b"xchunked"),
    (b"Transfer-Encoding", b"identity"), (b"Transfer-Encoding ", b"chunked"), (b"Transfer-Encoding", b"\x0bchunked"),
    (b"Host", b"other"), (b"Host", b"a\tb"), (b"Host", b""), (b"Host", b"\xff"), (b"Host", b"a@b/c?d#e"),
    (b"X-Amz-Target", b"AmazonSQS.ListQueues"), (b"X-Amz-Target", b"."), (b"X-Amz-Target", b"\xff" * 300),
    (b"Content-Type", b"application/json"), (b"Content-Type", b""), (b"Content-Type", _CBOR), (b"Content-Type", _FORM),
    (b"Content-Type", b"application/x-amz-json-1.1; charset=utf-7"), (b"Content-Encoding", b"gzip"),
    (b"Content-Encoding", b"deflate"), (b"Content-Encoding", b"br"), (b"Content-Encoding", b"gzip, gzip"),
    (b"Expect", b"100-continue"), (b"Expect", b"\xff"), (b"Connection", b"close, upgrade"), (b"Upgrade", b"h2c"),
    (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"AAMAAABkAAQAoAAA"),
    (b"Origin", b"null"), (b"Origin", b"http://localhost:3000"), (b"Origin", b"http://evil.example"),
    (b"Access-Control-Request-Headers", b"x" * 9_000), (b"Access-Control-Request-Headers", b"\xff\x01"),
    (b"Authorization", b"AWS4-HMAC-SHA256 Credential=/////, SignedHeaders=;, Signature="),
    (b"Authorization", b"AWS4-HMAC-SHA256 Credential=999999999998/20260101/us-east-1/sqs/aws4_request, "
     b"SignedHeaders=host, Signature=0"),
    (b"Authorization", b"AWS4-HMAC-SHA256 Credential=a/b/c/dynamodb/aws4_request"), (b"Authorization", b""),
    (b"Authorization", b"Basic eDp5"), (b"Authorization", b"Credential=" * 1_000), (b"X-Amz-Date", b"\xb2" * 16),
    (b"X-Amz-Content-Sha256", b"UNSIGNED-PAYLOAD"), (b"X-Amz-Content-Sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    (b"X-Amz-Security-Token", b"x" * 4_000), (b"X-Amzn-Trace-Id", b"\xff\x01" * 400), (b"X-Amzn-Trace-Id", b"Root=1"),
    (b"X" * 17_000, b"a"), (b"X-Long", b"a" * 17_000), (b"", b""), (b"a b", b"c"), (b"\xff", b"\xff"), (b"X\0", b"\0"),
    (b"Accept", b"application/json"), (b"Accept-Encoding", b"gzip"), (b"TE", b"trailers"), (b"Trailer", b"Host"),
    (b"X-Amzn-Query-Mode", b"true"), (b"Smithy-Protocol", b"rpc-v2-cbor"), (b":path", b"/"), (b"X", b"a\r\n b"),
)  # fmt: skip
_METHODS: Final = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI", "M-SEARCH", "get", "POST ",
    "\0", "GET\t", "PROPFIND", "X" * 300,
)  # fmt: skip
_TARGETS: Final = (
    b"/", b"//", b"*", b"", b"/%", b"/%zz", b"/%00", b"/..", b"/../..//", b"/000000000000/" + QUEUE.encode(),
    b"/000000000000/%66uzzed", b"http://localhost/", b"http://", b"http://u:p@h:1/?Action=ListQueues", b"//x/y",
    b"/?Action=ListQueues", b"/?Action=%41", b"/?Action", b"/?=&&&==", b"/?Action=ListQueues#x", b"/a b", b"/\xff",
    b"/" + b"a" * 17_000, b"/?" + b"a=b&" * 3_000, b"/service//operation/", b"/service/a.b.C/operation/ListQueues",
    b"/?X-Amz-Credential=%2F%2F%2F%2F&Action=ListQueues", b"/?X-Amz-Signature=1&X-Amz-Signature=2", b"localhost:1",
    b"/?Action=SendMessage&MessageBody=a&QueueUrl=%2F" + QUEUE.encode(), b"/?" + b"%" * 2_000, b"/\x7f\x01",
)  # fmt: skip

_with_headers: Final = st.tuples(
    _any_call,
    st.lists(st.sampled_from(_HOSTILE_HEADERS), max_size=4),
    st.none() | st.sampled_from(_METHODS),
    st.none() | st.sampled_from(_TARGETS),
    st.integers(1, 40),
).map(
    lambda chosen: replace(
        chosen[0],
        headers=(*chosen[0].headers, *chosen[1] * chosen[4]),
        method=chosen[2] or chosen[0].method,
        target=chosen[0].target if chosen[3] is None else chosen[3],
    ).bytes()
)


def _chunked(chosen: tuple[_Call, list[tuple[bytes, bytes]], bytes]) -> bytes:
    call, chunks, end = chosen
    call = replace(call, headers=(*call.headers, (b"Transfer-Encoding", b"chunked")), body=b"")
    return call.bytes(length=False) + b"".join(b"%b\r\n%b\r\n" % chunk for chunk in chunks) + end


_SIZES: Final = (b"1", b"01", b"1;x=y", b"1" + b";" * 9_000, b"-1", b"0x1", b"ffffffffffffffff", b"1 ", b"", b"g")
_ENDS: Final = (
    b"0\r\n\r\n", b"0\r\n", b"", b"0\n\n", b"0\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n", b"00000\r\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"0\r\n" + b"X" * 40_000,
)  # fmt: skip
_framed: Final = st.one_of(
    st.tuples(
        _any_call,
        st.lists(st.tuples(st.sampled_from(_SIZES), st.sampled_from((b"{", b"}", b"", b"ab"))), max_size=4)
        | st.integers(0, 6_000).map(lambda count: [(b"1", b"a")] * count),
        st.sampled_from(_ENDS),
    ).map(_chunked),
    # Lengths that lie, and the head in other line ends.
    st.tuples(_any_call, st.integers(-20, 20)).map(
        lambda chosen: (
            chosen[0]
            .bytes()
            .replace(
                b"Content-Length: %d" % len(chosen[0].body),
                b"Content-Length: %d" % max(0, len(chosen[0].body) + chosen[1]),
            )
        )
    ),
    st.tuples(_any_call, st.sampled_from((b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\n\r"))).map(
        lambda chosen: chosen[0].bytes().replace(b"\r\n", chosen[1])
    ),
)


def _compressed(chosen: tuple[_Call, bytes, bytes, int]) -> bytes:
    call, encoding, more, cut = chosen
    plain = call.body or b"{}"
    packed = gzip.compress(plain) if b"gzip" in encoding else zlib.compress(plain)
    packed = (packed + more)[: len(packed) + len(more) - cut]
    return replace(call, headers=(*call.headers, (b"Content-Encoding", encoding)), body=packed).bytes()


_encoded: Final = st.tuples(
    st.sampled_from(("json", "query", "cbor")).flatmap(_calls),
    st.sampled_from((b"gzip", b"GZIP", b"x-gzip", b"deflate", b"aws-chunked", b"identity", b"gzip, gzip", b"br")),
    st.sampled_from((b"", b"\0", gzip.compress(b"{}"), gzip.compress(bytes(3_000_000)))),
    st.integers(0, 12),
).map(_compressed)


# --- bytes that were requests


def _leaving(kind: str, source: st.SearchStrategy[bytes]) -> st.SearchStrategy[AwsInput]:
    def left(chosen: tuple[bytes, list[int], str]) -> AwsInput:
        data, cuts, leave = chosen
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        pieces = tuple(data[start:end] for start, end in pairwise(places))
        return AwsInput(kind, pieces, leave)

    leaves = st.sampled_from(("leave", "leave", "leave", "leave", "linger", "reset"))
    return st.tuples(source, st.lists(st.integers(0, 2**16), max_size=2), leaves).map(left)


def _spoilt(kind: str, source: st.SearchStrategy[bytes]) -> st.SearchStrategy[AwsInput]:
    return _leaving(kind, st.tuples(source, st.lists(_MUTATIONS, min_size=1, max_size=3)).map(_mutate))


def _spoil(attack: AwsInput) -> st.SearchStrategy[AwsInput]:
    steps = st.lists(_MUTATIONS, min_size=1, max_size=3)
    return steps.map(lambda chosen: replace(attack, pieces=(_mutate_meaning(attack.pieces[0], chosen),), leave="leave"))


def _mutate_meaning(data: bytes, steps: list[_Step]) -> bytes:
    """Mostly of what is said and not of how: the body under a length that is right, or the query."""
    head, end, body = data.partition(b"\r\n\r\n")
    place = steps[0][1]
    if body and place % 5:
        body = _mutate((body, steps))
        return _LENGTH.sub(b"Content-Length: %d" % len(body), head, count=1) + end + body
    method, question_mark, rest = head.partition(b"?")
    query, space, rest = rest.partition(b" HTTP/")
    if space and place % 5:
        query = _mutate((query, steps)).replace(b" ", b"+").replace(b"\r", b"").replace(b"\n", b"")
        return method + question_mark + query + space + rest + end + body
    return _mutate((data, steps))


_LENGTH: Final = re.compile(rb"Content-Length: \d+")
_MUTATION_KINDS: Final = ("flip", "cut", "repeat", "insert", "token", "escape", "double")
_MUTATIONS: Final = st.tuples(st.sampled_from(_MUTATION_KINDS), st.integers(0, 2**16), st.integers(0, 255))
_TOKENS: Final = (
    b"\r\n", b"\r\n\r\n", b"\r\n ", b"\0", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"&", b"=",
    b"%00", b"%2e%2e%2f", b"+", b"%", b"[" * 2_000, b'{"a":' * 900, b"1e999", b"\\ud800", b"\xff", b"\xc0\xaf", b".1",
    b"\xd9\xd9\xf7", b"\x9f\xbf" * 100, b"\xfb\xff\xf0\0\0\0\0\0\0", b"\xc2\x49\x01\0\0\0\0\0\0\0\0", b"null", b'"',
    b"X-Amz-Signature=0&", b"Action=ListQueues&", quote(HANDLE).encode(), QUEUE.encode(), b"HTTP/0.9",
    b"HTTP/2.0", b",", b"/",
)  # fmt: skip


def _mutate(chosen: tuple[bytes, list[_Step]]) -> bytes:
    data, steps = chosen
    for kind, place, value in steps:
        at = place % (len(data) + 1)
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (value or 1)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "repeat":
            data += data[: min(at, 5_000)]
        elif kind == "insert":
            data = data[:at] + bytes([value]) * (place % 9) + data[at:]
        elif kind == "token":
            data = data[:at] + _TOKENS[value % len(_TOKENS)] + data[at:]
        elif kind == "escape" and at < len(data):
            data = data[:at] + b"%%%02x" % data[at] + data[at + 1 :]
        elif kind == "double":
            data = data[:at] + data[max(0, at - value) : at] * 2 + data[at:]
    return data
