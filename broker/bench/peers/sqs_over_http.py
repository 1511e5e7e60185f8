"""Servers of SQS over HTTP, in the AWS JSON protocol, ten messages a call. Plain HTTP: botocore would cost more.

`heddle bench aws` drives the same servers by a lighter client; this one is for the rows that all peers share."""

import asyncio
import http.client
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from broker.bench.measure import CountsDisagreeError, Plan

QUEUE = "bench"
ENTRIES = 10
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request"  # nobody checks it


class SqsOverHttp:
    """Calls in threads, a connection each. Whatever the plan's batch: a call takes ten messages."""

    in_flight_max = 16
    fill_messages_max = 100_000

    async def open(self, address: str, plan: Plan) -> None:
        self._address = address
        self._plan = plan
        self._body = "x" * plan.size_bytes
        self._threads = ThreadPoolExecutor(self.in_flight_max)
        self._local = threading.local()
        self._url = self._call("CreateQueue", QueueName=QUEUE)["QueueUrl"]
        self._entries = [{"Id": str(i), "MessageBody": self._body} for i in range(ENTRIES)]

    def _call(self, operation: str, **members: Any) -> Any:
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._address, timeout=60)
        connection = self._local.connection
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{operation}",
            "Authorization": AUTHORIZATION,
        }
        connection.request("POST", "/", json.dumps(members), headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status != http.client.OK:
            raise CountsDisagreeError(f"{operation}: HTTP {response.status}: {answer[:200]!r}")
        return json.loads(answer) if answer else {}

    async def _in_thread(self, call: Callable[[], int]) -> int:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _send_ten(self) -> int:
        return len(self._call("SendMessageBatch", QueueUrl=self._url, Entries=self._entries)["Successful"])

    async def send_batch(self) -> int:
        return await self._in_thread(self._send_ten)

    async def send_one(self) -> int:
        self._call("SendMessage", QueueUrl=self._url, MessageBody=self._body)
        await asyncio.sleep(0)  # the call blocked the loop: let its timers run
        return 1

    def _receive_ten(self) -> int:
        received = self._call("ReceiveMessage", QueueUrl=self._url, MaxNumberOfMessages=ENTRIES).get("Messages", [])
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(received)]
        if not entries:
            return 0
        return len(self._call("DeleteMessageBatch", QueueUrl=self._url, Entries=entries)["Successful"])

    async def consume(self, messages: int, acknowledged: Callable[[int], None]) -> None:
        received = 0
        while received < messages:
            count = await self._in_thread(self._receive_ten)
            received += count
            acknowledged(count)

    async def waiting(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._call("GetQueueAttributes", QueueUrl=self._url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    async def close(self) -> None:
        self._call("DeleteQueue", QueueUrl=self._url)
        self._threads.shutdown()


class MotoSqs(SqsOverHttp):
    in_flight_max = 1  # measured: four callers get 107 messages/s, one gets 92 to 97; one keeps its latencies honest
    fill_messages_max = 1_000


class ElasticMqSqs(SqsOverHttp):
    """As it is."""


class LocalStackSqs(SqsOverHttp):
    fill_messages_max = 1_000
