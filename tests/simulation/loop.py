"""An asyncio loop whose time is virtual: when nothing is ready it leaps to the next timer.

Everything that runs on it is deterministic. ``on_step`` is called before each step is queued, which is how faults come
to strike between any two of them. Never: a socket, a thread, or the real clock.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Deadlock(Exception):
    """Everyone waits and no timer is set."""


class _NoSelector:
    """Waiting for events is where time passes."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[tuple[object, int]]:
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self._loop.now_s += timeout
            self._loop.steps_of_this_moment = 0
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0
        self.steps_of_this_moment = 0
        self.on_step: Callable[[], None] = lambda: None
        self._selector = _NoSelector(self)

    def run_to_the_end(self, main: Coroutine[Any, Any, T]) -> T:
        """Runs ``main``, cancels whatever it left, and closes the loop."""
        try:
            return self.run_until_complete(main)
        finally:
            self.on_step = lambda: None
            self.set_exception_handler(lambda _loop, _context: None)
            for task in asyncio.all_tasks(self):
                task.cancel()
            self.run_until_complete(asyncio.sleep(0))
            self.close()

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self.steps += 1
        self.steps_of_this_moment += 1
        self.on_step()
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """The reader threads: the work is done at once or a moment later."""
        done: asyncio.Future[Any] = self.create_future()
        cast("SlowReader", executor).submit(self, done, func, *args)
        return done

    def _process_events(self, event_list: object) -> None:
        """There are none: no file is watched."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""


class SlowReader:
    """What stands for the threads that read from the disk. ``delay_s`` says how long the next read takes."""

    def __init__(self, delay_s: Callable[[], float]) -> None:
        self._delay_s = delay_s

    def submit(self, loop: VirtualLoop, done: "asyncio.Future[Any]", func: Callable[..., Any], *args: Any) -> None:
        def read() -> None:
            if not done.done():
                done.set_result(func(*args))

        loop.call_later(self._delay_s(), read)
