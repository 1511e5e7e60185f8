"""Delays of a FIFO queue: they end in the order of the log, whoever put a message there and whatever the delay was."""

import json
from unittest import mock

import pytest
from heddle.v1.message_pb2 import Message, MessageBatch

from broker.queues import Queue
from broker.queues.fifo import FifoQueue
from broker.queues.runs import RunMap, State

from .virtual_plane import SCOPE, VirtualPlane

_DELAYED = 2_000
_DELAY_S = 900


class Broker(VirtualPlane):
    def __init__(self) -> None:
        super().__init__(on_commit=lambda: None, on_reset=lambda: None)

    def create(self, name: str, **attributes: object) -> Queue:
        values = {key: str(value) for key, value in attributes.items()}
        self.queues.create(SCOPE, name, {"FifoQueue": "true", **values}, {}, now_ms=self.now_ms)
        return self[name]

    def send(self, name: str, *bodies: str) -> None:
        """All of one group."""
        queue = self[name]
        assert isinstance(queue, FifoQueue)
        messages = [Message(body=body.encode(), message_group_id="g") for body in bodies]
        packed = MessageBatch(messages=messages).SerializeToString()
        queue.send_ordered(packed, ["g"] * len(bodies), bodies, now_ms=self.now_ms, sender_id="")

    def receive(self, name: str, count: int = 10) -> list[str]:
        bodies = []
        for part in self[name].receive(count, visibility_ms=0, now_ms=self.now_ms):
            batch = self.batches.read(part.entry.batch_id)
            assert batch is not None
            bodies += [batch.message(part.first_index + offset).body.decode() for offset in range(len(part))]
        return bodies

    def drain(self, name: str) -> list[str]:
        """All messages in the order in which they come, each deleted before the next."""
        bodies = []
        while parts := self[name].receive(1, visibility_ms=None, now_ms=self.now_ms):
            (part,) = parts
            batch = self.batches.read(part.entry.batch_id)
            assert batch is not None
            bodies.append(batch.message(part.first_index).body.decode())
            self[name].delete(part.lo, part.hi, self.now_ms)
        return bodies

    def pass_time(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)
        self.come_to_rest()


def with_delayed_messages(count: int) -> Broker:
    """A queue of messages that were sent a millisecond apart, so that each is a run."""
    broker = Broker()
    broker.create("q.fifo", DelaySeconds=_DELAY_S)
    for number in range(count):
        broker.now_ms += 1
        broker.send("q.fifo", str(number))
    broker.settle()
    return broker


@pytest.mark.parametrize("delay_s", [800, 1, 0])
def test_a_changed_delay_holds_for_all_delayed_messages_without_a_step_for_each(delay_s: int) -> None:
    broker = with_delayed_messages(_DELAYED)
    queue = broker["q.fifo"]
    first_ms = broker.now_ms - _DELAYED + 1
    with mock.patch.object(RunMap, "_cut", autospec=True, side_effect=RunMap._cut) as cut:
        broker.queues.set_attributes(queue, {"DelaySeconds": str(delay_s)}, broker.now_ms)
    assert cut.call_count <= 100
    broker.settle()
    broker.open()  # it is at rest
    queue = broker["q.fifo"]
    broker.now_ms = max(broker.now_ms, first_ms + delay_s * 1000)
    broker.come_to_rest()
    due = min(_DELAYED, broker.now_ms - first_ms - delay_s * 1000 + 1)
    assert queue.counts(broker.now_ms) == (due, 0, _DELAYED - due)
    broker.pass_time(_DELAYED / 1000)
    assert queue.counts(broker.now_ms) == (_DELAYED, 0, 0)


def test_a_message_sent_after_a_shorter_delay_does_not_overtake() -> None:
    broker = with_delayed_messages(1_000)
    queue = broker["q.fifo"]
    broker.queues.set_attributes(queue, {"DelaySeconds": "0"}, broker.now_ms)
    broker.send("q.fifo", "last")
    assert queue.state.runs.counts[State.DELAYED] > 0, "not all is visible in one step"
    broker.come_to_rest()
    assert broker.drain("q.fifo") == [*map(str, range(1_000)), "last"]


def test_a_longer_delay_and_a_purge() -> None:
    broker = with_delayed_messages(3)
    queue = broker["q.fifo"]
    broker.queues.set_attributes(queue, {"DelaySeconds": "60"}, broker.now_ms)
    broker.queues.purge(SCOPE, "q.fifo", broker.now_ms)
    broker.send("q.fifo", "a")
    broker.pass_time(59)
    assert broker.receive("q.fifo") == []
    broker.pass_time(2)
    assert broker.receive("q.fifo") == ["a"]


def test_a_clock_that_goes_back_does_not_change_the_order() -> None:
    broker = with_delayed_messages(2)
    broker.now_ms -= 100_000
    broker.send("q.fifo", "2")
    broker.settle()
    broker.pass_time(_DELAY_S + 1)
    assert broker.receive("q.fifo") == []
    broker.pass_time(100)
    assert broker.drain("q.fifo") == ["0", "1", "2"]


@pytest.mark.parametrize("how", ["dead letter", "move task"])
def test_what_is_moved_comes_behind_the_delayed_messages_of_its_group(how: str) -> None:
    broker = Broker()
    target = broker.create("target.fifo", DelaySeconds=60)
    policy = json.dumps({"deadLetterTargetArn": target.arn, "maxReceiveCount": 1})
    source = broker.create("source.fifo", RedrivePolicy=policy)
    broker.send("target.fifo", "earlier")
    broker.send("source.fifo", "moved")
    if how == "move task":
        broker.queues.set_attributes(source, {"RedrivePolicy": ""}, broker.now_ms)
        policy = json.dumps({"deadLetterTargetArn": source.arn, "maxReceiveCount": 1})
        broker.queues.set_attributes(target, {"RedrivePolicy": policy}, broker.now_ms)
        broker.settle()
        broker.queues.move_tasks.start(SCOPE, source.arn, target.arn, None, broker.now_ms)
        while broker.queues.move_tasks.advance(broker.now_ms) <= broker.now_ms:
            broker.settle()
    else:
        assert broker.receive("source.fifo") == ["moved"]
        assert broker.receive("source.fifo") == []
    broker.settle()
    assert target.counts(broker.now_ms) == (0, 0, 2)
    broker.send("target.fifo", "later")
    assert broker.receive("target.fifo") == []
    broker.pass_time(60)
    assert broker.drain("target.fifo") == ["earlier", "moved", "later"]


def test_what_is_moved_to_a_queue_without_delayed_messages_is_there_at_once() -> None:
    broker = Broker()
    target = broker.create("target.fifo", DelaySeconds=60)
    policy = json.dumps({"deadLetterTargetArn": target.arn, "maxReceiveCount": 1})
    broker.create("source.fifo", RedrivePolicy=policy)
    broker.send("source.fifo", "moved")
    assert broker.receive("source.fifo") == ["moved"]
    assert broker.receive("source.fifo") == []
    assert broker.receive("target.fifo") == ["moved"]
