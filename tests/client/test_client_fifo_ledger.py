"""The consumer's machine on a FIFO queue, without a network: what a nack takes back."""

from typing import Any

import heddle
from heddle._delivery import Delivery, Message
from heddle._ledger import SETTLE_LINGER_SECONDS, ConsumeOptions, Ledger
from heddle._workers import Assignment
from heddle.v1 import queues_pb2, views_pb2
from wire import spans, view

BROKEN = heddle.Unavailable("heddle.UNAVAILABLE", "")
LATER = SETTLE_LINGER_SECONDS


class Desk:
    """A ledger with what it handed out, and the first request already said."""

    def __init__(self, **options: Any) -> None:
        self.delivered: list[Delivery] = []
        self.ledger = Ledger(
            "orders.fifo",
            ConsumeOptions(**{"prefetch": 100, "visibility_timeout": 30, **options}),
            self.delivered.append,
        )
        self.ledger.connected()
        self.ledger.next_request(0.0)

    def deliver(self, base: int, groups: str, confirmed: int = 0) -> list[Message]:
        """By a delivery of its own: ids count from 1."""
        deliveries = [view(base, groups, len(self.delivered) + 1)]
        response = views_pb2.ConsumeResponseView(deliveries=deliveries, confirmed_request_id=confirmed)
        self.ledger.receive(response, 0.0)
        return list(self.delivered[-1])

    def confirm(self, request_id: int) -> None:
        self.ledger.receive(views_pb2.ConsumeResponseView(confirmed_request_id=request_id), 0.0)

    def settled(self) -> queues_pb2.ConsumeRequest:
        assert self.ledger.next_request(0.0) is None
        request = self.ledger.next_request(LATER)
        assert request is not None
        return request


def returns(request: queues_pb2.ConsumeRequest) -> list[tuple[int, int, int]]:
    """What a request gives back: sequence numbers, and by which delivery."""
    return sorted((nack.range.first, nack.range.end, nack.delivery_id) for nack in request.nacks)


def test_a_nack_takes_back_what_is_held_of_its_group_after_it() -> None:
    desk = Desk()
    first, second, other, third = desk.deliver(0, "aaba")
    (fourth,) = desk.deliver(9, "a")
    first.ack()
    second.nack(7)
    for message in (other, third, fourth):
        message.ack()
    request = desk.settled()
    assert spans(request.acks) == [(0, 1), (2, 3)]  # acks of what went back are not said
    assert returns(request) == [(1, 2, 1), (3, 4, 1), (9, 10, 2)]
    assert {(nack.delay_seconds, nack.unhandled) for nack in request.nacks if nack.range.first == 1} == {(7, False)}
    assert {(nack.delay_seconds, nack.unhandled) for nack in request.nacks if nack.range.first > 1} == {(0, True)}
    assert request.credit == 5
    assert desk.ledger.held == 0
    assert [message.handed_back for message in (first, second, other, third, fourth)] == [
        *(False, True, False, True, True)
    ]


def test_what_was_taken_back_is_not_handed_out() -> None:
    desk = Desk()
    desk.deliver(0, "ab")
    desk.deliver(2, "ba")
    first, second = desk.delivered
    iterating = iter(second)
    next(iter(first)).nack()
    assert [message.sequence for message in iterating] == [2]
    assert (len(first), len(second)) == (1, 1)
    assert len(second.bodies()) == 1


def test_what_arrives_before_the_broker_heard_of_the_nack_goes_back_by_its_own_delivery() -> None:
    """It is the broker's again, and passed over there; or the nack came too late, and it is ours to give back."""
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    assert desk.deliver(1, "ab")[0].sequence == 2
    request = desk.settled()
    assert returns(request) == [(0, 1, 1), (1, 2, 2)]
    assert desk.deliver(3, "a") == []
    again = desk.deliver(0, "aa", confirmed=request.request_id)
    assert [message.sequence for message in again] == [0, 1]
    assert returns(desk.settled()) == [(3, 4, 3)]
    assert desk.ledger.held == 3


def test_a_delivery_beside_the_confirmation_of_a_nack_is_given_back_once_more() -> None:
    """It may have been pushed before the nack or after; in doubt it must not overtake."""
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    first_nack = desk.settled().request_id
    assert desk.deliver(5, "aa", confirmed=first_nack) == []
    request = desk.settled()
    assert returns(request) == [(5, 7, 2)]
    assert desk.deliver(7, "a") == []
    desk.confirm(request.request_id)
    assert desk.deliver(8, "a") == []  # the seventh is not confirmed yet
    assert [message.sequence for message in desk.deliver(5, "aaa")] == [5, 6, 7]


def test_giving_back_in_doubt_ends_when_the_message_comes_beside_every_confirmation() -> None:
    """The nacked message is gone, and the broker answers each return with a confirmation and the next delivery."""
    desk = Desk()
    desk.deliver(0, "aaa")[0].nack()
    assert desk.deliver(1, "aa", confirmed=desk.settled().request_id) == []
    again = desk.deliver(1, "aa", confirmed=desk.settled().request_id)
    assert [message.sequence for message in again] == [1, 2]


