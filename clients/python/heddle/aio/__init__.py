"""Heddle on asyncio: the same client as `heddle`, awaited."""

from heddle._ticket import AsyncTicket as Ticket
from heddle.aio._client import Client
from heddle.aio._consumer import Consumer
from heddle.aio._move_task import MoveTask
from heddle.aio._producer import Producer
from heddle.aio._queue import Queue

__all__ = ["Client", "Consumer", "MoveTask", "Producer", "Queue", "Ticket"]
