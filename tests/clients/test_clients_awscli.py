"""aws-cli, version 1: every command is a process of its own, its output is read as the JSON that scripts read."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .environments import executable, needs_python, run, variables
from .served import ACCOUNT, KEY, OTHER_ACCOUNT, OTHER_KEY, REGION, SECRET, Counts, ServedBroker

_SECONDS_MAX = 30.0

pytestmark = needs_python("awscli")


@dataclass(frozen=True, slots=True)
class AwsCli:
    """`aws` as a script calls it: what it prints, or the error that it ends with."""

    command: list[str]
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> Any:
        done = run([*self.command, *arguments], self.environment, seconds_max=_SECONDS_MAX)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def error(self, *arguments: str) -> str:
        done = run([*self.command, *arguments], self.environment, seconds_max=_SECONDS_MAX)
        assert done.returncode == 255, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        assert done.stdout == ""
        return done.stderr.strip()


@pytest.fixture
def aws(broker: ServedBroker, tmp_path: Path) -> AwsCli:
    """Keys and region in the environment, the endpoint as a flag."""
    told = variables(
        tmp_path, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET, AWS_DEFAULT_REGION=REGION, AWS_PAGER=""
    )
    return AwsCli([executable("awscli", "aws"), "--endpoint-url", broker.endpoint, "--output", "json"], told)


def test_a_message_goes_through_with_its_attributes(aws: AwsCli, broker: ServedBroker) -> None:
    url = aws("sqs", "create-queue", "--queue-name", "cli-one", "--attributes", "VisibilityTimeout=60")["QueueUrl"]
    assert url == f"{broker.endpoint}/{ACCOUNT}/cli-one"
    attributes = {
        "count": {"DataType": "Number.int", "StringValue": "7"},
        "who": {"DataType": "String", "StringValue": "Jürgen ☃"},
        "raw": {"DataType": "Binary", "BinaryValue": "\x00ü"},  # version 1 takes it as it is, and prints Base64
    }
    queue = ("--queue-url", url)
    message = (
        "--message-body",
        "<ä&'\">",
        "--message-attributes",
        json.dumps(attributes),
        "--message-system-attributes",
        json.dumps(
            {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
        ),
    )
    sent = aws("sqs", "send-message", *queue, *message)
    received = aws("sqs", "receive-message", *queue, "--attribute-names", "All", "--message-attribute-names", "All")

    (got,) = received["Messages"]
    assert got["Body"] == "<ä&'\">"
    assert got["MessageId"] == sent["MessageId"]
    assert got["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert got["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    attributes["raw"]["BinaryValue"] = base64.b64encode("\x00ü".encode()).decode()
    assert got["MessageAttributes"] == attributes
    assert got["Attributes"]["ApproximateReceiveCount"] == "1"
    assert got["Attributes"]["AWSTraceHeader"].startswith("Root=1-5759e988")
    assert broker.counts("cli-one") == Counts(in_flight=1)

    handle = ("--receipt-handle", got["ReceiptHandle"])
    assert aws("sqs", "change-message-visibility", *queue, *handle, "--visibility-timeout", "0") is None
    assert broker.counts("cli-one") == Counts(visible=1)
    (again,) = aws("sqs", "receive-message", *queue)["Messages"]
    assert aws("sqs", "delete-message", *queue, "--receipt-handle", again["ReceiptHandle"]) is None
    assert aws("sqs", "receive-message", *queue, "--wait-time-seconds", "1") is None
    assert broker.counts("cli-one") == Counts()


def test_a_batch_is_sent_received_and_deleted(aws: AwsCli, broker: ServedBroker) -> None:
    url = aws("sqs", "create-queue", "--queue-name", "cli-batch")["QueueUrl"]
    entries = [{"Id": f"e{i}", "MessageBody": f"body {i}"} for i in range(9)]
    entries.append({"Id": "late", "MessageBody": "later", "DelaySeconds": 900})  # type: ignore[dict-item]
    sent = aws("sqs", "send-message-batch", "--queue-url", url, "--entries", json.dumps(entries))
    assert [entry["Id"] for entry in sent["Successful"]] == [entry["Id"] for entry in entries]
    assert broker.counts("cli-batch") == Counts(visible=9, delayed=1)

    received = aws("sqs", "receive-message", "--queue-url", url, "--max-number-of-messages", "10")["Messages"]
    assert sorted(message["Body"] for message in received) == [f"body {i}" for i in range(9)]
    gone = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(received)]
    gone.append({"Id": "wrong", "ReceiptHandle": "none"})
    deleted = aws("sqs", "delete-message-batch", "--queue-url", url, "--entries", json.dumps(gone))
    assert [entry["Id"] for entry in deleted["Successful"]] == [str(i) for i in range(9)]
    (failed,) = deleted["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("wrong", "ReceiptHandleIsInvalid", True)
    assert broker.counts("cli-batch") == Counts(delayed=1)


def test_what_fails_is_dead_lettered_and_comes_back(aws: AwsCli, broker: ServedBroker) -> None:
    dead = aws("sqs", "create-queue", "--queue-name", "cli-dead")["QueueUrl"]
    asked = aws("sqs", "get-queue-attributes", "--queue-url", dead, "--attribute-names", "QueueArn")
    arn = asked["Attributes"]["QueueArn"]
    assert arn == f"arn:aws:sqs:{REGION}:{ACCOUNT}:cli-dead"
    redrive = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})}
    url = aws("sqs", "create-queue", "--queue-name", "cli-source", "--attributes", json.dumps(redrive))["QueueUrl"]
    assert aws("sqs", "list-dead-letter-source-queues", "--queue-url", dead) == {"queueUrls": [url]}

    aws("sqs", "send-message", "--queue-url", url, "--message-body", "poison")
    receive = ("sqs", "receive-message", "--queue-url", url)
    assert len(aws(*receive, "--visibility-timeout", "0")["Messages"]) == 1
    assert aws(*receive) is None
    assert (broker.counts("cli-source"), broker.counts("cli-dead")) == (Counts(), Counts(visible=1))

    task = aws("sqs", "start-message-move-task", "--source-arn", arn)
    assert task["TaskHandle"]
    (moved,) = aws(*receive, "--wait-time-seconds", "5")["Messages"]
    assert moved["Body"] == "poison"
    (done,) = aws("sqs", "list-message-move-tasks", "--source-arn", arn)["Results"]
    assert (done["Status"], done["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", moved["ReceiptHandle"])
    assert (broker.counts("cli-source"), broker.counts("cli-dead")) == (Counts(), Counts())


def test_a_fifo_queue_keeps_order_and_drops_duplicates(aws: AwsCli, broker: ServedBroker) -> None:
    attributes = ("--attributes", "FifoQueue=true,ContentBasedDeduplication=true")
    url = aws("sqs", "create-queue", "--queue-name", "cli.fifo", *attributes)["QueueUrl"]
    numbers = [
        aws("sqs", "send-message", "--queue-url", url, "--message-body", body, "--message-group-id", "g")[
            "SequenceNumber"
        ]
        for body in ("first", "second", "first")
    ]
    assert numbers[0] == numbers[2] < numbers[1]

    names = ("--attribute-names", "MessageGroupId", "SequenceNumber", "--max-number-of-messages", "10")
    received = aws("sqs", "receive-message", "--queue-url", url, *names)["Messages"]
    assert [message["Body"] for message in received] == ["first", "second"]
    assert [message["Attributes"]["SequenceNumber"] for message in received] == numbers[:2]
    for message in received:
        aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
    assert broker.counts("cli.fifo") == Counts()


def test_queues_are_listed_page_by_page_and_deleted(aws: AwsCli) -> None:
    names = [f"cli-list-{i}" for i in range(5)]
    urls = [aws("sqs", "create-queue", "--queue-name", name)["QueueUrl"] for name in names]
    listed = ("sqs", "list-queues", "--queue-name-prefix", "cli-list-")
    assert aws(*listed)["QueueUrls"] == urls
    assert aws(*listed, "--page-size", "2")["QueueUrls"] == urls  # the command line turns the pages by itself
    first = aws(*listed, "--max-items", "3")
    assert first["QueueUrls"] == urls[:3]
    assert aws(*listed, "--starting-token", first["NextToken"])["QueueUrls"] == urls[3:]
    assert aws("sqs", "get-queue-url", "--queue-name", names[0]) == {"QueueUrl": urls[0]}
    for url in urls:
        assert aws("sqs", "delete-queue", "--queue-url", url) is None
    assert aws(*listed) is None


def test_tags_and_attributes_change(aws: AwsCli) -> None:
    created = aws("sqs", "create-queue", "--queue-name", "cli-tags", "--tags", "team=blue,stage=dev")
    url = ("--queue-url", created["QueueUrl"])
    aws("sqs", "tag-queue", *url, "--tags", '{"cost":"größer 12","team":"red"}')
    assert aws("sqs", "list-queue-tags", *url) == {"Tags": {"cost": "größer 12", "stage": "dev", "team": "red"}}
    aws("sqs", "untag-queue", *url, "--tag-keys", "cost", "team", "stage")
    assert aws("sqs", "list-queue-tags", *url) is None

    aws("sqs", "set-queue-attributes", *url, "--attributes", "DelaySeconds=5,MaximumMessageSize=2048")
    asked = aws("sqs", "get-queue-attributes", *url, "--attribute-names", "DelaySeconds", "MaximumMessageSize")
    assert asked == {"Attributes": {"DelaySeconds": "5", "MaximumMessageSize": "2048"}}


def test_a_permission_lets_another_account_in(aws: AwsCli) -> None:
    created = aws("sqs", "create-queue", "--queue-name", "cli-shared")["QueueUrl"]
    url = ("--queue-url", created)
    stranger = AwsCli(aws.command, aws.environment | {"AWS_ACCESS_KEY_ID": OTHER_KEY})
    find = ("sqs", "get-queue-url", "--queue-name", "cli-shared", "--queue-owner-aws-account-id", ACCOUNT)
    assert "(AccessDenied)" in stranger.error(*find)

    aws("sqs", "add-permission", *url, "--label", "ask", "--aws-account-ids", OTHER_ACCOUNT, "--actions", "GetQueueUrl")
    assert stranger(*find) == {"QueueUrl": created}
    assert "(AccessDenied)" in stranger.error("sqs", "purge-queue", *url)
    aws("sqs", "remove-permission", *url, "--label", "ask")
    assert "(AccessDenied)" in stranger.error(*find)


def test_a_queue_is_purged_once_a_minute(aws: AwsCli, broker: ServedBroker) -> None:
    url = ("--queue-url", aws("sqs", "create-queue", "--queue-name", "cli-purge")["QueueUrl"])
    for delay in ("0", "600"):
        aws("sqs", "send-message", *url, "--message-body", "gone soon", "--delay-seconds", delay)
    assert broker.counts("cli-purge") == Counts(visible=1, delayed=1)
    assert aws("sqs", "purge-queue", *url) is None
    assert broker.counts("cli-purge") == Counts()
    assert "(AWS.SimpleQueueService.PurgeQueueInProgress)" in aws.error("sqs", "purge-queue", *url)


def test_an_error_has_its_code_and_its_text(aws: AwsCli) -> None:
    assert aws.error("sqs", "get-queue-url", "--queue-name", "cli-none") == (
        "An error occurred (AWS.SimpleQueueService.NonExistentQueue) when calling the GetQueueUrl operation: "
        "The specified queue does not exist."
    )
    assert "(InvalidAttributeValue)" in aws.error(
        "sqs", "create-queue", "--queue-name", "cli-bad", "--attributes", "VisibilityTimeout=43201"
    )


def test_the_caller_learns_who_it_is(aws: AwsCli) -> None:
    assert aws("sts", "get-caller-identity") == {
        "UserId": ACCOUNT,
        "Account": ACCOUNT,
        "Arn": f"arn:aws:iam::{ACCOUNT}:root",
    }


def test_a_profile_of_the_credentials_file_selects_the_account(
    aws: AwsCli, broker: ServedBroker, tmp_path: Path
) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        f"[other]\naws_access_key_id = {OTHER_KEY}\naws_secret_access_key = {SECRET}\n"
    )
    (tmp_path / ".aws" / "config").write_text("[profile other]\nregion = us-west-2\noutput = json\n")
    command = [executable("awscli", "aws"), "--profile", "other", "--endpoint-url", broker.endpoint]
    profiled = AwsCli(command, variables(tmp_path))

    assert profiled("sts", "get-caller-identity")["Account"] == OTHER_ACCOUNT
    url = profiled("sqs", "create-queue", "--queue-name", "cli-profile")["QueueUrl"]
    assert url == f"{broker.endpoint}/{OTHER_ACCOUNT}/cli-profile"
    asked = profiled("sqs", "get-queue-attributes", "--queue-url", url, "--attribute-names", "QueueArn")
    assert asked["Attributes"]["QueueArn"] == f"arn:aws:sqs:us-west-2:{OTHER_ACCOUNT}:cli-profile"
    assert "NonExistentQueue" in aws.error("sqs", "get-queue-url", "--queue-name", "cli-profile")


def test_the_endpoint_may_come_from_the_environment(broker: ServedBroker, tmp_path: Path) -> None:
    """In a region that aws-cli 1 has no old endpoint for; elsewhere it wants --endpoint-url (aws-cli issue 8737)."""
    told = variables(tmp_path, broker.endpoint, AWS_DEFAULT_REGION="eu-central-2", AWS_REGION="eu-central-2")
    aws = AwsCli([executable("awscli", "aws"), "--output", "json"], told)

    url = aws("sqs", "create-queue", "--queue-name", "cli-environment")["QueueUrl"]
    assert url == f"{broker.endpoint}/{ACCOUNT}/cli-environment"
    assert aws("sts", "get-caller-identity")["Account"] == ACCOUNT
