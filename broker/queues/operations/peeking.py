"""PeekMessages: a look at messages that changes nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.log import PackedBatch
from broker.queues.identity import Identity
from broker.queues.queue import Queue
from broker.queues.runs import State
from broker.queues.values import Taken

_STATE_NAMES: Final = {State.VISIBLE: "visible", State.DELAYED: "delayed", State.IN_FLIGHT: "in flight"}


def peek(queue: Queue, from_sequence: int, count: int) -> list[tuple[Taken, State]]:
    """Up to ``count`` messages from a sequence number on, but no more than fit a response, and their states. Changes
    nothing."""
    seen: list[tuple[Taken, State]] = []
    room = limits.PEEK_BYTES_MAX
    for run in queue.state.runs.starting_at(from_sequence):
        lo = max(run.lo, from_sequence)
        until_ms = queue.state.runs.until_ms(run)
        for entry, start, end in queue.state.log.slices(lo, min(run.hi, lo + count)):
            receives = entry.receives_before + run.receive_count
            part = Taken(entry, start, end, receives, run.first_received_ms, run.delivery_id, until_ms)
            room -= part.nbytes
            if seen and room < 0:
                return seen
            seen.append((part, run.state))
            count -= len(part)
        if count <= 0:
            break
    return seen


def peeked_messages(
    seen: Sequence[tuple[Taken, State]], payloads: Mapping[int, PackedBatch], identity: Identity
) -> list[pb.PeekedMessage]:
    peeked = []
    for part, state in seen:
        payload = payloads.get(part.entry.batch_id)
        if payload is None:
            continue
        message_ids = identity.message_ids(part.entry.name_id, part.first_index, len(part))
        for offset, message_id in enumerate(message_ids):
            peeked.append(
                pb.PeekedMessage(
                    sequence=part.lo + offset,
                    message_id=message_id,
                    state=_STATE_NAMES[state],
                    until_timestamp_ms=part.until_ms,
                    sent_timestamp_ms=part.entry.appended_at_ms,
                    receive_count=part.receive_count,
                    message=payload.message(part.first_index + offset),
                )
            )
    return peeked
