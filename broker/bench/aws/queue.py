"""A queue at an SQS endpoint, and its operations as the bytes that an SDK would send: AWS JSON 1.0 in one request each.

Requests that do not change are made once; of answers only that much is read which counts and which deletes need.
"""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from broker.bench.aws.http import Connection
from broker.bench.measure import check_counts
from broker.bench.payload import body_of

ENTRIES = 10  # the most that a call of SQS takes
VISIBILITY_SECONDS = 3600  # nothing comes back within a run
COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)

# What boto3 sends, its signature made up: rows measure servers that check none (``aws-cost`` measures the check).
_HEAD = (
    "POST / HTTP/1.1\r\n"
    "Host: {host}\r\n"
    "Accept-Encoding: identity\r\n"
    "X-Amz-Target: AmazonSQS.{operation}\r\n"
    "x-amzn-query-mode: true\r\n"
    "Content-Type: application/x-amz-json-1.0\r\n"
    "User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.18 md/arch#x86_64 lang/python#3.11.7 "
    "md/pyimpl#CPython m/N,Z,b,e cfg/retry-mode#legacy Botocore/1.44.5\r\n"
    "X-Amz-Date: 20260101T000000Z\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=benchmark/20260101/us-east-1/sqs/aws4_request, "
    "SignedHeaders=content-type;host;x-amz-date;x-amz-target;x-amzn-query-mode, "
    "Signature={signature}\r\n"
    "amz-sdk-invocation-id: 3f2b8a52-7f0e-4a29-9d0f-7d2d9c3f8c11\r\n"
    "amz-sdk-request: attempt=1\r\n"
    "Content-Length: "
)


def request_bytes(host: str, operation: str, members: dict[str, Any]) -> bytes:
    """One request of HTTP/1.1, head and body."""
    body = orjson.dumps(members)
    head = _HEAD.format(host=host, operation=operation, signature="0" * 64).encode()
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def send_entries(size_bytes: int) -> list[dict[str, str]]:
    body = body_of(size_bytes).decode()
    return [{"Id": str(i), "MessageBody": body} for i in range(ENTRIES)]


def delete_entries(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]


class SqsQueue:
    """``url``: of a queue that exists."""

    def __init__(self, host: str, url: str, size_bytes: int) -> None:
        self._host, self.url = host, url
        self._size_bytes = size_bytes
        self._send = self._request("SendMessage", MessageBody=body_of(size_bytes).decode())
        self._send_ten = self._request("SendMessageBatch", Entries=send_entries(size_bytes))
        self._receive = self._request("ReceiveMessage", MaxNumberOfMessages=ENTRIES)

    def _request(self, operation: str, **members: Any) -> bytes:
        return request_bytes(self._host, operation, {"QueueUrl": self.url, **members})

    async def send(self, connection: Connection) -> int:
        """SendMessage; one message."""
        answer = orjson.loads(await connection.call(self._send))
        check_counts("SendMessage", expected=1, actual=int("MessageId" in answer))
        return 1

    async def send_ten(self, connection: Connection) -> int:
        """SendMessageBatch; ten messages."""
        answer = orjson.loads(await connection.call(self._send_ten))
        check_counts("SendMessageBatch: successful entries", expected=ENTRIES, actual=len(answer["Successful"]))
        return ENTRIES

    async def receive(self, connection: Connection) -> list[dict[str, Any]]:
        """ReceiveMessage for ten, without waiting; their bodies are looked at for their length."""
        messages: list[dict[str, Any]] = orjson.loads(await connection.call(self._receive)).get("Messages") or []
        whole = sum(len(message["Body"]) == self._size_bytes for message in messages)
        check_counts("ReceiveMessage: whole messages", expected=len(messages), actual=whole)
        return messages

    async def delete(self, connection: Connection, messages: list[dict[str, Any]]) -> int:
        """DeleteMessageBatch; how many it says are gone."""
        answer = await connection.call(self._request("DeleteMessageBatch", Entries=delete_entries(messages)))
        return len(orjson.loads(answer)["Successful"])

    async def receive_waiting(self, connection: Connection, seconds: int) -> list[dict[str, Any]]:
        """ReceiveMessage for one, which waits for it."""
        request = self._request("ReceiveMessage", MaxNumberOfMessages=1, WaitTimeSeconds=seconds)
        messages: list[dict[str, Any]] = orjson.loads(await connection.call(request)).get("Messages") or []
        return messages

    async def held(self, connection: Connection) -> int:
        """How many messages the server says that it holds."""
        answer = orjson.loads(await connection.call(self._request("GetQueueAttributes", AttributeNames=COUNTS)))
        return sum(int(answer["Attributes"].get(name, 0)) for name in COUNTS)

    async def check_holds(self, connection: Connection, messages: int) -> None:
        """Raises CountsDisagreeError unless the server says that it holds so many."""
        check_counts("messages in the queue", expected=messages, actual=await self.held(connection))

    async def remove(self, connection: Connection) -> None:
        await connection.call(self._request("DeleteQueue"))


@asynccontextmanager
async def new_queue(target: str, connection: Connection, size_bytes: int) -> AsyncIterator[SqsQueue]:
    """A queue of its own, removed at the end."""
    attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
    members = {"QueueName": f"bench-{uuid.uuid4().hex}", "Attributes": attributes}
    answer = orjson.loads(await connection.call(request_bytes(target, "CreateQueue", members)))
    queue = SqsQueue(target, answer["QueueUrl"], size_bytes)
    yield queue
    await queue.remove(connection)
