"""Where asyncio and trio meet: the front desk's loop hosts the engine room as trio's guest, in one thread.

grpc.aio needs asyncio; everything that runs by itself is a task in a trio nursery. As a guest, trio takes its turns on
the asyncio loop, so both call the planes directly, without locks or hand-off. Nothing else knows both.
"""

import asyncio
from collections.abc import Awaitable, Callable

import outcome
import trio


class EngineRoom:
    """A trio main function that runs beside the asyncio loop until it returns, fails or is told to stop."""

    def __init__(self, main: Callable[[], Awaitable[None]]) -> None:
        self._main = main
        self._scope = trio.CancelScope()
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when trio has ended; carries the failure if it was one."""

    def start(self) -> None:
        trio.lowlevel.start_guest_run(
            self._run,
            run_sync_soon_threadsafe=self._loop.call_soon_threadsafe,
            run_sync_soon_not_threadsafe=self._loop.call_soon,
            done_callback=self._done,
            host_uses_signal_set_wakeup_fd=True,
        )

    async def stop(self) -> None:
        """Cancels the trio side and waits for its end."""
        self._scope.cancel()
        await asyncio.wait([self.ended])

    async def _run(self) -> None:
        with self._scope:
            await self._main()

    def _done(self, result: outcome.Outcome[None]) -> None:
        if isinstance(result, outcome.Error):
            self.ended.set_exception(result.error)
        else:
            self.ended.set_result(None)
