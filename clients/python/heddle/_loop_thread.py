"""The thread on which a sync client's asyncio loop runs. It is crossed once a call or a batch, never once a message."""

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A loop in a thread of its own. It ends with `close`, at the latest with the interpreter."""

    def __init__(self) -> None:
        self._process_id = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        thread = threading.Thread(target=_serve, args=(self._loop,), name="heddle-client", daemon=True)
        thread.start()
        self._finalizer = weakref.finalize(self, _stop, self._loop, thread, self._process_id)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's outcome. An interrupt of the waiting thread cancels it."""
        if os.getpid() != self._process_id or not self._finalizer.alive:
            work.close()
            raise RuntimeError("the client is closed, or was made before a fork: make one client in each process")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread. What still runs in the loop is dropped."""
        self._finalizer()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, process_id: int) -> None:
    if os.getpid() != process_id:
        return  # after a fork the loop's files are the parent's as well: hands off
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():  # a collection may run anywhere, in the loop's own thread too
        thread.join()
        loop.close()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # All asyncio loops of a process share one gRPC completion queue, and with it one socket that wakes them all: the
    # loops that come too late find it empty. Nothing is lost, and gRPC's own issue for it is 25364.
    if isinstance(context.get("exception"), BlockingIOError) and "_handle_events" in str(context.get("handle")):
        return
    loop.default_exception_handler(context)
