"""The producer's machine on a FIFO queue, without a network: within a group nothing overtakes, whatever fails."""

from collections import deque
from typing import Any

import heddle
import pytest
from heddle._outbox import Batch, Outbox
from heddle._ticket import Ticket
from heddle.v1 import message_pb2, queues_pb2, views_pb2
from hypothesis import given
from hypothesis import strategies as st

BROKEN = heddle.Unavailable("heddle.UNAVAILABLE", "")
FULL = queues_pb2.ProduceResult(error_code="heddle.StorageFull", error_message="the disk is full")


def outbox(queue_url: str = "http://h/0/orders.fifo", batch_messages: int = 1) -> Outbox:
    made = Outbox(
        queue_url,
        batch_messages=batch_messages,
        batch_bytes=1000,
        linger_ms=5,
        max_in_flight_bytes=10_000,
        delay_seconds=None,
    )
    made.connected()
    return made


def put(box: Outbox, text: str) -> Batch:
    """A message whose group is the first letter of its body."""
    place = box.put_message(message_pb2.Message(body=text.encode(), message_group_id=text[0]))
    assert place is not None
    return place[0]


def bodies(request: views_pb2.ProduceRequestView | None) -> list[str]:
    if request is None:
        return []
    return [message.body.decode() for message in message_pb2.MessageBatch.FromString(request.batch).messages]


def answer(box: Outbox, request_id: int, result: queues_pb2.ProduceResult | None = None) -> None:
    settled = queues_pb2.ProduceResult(first_message_id=bytes(16))
    settled.MergeFrom(result or queues_pb2.ProduceResult())
    settled.request_id = request_id
    box.receive(queues_pb2.ProduceResponse(results=[settled]), 0.0)


def test_a_batch_waits_for_the_one_before_it_that_has_its_group() -> None:
    box = outbox()
    for text in ("a1", "b1", "a2", "c1"):
        put(box, text)
    assert [bodies(box.next_request(0.0)) for _ in range(3)] == [["a1"], ["b1"], []]
    answer(box, 2)
    assert bodies(box.next_request(0.0)) == []
    answer(box, 1)
    assert [bodies(box.next_request(0.0)) for _ in range(3)] == [["a2"], ["c1"], []]


def test_nothing_lingers_behind_a_batch_that_waits() -> None:
    box = outbox(batch_messages=2)
    for text in ("a1", "a2", "a3", "a4", "a5"):
        put(box, text)
    assert bodies(box.next_request(0.0)) == ["a1", "a2"]
    assert box.next_request(1.0) is None
    assert box.next_look() is None
    answer(box, 1)
    assert bodies(box.next_request(1.0)) == ["a3", "a4"]


def test_on_a_standard_queue_nothing_waits_for_a_group() -> None:
    box = outbox("orders")
    put(box, "a1")
    put(box, "a2")
    assert [bodies(box.next_request(0.0)) for _ in range(2)] == [["a1"], ["a2"]]
    answer(box, 1, FULL)
    put(box, "a3")


def test_a_refusal_takes_along_what_follows_in_its_groups_and_tells_whoever_sends_next() -> None:
    box = outbox()
    first, followers = put(box, "a1"), [put(box, "a2"), put(box, "a3")]
    other = put(box, "b1")
    box.next_request(0.0)
    answer(box, 1, FULL)
    assert isinstance(first.outcome.exception(), heddle.Overloaded)
    assert [type(each.outcome.exception()) for each in followers] == [heddle.PredecessorFailed] * 2
    with pytest.raises(heddle.PredecessorFailed, match="the disk is full"):
        put(box, "a4")
    put(box, "a1")  # whoever was told may go on, from what failed
    assert [bodies(box.next_request(0.0)) for _ in range(3)] == [["b1"], ["a1"], []]
    assert not other.outcome.done()
    assert box.failed_messages == 3


def test_what_fails_with_a_batch_fails_others_of_its_groups_in_turn() -> None:
    box = outbox(batch_messages=2)
    batches = [put(box, text) for text in ("a1", "a2", "a3", "b1", "b2", "c1", "d1")]
    box.next_request(0.0)
    answer(box, 1, FULL)
    failed = [batch.outcome.done() for batch in batches]
    assert failed == [True, True, True, True, True, True, False]  # c1 shares a batch with b2


def test_a_flush_is_a_way_to_be_told_as_well() -> None:
    box = outbox()
    put(box, "a1")
    box.next_request(0.0)
    answer(box, 1, FULL)
    assert isinstance(box.take_failure(), heddle.Overloaded)
    put(box, "a2")


