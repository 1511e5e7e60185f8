"""Messages that can be told apart, sent until nothing more is taken, and every one of them accounted for."""

import time
from dataclasses import dataclass, field

import grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc

from tests.api.running import CALL_SECONDS_MAX, batch_of, reason
from tests.api.streams import ConsumeStream, ProduceStream, bodies, span

REFUSALS = {"heddle.StorageFull", "InternalFailure"}
_NOTICED_SECONDS_MAX = 15.0
_STATUSES = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}


@dataclass
class Account:
    """What became of each message, by its number: the first eight characters of its body."""

    sent: int = 0
    acknowledged: set[int] = field(default_factory=set)
    refused: int = 0
    """Batches."""
    received: set[int] = field(default_factory=set)

    def bodies(self, count: int, size: int) -> list[bytes]:
        first, self.sent = self.sent, self.sent + count
        return [b"%08d" % number + b"." * (size - 8) for number in range(first, self.sent)]


def produce(stub: pb_grpc.QueuesStub, account: Account, *, batches: int, messages: int, size: int) -> None:
    """Sends some batches to the queue "q", all at once; each is acknowledged or refused as full, nothing else."""
    with ProduceStream(stub) as stream:
        numbers: dict[int, range] = {}
        for request_id in range(1, batches + 1):
            first = account.sent
            batch = batch_of(*account.bodies(messages, size))
            numbers[request_id] = range(first, account.sent)
            stream.send(pb.ProduceRequest(queue_url="q", request_id=request_id, batch=batch))
        stream.half_close()
        try:
            while numbers:
                for result in stream.receive().results:
                    sent = numbers.pop(result.request_id)
                    if result.error_code:
                        assert result.error_code in REFUSALS, result
                        account.refused += 1
                    else:
                        account.acknowledged.update(sent)
        except grpc.RpcError as error:
            check_refusal(error)
            account.refused += len(numbers)


def send(stub: pb_grpc.QueuesStub, account: Account, size: int) -> bool:
    """Sends one message; whether it was taken. A refusal is one for want of room, nothing else."""
    number = account.sent
    (body,) = account.bodies(1, size)
    try:
        stub.SendMessage(pb.SendMessageRequest(queue_url="q", message_body=body), timeout=CALL_SECONDS_MAX)
    except grpc.RpcError as error:
        check_refusal(error)
        account.refused += 1
        return False
    account.acknowledged.add(number)
    return True


def check_refusal(error: grpc.RpcError) -> None:
    assert error.code() in _STATUSES, error
    assert reason(error) in REFUSALS, error


def fill_to_the_brim(stub: pb_grpc.QueuesStub, account: Account, *, seconds: float) -> None:
    """Large batches until they are refused, then ever smaller ones, again and again for so long: until hardly a page
    is left."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for batches, messages, size in ((8, 100, 10_000), (4, 20, 1_000), (1, 1, 5_000)):
            refused = account.refused
            while account.refused == refused and time.monotonic() < end:
                produce(stub, account, batches=batches, messages=messages, size=size)
        for size in (2_000, 100, 10):
            while time.monotonic() < end and send(stub, account, size):
                pass
    assert account.acknowledged
    assert account.refused, "it never was full"


def drain(stub: pb_grpc.QueuesStub, account: Account, count: int) -> None:
    """Receives and deletes at least so many messages, each delete durable. Credit is renewed as messages come, since a
    broker need not cut a batch to fill the last of it."""
    first = pb.ConsumeRequest(queue_url="q", visibility_timeout=600, credit=1_000)
    taken = settled = 0
    with ConsumeStream(stub, first) as consume:
        while taken < count:
            if settled == len(consume.deliveries):
                consume.deliveries.extend(consume.receive().deliveries)
            fresh = consume.deliveries[settled:]
            settled += len(fresh)
            received = bodies(fresh)
            account.received.update(int(body[:8]) for body in received)
            taken += len(received)
            consume.settle(pb.ConsumeRequest(acks=map(span, fresh), credit=len(received)))


def send_again(stub: pb_grpc.QueuesStub, account: Account) -> None:
    """Sends are taken again: at once, or when the broker next looks."""
    give_up_at = time.monotonic() + _NOTICED_SECONDS_MAX
    while not send(stub, account, 1_000):
        assert time.monotonic() < give_up_at, "sends are still refused although there is room"
        time.sleep(0.1)
