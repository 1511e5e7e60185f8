# mypy: disable-error-code="import-not-found"
"""Redis streams: XADD in pipelines, XREADGROUP and XACK.

Two drivers. RedisStreams is the client library as people use it. PackedRedisStreams sends commands that were packed
once and lets hiredis parse the answers: what a client that costs next to nothing would get out of the server.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hiredis
import redis

from broker.bench.measure import CountsDisagreeError, Plan

STREAM = "bench"
GROUP = "workers"
READ_BYTES = 2**20


class RedisStreams:
    """The synchronous client (the faster one), one connection a thread."""

    in_flight_max = 4
    fill_messages_max = 10_000_000

    async def open(self, address: str, plan: Plan) -> None:
        host, _, port = address.partition(":")
        self._plan = plan
        self._body = b"x" * plan.size_bytes
        self._threads = ThreadPoolExecutor(self.in_flight_max)
        self._local = threading.local()
        self._connect: Callable[[], Any] = lambda: redis.Redis(host=host, port=int(port))
        self._redis = self._connect()
        self._redis.delete(STREAM)
        self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)

    def _connection(self) -> Any:
        if not hasattr(self._local, "redis"):
            self._local.redis = self._connect()
        return self._local.redis

    def _send_batch(self) -> int:
        pipeline = self._connection().pipeline(transaction=False)
        for _ in range(self._plan.batch):
            pipeline.xadd(STREAM, {b"b": self._body})
        return len(pipeline.execute())

    async def _in_thread(self, call: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def send_batch(self) -> int:
        return await self._in_thread(self._send_batch)

    async def send_one(self) -> int:
        self._redis.xadd(STREAM, {b"b": self._body})
        await asyncio.sleep(0)  # the call blocked the loop: let its timers run
        return 1

    def _receive_batch(self) -> int:
        answer = self._redis.xreadgroup(GROUP, "one", {STREAM: ">"}, count=self._plan.batch)
        ids = [message_id for message_id, _ in answer[0][1]]
        return int(self._redis.xack(STREAM, GROUP, *ids))

    async def consume(self, messages: int, acknowledged: Callable[[int], None]) -> None:
        received = 0
        while received < messages:
            count = await self._in_thread(self._receive_batch)
            received += count
            acknowledged(count)

    async def waiting(self) -> int:
        group = self._redis.xinfo_groups(STREAM)[0]
        return int(group["lag"] or 0) + int(group["pending"])

    async def close(self) -> None:
        self._redis.delete(STREAM)
        self._threads.shutdown()


class PackedRedisStreams(RedisStreams):
    """Commands packed once; several connections, each with one pipeline in flight."""

    in_flight_max = 4

    async def open(self, address: str, plan: Plan) -> None:
        await super().open(address, plan)
        host, _, port = address.partition(":")
        self._pipeline = hiredis.pack_command(("XADD", STREAM, "*", "b", self._body)) * plan.batch
        self._idle = [
            (*await asyncio.open_connection(host, int(port), limit=READ_BYTES), hiredis.Reader())
            for _ in range(self.in_flight_max)
        ]

    async def send_batch(self) -> int:
        connection = self._idle.pop()
        reader, writer, replies = connection
        writer.write(self._pipeline)
        count = 0
        while count < self._plan.batch:
            replies.feed(await reader.read(READ_BYTES))
            while (reply := replies.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise CountsDisagreeError(f"XADD refused: {reply}")
                count += 1
        self._idle.append(connection)
        return count

    async def close(self) -> None:
        for _, writer, _ in self._idle:
            writer.close()
            await writer.wait_closed()
        await super().close()