def test_a_message_needs_a_group() -> None:
    box = outbox()
    with pytest.raises(heddle.MissingParameter, match="MessageGroupId"):
        box.put(b"a")
    with pytest.raises(heddle.MissingParameter, match="MessageGroupId"):
        box.put_message(message_pb2.Message(body=b"a"))
    assert not box.wants_stream


def test_tickets_of_duplicates_say_so_and_the_others_count_without_them() -> None:
    box = outbox(batch_messages=5)
    tickets = [Ticket(put(box, text), index) for index, text in enumerate(("a1", "a2", "a3", "a4", "a5"))]
    assert [ticket.duplicate for ticket in tickets] == [False] * 5
    box.next_request(0.0)
    answer(box, 1, queues_pb2.ProduceResult(count=3, base_sequence=7, duplicates=[1, 3]))
    assert [ticket.sequence for ticket in tickets] == [7, None, 8, None, 9]
    assert [ticket.duplicate for ticket in tickets] == [False, True, False, True, False]
    assert tickets[1].message_id is None
    assert tickets[2].message_id == "00000000-0000-0000-0000-000000000001"
    assert tickets[2].result(0) == heddle.SentMessage(tickets[2].message_id, 8, "10000000000000000008")
    assert tickets[3].result(0).duplicate
    assert (box.accepted_messages, box.duplicate_messages) == (5, 2)


class Model:
    """A broker's queue with deduplication by body, and the application's idea of what it still has to send."""

    def __init__(self) -> None:
        self.appended: list[str] = []

    def take(self, texts: list[str]) -> queues_pb2.ProduceResult:
        result = queues_pb2.ProduceResult()
        for index, text in enumerate(texts):
            if text in self.appended:
                result.duplicates.append(index)
            else:
                self.appended.append(text)
        return result


ACTS = "put put put put send send take take refuse answer answer break flush"
STEPS = st.lists(st.sampled_from(ACTS.split()), max_size=80)


@given(STEPS, st.integers(1, 3), st.randoms(use_true_random=False))
def test_whoever_sends_again_what_failed_keeps_the_order_of_every_group(
    steps: list[str], batch_messages: int, chance: Any
) -> None:
    box, model = outbox(batch_messages=batch_messages), Model()
    to_send = deque(f"{chance.choice('abc')}{number:03}" for number in range(60))
    unsettled: list[tuple[str, Batch]] = []  # in the order in which they were first sent
    on_its_way: deque[views_pb2.ProduceRequestView] = deque()
    results: deque[queues_pb2.ProduceResult] = deque()
    now = 0.0

    def learn() -> None:
        """Put what failed back, in front, in order."""
        failed = [text for text, batch in unsettled if batch.outcome.done() and batch.outcome.exception() is not None]
        unsettled[:] = [(text, batch) for text, batch in unsettled if not batch.outcome.done()]
        to_send.extendleft(reversed(failed))

    def act(step: str) -> None:
        match step:
            case "put" if to_send:
                try:
                    unsettled.append((to_send[0], put(box, to_send[0])))
                    to_send.popleft()
                except heddle.PredecessorFailed:
                    learn()
            case "send":
                request = box.next_request(now)
                if request is not None:
                    on_its_way.append(request)
            case "take" | "refuse" if on_its_way:
                request = on_its_way.popleft()
                result = (
                    model.take(bodies(request))
                    if step == "take"
                    else queues_pb2.ProduceResult.FromString(FULL.SerializeToString())
                )
                result.request_id = request.request_id
                results.append(result)
            case "answer" if results:
                box.receive(queues_pb2.ProduceResponse(results=[results.popleft()]), now)
            case "break":
                box.disconnected(BROKEN)
                if chance.random() < 0.5:  # what was on its way may have been taken, its results are lost
                    for request in on_its_way:
                        model.take(bodies(request))
                on_its_way.clear()
                results.clear()
                box.connected()
            case "flush":
                box.flush()

    for step in steps:
        now += 0.002
        act(step)
    for _ in range(400):
        now += 0.01
        for step in ("put", "send", "take", "answer"):
            act(step)
    box.take_failure()
    learn()
    assert not to_send
    assert len(model.appended) == len(set(model.appended)) == 60
    for group in "abc":
        own = [text for text in model.appended if text[0] == group]
        assert own == sorted(own)
