"""Logs: batches in wire format, and entries that refer to them.

Never: delivery state (that is the planes'), or a Python step for every message.
"""

from broker.log.batches import Batches
from broker.log.ids import Ids, generation_of
from broker.log.log import Entry, Log
from broker.log.packed import Message, PackedBatch, pack_ordered, pack_plain
from broker.log.sweep import Sweeper, garbage_end

__all__ = [
    "Batches",
    "Entry",
    "Ids",
    "Log",
    "Message",
    "PackedBatch",
    "Sweeper",
    "garbage_end",
    "generation_of",
    "pack_ordered",
    "pack_plain",
]
