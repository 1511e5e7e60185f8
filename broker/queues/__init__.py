"""The queue plane: Amazon SQS semantics as pure state machines.

Never: I/O beyond the store's reads, a clock, chance, or an await. Every time in here is a ``now_ms`` passed in.
"""

from broker.queues.plane import Queues
from broker.queues.queue import Queue
from broker.queues.scope import Scope
from broker.queues.values import Taken, Taker

__all__ = ["Queue", "Queues", "Scope", "Taken", "Taker"]
