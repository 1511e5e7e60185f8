"""What stands for gRPC: calls to the front desk's handlers, and their streams, without a wire."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc


class Refused(Exception):
    """The broker answered with a status: nothing of the request was kept."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code


class CutOff(Exception):
    """No answer: the broker crashed, or the caller gave up. What became of the request is unknown."""


class UnaryContext:
    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    async def abort(self, code: grpc.StatusCode, message: str, _trailing: object = ()) -> NoReturn:
        raise Refused(code, message)


class StreamContext(UnaryContext):
    """``on_frame`` learns each frame as it leaves the broker; ``write_s``: seconds that the client takes to read it."""

    def __init__(self, on_frame: Callable[[bytes], None], write_s: Callable[[], float]) -> None:
        self._on_frame, self._write_s = on_frame, write_s
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    def send(self, frame: bytes) -> None:
        self._frames.put_nowait(frame)

    def done_writing(self) -> None:
        self._frames.put_nowait(grpc.aio.EOF)

    async def read(self) -> Any:
        return await self._frames.get()

    async def write(self, frame: bytes) -> None:
        self._on_frame(frame)
        delay_s = self._write_s()
        if delay_s:
            await asyncio.sleep(delay_s)
