"""The producer's machine, without a network and with a clock of the test's own."""

from collections.abc import Callable
from typing import Any

import heddle
import pytest
from heddle._outbox import Batch, Outbox
from heddle.v1 import message_pb2, queues_pb2, views_pb2
from hypothesis import given
from hypothesis import strategies as st


def outbox(**changes: Any) -> Outbox:
    options: dict[str, Any] = {
        "batch_messages": 3,
        "batch_bytes": 1000,
        "linger_ms": 5,
        "max_in_flight_bytes": 10_000,
        "delay_seconds": None,
        **changes,
    }
    made = Outbox("orders", **options)
    made.connected()
    return made


def bodies(request: views_pb2.ProduceRequestView | None) -> list[bytes]:
    assert request is not None
    return [message.body for message in message_pb2.MessageBatch.FromString(request.batch).messages]


def accept(box: Outbox, request: views_pb2.ProduceRequestView | None, base: int = 1) -> None:
    assert request is not None
    result = queues_pb2.ProduceResult(request_id=request.request_id, base_sequence=base, first_message_id=bytes(16))
    box.receive(queues_pb2.ProduceResponse(results=[result]), 0.0)


def test_a_batch_leaves_when_it_is_full() -> None:
    box = outbox()
    for body in (b"a", b"b", b"c", b"d"):
        assert box.put(body) is not None
    assert bodies(box.next_request(0.0)) == [b"a", b"b", b"c"]
    assert box.next_request(0.0) is None


def test_a_batch_leaves_when_it_would_grow_too_large() -> None:
    box = outbox(batch_bytes=100)
    for body in (b"a" * 60, b"b" * 60, b"c" * 200):
        box.put(body)
    assert [bodies(box.next_request(0.0)) for _ in range(3)] == [[b"a" * 60], [b"b" * 60], [b"c" * 200]]


def test_a_batch_leaves_when_it_has_lingered() -> None:
    box = outbox(linger_ms=5)
    box.put(b"a")
    assert box.next_request(10.0) is None
    assert box.next_look() == pytest.approx(10.005)
    box.put(b"b")
    assert box.next_request(10.004) is None
    assert bodies(box.next_request(10.005)) == [b"a", b"b"]
    assert box.next_look() is None


def test_only_the_first_request_of_a_stream_names_the_queue() -> None:
    box = outbox(batch_messages=1, delay_seconds=7)
    box.put(b"a")
    box.put(b"b")
    requests = [box.next_request(0.0), box.next_request(0.0)]
    assert [request and (request.queue_url, request.delay_seconds) for request in requests] == [("orders", 7), ("", 7)]


def test_a_new_stream_sends_again_what_was_not_acknowledged() -> None:
    box = outbox(batch_messages=1)
    for body in (b"a", b"b", b"c"):
        box.put(body)
    accept(box, box.next_request(0.0))
    box.next_request(0.0)
    box.disconnected(heddle.Unavailable("heddle.UNAVAILABLE", ""))
    box.connected()
    again = [box.next_request(0.0), box.next_request(0.0)]
    assert [bodies(request) for request in again] == [[b"b"], [b"c"]]
    assert again[0] is not None
    assert again[0].queue_url == "orders"
    assert again[0].request_id == 2


def test_a_full_outbox_takes_nothing_until_a_result_makes_room() -> None:
    box = outbox(batch_messages=100, max_in_flight_bytes=200)
    assert box.put(b"a" * 150) is not None
    assert box.put(b"b" * 150) is None
    room = box.room()
    assert not room.done()
    accept(box, box.next_request(0.0))  # at once: what blocks its sender does not linger
    assert room.done()
    assert box.put(b"b" * 150) is not None


def test_a_message_larger_than_the_room_goes_alone() -> None:
    box = outbox(max_in_flight_bytes=10)
    assert box.put(b"a" * 50) is not None
    assert box.put(b"b") is None


