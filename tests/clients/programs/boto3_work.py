"""boto3 from many threads: `python boto3_work.py PREFIX ENDPOINT` works on queues of that prefix; prints what it saw.

The same program runs on a boto3 that speaks AWS JSON and on one from before, which speaks Query. It checks every MD5 by
itself, because boto3 checks none.
"""

import hashlib
import json
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SENDERS, RECEIVERS, BATCHES_EACH = 10, 6, 5
MESSAGES = SENDERS * BATCHES_EACH * 10
# What XML, forms and JSON each write in a way of their own.
ODD = '<a href="x">&amp; \' ]]> %20+& \t\r\n\r grün ☃ 👍 =&Action=DeleteQueue'

# By hand: releases before 1.31 read no endpoint from the environment.
config = Config(max_pool_connections=32, retries={"total_max_attempts": 1})
sqs: Any = boto3.client("sqs", endpoint_url=sys.argv[2], config=config)
wrong_md5s: list[str] = []


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: dict[str, dict[str, Any]]) -> str:
    """As the developer guide of SQS describes it."""
    digest = hashlib.md5(usedforsecurity=False)

    def part(data: bytes) -> None:
        digest.update(struct.pack("!I", len(data)) + data)

    for name in sorted(attributes):
        value = attributes[name]
        part(name.encode())
        part(value["DataType"].encode())
        binary = "BinaryValue" in value
        digest.update(b"\2" if binary else b"\1")
        part(value["BinaryValue"] if binary else value["StringValue"].encode())
    return digest.hexdigest()


def check(what: str, given: str, computed: str) -> None:
    if given != computed:
        wrong_md5s.append(f"{what}: {given} instead of {computed}")


def attributes_of(number: int) -> dict[str, dict[str, Any]]:
    return {
        "number": {"DataType": "Number.int", "StringValue": str(number)},
        "text.of-the_day": {"DataType": "String", "StringValue": ODD},
        "raw": {"DataType": "Binary.gif", "BinaryValue": bytes([0, 255, 13, 10, number % 256])},
    }


def many_threads(prefix: str) -> dict[str, Any]:
    url = sqs.create_queue(QueueName=f"{prefix}-threads")["QueueUrl"]
    sent: dict[str, int] = {}
    received: list[tuple[str, int]] = []
    wrong: list[str] = []
    lock, done = Lock(), Event()

    def send(sender: int) -> None:
        for batch in range(BATCHES_EACH):
            first = (sender * BATCHES_EACH + batch) * 10
            entries = [
                {"Id": f"e-{n}", "MessageBody": f"{n} {ODD}", "MessageAttributes": attributes_of(n)}
                for n in range(first, first + 10)
            ]
            answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
            for entry in answer["Successful"]:
                number = int(entry["Id"].removeprefix("e-"))
                check("body sent", entry["MD5OfMessageBody"], md5(f"{number} {ODD}".encode()))
                check("attributes sent", entry["MD5OfMessageAttributes"], md5_of_attributes(attributes_of(number)))
                with lock:
                    sent[entry["MessageId"]] = number

    def receive() -> None:
        while not done.is_set():
            answer = sqs.receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            )
            messages = answer.get("Messages", [])
            for message in messages:
                number = int(message["Body"].partition(" ")[0])
                check("body received", message["MD5OfBody"], md5(message["Body"].encode()))
                computed = md5_of_attributes(message["MessageAttributes"])
                check("attributes received", message["MD5OfMessageAttributes"], computed)
                if message["Body"] != f"{number} {ODD}" or message["MessageAttributes"] != attributes_of(number):
                    wrong.append(repr(message))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                with lock:
                    received.append((message["MessageId"], number))
                    if len(received) >= MESSAGES:
                        done.set()

    with ThreadPoolExecutor(SENDERS + RECEIVERS) as threads:
        working = [threads.submit(receive) for _ in range(RECEIVERS)]
        working += [threads.submit(send, sender) for sender in range(SENDERS)]
        if not done.wait(90):
            done.set()
        for one in working:
            one.result()
    return {"same": sorted(sent.items()) == sorted(received), "received": len(received), "wrong": wrong[:3]}


