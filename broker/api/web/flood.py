"""How much of HTTP/2 a client may send that asks for nothing: resets, pings, settings, windows, empty frames.

Counted on the raw frames, before the library looks at them: a frame costs it 15 to 30 µs, which is what makes floods of
nine-byte frames worth sending (CVE-2019-9512, -9514, -9515, -9518, CVE-2023-44487, CVE-2025-8671). Never: semantics.
"""

from enum import IntEnum
from typing import Final

from broker.api.web.limits import WebLimits

HEADER_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16_384  # the protocol's default, which we keep
_DATA_BYTES_MIN: Final = 64  # of a DATA frame that is not the last; smaller ones count as control frames
_REFUND_PER_DATA_FRAME: Final = 8  # for window updates that what we send calls for; clients send one to four
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4


class FrameType(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    GOAWAY = 7
    CONTINUATION = 9


class Flood(Exception):
    """The client sends more of these frames than anything useful needs."""


class Allowance:
    """A bucket of ``burst`` tokens that fills with ``per_second``."""

    __slots__ = ("_at_s", "_burst", "_level", "_per_second")

    def __init__(self, burst: int, per_second: float, now_s: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._level, self._at_s = float(burst), now_s

    def spend(self, now_s: float) -> bool:
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        self._level -= 1
        return self._level >= 0

    def refund(self, tokens: int) -> None:
        self._level = min(self._burst, self._level + tokens)


class FrameGate:
    """Lets whole frames pass, few at a time, as long as they are not a flood.

    ``in_header_block``: the last frame that passed leaves a header unfinished. ``goaway``: the frame that passed is a
    GOAWAY, which passes alone.
    """

    def __init__(self, limits: WebLimits, now_s: float) -> None:
        self._control = Allowance(limits.control_frames_burst, limits.control_frames_per_second, now_s)
        self._resets = Allowance(limits.resets_burst, limits.resets_per_second, now_s)
        self.in_header_block = False
        self.goaway = False

    def sent_data(self) -> None:
        self._control.refund(_REFUND_PER_DATA_FRAME)

    def whole_frames(self, data: bytes | bytearray, frames_max: int, now_s: float) -> int:
        """How many bytes at the start of ``data`` are whole frames, up to ``frames_max`` of them.

        A frame that is longer than allowed passes with its header only: the library refuses it. Raises Flood.
        """
        offset = 0
        self.goaway = False
        for _ in range(frames_max):
            if len(data) - offset < HEADER_BYTES:
                break
            size_bytes = int.from_bytes(data[offset : offset + 3], "big")
            if size_bytes > FRAME_BYTES_MAX:
                return len(data)
            end = offset + HEADER_BYTES + size_bytes
            if len(data) < end or (data[offset + 3] == FrameType.GOAWAY and offset):
                break
            self._pass(data[offset + 3], data[offset + 4], size_bytes, now_s)
            offset = end
            if self.goaway:
                break
        return offset

    def _pass(self, kind: int, flags: int, size_bytes: int, now_s: float) -> None:
        if kind == FrameType.RST_STREAM:
            if not self._resets.spend(now_s):
                raise Flood("stream resets")
        elif kind == FrameType.DATA:
            if size_bytes < _DATA_BYTES_MIN and not flags & _END_STREAM and not self._control.spend(now_s):
                raise Flood("tiny DATA frames")
        elif kind == FrameType.HEADERS:
            self.in_header_block = not flags & _END_HEADERS
        else:
            if kind == FrameType.CONTINUATION:
                self.in_header_block = not flags & _END_HEADERS
            self.goaway = kind == FrameType.GOAWAY and not self.in_header_block
            if not self._control.spend(now_s):
                raise Flood(f"frames of type {kind}")
