"""Hostile input, the everyday part: some hundreds of new inputs, those that once did harm, and streams left open."""

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from heddle.v1 import queues_pb2 as pb
from hypothesis import HealthCheck, given, settings

from tests.api.running import batch_of, queues_stub, raw_stream, until
from tests.api.streams import ConsumeStream, ProduceStream
from tests.fuzz.doors import DOORS
from tests.fuzz.inputs import METHODS, QUEUE, Input, inputs
from tests.fuzz.target import Target, target

SEEDS = DOORS["grpc"].kept()
MIB = 2**20
GROWTH_BYTES_MAX = 48 * MIB
EVERYDAY = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("fuzz") / "data") as it:
        yield it


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_input_does_harm(method: str, attacked: Target) -> None:
    @EVERYDAY
    @given(inputs(method))
    def strike(attack: Input) -> None:
        attacked.strike(attack)

    attacked.renew()
    strike()
    attacked.renew()


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.stem)
def test_what_once_did_harm_does_no_more(seed: Path, attacked: Target) -> None:
    attacked.renew()
    attacked.strike(Input.load(seed.read_text()))
    attacked.renew()


def consumer_of_many_runs(attacked: Target, messages: int) -> ConsumeStream:
    """A consumer that holds every other message of a queue: as many runs as can be had."""
    with attacked.running.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="runs"))
        with ProduceStream(stub) as produce:
            produce.send(pb.ProduceRequest(queue_url="runs", batch=batch_of(*[b"x"] * messages)))
            (result,) = produce.results(1)
    stream = ConsumeStream(queues_stub(attacked.channel), pb.ConsumeRequest(queue_url="runs", credit=messages))
    stream.take(messages)
    base = result.base_sequence
    odd = [pb.SequenceRange(first=number, end=number + 1) for number in range(base + 1, base + messages, 2)]
    stream.settle(pb.ConsumeRequest(acks=odd))
    return stream


@pytest.mark.parametrize("kind", ["extensions", "nacks", "acks"])
def test_ranges_over_each_other_do_not_stall_the_others(kind: str, attacked: Target) -> None:
    """Each range over every run: the product must not be worked off in one step on the main thread."""
    everything = pb.SequenceRange(first=0, end=2**64 - 1)
    with consumer_of_many_runs(attacked, 4_000) as stream, attacked.running.stub() as other:
        if kind == "extensions":
            stream.send(pb.ConsumeRequest(extensions=[pb.Extension(range=everything, visibility_timeout=60)] * 1_000))
        elif kind == "nacks":
            stream.send(pb.ConsumeRequest(nacks=[pb.Nack(range=everything)] * 1_000))
        else:
            stream.send(pb.ConsumeRequest(acks=[everything] * 1_000))
        other.ListQueues(pb.ListQueuesRequest(), timeout=2)
    with attacked.running.stub() as other:
        other.DeleteQueue(pb.DeleteQueueRequest(queue_url="runs"), timeout=2)
    attacked.renew()


@pytest.mark.parametrize("frames", [10_000, pytest.param(150_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("method", ["Produce", "Consume"])
def test_answers_that_nobody_reads_do_not_pile_up(method: str, frames: int, attacked: Target) -> None:
    """A client that sends and never reads is held up, or its answers are merged: it does not fill the memory."""
    if method == "Produce":
        first = again = pb.ProduceRequest(queue_url=QUEUE, request_id=2**63).SerializeToString()  # refused: no batch
    else:
        first = pb.ConsumeRequest(queue_url=QUEUE).SerializeToString()
        again = pb.ConsumeRequest(request_id=2**63).SerializeToString()
    before = attacked.running.anonymous_bytes()
    sent = 0

    def requests() -> Iterator[bytes]:
        nonlocal sent
        yield first
        for sent in range(1, frames + 1):  # noqa: B007 (watched from outside)
            yield again

    with attacked.running.channel() as channel:
        call = raw_stream(channel, method)(requests())
        seen = -1

        def held_up() -> bool:
            """All is sent, or nothing more goes out: the broker does not read on."""
            nonlocal seen
            last, seen = seen, sent
            return seen == frames or 0 < last == seen

        until(held_up, 60, step_seconds=0.2)
        grown = attacked.running.anonymous_bytes() - before
        call.cancel()
    assert grown < 24 * MIB
    attacked.renew()


def test_many_open_streams_and_half_closed_ones(attacked: Target) -> None:
    with attacked.running.channel() as channel:
        calls, done = [], threading.Event()
        for number in range(150):
            method = ("Produce", "Consume")[number % 2]
            call = raw_stream(channel, method)
            frame = pb.ConsumeRequest(queue_url=QUEUE, credit=1).SerializeToString()
            # Half-closed at once without a frame, half-closed after one, or left open with none.
            kinds: tuple[Iterator[bytes], ...] = (iter([]), iter([frame]), _nothing_until(done))
            calls.append(call(kinds[number % 3]))
        attacked.renew()
        done.set()
        for call in calls:
            call.cancel()
    attacked.renew()


def _nothing_until(done: threading.Event) -> Iterator[bytes]:
    done.wait(60)
    yield from ()


def test_connections_that_break_leave_nothing_behind(attacked: Target) -> None:
    for _ in range(20):
        with attacked.running.stub() as stub:
            stream = ConsumeStream(stub, pb.ConsumeRequest(queue_url=QUEUE, credit=10, visibility_timeout=43_200))
            stream.silent(0.01)
            stub.ReceiveMessage.future(pb.ReceiveMessageRequest(queue_url=QUEUE, wait_time_seconds=20))
    until(lambda: "heddle_waiters 0.0" in attacked.running.get("/metrics")[1])
    attacked.renew()


@pytest.mark.parametrize("size", [16 * MIB - 100, 17 * MIB])
def test_requests_at_the_limit_of_their_size(size: int, attacked: Target) -> None:
    before = attacked.running.anonymous_bytes()
    with attacked.running.stub() as stub:
        for _ in range(5):
            with pytest.raises(grpc.RpcError) as refused:
                stub.SendMessage(pb.SendMessageRequest(queue_url=QUEUE, message_body=b"x" * size))
            assert refused.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert attacked.running.anonymous_bytes() - before < GROWTH_BYTES_MAX
    attacked.renew()
