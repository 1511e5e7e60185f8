"""The queue plane: Amazon SQS semantics as pure state machines.

Never: I/O beyond the store's reads, a clock, chance, or an await. Every time in here is a ``now_ms`` passed in.
"""

from broker.queues.plane import Queues, Scope
from broker.queues.queue import Queue, Taken, Taker

__all__ = ["Queue", "Queues", "Scope", "Taken", "Taker"]
