"""Drives a pure machine over a bidirectional stream, on asyncio: writes what it has to say, feeds it what comes,
opens the stream again when it breaks. The one place where producers and consumers meet the network.

Never: a decision about messages. Those are the machine's (heddle._outbox, heddle._ledger).
"""

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
import grpc.aio

from heddle._backoff import Backoff
from heddle._errors import HeddleError, Unavailable, error_of_rpc

Request = TypeVar("Request")
Response = TypeVar("Response")
Request_co = TypeVar("Request_co", covariant=True)
Response_contra = TypeVar("Response_contra", contravariant=True)

# How a stream ends when a connection or a broker goes away. (CANCELLED: a server that stops cuts its calls off.)
_BROKEN: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
# What grpc.aio itself reports, as INTERNAL and in place of the real status, when a stream ends under a write.
_ENDED_UNDER_A_WRITE: Final = "Internal error from Core"


class Machine(Protocol[Request_co, Response_contra]):
    """A protocol without I/O. All times are seconds of one monotonic clock."""

    wake: Callable[[], None]

    @property
    def wants_stream(self) -> bool: ...
    @property
    def finished(self) -> bool: ...
    def connected(self) -> None: ...
    def next_request(self, now: float) -> Request_co | None: ...
    def next_look(self) -> float | None: ...
    def receive(self, response: Response_contra, now: float) -> None: ...
    def disconnected(self, error: HeddleError) -> None: ...
    def fail(self, error: HeddleError) -> None: ...


class Stream(Generic[Request, Response]):
    """One machine's way to the broker. Made and run in the loop; `wake` may be called from any thread."""

    def __init__(self, machine: Machine[Request, Response], open_call: Callable[[], Any], random: Random) -> None:
        self._machine = machine
        self._open_call = open_call
        self._backoff = Backoff(random)
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        machine.wake = self.wake

    def wake(self) -> None:
        """Make the stream ask its machine again."""
        self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Until the machine has finished. A status that is not about the connection ends it: the machine fails."""
        machine = self._machine
        try:
            while not machine.finished:
                if not machine.wants_stream:
                    await self._wait(None)
                    continue
                try:
                    await self._run_call()
                    error: HeddleError = Unavailable("heddle.UNAVAILABLE", "the broker ended the stream")
                except grpc.aio.AioRpcError as failure:
                    error = error_of_rpc(failure)
                    if not _is_broken(failure):
                        machine.fail(error)
                        return
                machine.disconnected(error)
                await self._pause(self._backoff.next_seconds())
        except BaseException:
            machine.fail(HeddleError("heddle.StreamStopped", "the client was closed, or its stream stopped on a bug"))
            raise

    async def _run_call(self) -> None:
        """One stream, to its end. Returns when the broker has ended it well, raises its status otherwise."""
        call = self._open_call()
        self._machine.connected()
        writer = asyncio.create_task(self._write(call))
        try:
            async for response in call:
                self._backoff.reset()
                self._machine.receive(response, self._loop.time())
                self._woken.set()
        finally:
            call.cancel()
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self, call: Any) -> None:
        """Writes until the machine has no more to say. A broken stream ends it quietly: the reader has the status."""
        machine = self._machine
        try:
            while not machine.finished:
                request = machine.next_request(self._loop.time())
                if request is None:
                    await self._wait(machine.next_look())
                else:
                    await call.write(request)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return
        except Exception:
            call.cancel()  # a bug: the reader must not wait for answers to what was never asked
            raise

    async def _pause(self, seconds: float) -> None:
        """Between two streams. Cut short when there is no need for another."""
        until = self._loop.time() + seconds
        while self._loop.time() < until and not self._machine.finished:
            await self._wait(until)

    async def _wait(self, until: float | None) -> None:
        """For a wake, or until `until`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        self._woken.clear()


def _is_broken(failure: grpc.aio.AioRpcError) -> bool:
    """The connection failed, and not the request. (If it was the request after all, the next stream tells.)"""
    status = failure.code()
    return status in _BROKEN or (status is grpc.StatusCode.INTERNAL and failure.details() == _ENDED_UNDER_A_WRITE)