@pytest.mark.parametrize(
    ("body", "error"), [(b"", heddle.MissingParameter), (bytes(2**20 + 1), heddle.InvalidParameterValue)]
)
def test_a_bad_message_is_refused_alone(body: bytes, error: type[heddle.HeddleError]) -> None:
    box = outbox()
    with pytest.raises(error):
        box.put(body)
    assert not box.wants_stream


def test_a_refused_batch_fails_its_own_messages_only() -> None:
    box = outbox(batch_messages=1)
    first, second = box.put(b"a"), box.put(b"b")
    assert first is not None
    assert second is not None
    requests = [box.next_request(0.0), box.next_request(0.0)]
    assert requests[0] is not None
    refusal = queues_pb2.ProduceResult(request_id=1, error_code="heddle.StorageFull", error_message="full")
    box.receive(queues_pb2.ProduceResponse(results=[refusal]), 0.0)
    accept(box, requests[1])
    assert isinstance(first[0].outcome.exception(), heddle.Overloaded)
    assert second[0].outcome.exception() is None
    assert (box.accepted_messages, box.failed_messages) == (1, 1)
    assert isinstance(box.take_failure(), heddle.Overloaded)
    assert box.take_failure() is None


def test_a_failed_outbox_fails_everything_and_takes_nothing() -> None:
    box = outbox()
    place = box.put(b"a")
    assert place is not None
    error = heddle.QueueDoesNotExist("AWS.SimpleQueueService.NonExistentQueue", "gone")
    box.fail(error)
    assert place[0].outcome.exception() is error
    assert box.finished
    with pytest.raises(heddle.QueueDoesNotExist):
        box.put(b"b")


def test_a_closed_outbox_finishes_with_its_last_result() -> None:
    box = outbox()
    box.put(b"a")
    box.close()
    before = box.finished
    accept(box, box.next_request(0.0))
    assert (before, box.finished) == (False, True)
    with pytest.raises(heddle.HeddleError):
        box.put(b"b")


STEPS = st.lists(
    st.sampled_from(["put", "put", "put", "put", "send", "send", "accept", "refuse", "flush", "break", "pass"]),
    max_size=80,
)


@given(STEPS, st.integers(1, 4))
def test_any_history_keeps_order_and_settles_every_message_once(steps: list[str], batch_messages: int) -> None:
    """What the broker sees is, but for repetitions after a break, what was put, in order; every ticket is settled."""
    box = outbox(batch_messages=batch_messages, max_in_flight_bytes=60)
    put: list[tuple[bytes, tuple[Batch, int]]] = []
    unanswered: list[views_pb2.ProduceRequestView] = []
    seen: dict[int, list[bytes]] = {}
    now = 0.0

    def send() -> None:
        request = box.next_request(now)
        if request is not None:
            unanswered.append(request)
            assert seen.setdefault(request.request_id, bodies(request)) == bodies(request)

    def answer(error_code: str) -> None:
        if unanswered:
            request_id = unanswered.pop(0).request_id
            result = queues_pb2.ProduceResult(request_id=request_id, error_code=error_code, first_message_id=bytes(16))
            box.receive(queues_pb2.ProduceResponse(results=[result]), now)

    def put_one() -> None:
        body = b"%05d" % len(put)
        place = box.put(body)
        if place is not None:
            put.append((body, place))

    def break_stream() -> None:
        box.disconnected(heddle.Unavailable("heddle.UNAVAILABLE", ""))
        box.connected()
        unanswered.clear()

    acts: dict[str, Callable[[], object]] = {
        "put": put_one,
        "send": send,
        "accept": lambda: answer(""),
        "refuse": lambda: answer("heddle.StorageFull"),
        "flush": box.flush,
        "break": break_stream,
        "pass": lambda: None,
    }
    for step in steps:
        now += 0.002
        acts[step]()
    break_stream()
    box.close()
    while not box.finished:
        send()
        answer("")
    assert [body for request_id in sorted(seen) for body in seen[request_id]] == [body for body, _ in put]
    assert all(batch.outcome.done() for _, (batch, _) in put)
    assert box.accepted_messages + box.failed_messages == len(put)
