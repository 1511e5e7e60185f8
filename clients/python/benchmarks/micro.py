"""Client CPU per message, without a network: the faces and the machines are real, the broker is a few lines below.

    python clients/python/benchmarks/micro.py [--messages N] [--body-bytes N]

Prints one JSON object a row. `application` is the thread that sends or iterates; `stream` is what the background
thread does for the same message (requests serialized, responses parsed, settlements compared), without gRPC's own work.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

from heddle import Consumer, Producer
from heddle._delivery import Delivery
from heddle._ledger import ConsumeOptions, Ledger
from heddle._outbox import Outbox
from heddle.v1 import message_pb2, queues_pb2, views_pb2

BATCH_MESSAGES = 1000
PREFETCH = 2000


class _NoStream:
    """Stands in for a SyncConnection: nothing runs by itself, the benchmark is the stream."""

    timeout = 30.0

    def __init__(self) -> None:
        self.ledger: Ledger | None = None

    def produce(self, outbox: Outbox) -> None:
        """No stream."""

    def consume(
        self, queue_url: str, options: ConsumeOptions, deliver: Callable[[Delivery], None], **_: object
    ) -> tuple[Ledger, None]:
        """A ledger without a stream."""
        self.ledger = Ledger(queue_url, options, deliver)
        return self.ledger, None


def produce(messages: int, body: bytes) -> tuple[float, float]:
    """Seconds of CPU: in `Producer.send`, and in the stream's half."""
    outbox = Outbox(
        "bench",
        batch_messages=BATCH_MESSAGES,
        batch_bytes=2**21,
        linger_ms=5,
        max_in_flight_bytes=2**30,
        delay_seconds=None,
    )
    connection: Any = _NoStream()
    producer = Producer(connection, outbox)
    outbox.connected()
    application = stream = 0.0
    for _ in range(messages // BATCH_MESSAGES):
        started = time.thread_time()
        for _ in range(BATCH_MESSAGES):
            producer.send(body)
        sent = time.thread_time()
        request = outbox.next_request(0.0)
        assert request is not None
        request.SerializeToString()
        result = queues_pb2.ProduceResult(
            request_id=request.request_id, count=BATCH_MESSAGES, first_message_id=bytes(16)
        )
        outbox.receive(queues_pb2.ProduceResponse(results=[result]), 0.0)
        application += sent - started
        stream += time.thread_time() - sent
    assert producer.accepted_messages == messages
    return application, stream


def consume(messages: int, body: bytes, in_bulk: bool) -> tuple[float, float]:
    """Seconds of CPU: in the iteration, `body` and `ack`, and in the stream's half."""
    batch = message_pb2.MessageBatch(messages=[message_pb2.Message(body=body)] * BATCH_MESSAGES).SerializeToString()
    connection: Any = _NoStream()
    consumer = Consumer(connection, "bench", ConsumeOptions(PREFETCH, 30))
    deliveries = consumer.deliveries()
    ledger = connection.ledger
    ledger.connected()
    assert ledger.next_request(0.0).credit == PREFETCH
    application = stream = 0.0
    for number in range(messages // BATCH_MESSAGES):
        now = number / 1000
        view = views_pb2.DeliveryView(base_sequence=number * BATCH_MESSAGES, batch=batch, first_message_id=bytes(16))
        packed = views_pb2.ConsumeResponseView(deliveries=[view], confirmed_request_id=number).SerializeToString()
        started = time.thread_time()
        ledger.receive(views_pb2.ConsumeResponseView.FromString(packed), now)
        received = time.thread_time()
        if in_bulk:
            delivery = next(deliveries)
            assert len(delivery.bodies()) == BATCH_MESSAGES
            delivery.ack()
        else:
            for _ in range(BATCH_MESSAGES):
                message = next(consumer)
                _ = message.body
                message.ack()
        acked = time.thread_time()
        request = ledger.next_request(now)
        assert request.credit == BATCH_MESSAGES
        request.SerializeToString()
        stream += received - started + time.thread_time() - acked
        application += acked - received
    assert ledger.held == 0
    return application, stream


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500_000)
    parser.add_argument("--body-bytes", type=int, default=100)
    arguments = parser.parse_args()
    body = bytes(arguments.body_bytes)
    rows: dict[str, Callable[[], tuple[float, float]]] = {
        "producer.send": lambda: produce(arguments.messages, body),
        "consumer iteration and ack": lambda: consume(arguments.messages, body, in_bulk=False),
        "consumer deliveries and ack": lambda: consume(arguments.messages, body, in_bulk=True),
    }
    for name, measure in rows.items():
        application, stream = min((measure() for _ in range(3)), key=sum)
        row = {
            "name": name,
            "body_bytes": arguments.body_bytes,
            "application_cpu_us_per_message": round(application / arguments.messages * 1e6, 3),
            "stream_cpu_us_per_message": round(stream / arguments.messages * 1e6, 3),
            "messages_per_cpu_second": round(arguments.messages / (application + stream)),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
