"""FIFO queues between the client and a real broker: order, with handlers that fail and connections that are cut."""

import threading
from collections import defaultdict
from collections.abc import Iterator

import heddle
import pytest
from cut_proxy import CutProxy

from broker.cli.demo.process import RunningBroker, running_broker

GROUPS = 7
LENGTH = 150


@pytest.fixture(scope="module")
def server() -> Iterator[RunningBroker]:
    with running_broker("--queue-deleted-recently-seconds", "0") as running:
        yield running


@pytest.fixture
def proxy(server: RunningBroker) -> Iterator[CutProxy]:
    with CutProxy(server.grpc) as proxy:
        yield proxy


@pytest.fixture
def queue(proxy: CutProxy) -> Iterator[heddle.Queue]:
    attributes = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    with heddle.Client(proxy.address, timeout=20.0) as client:
        queue = client.create_queue("orders.fifo", attributes)
        yield queue
        queue.delete_queue()


class Account:
    """What handlers saw. A message counts as handled when its handler returned, the first time."""

    def __init__(self) -> None:
        self.handled: dict[str, list[int]] = defaultdict(list)
        self.attempts: dict[tuple[str, int], int] = defaultdict(int)
        self.all_handled = threading.Event()
        self._busy: set[tuple[int, str]] = set()
        self._lock = threading.Lock()

    def handle(self, consumer: int, message: heddle.Message, fails: bool) -> None:
        group, number = message.text.split(":")
        assert group == message.group_id
        with self._lock:
            assert (consumer, group) not in self._busy
            self._busy.add((consumer, group))
            self.attempts[group, int(number)] += 1
            again = self.attempts[group, int(number)] > 1
        try:
            if fails and not again:
                raise ArithmeticError(message.text)
            with self._lock:
                handled = self.handled[group]
                assert int(number) <= len(handled)  # everything before it has been handled
                if int(number) == len(handled):
                    handled.append(int(number))
                if sum(map(len, self.handled.values())) == GROUPS * LENGTH:
                    self.all_handled.set()
        finally:
            with self._lock:
                self._busy.discard((consumer, group))


def send_all(queue: heddle.Queue, proxy: CutProxy, cuts: int) -> None:
    with queue.producer(batch_messages=20) as producer:
        for number in range(LENGTH):
            if cuts and number % (LENGTH // cuts) == 5:
                proxy.cut()
            for group in range(GROUPS):
                producer.send(f"g{group}:{number}", group_id=f"g{group}")
    assert producer.failed_messages == 0


def stored(queue: heddle.Queue) -> list[str]:
    found: list[str] = []
    after = 0
    while page := queue.peek(100, from_sequence=after):
        found += [message.body.decode() for message in page]
        after = page[-1].sequence + 1
    return found


def test_a_producer_keeps_order_and_repeats_nothing_across_cut_connections(
    queue: heddle.Queue, proxy: CutProxy
) -> None:
    send_all(queue, proxy, cuts=5)
    bodies = stored(queue)
    assert len(bodies) == len(set(bodies)) == GROUPS * LENGTH
    for group in range(GROUPS):
        own = [int(body.partition(":")[2]) for body in bodies if body.startswith(f"g{group}:")]
        assert own == list(range(LENGTH))


@pytest.mark.parametrize("consumers", [1, 3])
def test_consumers_keep_order_across_failures_and_cut_connections(
    queue: heddle.Queue, proxy: CutProxy, consumers: int
) -> None:
    account = Account()
    errors: list[BaseException] = []
    running = [queue.consumer(prefetch=100) for _ in range(consumers)]

    def consume(index: int) -> None:
        def handle(message: heddle.Message) -> None:
            number = int(message.text.partition(":")[2])
            if number % 40 == 20 and message.group_id == "g0" and message.receive_count == 1:
                proxy.cut()
            try:
                account.handle(index, message, fails=number % 10 == 3)
            except AssertionError as error:
                errors.append(error)
                account.all_handled.set()

        running[index].run(handle, concurrency=4)

    threads = [threading.Thread(target=consume, args=(index,)) for index in range(consumers)]
    for thread in threads:
        thread.start()
    try:
        send_all(queue, proxy, cuts=0)
        assert account.all_handled.wait(40)
    finally:
        for consumer in running:
            consumer.stop()
        for thread in threads:
            thread.join(20)
    assert not errors
    assert dict(account.handled) == {f"g{group}": list(range(LENGTH)) for group in range(GROUPS)}
    assert sum(attempts > 1 for attempts in account.attempts.values()) >= GROUPS * LENGTH // 10
