"""The consumer's machine and the workers of `Consumer.run` on a FIFO queue, in any history: nothing overtakes."""

from collections import deque
from collections.abc import Iterator
from itertools import pairwise

import heddle
from heddle._delivery import Delivery, Message
from heddle._ledger import SETTLE_LINGER_SECONDS, ConsumeOptions, Ledger
from heddle._workers import Assignment
from heddle.v1 import queues_pb2, views_pb2
from hypothesis import given
from hypothesis import strategies as st
from wire import spans, view

BROKEN = heddle.Unavailable("heddle.UNAVAILABLE", "")
LATER = SETTLE_LINGER_SECONDS


class Model:
    """A broker that keeps FIFO order, far away: requests and responses are on their way until somebody moves them."""

    def __init__(self, groups: str) -> None:
        self.group_of = dict(enumerate(groups))
        self.held: dict[int, int] = {}  # by the stream -> the delivery
        self.deliveries = 0
        self.timed_out: set[tuple[int, int]] = set()  # messages that the stream lost by themselves, and the deliveries
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
        self.deliveries += 1
        self.held.update(dict.fromkeys(taken, self.deliveries))
        starts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(taken)) if b != a + 1), len(taken)]
        for low, high in pairwise(starts):
            if low < high:
                groups = "".join(self.group_of[sequence] for sequence in taken[low:high])
                self._response(merged).deliveries.append(view(taken[low], groups, self.deliveries))

    def lose(self, sequence: int) -> set[tuple[int, int]]:
        """It goes back, and what the stream holds of its group after it: the result, with the deliveries."""
        if sequence not in self.held:
            return set()
        group = self.group_of[sequence]
        lost = {each for each in self.held if each >= sequence and self.group_of[each] == group}
        return {(each, self.held.pop(each)) for each in lost}

    def expire(self, sequence: int) -> None:
        """Its visibility timeout is over."""
        self.timed_out |= self.lose(sequence)

    def may_handle(self, message: Message) -> bool:
        """Whether nobody else can have it, unless its timeout ended after this very delivery."""
        came = (message.sequence, message.delivery.delivery_id)
        return came in self.held.items() or came in self.timed_out or message.sequence in self.gone

    def process(self, merged: bool) -> None:
        if not self.requests:
            return
        request = self.requests.popleft()
        for first, end in spans(request.acks):
            for sequence in [each for each in self.held if first <= each < end]:
                del self.held[sequence]
                self.gone.add(sequence)
        for nack in sorted(request.nacks, key=lambda nack: nack.range.first):
            for sequence in range(nack.range.first, nack.range.end):
                if self.held.get(sequence) == nack.delivery_id:
                    self.lose(sequence)
        if request.request_id:
            self._response(merged).confirmed_request_id = request.request_id
        self.credit += request.credit

    def age(self, sequence: int) -> bool:
        """Its retention is over, whoever holds it. Whether there was such a message."""
        if sequence in self.gone or sequence not in self.group_of:
            return False
        self.held.pop(sequence, None)
        self.gone.add(sequence)
        return True

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
        assert self._model.may_handle(message)
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
                "age",
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
                model.expire(number)
            case "age":
                if model.age(number):
                    pool.handled.add(number)
            case "break":
                ledger.disconnected(BROKEN)
                model.break_stream()
                connect()

    connect()
    for name, number, flag in steps:
        act(name, number, flag)
    for _ in range(100):  # and then everything goes well, without a timeout that would have to bring something back
        for name, number in (("say", 0), ("process", 0), ("push", 5), ("hear", 0), ("work", 0), ("work", 1)):
            act(name, number, False)
    assert model.gone == set(model.group_of)
    assert ledger.held == 0
