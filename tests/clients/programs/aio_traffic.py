"""aioboto3: many tasks on one event loop send and long-poll at once, and many of the polls are cut off.

`python aio_traffic.py URL SEED METRICS` prints as JSON what was sent, received and deleted. The queue's visibility
timeout has to be short: what was on its way to a poll when that was cut off comes back after it.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from typing import Any

import aioboto3
import aiohttp
from botocore.config import Config

SENDERS, BATCHES_EACH = 20, 10
RECEIVERS = 40
MESSAGES = SENDERS * BATCHES_EACH * 10


class Traffic:
    def __init__(self, sqs: Any, url: str, chance: random.Random) -> None:
        self._sqs, self._url, self._chance = sqs, url, chance
        self.sent: dict[str, str] = {}
        self.received: Counter[str] = Counter()
        self.deleted: set[str] = set()
        self.wrong: list[str] = []
        self.cut_off = 0
        self.all_deleted = asyncio.Event()

    async def send(self, sender: int) -> None:
        for batch in range(BATCHES_EACH):
            entries = [{"Id": str(i), "MessageBody": f"{sender}.{batch}.{i} ☃"} for i in range(10)]
            answer = await self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)
            for entry in answer["Successful"]:
                self.sent[entry["MessageId"]] = entries[int(entry["Id"])]["MessageBody"]

    async def receive(self) -> None:
        while not self.all_deleted.is_set():
            try:
                # Some polls are given up soon, most of them while they are parked or being answered.
                async with asyncio.timeout(self._chance.choice([0.01, 0.05, 0.2, 25.0])):
                    answer = await self._sqs.receive_message(
                        QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=20
                    )
            except TimeoutError:
                self.cut_off += 1
                continue
            await self._take(answer.get("Messages", []))

    async def _take(self, messages: list[dict[str, str]]) -> None:
        for message in messages:
            self.received[message["MessageId"]] += 1
        if not messages:
            return
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
        answer = await self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        for entry in answer["Successful"]:
            message = messages[int(entry["Id"])]
            self.deleted.add(message["MessageId"])
            if self.sent.get(message["MessageId"], message["Body"]) != message["Body"]:
                self.wrong.append(message["Body"])
        if len(self.deleted) >= MESSAGES:
            self.all_deleted.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            receivers = [tasks.create_task(self.receive()) for _ in range(RECEIVERS)]
            for sender in range(SENDERS):
                tasks.create_task(self.send(sender))
            await self.all_deleted.wait()
            for receiver in receivers:  # the polls that are parked still
                receiver.cancel()


async def main(url: str, seed: int, metrics: str) -> None:
    config = Config(max_pool_connections=SENDERS + 2 * RECEIVERS, retries={"total_max_attempts": 1})
    async with aioboto3.Session().client("sqs", config=config) as sqs:
        traffic = Traffic(sqs, url, random.Random(seed))
        async with asyncio.timeout(100):
            await traffic.run()
        after = await cut_off_before_a_send(sqs, url, metrics)
    told = {"sent": sorted(traffic.sent), "received": sorted(traffic.received), "deleted": sorted(traffic.deleted)}
    print(json.dumps(told | {"cut_off": traffic.cut_off, "wrong": traffic.wrong, "received_after": after}))


async def cut_off_before_a_send(sqs: Any, url: str, metrics: str) -> int:
    """Polls that are cut off while they are parked take nothing of what is sent afterwards, not even for a while."""
    polls = [asyncio.create_task(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)) for _ in range(RECEIVERS)]
    await wait_parked(metrics, RECEIVERS)
    for poll in polls:
        poll.cancel()
    await asyncio.wait(polls)
    await wait_parked(metrics, 0)
    entries = [{"Id": str(i), "MessageBody": f"after {i}"} for i in range(10)]
    await sqs.send_message_batch(QueueUrl=url, Entries=entries)
    answer = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    gone = [{"Id": str(i), "ReceiptHandle": got["ReceiptHandle"]} for i, got in enumerate(answer["Messages"])]
    await sqs.delete_message_batch(QueueUrl=url, Entries=gone)
    return len(gone)


async def wait_parked(metrics: str, count: int) -> None:
    """Until the broker says that ``count`` polls are parked."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(15):
        while True:
            async with http.get(metrics) as answer:
                if f"\nheddle_waiters {count}.0\n" in await answer.text():
                    return
            await asyncio.sleep(0.02)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
