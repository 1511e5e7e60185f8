"""The consumer's machine on a FIFO queue, without a network: what a nack takes back, and that order survives it all."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import heddle
from heddle._delivery import Delivery, Message
from heddle._ledger import SETTLE_LINGER_SECONDS, ConsumeOptions, Ledger
from heddle._workers import Assignment
from heddle.v1 import message_pb2, queues_pb2, views_pb2
from hypothesis import given
from hypothesis import strategies as st

BROKEN = heddle.Unavailable("heddle.UNAVAILABLE", "")
LATER = SETTLE_LINGER_SECONDS


def view(base: int, groups: str) -> views_pb2.DeliveryView:
    """Messages from `base` on, one for each letter: its group."""
    messages = [message_pb2.Message(body=b"x", message_group_id=group) for group in groups]
    packed = message_pb2.MessageBatch(messages=messages).SerializeToString()
    return views_pb2.DeliveryView(base_sequence=base, batch=packed, first_message_id=bytes(16), receive_count=1)


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
        response = views_pb2.ConsumeResponseView(deliveries=[view(base, groups)], confirmed_request_id=confirmed)
        self.ledger.receive(response, 0.0)
        return list(self.delivered[-1])

    def confirm(self, request_id: int) -> None:
        self.ledger.receive(views_pb2.ConsumeResponseView(confirmed_request_id=request_id), 0.0)

    def settled(self) -> queues_pb2.ConsumeRequest:
        assert self.ledger.next_request(0.0) is None
        request = self.ledger.next_request(LATER)
        assert request is not None
        return request


def spans(ranges: Any) -> list[tuple[int, int]]:
    return [(piece.first, piece.end) for piece in ranges]


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
    assert [(nack.range.first, nack.range.end, nack.delay_seconds) for nack in request.nacks] == [(1, 2, 7)]
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


def test_what_the_broker_pushed_before_it_heard_of_the_nack_is_dropped() -> None:
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    assert desk.deliver(1, "ab")[0].sequence == 2
    request = desk.settled()
    assert desk.deliver(3, "a") == []
    again = desk.deliver(0, "aa", confirmed=request.request_id)
    assert [message.sequence for message in again] == [0, 1]
    assert desk.ledger.held == 3


def test_a_delivery_beside_the_confirmation_of_a_nack_is_given_back_once_more() -> None:
    """It may have been pushed before the nack or after; in doubt it must not overtake."""
    desk = Desk()
    desk.deliver(0, "a")[0].nack()
    first_nack = desk.settled().request_id
    assert desk.deliver(5, "aa", confirmed=first_nack) == []
    request = desk.settled()
    assert spans(nack.range for nack in request.nacks) == [(5, 6)]
    assert desk.deliver(7, "a") == []
    desk.confirm(request.request_id)
    assert [message.sequence for message in desk.deliver(5, "aaa")] == [5, 6, 7]


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


class Model:
    """A broker that keeps FIFO order, far away: requests and responses are on their way until somebody moves them."""

    def __init__(self, groups: str) -> None:
        self.group_of = dict(enumerate(groups))
        self.held: set[int] = set()  # by the stream
        self.gone: set[int] = set()
        self.credit = 0
        self.requests: deque[queues_pb2.ConsumeRequest] = deque()
        self.responses: deque[views_pb2.ConsumeResponseView] = deque()

    def _left(self) -> Iterator[tuple[int, str]]:
        return ((sequence, group) for sequence, group in self.group_of.items() if sequence not in self.gone)

    def _response(self, merged: bool) -> views_pb2.ConsumeResponseView:
        if not merged or not self.responses:
            self.responses.append(views_pb2.ConsumeResponseView())
        return self.responses[-1]

    def push(self, limit: int, merged: bool) -> None:
        taken = [sequence for sequence, _ in self._left() if sequence not in self.held][: min(limit, self.credit)]
        self.credit -= len(taken)
        self.held.update(taken)
        starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(taken)) if b != a + 1), len(taken)]
        for low, high in pairwise(starts):
            if low < high:
                groups = "".join(self.group_of[sequence] for sequence in taken[low:high])
                self._response(merged).deliveries.append(view(taken[low], groups))

    def lose(self, sequence: int) -> None:
        """It goes back, and what the stream holds of its group after it."""
        if sequence in self.held:
            group = self.group_of[sequence]
            self.held -= {each for each in self.held if each >= sequence and self.group_of[each] == group}

    def process(self, merged: bool) -> None:
        if not self.requests:
            return
        request = self.requests.popleft()
        for first, end in spans(request.acks):
            done = self.held & set(range(first, end))
            self.held -= done
            self.gone |= done
        for first, end in spans(nack.range for nack in request.nacks):
            for sequence in range(first, end):
                self.lose(sequence)
        if request.request_id:
            self._response(merged).confirmed_request_id = request.request_id
        self.credit += request.credit

    def serve_another(self, group: str) -> int | None:
        """Another consumer receives and deletes the first of a group, if the stream does not have the group."""
        first = next((sequence for sequence, each in self._left() if each == group), None)
        if first is None or any(self.group_of[sequence] == group for sequence in self.held):
            return None
        self.gone.add(first)
        return first

    def break_stream(self) -> None:
        self.held.clear()
        self.requests.clear()
        self.responses.clear()
        self.credit = 0


class Pool:
    """The workers of `Consumer.run`, each step of theirs on demand, with a look at the order at each."""

    def __init__(self, delivered: deque[Delivery], model: Model, workers: int) -> None:
        self.handled: set[int] = set()  # successfully, by whomever
        self._arrived = delivered
        self._model = model
        self._assignment = Assignment(by_group=True)
        self._current: Iterator[Message] = iter(())
        self._working: list[Message | None] = [None] * workers

    def _next(self) -> Message | None:
        while True:
            message = next(self._current, None)
            if message is not None and not message.handed_back:
                return message
            if message is None:
                if not self._arrived:
                    return None
                self._current = iter(self._arrived.popleft())

    def step(self, worker: int, succeeds: bool) -> None:
        """An idle worker begins with a message, a busy one ends."""
        message = self._working[worker]
        if message is None:
            while (found := self._next()) is not None and not self._assignment.claim(found):
                pass
            self._begin(worker, found)
            return
        if succeeds:
            self.handled.add(message.sequence)
            message.ack()
        else:
            message.nack()
        self._begin(worker, self._assignment.next_after(message))

    def _begin(self, worker: int, message: Message | None) -> None:
        self._working[worker] = message
        if message is None:
            return
        group = message.group_id
        before = {each for each, name in self._model.group_of.items() if name == group and each < message.sequence}
        assert before <= self.handled
        assert sum(each is not None and each.group_id == group for each in self._working) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "push",
                "push",
                "hear",
                "hear",
                "say",
                "process",
                "work",
                "work",
                "work",
                "fail",
                "other",
                "expire",
                "break",
            ]
        ),
        st.integers(0, 5),
        st.booleans(),
    ),
    min_size=30,
    max_size=80,
)


@given(st.text("ab", min_size=4, max_size=10), STEPS, st.integers(2, 8))
def test_in_any_history_nothing_overtakes_in_its_group(
    groups: str, steps: list[tuple[str, int, bool]], prefetch: int
) -> None:
    model, delivered = Model(groups), deque[Delivery]()
    ledger = Ledger("orders.fifo", ConsumeOptions(prefetch, 30), delivered.append)
    pool = Pool(delivered, model, workers=2)
    now = 0.0

    def say() -> None:
        nonlocal now
        for _ in range(2):
            request = ledger.next_request(now)
            now += LATER
            if request is not None:
                model.requests.append(request)

    def connect() -> None:
        ledger.connected()
        say()
        model.process(merged=False)

    def hear() -> None:
        if model.responses:
            ledger.receive(model.responses.popleft(), now)

    def act(name: str, number: int, flag: bool) -> None:
        match name:
            case "push":
                model.push(number + 1, flag)
            case "hear":
                hear()
            case "say":
                say()
            case "process":
                model.process(flag)
            case "work" | "fail":
                pool.step(number % 2, succeeds=name == "work")
            case "other":
                served = model.serve_another("ab"[number % 2])
                if served is not None:
                    pool.handled.add(served)
            case "expire":
                model.lose(number)
            case "break":
                ledger.disconnected(BROKEN)
                model.break_stream()
                connect()

    connect()
    for name, number, flag in steps:
        act(name, number, flag)
    for _ in range(200):  # and then everything goes well
        for name, number in (("say", 0), ("process", 0), ("push", 5), ("hear", 0), ("work", 0), ("work", 1)):
            act(name, number, False)
    assert model.gone == set(model.group_of)
    assert ledger.held == 0
