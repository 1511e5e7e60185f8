# mypy: disable-error-code="import-not-found"
"""RabbitMQ over AMQP 0-9-1: persistent messages with publisher confirms, acknowledgements of many at once.

pika's asynchronous connection: measured, it publishes faster than the asyncio clients, which make a task or a future
of each message. AMQP does not confirm acknowledgements; the queue's depth at the end stands for that.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from broker.bench.measure import CountsDisagreeError, Plan

QUEUE = "bench"
PREFETCH = 10_000


class ClassicQueue:
    """A durable classic queue."""

    in_flight_max = 8
    fill_messages_max = 10_000_000
    arguments: ClassVar[dict[str, str]] = {"x-queue-type": "classic"}

    async def open(self, address: str, plan: Plan) -> None:
        host, _, port = address.partition(":")
        self._plan = plan
        self._body = b"x" * plan.size_bytes
        self._persistent = pika.BasicProperties(delivery_mode=2)
        self._published = 0
        self._done = _Confirmed()
        self._waiting_for: list[tuple[int, asyncio.Future[None]]] = []
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[Any] = loop.create_future()

        def failed(_connection: Any, error: BaseException) -> None:
            opened.set_exception(error)

        parameters = pika.ConnectionParameters(host, int(port), heartbeat=0)
        self._connection = AsyncioConnection(
            parameters, on_open_callback=opened.set_result, on_open_error_callback=failed, custom_ioloop=loop
        )
        await opened
        self._channel = await self._answer(lambda done: self._connection.channel(on_open_callback=done))
        await self._answer(lambda done: self._channel.confirm_delivery(self._on_confirm, callback=done))
        await self._declare()

    async def _answer(self, ask: Callable[[Callable[[Any], None]], Any]) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        ask(answer.set_result)
        return await answer

    async def _declare(self, *, passive: bool = False) -> int:
        """Returns the number of ready messages."""
        declared = await self._answer(
            lambda done: self._channel.queue_declare(
                QUEUE, durable=True, passive=passive, arguments=self.arguments, callback=done
            )
        )
        return int(declared.method.message_count)

    def _on_confirm(self, frame: Any) -> None:
        if not isinstance(frame.method, pika.spec.Basic.Ack):
            raise CountsDisagreeError("RabbitMQ refused a message")
        self._done.add(frame.method.delivery_tag, multiple=frame.method.multiple)
        while self._waiting_for and self._waiting_for[0][0] <= self._done.all_up_to:
            self._waiting_for.pop(0)[1].set_result(None)

    async def _publish(self, messages: int) -> int:
        for _ in range(messages):
            self._channel.basic_publish("", QUEUE, self._body, self._persistent)
        self._published += messages
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_for.append((self._published, confirmed))
        await confirmed
        return messages

    async def send_batch(self) -> int:
        return await self._publish(self._plan.batch)

    async def send_one(self) -> int:
        return await self._publish(1)

    async def consume(self, messages: int, acknowledged: Callable[[int], None]) -> None:
        all_received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        received = 0

        def on_message(channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
            nonlocal received
            received += 1
            if received % self._plan.batch == 0 or received == messages:
                channel.basic_ack(method.delivery_tag, multiple=True)
                acknowledged((received - 1) % self._plan.batch + 1)
            if received == messages:
                all_received.set_result(None)

        await self._answer(lambda done: self._channel.basic_qos(prefetch_count=PREFETCH, callback=done))
        self._channel.basic_consume(QUEUE, on_message)
        await all_received
        await self._declare(passive=True)  # answered after the acknowledgements before it were taken

    async def waiting(self) -> int:
        return await self._declare(passive=True)

    async def close(self) -> None:
        await self._answer(lambda done: self._channel.queue_delete(QUEUE, callback=done))
        self._connection.close()


class QuorumQueue(ClassicQueue):
    """A quorum queue, here of one member."""

    arguments: ClassVar[dict[str, str]] = {"x-queue-type": "quorum"}


class _Confirmed:
    """Which delivery tags are confirmed; they come one by one or many at once, in any order."""

    def __init__(self) -> None:
        self.all_up_to = 0
        self._beyond: set[int] = set()

    def add(self, tag: int, *, multiple: bool) -> None:
        if multiple:
            self.all_up_to = max(self.all_up_to, tag)
            self._beyond = {beyond for beyond in self._beyond if beyond > self.all_up_to}
        elif tag > self.all_up_to:
            self._beyond.add(tag)
        while self.all_up_to + 1 in self._beyond:
            self.all_up_to += 1
            self._beyond.remove(self.all_up_to)