def test_a_nack_that_was_not_said_when_its_message_comes_again_is_void() -> None:
    """The timeout was over before the nack: it is another delivery that the client holds now, and settles."""
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    (again,) = desk.deliver(0, "a")
    again.ack()
    request = desk.settled()
    assert (spans(request.acks), returns(request)) == ([(0, 1)], [])
    assert desk.ledger.held == 0


def test_after_the_confirmation_a_group_may_go_on_elsewhere_in_it() -> None:
    """Another consumer has had the returned message."""
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    desk.confirm(desk.settled().request_id)
    assert [message.sequence for message in desk.deliver(3, "a")] == [3]


def test_a_message_that_comes_again_while_it_is_held_takes_the_later_ones_along() -> None:
    """Its visibility timeout was over: the broker has taken back what follows, too."""
    desk = Desk(auto_extend=False)
    first, second = desk.deliver(0, "aa")
    (again,) = desk.deliver(0, "a")
    assert second.handed_back
    first.ack()
    second.ack()
    assert desk.ledger.next_request(0.0) is None
    assert desk.ledger.next_request(LATER) is None
    again.ack()
    desk.ledger.next_request(2 * LATER)
    request = desk.ledger.next_request(3 * LATER)
    assert request is not None
    assert spans(request.acks) == [(0, 1)]
    assert desk.ledger.held == 0


def test_settling_the_delivery_before_does_not_settle_the_one_after() -> None:
    desk = Desk()
    (first,) = desk.deliver(0, "a")
    first.nack()
    request_id = desk.settled().request_id
    (second,) = desk.deliver(0, "a", confirmed=request_id)
    first.ack()
    first.extend(10)
    assert desk.ledger.next_request(1.0) is None
    second.ack()
    assert spans(desk.settled().acks) == [(0, 1)]


def test_a_delivery_is_settled_in_bulk() -> None:
    desk = Desk()
    one, _, _, _ = desk.deliver(0, "abab")
    one.nack()
    desk.delivered[0].ack()
    request = desk.settled()
    assert spans(request.acks) == [(1, 2), (3, 4)]
    desk.confirm(request.request_id)
    desk.deliver(10, "aba")
    desk.delivered[-1].nack(3)
    assert spans(nack.range for nack in desk.settled().nacks) == [(10, 13)]


def test_what_is_too_long_for_one_request_is_said_in_several() -> None:
    """Of a group among others every message is a range of its own, and the broker takes 10,000 of them."""
    desk = Desk(prefetch=30_000)
    first, *_ = desk.deliver(0, "ab" * 12_000)
    first.nack()
    desk.ledger.stop()
    requests: list[queues_pb2.ConsumeRequest] = []
    while not requests or not requests[-1].stop:
        request = desk.ledger.next_request(0.0)
        assert request is not None
        requests.append(request)
    assert max(len(request.nacks) for request in requests) <= 10_000
    assert sum(nack.range.end - nack.range.first for request in requests for nack in request.nacks) == 24_000
    told = [nack.range.first for request in requests for nack in request.nacks if nack.unhandled]
    assert told == list(range(23_998, 0, -2))


def test_on_a_standard_queue_groups_are_tenants_and_nothing_follows() -> None:
    delivered: list[Delivery] = []
    ledger = Ledger("orders", ConsumeOptions(prefetch=100, visibility_timeout=30), delivered.append)
    ledger.connected()
    ledger.receive(views_pb2.ConsumeResponseView(deliveries=[view(0, "aaa")]), 0.0)
    first, second, _ = delivered[0]
    first.nack()
    assert not second.handed_back
    assert ledger.held == 3


def test_a_broken_stream_takes_everything_back_also_with_keep_in_flight() -> None:
    desk = Desk(keep_in_flight_on_disconnect=True)
    (message,) = desk.deliver(0, "a")
    desk.ledger.disconnected(BROKEN)
    assert message.handed_back
    message.ack()
    desk.ledger.connected()
    greeting = desk.ledger.next_request(0.0)
    assert greeting is not None
    assert (greeting.keep_in_flight_on_disconnect, greeting.credit, len(greeting.acks)) == (True, 100, 0)


def test_a_group_stays_with_its_worker() -> None:
    desk = Desk()
    first, other, second, third = desk.deliver(0, "abaa")
    assignment = Assignment(by_group=True)
    assert [assignment.claim(message) for message in (first, other, second, third)] == [True, True, False, False]
    assert assignment.next_after(first) is second
    second.nack()
    assert assignment.next_after(second) is None  # the third went back with it
    assert assignment.next_after(other) is None
    assert assignment.claim(third)


def test_a_consumer_that_stops_gives_its_workers_nothing_more_and_lets_them_settle() -> None:
    desk = Desk()
    first, second = desk.deliver(0, "aa")
    assignment = Assignment(by_group=True)
    assignment.claim(first)
    assignment.claim(second)
    desk.ledger.halt()
    assert not first.handed_back
    first.ack()
    assert assignment.next_after(first) is None
    assert spans(desk.settled().acks) == [(0, 1)]
