"""What clients that are not let in are told, and what they may do where signatures are not looked at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from .environments import executable, needs_python, run, variables
from .served import ACCOUNT, KEY, OTHER_ACCOUNT, OTHER_KEY, REGION, ServedBroker


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    served = ServedBroker(tmp_path_factory.mktemp("trusting"), signed=False)
    yield served
    served.stop()


def error_of(broker: ServedBroker, key: str, secret: str, service: str = "sqs") -> tuple[int, str, str]:
    """Status, code and the first line of the message."""
    client = broker.client(service, key=key, secret=secret)
    with pytest.raises(ClientError) as refused:
        client.list_queues() if service == "sqs" else client.get_caller_identity()
    response = refused.value.response
    first_line, _, _ = response["Error"]["Message"].partition("\n")
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], first_line


WRONG_SECRET = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@pytest.mark.parametrize("service", ["sqs", "sts"])  # JSON with the codes of Query beside it, and Query
def test_a_wrong_secret_and_an_unknown_key_are_told_apart(broker: ServedBroker, service: str) -> None:
    assert error_of(broker, KEY, "wrong", service) == (403, "SignatureDoesNotMatch", WRONG_SECRET)
    assert error_of(broker, "AKIANOBODY0000000000", "wrong", service) == (
        403,
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
    )


@needs_python("awscli")
def test_aws_cli_tells_that_the_secret_is_wrong(broker: ServedBroker, tmp_path: Path) -> None:
    command = [executable("awscli", "aws"), "--endpoint-url", broker.endpoint, "sqs", "list-queues"]
    done = run(command, variables(tmp_path, broker.endpoint, AWS_SECRET_ACCESS_KEY="wrong"), seconds_max=30.0)

    assert done.returncode == 255
    assert done.stderr.strip().startswith(
        f"An error occurred (SignatureDoesNotMatch) when calling the ListQueues operation: {WRONG_SECRET}"
    )


def test_each_key_has_the_queues_of_its_account(broker: ServedBroker) -> None:
    one, other = broker.client(), broker.client(key=OTHER_KEY)
    assert one.create_queue(QueueName="mine")["QueueUrl"] == f"{broker.endpoint}/{ACCOUNT}/mine"
    assert other.create_queue(QueueName="mine")["QueueUrl"] == f"{broker.endpoint}/{OTHER_ACCOUNT}/mine"
    assert other.list_queues()["QueueUrls"] == [f"{broker.endpoint}/{OTHER_ACCOUNT}/mine"]


def test_where_nobody_looks_any_secret_will_do(trusting: ServedBroker) -> None:
    """And a key of twelve digits selects the account."""
    default = trusting.client(key="test", secret="test")
    assert default.create_queue(QueueName="q")["QueueUrl"] == f"{trusting.endpoint}/000000000000/q"
    selected = trusting.client(key=ACCOUNT, secret="test")
    url = selected.create_queue(QueueName="q")["QueueUrl"]
    arn = selected.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    assert arn == f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
    assert trusting.client("sts", key=ACCOUNT, secret="x").get_caller_identity()["Account"] == ACCOUNT