def pages(prefix: str) -> dict[str, Any]:
    names = [f"{prefix}-page-{i}" for i in range(7)]
    urls = [sqs.create_queue(QueueName=name, tags={"n": name})["QueueUrl"] for name in names]
    paginator = sqs.get_paginator("list_queues")
    found = [
        page.get("QueueUrls", [])
        for page in paginator.paginate(QueueNamePrefix=f"{prefix}-page-", PaginationConfig={"PageSize": 3})
    ]
    tags = [sqs.list_queue_tags(QueueUrl=url)["Tags"] for url in urls]
    for url in urls:
        sqs.delete_queue(QueueUrl=url)
    left = sqs.list_queues(QueueNamePrefix=f"{prefix}-page-")
    return {
        "sizes": [len(page) for page in found],
        "same": [url for page in found for url in page] == urls,
        "tags": tags == [{"n": name} for name in names],
        "left": left.get("QueueUrls", []),
    }


def fifo(prefix: str) -> dict[str, Any]:
    url = sqs.create_queue(QueueName=f"{prefix}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    sequence = []
    for i in range(12):
        answer = sqs.send_message(
            QueueUrl=url, MessageBody=str(i), MessageGroupId=f"g{i % 2}", MessageDeduplicationId=str(i % 10)
        )
        sequence.append(answer["SequenceNumber"])
    received = []
    while True:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"])
        if "Messages" not in answer:
            break
        received += [(m["Attributes"]["MessageGroupId"], int(m["Body"])) for m in answer["Messages"]]
        entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]} for i, m in enumerate(answer["Messages"])]
        sqs.delete_message_batch(QueueUrl=url, Entries=entries)
    return {
        "groups": {group: [number for of, number in received if of == group] for group in ("g0", "g1")},
        "growing": sequence[:10] == sorted(sequence[:10], key=int),
        "duplicates": sequence[10:] == sequence[:2],
    }


def dead_letters(prefix: str) -> dict[str, Any]:
    dead = sqs.create_queue(QueueName=f"{prefix}-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})}
    url = sqs.create_queue(QueueName=f"{prefix}-source", Attributes=policy)["QueueUrl"]
    message_id = sqs.send_message(QueueUrl=url, MessageBody=ODD)["MessageId"]
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        handle = message["ReceiptHandle"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    empty = sqs.receive_message(QueueUrl=url)
    (message,) = sqs.receive_message(QueueUrl=dead, AttributeNames=["All"])["Messages"]
    sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
    return {
        "empty": "Messages" not in empty,
        "same": message["MessageId"] == message_id and message["Body"] == ODD,
        "sources": sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url],
    }


def error(call: Any, **parameters: Any) -> list[Any]:
    try:
        call(**parameters)
    except ClientError as refused:
        response = refused.response
        told = [type(refused).__name__, response["ResponseMetadata"]["HTTPStatusCode"]]
        return [*told, response["Error"]["Code"], response["Error"]["Message"]]
    return []


def errors(prefix: str) -> dict[str, Any]:
    url = sqs.create_queue(QueueName=f"{prefix}-errors")["QueueUrl"]
    twice = [{"Id": "a", "MessageBody": "1"}, {"Id": "a", "MessageBody": "2"}]
    mixed = [{"Id": "good", "MessageBody": "1"}, {"Id": "late", "MessageBody": "2", "DelaySeconds": 901}]
    batch = sqs.send_message_batch(QueueUrl=url, Entries=mixed)
    told = {
        "no queue": error(sqs.get_queue_url, QueueName=f"{prefix}-none"),
        "twice": error(sqs.send_message_batch, QueueUrl=url, Entries=twice),
        "handle": error(sqs.delete_message, QueueUrl=url, ReceiptHandle="none"),
        "character": error(sqs.send_message, QueueUrl=url, MessageBody="\x01"),
        "batch": [[entry["Id"] for entry in batch["Successful"]], batch["Failed"][0]["Code"]],
    }
    sqs.purge_queue(QueueUrl=url)
    return told


seen = {part.__name__: part(sys.argv[1]) for part in (many_threads, pages, fifo, dead_letters, errors)}
print(json.dumps(seen | {"wrong_md5s": wrong_md5s[:3], "protocol": sqs.meta.service_model.protocol}))
