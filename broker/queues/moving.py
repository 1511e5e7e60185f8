"""Messages that go from one queue to another without being copied: dead letters and redrive.

The destination's log gets an entry that shares the batch and the source loses the messages, in one write batch: after
a crash exactly one of the two holds them. Never: a payload.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.log import Entry

if TYPE_CHECKING:
    from broker.queues.queue import Queue

Part = tuple[Entry, int, int]
"""An entry, and the messages [lo, hi) of it."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """Where messages go that were received ``max_receive_count`` times."""

    target: "Queue"
    max_receive_count: int


def redrive_of(queue: "Queue") -> Redrive | None:
    """None without a policy, and while its target does not exist: then messages stay and go on being delivered. So they
    do where a queue names itself. AWS takes such a policy as well (there are rules for audits that look for it), and
    does not say what becomes of the messages; moved, they would only begin to be counted anew."""
    policy = queue.attributes.redrive
    if policy is None:
        return None
    target = queue.resolve(policy.dead_letter_target_arn)
    return None if target is None or target is queue else Redrive(target, policy.max_receive_count)


def oldest_visible(source: "Queue", count: int, now_ms: int) -> list[Part]:
    """The oldest messages that a receive could get, at most ``count``. Changes nothing."""
    source.advance(now_ms)
    log = source.state.log
    return [part for lo, hi in source.first_deliverable(count) for part in log.slices(lo, hi)]


def move(source: "Queue", entry: Entry, lo: int, hi: int, destination: "Queue", *, now_ms: int, as_new: bool) -> None:
    """Moves messages [lo, hi) of an entry of ``source``. ``as_new``: they are new messages, with ids of their own, sent
    now and never received; else they are dead letters."""
    _append(source, entry, lo, hi, destination, now_ms=now_ms, as_new=as_new)
    source.remove_moved(lo, hi, now_ms)


def move_dead(source: "Queue", lo: int, hi: int, target: "Queue", *, now_ms: int) -> None:
    """Moves messages [lo, hi), all with one history, to a dead-letter queue; what has expired is deleted instead."""
    state, activity = source.state, source.activity
    horizon_ms = now_ms - source.attributes.retention_ms
    for entry, start, end in list(state.log.slices(lo, hi)):
        if entry.appended_at_ms > horizon_ms:
            _append(source, entry, start, end, target, now_ms=now_ms, as_new=False)
            activity.moved_messages += end - start
        else:
            activity.expired_messages += end - start
        state.runs.delete(start, end)
        state.trim(start, end)


def _append(
    source: "Queue", entry: Entry, lo: int, hi: int, destination: "Queue", *, now_ms: int, as_new: bool
) -> None:
    state, count = destination.changing(now_ms), hi - lo
    moved = Entry(
        base=state.log.next_sequence,
        count=count,
        batch_id=entry.batch_id,
        first_index=entry.first_index + lo - entry.base,
        appended_at_ms=now_ms if as_new or destination.fifo else entry.appended_at_ms,
        sender_id=entry.sender_id,
        nbytes=max(1, entry.nbytes * count // entry.count),
    )
    if as_new:
        moved.identity_id = destination.new_identity()
    else:  # a dead letter keeps who it is, and what it has been through
        run = source.state.runs.find(lo)
        assert run is not None, (source.name, lo)
        moved.identity_id, moved.origin_arn = entry.identity_id, source.arn
        moved.receives_before = entry.receives_before + run.receive_count
    state.log.append_shared(moved)
    until_ms = destination.hidden_until_ms(0)
    state.runs.append(moved.base, moved.end, until_ms)
    destination.appended(moved, visible=not until_ms)
    if source.flushing:  # then this batch is being completed, and the destination may have had its turn
        state.write()
