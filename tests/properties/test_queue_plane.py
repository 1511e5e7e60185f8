"""Queues among each other: by name and by ARN, other accounts, dead-letter queues, deletions; over restarts and failed
commits."""

import json
from collections.abc import Callable

import pytest

from broker.errors import (
    AccessDenied,
    BrokerError,
    InvalidParameterValue,
    MissingParameter,
    PurgeQueueInProgress,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
)
from broker.log import Batches, Sweeper
from broker.queues import Queue, Queues, Scope
from broker.queues.fifo import FifoQueue
from broker.store import EngineFull, InlineCommitter, Store
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise

OWNER = Scope("000000000000", "us-east-1")
FRIEND = Scope("111122223333", "us-east-1")
ABROAD = Scope("000000000000", "eu-west-1")
FIFO = {"FifoQueue": "true"}


class Plane:
    """A plane on a store in memory, whose commits happen when ``settle`` is called."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        initialise(self.engine, new_store_id=bytes(range(16)))
        self.now_ms = 1_000_000
        self.restart()

    def restart(self) -> None:
        self.steps: list[Callable[[], None]] = []
        self.store = Store(self.engine, call_soon=self.steps.append)
        batches = Batches(self.store, cache_bytes=1 << 20)
        self.queues = Queues(self.store, batches, Sweeper(self.store, batches))
        self.store.on_reset(batches.reset)
        self.store.on_reset(self.queues.reset)
        self.store.start(InlineCommitter(self.engine, self.store.committed, call_soon=self.steps.append))
        self.settle()

    def settle(self) -> None:
        while self.steps:
            self.steps.pop(0)()

    def fail_the_commit(self) -> None:
        """What was done since the last commit did not happen."""
        self.engine.fail_next = EngineFull("full")
        self.settle()
        assert self.engine.fail_next is None

    def create(self, name: str, /, **attributes: str) -> Queue:
        return self.create_in(OWNER, name, **attributes)

    def create_in(self, scope: Scope, name: str, /, **attributes: str) -> Queue:
        return self.queues.create(scope, name, attributes, {}, self.now_ms)

    def set(self, queue: Queue, **attributes: str) -> None:
        self.queues.set_attributes(queue, attributes, self.now_ms)

    def delete(self, name: str) -> None:
        self.queues.delete(OWNER, name, self.now_ms)
        self.now_ms += 60_000

    def sources(self, name: str) -> list[str]:
        page = self.queues.page_of_sources(self.queues.find(OWNER, name), max_results=None, next_token="")
        assert page.next_token == ""
        return [queue.name for queue in page.queues]


@pytest.fixture
def plane() -> Plane:
    return Plane()


def redrive(target: Queue | str, count: int = 3) -> str:
    arn = target if isinstance(target, str) else target.arn
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": count})


def refusal(error: type[BrokerError], call: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        call()
    return caught.value.message


# --- names


@pytest.mark.parametrize(
    "url",
    ["q", "http://broker:1/000000000000/q", "https://sqs.us-east-1.amazonaws.com/000000000000/q/", "000000000000/q"],
)
def test_a_queue_is_found_by_url_and_by_name(url: str, plane: Plane) -> None:
    queue = plane.create("q")
    assert plane.queues.find(OWNER, url) is queue
    assert plane.queues.find(OWNER, url, "SendMessage") is queue
    with pytest.raises(QueueDoesNotExist):
        plane.queues.find(ABROAD, url)


@pytest.mark.parametrize("url", ["Q", "http://broker:1/q", "http://broker:1/000000000000/", "/", "111122223333/q"])
def test_a_queue_that_is_not_there(url: str, plane: Plane) -> None:
    plane.create("q")
    with pytest.raises(QueueDoesNotExist):
        plane.queues.find(OWNER, url)


def test_a_queue_is_found_by_arn(plane: Plane) -> None:
    home, abroad, theirs, ordered = (
        plane.create("q"),
        plane.create_in(ABROAD, "q"),
        plane.create_in(FRIEND, "q"),
        plane.create("q.fifo", **FIFO),
    )
    for queue in (home, abroad, theirs, ordered):
        assert plane.queues.by_arn(queue.arn) is queue
        assert queue.resolve(home.arn) is home
    for arn in (
        "",
        "q",
        home.arn + "x",
        home.arn + ":x",
        home.arn.replace("sqs", "sns"),
        home.arn.upper(),
        "\n" + home.arn,
    ):
        assert plane.queues.by_arn(arn) is None
    plane.delete("q")
    assert plane.queues.by_arn(home.arn) is None
    assert ordered.resolve(home.arn) is None


NAME = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
FIFO_NAME = (
    "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
    "must end with .fifo suffix and be 1 to 80 in length."
)


@pytest.mark.parametrize("name", ["x" * 75 + ".fifo", "a.fifo", "-_9.fifo"])
def test_names_of_fifo_queues(name: str, plane: Plane) -> None:
    assert isinstance(plane.create(name, **FIFO), FifoQueue)
    plane.settle()
    plane.restart()
    queue = plane.queues.find(OWNER, name)
    assert isinstance(queue, FifoQueue)
    assert queue.attributes.fifo


@pytest.mark.parametrize(
    "name", ["x" * 76 + ".fifo", ".fifo", "fifo", "a.Fifo", "a.b.fifo", "a.fifo.fifo", "ä.fifo", "a.fifo\n"]
)
def test_bad_names_of_fifo_queues(name: str, plane: Plane) -> None:
    assert refusal(InvalidParameterValue, lambda: plane.create(name, **FIFO)) == FIFO_NAME


@pytest.mark.parametrize("name", ["x" * 81, "a.fifo", "a b", "a/b", "ä", "a\n"])
def test_bad_names(name: str, plane: Plane) -> None:
    assert refusal(InvalidParameterValue, lambda: plane.create(name)) == NAME


def test_names_are_checked_before_attributes(plane: Plane) -> None:
    assert refusal(InvalidParameterValue, lambda: plane.create("a.fifo", FifoQueue="false", DelaySeconds="x")) == NAME
    assert refusal(MissingParameter, lambda: plane.create("")) == "The request must contain the parameter QueueName."


def test_a_queue_is_created_once(plane: Plane) -> None:
    queue = plane.create("q.fifo", **FIFO, DelaySeconds="5")
    assert plane.create("q.fifo", **FIFO) is queue
    plane.set(queue, DelaySeconds="6")
    assert plane.create("q.fifo", **FIFO, DelaySeconds="6", DeduplicationScope="queue") is queue
    message = refusal(QueueNameExists, lambda: plane.create("q.fifo", **FIFO, DelaySeconds="5"))
    assert message == "A queue already exists with the same name and a different value for attribute DelaySeconds"


# --- deletions and purges


def test_a_name_rests_after_a_deletion(plane: Plane) -> None:
    old = plane.create("q")
    plane.settle()
    plane.queues.delete(OWNER, "q", plane.now_ms)
    plane.settle()
    message = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    plane.now_ms += 59_999
    assert refusal(QueueDeletedRecently, lambda: plane.create("q")) == message
    plane.restart()
    assert refusal(QueueDeletedRecently, lambda: plane.create("q")) == message
    assert plane.create_in(ABROAD, "q").region == "eu-west-1"
    plane.now_ms += 1
    plane.queues.forget_tombstones(plane.now_ms)
    assert plane.create("q").log_id != old.log_id


def test_a_purge_rests_too(plane: Plane) -> None:
    plane.create("q")
    plane.queues.purge(OWNER, "q", plane.now_ms)
    plane.now_ms += 59_999
    message = refusal(PurgeQueueInProgress, lambda: plane.queues.purge(OWNER, "q", plane.now_ms))
    assert message == "Only one PurgeQueue operation on q is allowed every 60 seconds."
    plane.now_ms += 1
    plane.queues.purge(OWNER, "q", plane.now_ms)


# --- other accounts

URL = "http://broker:1/000000000000/q"


def test_another_account_does_what_the_policy_allows(plane: Plane) -> None:
    queue = plane.create("q")
    find = plane.queues.find
    assert refusal(AccessDenied, lambda: find(FRIEND, URL, "SendMessage")) == (
        "User: arn:aws:iam::111122223333:root is not authorized to perform: sqs:sendmessage on resource: "
        "arn:aws:sqs:us-east-1:000000000000:q because no resource-based policy allows the sqs:sendmessage action"
    )
    plane.queues.add_permission(queue, "send", [FRIEND.account], ["SendMessage"], plane.now_ms)
    assert find(FRIEND, URL, "SendMessage") is queue
    assert find(FRIEND, URL, "SendMessageBatch") is queue
    refusal(AccessDenied, lambda: find(FRIEND, URL, "ReceiveMessage"))
    refusal(AccessDenied, lambda: find(FRIEND, URL, "SendMessage", "ReceiveMessage"))
    refusal(AccessDenied, lambda: find(Scope("444455556666", "us-east-1"), URL, "SendMessage"))
    refusal(QueueDoesNotExist, lambda: find(Scope(FRIEND.account, "eu-west-1"), URL, "SendMessage"))
    refusal(QueueDoesNotExist, lambda: find(FRIEND, "q", "SendMessage"))
    plane.queues.remove_permission(queue, "send", plane.now_ms)
    refusal(AccessDenied, lambda: find(FRIEND, URL, "SendMessage"))


def test_what_is_the_owners_stays_the_owners(plane: Plane) -> None:
    queue = plane.create("q")
    plane.queues.add_permission(queue, "all", [FRIEND.account], ["*"], plane.now_ms)
    message = "Access to the resource arn:aws:sqs:us-east-1:000000000000:q is denied."
    assert refusal(AccessDenied, lambda: plane.queues.find(FRIEND, URL)) == message
    assert refusal(AccessDenied, lambda: plane.queues.delete(FRIEND, URL, plane.now_ms)) == message
    plane.queues.purge(FRIEND, URL, plane.now_ms)
    assert plane.queues.find(FRIEND, URL, "PurgeQueue").purged_ms == plane.now_ms


def test_the_url_of_another_accounts_queue(plane: Plane) -> None:
    queue = plane.create("q")
    refusal(AccessDenied, lambda: plane.queues.by_name(FRIEND, "q", OWNER.account))
    refusal(QueueDoesNotExist, lambda: plane.queues.by_name(FRIEND, "r", OWNER.account))
    plane.queues.add_permission(queue, "url", [FRIEND.account], ["GetQueueUrl"], plane.now_ms)
    assert plane.queues.by_name(FRIEND, "q", OWNER.account) is queue
    assert plane.queues.by_name(OWNER, "q", OWNER.account) is queue


def test_permissions_are_an_attribute(plane: Plane) -> None:
    queue = plane.create("q")
    plane.now_ms += 5_000
    plane.queues.add_permission(queue, "one", [FRIEND.account], ["SendMessage"], plane.now_ms)
    plane.queues.add_permission(queue, "two", [FRIEND.account], ["ReceiveMessage"], plane.now_ms)
    plane.settle()
    plane.restart()
    queue = plane.queues.find(OWNER, "q")
    found = plane.queues.get_attributes(queue, ["All"], plane.now_ms)
    assert [one["Sid"] for one in json.loads(found["Policy"])["Statement"]] == ["one", "two"]
    assert found["LastModifiedTimestamp"] == str(plane.now_ms // 1000)
    plane.queues.remove_permission(queue, "one", plane.now_ms)
    plane.queues.remove_permission(queue, "two", plane.now_ms)
    assert "Policy" not in plane.queues.get_attributes(queue, ["All"], plane.now_ms)


# --- dead-letter queues


def reason(text: str, why: str) -> str:
    return f"Value {text} for parameter RedrivePolicy is invalid. Reason: {why}"


def test_a_dead_letter_queue_is_there_and_of_the_same_type(plane: Plane) -> None:
    dead, dead_fifo = plane.create("dead"), plane.create("dead.fifo", **FIFO)
    standard, ordered = plane.create("q", RedrivePolicy=redrive(dead)), plane.create("q.fifo", **FIFO)
    plane.set(ordered, RedrivePolicy=redrive(dead_fifo))
    elsewhere = (
        plane.create_in(ABROAD, "dead"),
        plane.create_in(FRIEND, "dead"),
        "arn:aws:sqs:us-east-1:000000000000:none",
    )
    for target in elsewhere:
        text = redrive(target)
        expected = reason(text, "Dead letter target does not exist.")
        assert refusal(InvalidParameterValue, lambda text=text: plane.set(standard, RedrivePolicy=text)) == expected  # type: ignore[misc]
        assert refusal(InvalidParameterValue, lambda text=text: plane.create("new", RedrivePolicy=text)) == expected  # type: ignore[misc]
    for queue, target in ((standard, dead_fifo), (ordered, dead)):
        with pytest.raises(InvalidParameterValue, match="same type of queue as the source"):
            plane.set(queue, RedrivePolicy=redrive(target))
    with pytest.raises(InvalidParameterValue, match="same type of queue as the source"):
        plane.create("new.fifo", **FIFO, RedrivePolicy=redrive(dead))
    assert standard.attributes.redrive is not None
    assert standard.attributes.redrive.dead_letter_target_arn == dead.arn
    assert {queue.name for queue in plane.queues} == {"dead", "dead.fifo", "q", "q.fifo"}


def test_a_dead_letter_queue_may_refuse(plane: Plane) -> None:
    dead, queue = plane.create("dead", RedriveAllowPolicy='{"redrivePermission":"denyAll"}'), plane.create("q")
    with pytest.raises(InvalidParameterValue):
        plane.set(queue, RedrivePolicy=redrive(dead))
    plane.set(dead, RedriveAllowPolicy=json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [queue.arn]}))
    plane.set(queue, RedrivePolicy=redrive(dead))
    with pytest.raises(InvalidParameterValue):
        plane.create("r", RedrivePolicy=redrive(dead))
    plane.set(dead, RedriveAllowPolicy="")
    plane.create("r", RedrivePolicy=redrive(dead))
    assert plane.sources("dead") == ["q", "r"]


def test_other_attributes_can_be_set_while_the_dead_letter_queue_is_gone(plane: Plane) -> None:
    queue = plane.create("q", RedrivePolicy=redrive(plane.create("dead")))
    plane.delete("dead")
    plane.set(queue, DelaySeconds="1")
    with pytest.raises(InvalidParameterValue, match="Dead letter target does not exist"):
        plane.set(queue, RedrivePolicy=queue.attributes.values["RedrivePolicy"])
    assert queue.attributes.redrive is not None


def test_the_sources_of_a_dead_letter_queue(plane: Plane) -> None:
    dead, other = plane.create("dead"), plane.create("other")
    assert plane.sources("dead") == []
    b, a = (plane.create(name, RedrivePolicy=redrive(dead)) for name in ("b", "a"))
    assert plane.sources("dead") == ["a", "b"]
    plane.set(a, RedrivePolicy=redrive(other))
    assert (plane.sources("dead"), plane.sources("other")) == (["b"], ["a"])
    plane.set(a, RedrivePolicy=redrive(other, 7))
    assert plane.sources("other") == ["a"]
    plane.set(b, RedrivePolicy="")
    assert plane.sources("dead") == []
    plane.delete("a")
    assert plane.sources("other") == []


def test_sources_outlive_restarts_and_their_dead_letter_queue(plane: Plane) -> None:
    plane.create("q", RedrivePolicy=redrive(plane.create("dead")))
    plane.settle()
    plane.restart()
    assert plane.sources("dead") == ["q"]
    plane.delete("dead")
    plane.create("dead")
    assert plane.sources("dead") == ["q"]


def test_sources_after_a_failed_commit(plane: Plane) -> None:
    dead = plane.create("dead")
    queue = plane.create("q", RedrivePolicy=redrive(dead))
    plane.create("r")
    plane.settle()
    for change in (
        lambda: plane.set(plane.queues.find(OWNER, "q"), RedrivePolicy=""),
        lambda: plane.delete("q"),
        lambda: plane.create("new", RedrivePolicy=redrive(dead)),
        lambda: plane.set(plane.queues.find(OWNER, "r"), RedrivePolicy=redrive(dead)),
    ):
        change()
        assert plane.sources("dead") != ["q"]
        plane.fail_the_commit()
        assert plane.sources("dead") == ["q"]
        assert plane.queues.find(OWNER, "q").attributes.redrive == queue.attributes.redrive
        assert plane.queues.find(OWNER, "q").resolve(dead.arn) is plane.queues.find(OWNER, "dead")


def test_pages_of_sources(plane: Plane) -> None:
    dead = plane.create("dead")
    for number in range(5):
        plane.create(f"q{number}", RedrivePolicy=redrive(dead))
    names: list[list[str]] = []
    token = ""
    while not names or token:
        page = plane.queues.page_of_sources(dead, max_results=2, next_token=token)
        names.append([queue.name for queue in page.queues])
        token = page.next_token
    assert names == [["q0", "q1"], ["q2", "q3"], ["q4"]]
    for max_results in (0, -1, 1_001):
        message = refusal(
            InvalidParameterValue,
            lambda most=max_results: plane.queues.page_of_sources(dead, max_results=most, next_token=""),  # type: ignore[misc]
        )
        assert message == (
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000."
        )
    message = refusal(
        InvalidParameterValue, lambda: plane.queues.page_of_sources(dead, max_results=None, next_token="cTE=")
    )
    assert message == "MaxResults is a mandatory parameter when you provide a value for NextToken."
    for bad in ("ä", "c", "_w=="):
        with pytest.raises(InvalidParameterValue):
            plane.queues.page_of_sources(dead, max_results=1, next_token=bad)


# --- move tasks


def test_move_tasks_know_the_dead_letter_queues(plane: Plane) -> None:
    dead, queue = plane.create("dead"), plane.create("q")
    start = plane.queues.move_tasks.start
    message = refusal(InvalidParameterValue, lambda: start(OWNER, dead.arn, None, None, plane.now_ms))
    assert message == "Source queue must be configured as a Dead Letter Queue."
    plane.set(queue, RedrivePolicy=redrive(dead))
    assert start(OWNER, dead.arn, None, None, plane.now_ms)
    (task,) = plane.queues.move_tasks.list(OWNER, dead.arn, None)
    assert (task.source_arn, task.moved) == (dead.arn, 0)


def test_move_tasks_end_with_their_source(plane: Plane) -> None:
    dead = plane.create("dead")
    plane.create("q", RedrivePolicy=redrive(dead))
    first = plane.queues.move_tasks.start(OWNER, dead.arn, None, None, plane.now_ms)
    plane.settle()
    plane.delete("dead")
    plane.queues.move_tasks.advance(plane.now_ms)
    plane.create("dead")
    assert plane.queues.move_tasks.list(OWNER, dead.arn, 10) == []
    assert plane.queues.move_tasks.start(OWNER, dead.arn, None, None, plane.now_ms) != first


def test_a_move_task_whose_commit_failed_was_not_started(plane: Plane) -> None:
    dead = plane.create("dead")
    plane.create("q", RedrivePolicy=redrive(dead))
    plane.settle()
    plane.queues.move_tasks.start(OWNER, dead.arn, None, None, plane.now_ms)
    plane.fail_the_commit()
    assert plane.queues.move_tasks.list(OWNER, dead.arn, 10) == []
