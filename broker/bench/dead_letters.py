"""Dead letters: a backlog that nobody can handle goes to its dead-letter queue and comes back.

Each row has the seconds, and the bytes that the broker wrote beside those of the messages: a move copies no payload.
"""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import grpc.aio
import uvloop
from heddle.v1.queues_pb2 import (
    ConsumeRequest,
    ConsumeResponse,
    CreateQueueRequest,
    CreateQueueResponse,
    ListMessageMoveTasksRequest,
    ListMessageMoveTasksResponse,
    StartMessageMoveTaskRequest,
    StartMessageMoveTaskResponse,
)

from broker.bench import wire
from broker.bench.compare import Setting
from broker.bench.measure import CountsDisagreeError, Measured, Meter, Plan, check_counts
from broker.bench.payload import payload_of
from broker.bench.processes import Server, broker_at
from broker.bench.produce import fill
from broker.bench.rows import Row, row_of

PLAN = Plan(messages=100_000, size_bytes=1000, batch=500, in_flight=16, seconds=60.0)
_DEAD_LETTERS, _SOURCE = "bench-dead-letters", "bench-source"
_LOOK_SECONDS = 0.01
_MAX_CREDIT = 120_000


def _arn(name: str) -> str:
    return f"arn:aws:sqs:us-east-1:000000000000:{name}"


def _committed_bytes(server: Server) -> int:
    """What the broker has written so far, from its metrics."""
    assert server.data_dir is not None
    http = json.loads((Path(server.data_dir) / "endpoints.json").read_text())["http"]
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
        found = re.search(r"^heddle_committed_bytes_total (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return int(float(found[1]))


async def _create(channel: grpc.aio.Channel, name: str, attributes: dict[str, str]) -> str:
    request = CreateQueueRequest(queue_name=name, attributes=attributes)
    return (await wire.call(channel, "CreateQueue", request, CreateQueueResponse)).queue_url


async def _receive_all_once(channel: grpc.aio.Channel, url: str, messages: int) -> None:
    """Receives everything and goes away: all of it is visible again, received once."""
    stream = wire.raw_stream(channel, "Consume")
    await stream.write(ConsumeRequest(queue_url=url, credit=messages).SerializeToString())
    received = 0
    while received < messages:
        response = await stream.read()
        assert isinstance(response, bytes), "the stream ended early"
        received += sum(len(each.batch.messages) for each in ConsumeResponse.FromString(response).deliveries)
    stream.cancel()
    check_counts("messages received once", expected=messages, actual=received)


async def _until_holds(channel: grpc.aio.Channel, url: str, messages: int, seconds: float) -> None:
    ends = time.perf_counter() + seconds
    while (held := await wire.messages_in(channel, url)) != messages:
        if time.perf_counter() > ends:
            raise CountsDisagreeError(f"{url} holds {held} messages after {seconds} s, not {messages}")
        await asyncio.sleep(_LOOK_SECONDS)


async def _redrive(channel: grpc.aio.Channel) -> int:
    request = StartMessageMoveTaskRequest(source_arn=_arn(_DEAD_LETTERS))
    await wire.call(channel, "StartMessageMoveTask", request, StartMessageMoveTaskResponse)
    while True:
        listing = ListMessageMoveTasksRequest(source_arn=_arn(_DEAD_LETTERS))
        (task,) = (await wire.call(channel, "ListMessageMoveTasks", listing, ListMessageMoveTasksResponse)).results
        if task.status == "COMPLETED":
            return task.approximate_number_of_messages_moved
        if task.status != "RUNNING":
            raise CountsDisagreeError(f"the move task ended as {task.status}: {task.failure_reason}")
        await asyncio.sleep(_LOOK_SECONDS)


async def _measure(server: Server, plan: Plan) -> tuple[Measured, Measured]:
    async with wire.channels_to(server.target, 2) as (channel, other):
        dead_letters = await _create(channel, _DEAD_LETTERS, {})
        policy = json.dumps({"deadLetterTargetArn": _arn(_DEAD_LETTERS), "maxReceiveCount": 1})
        source = await _create(channel, _SOURCE, {"RedrivePolicy": policy, "VisibilityTimeout": "600"})
        messages = await fill(channel, source, plan.messages, plan.size_bytes, plan.batch)
        payload_mb = messages * payload_of(plan.size_bytes, 1).packed_message_bytes / 1e6
        await _receive_all_once(other, source, messages)
        await _until_holds(channel, source, messages, plan.seconds)

        written, meter = _committed_bytes(server), Meter(server.pid).start()
        parked = wire.raw_stream(other, "Consume")  # any receive moves what has been received too often
        await parked.write(ConsumeRequest(queue_url=source, credit=100).SerializeToString())
        await _until_holds(channel, dead_letters, messages, plan.seconds)
        moved = meter.stop(messages)
        moved.extra.update(written_mb=round((_committed_bytes(server) - written) / 1e6, 3), payload_mb=payload_mb)
        parked.cancel()
        await wire.check_queue_holds(channel, source, 0)

        written, meter = _committed_bytes(server), Meter(server.pid).start()
        came_back = await _redrive(channel)
        redriven = meter.stop(came_back)
        redriven.extra.update(written_mb=round((_committed_bytes(server) - written) / 1e6, 3), payload_mb=payload_mb)
        await wire.check_queue_holds(channel, source, messages)
        for measured in (moved, redriven):
            measured.extra["seconds"] = round(measured.seconds, 2)
        return moved, redriven


def run(plan: Plan, setting: Setting) -> Iterator[Row]:
    if setting.target is not None:
        raise click.UsageError("dead-letters reads the broker's metrics: it cannot run on a --target")
    if plan.messages > _MAX_CREDIT:
        raise click.UsageError(f"dead-letters holds all messages in flight: at most {_MAX_CREDIT}")
    with broker_at(None, setting.durability) as server:
        moved, redriven = uvloop.run(_measure(server, plan))
    yield row_of("dead letters: moved", setting.durability_in_words, moved, plan.size_bytes)
    yield row_of("dead letters: redriven", setting.durability_in_words, redriven, plan.size_bytes)
