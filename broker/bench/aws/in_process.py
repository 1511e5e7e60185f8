"""A broker in this process on the store in memory, with the AWS application on it: no sockets, no disk, no threads but
those that readers never need here. For the costs of a call, where waiting would only blur."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from broker.api.aws.app import AwsApp, Gate
from broker.api.aws.cors import Cors
from broker.api.aws.sigv4 import Trusting
from broker.api.aws.sqs import sqs
from broker.api.aws.sts import sts
from broker.api.desk import Desk
from broker.api.queue_calls import QueueCalls
from broker.log import Batches, Sweeper
from broker.queues import Queues, Scope
from broker.store import InlineCommitter, Store
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

ACCOUNT = "000000000000"
REGION = "us-east-1"
CACHE_BYTES = 64 << 20


class InProcess:
    """Made on the loop on which it answers. ``gate``: who may call; anybody, when left out."""

    def __init__(self, gate: Gate | None = None) -> None:
        loop = asyncio.get_running_loop()
        engine = MemoryEngine()
        initialise(engine, new_store_id=bytes(16))
        store = Store(engine, call_soon=loop.call_soon)
        batches = Batches(store, cache_bytes=CACHE_BYTES)
        queues = Queues(store, batches, Sweeper(store, batches))
        store.start(InlineCommitter(engine, store.committed, call_soon=loop.call_soon))
        self._reader = ThreadPoolExecutor(1)
        self.scope = Scope(ACCOUNT, REGION)
        desk = Desk(
            store=store,
            batches=batches,
            queues=queues,
            now_ms=lambda: time.time_ns() // 1_000_000,
            default_scope=self.scope,
            reader=self._reader,
            queue_url=lambda scope, name: f"http://broker/{scope.account}/{name}",
        )
        self.calls = QueueCalls(desk)
        self.service = sqs(self.calls)
        self.gate = gate or Trusting(ACCOUNT, REGION)
        self.app = AwsApp((self.service, sts()), self.gate, cors=Cors(), base_url=None, default_region=REGION)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()
