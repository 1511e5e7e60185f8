"""A queue of a test's own, behind any face: short names for the calls that tests of behaviour make most."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from conformance_faces import AwsError, Face

FIFO = {"FifoQueue": "true"}


class TestedQueue:
    """Made anew, with a name that nobody has; a FIFO queue when the attributes say so."""

    __test__ = False  # not a class of tests

    def __init__(self, face: Face, attributes: Mapping[str, str] | None = None) -> None:
        self.face, self.attributes = face, dict(attributes or {})
        self.fifo = "FifoQueue" in self.attributes
        self.name = f"e{uuid.uuid4().hex[:16]}{'.fifo' if self.fifo else ''}"
        self.url: str = face.call("CreateQueue", {"QueueName": self.name, "Attributes": self.attributes})["QueueUrl"]
        self.arn = f"arn:aws:sqs:us-east-1:000000000000:{self.name}"

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Any operation on this queue. Raises AwsError."""
        return self.face.call(operation, {"QueueUrl": self.url, **members})

    def send(self, *bodies: str, **members: Any) -> dict[str, Any]:
        """Sends each body. On a FIFO queue it is GROUP/MESSAGE and its own deduplication id, unless members differ."""
        answer: dict[str, Any] = {}
        for body in bodies:
            ids = {"MessageGroupId": body.partition("/")[0], "MessageDeduplicationId": body} if self.fifo else {}
            answer = self.call("SendMessage", **{"MessageBody": body, **ids, **members})
        return answer

    def receive(self, most: int = 10, **members: Any) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self.call("ReceiveMessage", MaxNumberOfMessages=most, **members).get(
            "Messages", []
        )
        return messages

    def bodies(self, most: int = 10, **members: Any) -> list[str]:
        """What a receive returns, bodies only."""
        return [message["Body"] for message in self.receive(most, **members)]

    def delete(self, *messages: Mapping[str, Any]) -> None:
        for message in messages:
            self.call("DeleteMessage", ReceiptHandle=message["ReceiptHandle"])

    def hide(self, message: Mapping[str, Any], seconds: int) -> None:
        """Changes the message's visibility timeout."""
        self.call("ChangeMessageVisibility", ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds)

    def set(self, **attributes: str) -> None:
        self.call("SetQueueAttributes", Attributes=attributes)

    def redrive_policy(self, max_receive_count: int | str) -> str:
        """What names this queue as the dead-letter queue of another."""
        return json.dumps({"deadLetterTargetArn": self.arn, "maxReceiveCount": max_receive_count})

    def counts(self) -> tuple[int, int, int]:
        """Messages that are visible, in flight, delayed."""
        found = self.call("GetQueueAttributes", AttributeNames=["All"])["Attributes"]
        names = ("", "NotVisible", "Delayed")
        visible, in_flight, delayed = (int(found[f"ApproximateNumberOfMessages{name}"]) for name in names)
        return visible, in_flight, delayed

    def refusal(self, operation: str, **members: Any) -> AwsError:
        """The error with which the operation must be refused."""
        try:
            output = self.call(operation, **members)
        except AwsError as error:
            return error
        raise AssertionError(f"{operation} succeeded: {output}")
