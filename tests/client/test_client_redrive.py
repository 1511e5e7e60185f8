"""Dead-letter queues, move tasks and permissions, on both faces against the fake broker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import heddle
import heddle.aio
import pytest
from fake_broker import BrokerThread, FakeBroker, serving
from fake_queue import ARN


@pytest.fixture
def server() -> Iterator[BrokerThread]:
    with BrokerThread() as running:
        yield running


@pytest.fixture
def client(server: BrokerThread) -> Iterator[heddle.Client]:
    with heddle.Client(server.address, timeout=10.0) as client:
        yield client


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[FakeBroker, heddle.aio.Client]]:
    async with asyncio.timeout(20), serving() as (broker, address), heddle.aio.Client(address, timeout=10.0) as client:
        yield broker, client


def dead_letters(server: BrokerThread, client: heddle.Client, count: int) -> heddle.Queue:
    """A dead-letter queue with messages of the queue "orders"."""
    client.create_queue("orders")
    dead = client.create_queue("dead")
    for number in range(count):
        dead.send(f"{number}")

    def mark(broker: FakeBroker) -> None:
        for stored in broker.queues["dead"].messages.values():
            stored.origin_arn = ARN + "orders"

    server.do(mark)
    return dead


def bodies(server: BrokerThread, name: str) -> list[bytes]:
    return server.do(lambda broker: [each.message.body for _, each in sorted(broker.queues[name].messages.items())])


def test_a_dead_letter_queue_is_named_in_any_way(server: BrokerThread, client: heddle.Client) -> None:
    dead = client.create_queue("dead")
    for name, target in (("a", dead), ("b", "dead"), ("c", dead.url), ("d", ARN + "dead")):
        queue = client.create_queue(name)
        queue.set_dead_letter_queue(target, 3)
        assert queue.attributes(["RedrivePolicy"]) == {
            "RedrivePolicy": '{"deadLetterTargetArn": "' + ARN + 'dead", "maxReceiveCount": 3}'
        }
    assert [queue.name for queue in dead.dead_letter_sources()] == ["a", "b", "c", "d"]  # two pages
    client.queue("b").clear_dead_letter_queue()
    assert [queue.name for queue in dead.dead_letter_sources()] == ["a", "c", "d"]


def test_a_redrive_is_watched_to_its_end(server: BrokerThread, client: heddle.Client) -> None:
    dead = dead_letters(server, client, 3)
    task = dead.start_redrive(rate=500)
    status = task.status()
    assert (status.status, status.active, status.rate, status.to_move) == ("RUNNING", True, 500, 3)
    assert (status.destination_arn, status.task_handle) == (None, task.task_handle)
    assert 0 < status.moved < 3
    done = task.wait(10)
    assert (done.status, done.active, done.moved, done.task_handle) == ("COMPLETED", False, 3, None)
    assert bodies(server, "orders") == [b"0", b"1", b"2"]
    assert dead.start_redrive(destination="orders").wait(10).destination_arn == ARN + "orders"
    assert task.status() == done  # not confused with the newer one
    assert [each.started_timestamp_ms for each in dead.move_tasks()] == [1001, 1000]


def test_a_redrive_that_fails_raises_its_reason(server: BrokerThread, client: heddle.Client) -> None:
    task = dead_letters(server, client, 3).start_redrive()
    server.do(lambda broker: setattr(broker, "fail_move_tasks", "AWS.SimpleQueueService.NonExistentQueue"))
    with pytest.raises(heddle.QueueDoesNotExist, match="failed after 1 messages"):
        task.wait(10)
    assert task.status().failure_reason == "AWS.SimpleQueueService.NonExistentQueue"


def test_a_redrive_can_be_cancelled_and_waiting_for_it_ends(server: BrokerThread, client: heddle.Client) -> None:
    dead = dead_letters(server, client, 100)
    task = dead.start_redrive()
    with pytest.raises(heddle.DeadlineExceeded, match="the move task"):
        task.wait(0.05)
    assert task.cancel() < 100
    assert task.wait(10).status == "CANCELLED"
    with pytest.raises(heddle.ResourceNotFound):
        dead.cancel_move_task("nonsense")


def test_permissions_come_and_go(server: BrokerThread, client: heddle.Client) -> None:
    queue = client.create_queue("orders")
    queue.add_permission("partners", ["111122223333"], ["SendMessage", "GetQueueUrl"])
    granted = server.do(lambda broker: broker.permissions["partners"])
    assert granted == (["111122223333"], ["SendMessage", "GetQueueUrl"])
    queue.remove_permission("partners")
    with pytest.raises(heddle.InvalidParameterValue):
        queue.remove_permission("partners")


def test_asyncio_does_the_same() -> None:
    async def test() -> None:
        async with connected() as (broker, client):
            orders, dead = await client.create_queue("orders"), await client.create_queue("dead")
            await orders.set_dead_letter_queue(dead, 5)
            assert [queue.name async for queue in dead.dead_letter_sources()] == ["orders"]
            await dead.send_batch(["a", "b"])
            task = await dead.start_redrive(destination=orders)
            assert (await task.wait(10)).moved == 2
            assert (await dead.move_tasks(1))[0].status == "COMPLETED"
            assert len(broker.queues["orders"].messages) == 2
            await orders.clear_dead_letter_queue()
            assert [queue.name async for queue in dead.dead_letter_sources()] == []
            await dead.send("c")
            assert await (await dead.start_redrive("orders")).cancel() == 1
            await orders.add_permission("all", ["111122223333"], ["*"])
            await orders.remove_permission("all")
            assert broker.permissions == {}

    asyncio.run(test())
