"""The consumer's machine, without a network and with a clock of the test's own."""

from typing import Any

import heddle
import pytest
from heddle._delivery import Delivery, Message
from heddle._ledger import SETTLE_LINGER_SECONDS, ConsumeOptions, Ledger
from heddle.v1 import message_pb2, queues_pb2, views_pb2
from hypothesis import given
from hypothesis import strategies as st

BROKEN = heddle.Unavailable("heddle.UNAVAILABLE", "")
LATER = SETTLE_LINGER_SECONDS


class Desk:
    """A ledger with what it handed out, and the first request already said."""

    def __init__(self, **options: Any) -> None:
        self.delivered: list[Delivery] = []
        self.ledger = Ledger(
            "orders", ConsumeOptions(**{"prefetch": 100, "visibility_timeout": 30, **options}), self.delivered.append
        )
        self.ledger.connected()
        greeting = self.ledger.next_request(0.0)
        assert greeting is not None
        self.greeting = greeting

    def deliver(self, base: int, count: int, now: float = 0.0, confirmed: int = 0) -> list[Message]:
        batch = message_pb2.MessageBatch(messages=[message_pb2.Message(body=b"%d" % i) for i in range(count)])
        view = views_pb2.DeliveryView(
            base_sequence=base, batch=batch.SerializeToString(), first_message_id=bytes(16), receive_count=1
        )
        response = views_pb2.ConsumeResponseView(deliveries=[view] if count else [], confirmed_request_id=confirmed)
        self.ledger.receive(response, now)
        return list(self.delivered[-1]) if count else []

    def settled(self, now: float = 0.0) -> queues_pb2.ConsumeRequest:
        assert self.ledger.next_request(now) is None  # not before it has lingered
        request = self.ledger.next_request(now + LATER)
        assert request is not None
        return request


def spans(ranges: Any) -> list[tuple[int, int]]:
    return [(piece.first, piece.end) for piece in ranges]


def test_the_first_request_greets_and_grants_the_window() -> None:
    greeting = Desk(prefetch=50, keep_in_flight_on_disconnect=True).greeting
    assert (greeting.queue_url, greeting.visibility_timeout, greeting.credit) == ("orders", 30, 50)
    assert greeting.keep_in_flight_on_disconnect


def test_acks_in_order_are_one_range_and_give_back_their_credit() -> None:
    desk = Desk()
    for message in desk.deliver(10, 5):
        message.ack()
    request = desk.settled()
    assert spans(request.acks) == [(10, 15)]
    assert request.credit == 5
    assert request.request_id == 1


def test_acks_out_of_order_join_into_ranges() -> None:
    desk = Desk()
    messages = desk.deliver(0, 6)
    for index in (4, 0, 2, 1, 5):
        messages[index].ack()
    assert spans(desk.settled().acks) == [(0, 3), (4, 6)]
    assert desk.ledger.held == 1


def test_half_of_the_window_is_settled_at_once() -> None:
    desk = Desk(prefetch=10)
    for message in desk.deliver(0, 5):
        message.ack()
    request = desk.ledger.next_request(0.0)
    assert request is not None
    assert spans(request.acks) == [(0, 5)]


def test_the_first_of_ack_and_nack_counts() -> None:
    desk = Desk()
    first, second, *_ = desk.deliver(0, 3)
    first.ack()
    first.nack()
    second.nack(7)
    second.ack()
    second.nack(9)
    desk.delivered[0].ack()  # what is left
    request = desk.settled()
    assert spans(request.acks) == [(0, 1), (2, 3)]
    assert [(nack.range.first, nack.range.end, nack.delay_seconds) for nack in request.nacks] == [(1, 2, 7)]


def test_settling_twice_tells_the_broker_nothing() -> None:
    desk = Desk()
    (message,) = desk.deliver(0, 1)
    message.ack()
    desk.settled()
    message.ack()
    assert desk.ledger.next_request(1.0) is None
    assert desk.ledger.next_request(1.0 + LATER) is None


def test_held_messages_are_extended_at_half_time_in_ranges() -> None:
    desk = Desk()
    messages = desk.deliver(0, 4, now=100.0)
    messages[1].ack()
    desk.settled(100.0)
    assert desk.ledger.next_look() == pytest.approx(115.0)
    assert desk.ledger.next_request(114.9) is None
    request = desk.ledger.next_request(115.0)
    assert request is not None
    extensions = [(each.range.first, each.range.end, each.visibility_timeout) for each in request.extensions]
    assert extensions == [(0, 1, 30), (2, 4, 30)]
    assert desk.ledger.next_look() == pytest.approx(130.0)


def test_nothing_is_extended_that_is_settled_or_that_nobody_wants_extended() -> None:
    desk = Desk()
    desk.deliver(0, 4, now=100.0)
    desk.delivered[0].ack()
    desk.settled(100.0)
    assert desk.ledger.next_request(115.0) is None
    assert desk.ledger.next_look() is None
    manual = Desk(auto_extend=False)
    manual.deliver(0, 4, now=100.0)
    assert manual.ledger.next_look() is None


def test_extending_a_message_takes_it_out_of_automatic_extension() -> None:
    desk = Desk()
    messages = desk.deliver(0, 3, now=100.0)
    messages[1].extend(600)
    request = desk.settled(100.0)
    assert [(each.range.first, each.visibility_timeout) for each in request.extensions] == [(1, 600)]
    request = desk.ledger.next_request(115.0) or queues_pb2.ConsumeRequest()
    assert spans(each.range for each in request.extensions) == [(0, 1), (2, 3)]


def test_extension_ends_at_twelve_hours_from_the_receipt() -> None:
    desk = Desk(visibility_timeout=20_000)
    desk.deliver(0, 1, now=0.0)
    extended = [desk.ledger.next_request(float(now)) for now in (10_000, 20_000, 30_000)]
    assert [request is not None for request in extended] == [True, True, False]


def test_a_broken_stream_gives_everything_back() -> None:
    desk = Desk()
    messages = desk.deliver(0, 3)
    messages[0].ack()
    desk.ledger.disconnected(BROKEN)
    assert not desk.delivered[0].epoch.handing_out
    desk.ledger.connected()
    request = desk.ledger.next_request(1.0)
    assert request is not None
    assert (request.queue_url, request.credit, spans(request.acks)) == ("orders", 100, [])
    messages[1].ack()  # of the old stream: it will come again
    assert desk.ledger.next_request(2.0) is None
    assert desk.ledger.next_request(3.0) is None


def test_what_is_kept_in_flight_can_be_settled_on_the_next_stream() -> None:
    desk = Desk(keep_in_flight_on_disconnect=True)
    messages = desk.deliver(0, 5)
    messages[0].ack()
    messages[1].ack()
    desk.settled()  # sent, never confirmed
    messages[2].ack()
    desk.ledger.disconnected(BROKEN)
    assert desk.delivered[0].epoch.handing_out
    desk.ledger.connected()
    request = desk.ledger.next_request(1.0)
    assert request is not None
    assert spans(request.acks) == [(0, 2)]  # said again
    assert request.credit == 97
    messages[3].ack()
    request = desk.ledger.next_request(1.0 + LATER)
    assert request is not None
    assert spans(request.acks) == [(2, 4)]


def test_a_stop_says_the_last_acks_and_gives_the_rest_back() -> None:
    desk = Desk()
    messages = desk.deliver(0, 5)
    messages[0].ack()
    desk.ledger.stop()
    request = desk.ledger.next_request(0.0)
    assert request is not None
    assert (request.stop, request.request_id, request.credit) == (True, 1, 0)
    assert spans(request.acks) == [(0, 1)]
    assert spans(nack.range for nack in request.nacks) == [(1, 5)]
    assert not desk.delivered[0].epoch.handing_out
    desk.deliver(20, 2)  # was on its way
    late = desk.ledger.next_request(0.0)
    assert late is not None
    assert spans(nack.range for nack in late.nacks) == [(20, 22)]
    desk.deliver(0, 0, confirmed=1)
    desk.ledger.disconnected(BROKEN)
    assert desk.ledger.finished
    assert desk.ledger.error is None


def test_a_stop_that_is_not_confirmed_is_an_error() -> None:
    desk = Desk()
    desk.deliver(0, 1)[0].ack()
    desk.ledger.stop()
    desk.ledger.next_request(0.0)
    desk.ledger.disconnected(BROKEN)
    assert desk.ledger.finished
    assert desk.ledger.error is BROKEN


def test_a_stop_between_two_streams_needs_no_other() -> None:
    desk = Desk()
    desk.ledger.disconnected(BROKEN)
    desk.ledger.stop()
    assert desk.ledger.finished
    assert desk.ledger.error is None


@pytest.mark.parametrize("options", [{"prefetch": 0}, {"prefetch": 120_001}, {"visibility_timeout": 43_201}])
def test_options_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ConsumeOptions(**options)  # type: ignore[arg-type]


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["deliver", "deliver", "ack", "ack", "nack", "all", "flush", "break"]), st.integers(0, 99)
    ),
    max_size=60,
)


@given(ACTS, st.integers(1, 30), st.booleans())
def test_in_any_history_credit_stays_in_the_window_and_each_message_is_settled_once(
    acts: list[tuple[str, int]], prefetch: int, keep: bool
) -> None:
    desk = Desk(prefetch=prefetch, keep_in_flight_on_disconnect=keep)
    granted, now, next_sequence = desk.greeting.credit, 0.0, 0
    held: dict[int, Message] = {}  # delivered on this stream (or kept), and not settled as far as the broker knows
    settled: dict[int, str] = {}  # by the application, first word
    told: dict[int, str] = {}

    def hear(request: queues_pb2.ConsumeRequest | None) -> None:
        nonlocal granted
        if request is None:
            return
        granted += request.credit
        for kind, pieces in (("ack", request.acks), ("nack", [nack.range for nack in request.nacks])):
            for first, end in spans(pieces):
                for sequence in range(first, end):
                    assert told.setdefault(sequence, kind) == kind
                    assert settled[sequence] == kind
                    held.pop(sequence, None)
        assert granted + len(held) <= prefetch

    for act, number in acts:
        now += 0.001
        if act == "deliver" and granted:
            count = 1 + number % granted
            granted -= count
            held |= {message.sequence: message for message in desk.deliver(next_sequence, count, now)}
            next_sequence += count + number % 2
        elif act in {"ack", "nack"} and held:
            message = list(held.values())[number % len(held)]
            settled.setdefault(message.sequence, act)
            message.ack() if act == "ack" else message.nack()
        elif act == "all" and desk.delivered:
            delivery = desk.delivered[number % len(desk.delivered)]
            delivery.ack()
            for message in delivery:
                settled.setdefault(message.sequence, "ack")
        elif act == "flush":
            now += LATER
            hear(desk.ledger.next_request(now))
        elif act == "break":
            desk.ledger.disconnected(BROKEN)
            desk.ledger.connected()
            granted = 0
            if not keep:
                held.clear()
            hear(desk.ledger.next_request(now))
    hear(desk.ledger.next_request(now))
    hear(desk.ledger.next_request(now + LATER))
    assert not set(held) & set(settled)
    assert granted + len(held) == prefetch
