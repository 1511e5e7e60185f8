"""The clients of the simulation: small state machines that write into the account what they do and what they learn.

Each does one thing at a time, over and over, until the world closes. A call that is cut off leaves a doubt; a refusal
means that nothing was kept. Never: a look into the broker.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import Message, MessageBatch

from .ledger import Entry, QueueAccount
from .streams import ConsumingClient, ProducingClient
from .wire import CutOff, Refused
from .world import HIDDEN_SECONDS_MAX, QUEUES, World

Client = Callable[[World, int], Coroutine[Any, Any, None]]

_GONE: Final = grpc.StatusCode.NOT_FOUND


async def administrator(world: World, _number: int) -> None:
    """Makes the queues, and now and then purges, deletes, changes and looks at one. There is one administrator."""
    while not world.closing:
        name = world.random.choice(QUEUES)
        account = world.queues[name]
        if not account.exists:
            await _create(world, account)
        else:
            action = world.random.choice((_purge, _delete_queue, _set_attributes, _look, _look, _create))
            await action(world, account)
        missing = not all(account.exists for account in world.queues.values())
        await pause(world, 0.02 if missing else 0.2)


async def sender(world: World, number: int) -> None:
    """Unary batches of one to four, some delayed."""
    sent = 0
    while not world.closing:
        account = world.queues[world.random.choice(QUEUES)]
        request = pb.SendMessageBatchRequest(queue_url=account.name)
        entries: list[Entry] = []
        for index in range(world.random.randint(1, 4)):
            body = f"s{number}-{sent}"
            sent += 1
            entries.append(world.ledger.sending(account, body, world.now_ms()))
            line = request.entries.add(id=str(index), message_body=body.encode())
            if world.random.random() < 0.2:
                line.delay_seconds = world.random.randint(0, HIDDEN_SECONDS_MAX // 2)
        try:
            response = await world.call("SendMessageBatch", request)
        except Refused:
            for entry in entries:
                world.ledger.refused(entry)
        except CutOff:
            await pause(world, 0.02)
        else:
            for line in response.successful:
                world.ledger.sent(entries[int(line.id)], line.message_id, world.now_ms())
            world.note(f"s{number} sent {len(response.successful)} to {account.name}")
        await pause(world, 0.03)


async def receiver(world: World, number: int) -> None:
    """Unary receives, short and long; then deletes, changes of visibility, duplicates of either, or nothing."""
    known: list[tuple[QueueAccount, str, Entry]] = []  # receipt handles, old ones too
    while not world.closing:
        account = world.queues[world.random.choice(QUEUES)]
        timeout_s = world.random.choice((0, 1, 5, HIDDEN_SECONDS_MAX))
        request = pb.ReceiveMessageRequest(
            queue_url=account.name,
            max_number_of_messages=world.random.randint(1, 10),
            visibility_timeout=timeout_s,
            wait_time_seconds=world.random.choice((0, 0, 1, 3)),
            message_system_attribute_names=["ApproximateReceiveCount"],
        )
        called_ms = world.now_ms()
        try:
            messages = (await world.call("ReceiveMessage", request)).messages
        except (Refused, CutOff):
            messages = []
        for message in messages:
            entry = world.ledger.taken(
                message.body.decode(),
                message.message_id,
                int(message.attributes["ApproximateReceiveCount"]),
                called_ms=called_ms,
                now_ms=world.now_ms(),
                until_ms=called_ms + timeout_s * 1000,
                loop_s=world.loop.now_s,
            )
            known.append((account, message.receipt_handle, entry))
        if messages:
            world.note(f"r{number} received {[message.body.decode() for message in messages]}")
        for _ in range(world.random.randint(0, len(messages) + 1)):
            if known:
                await _settle_one(world, known)
        await pause(world, 0.03)


async def _settle_one(world: World, known: list[tuple[QueueAccount, str, Entry]]) -> None:
    place = world.random.randrange(len(known))
    account, handle, entry = known[place]
    if world.random.random() < 0.75:
        await _delete(world, account, handle, entry)
        if world.random.random() < 0.9:  # else the handle is used again: a duplicate
            del known[place]
    else:
        await _change_visibility(world, account, handle, entry)


async def _delete(world: World, account: QueueAccount, handle: str, entry: Entry) -> None:
    removal = world.ledger.removing([entry])
    try:
        await world.call("DeleteMessage", pb.DeleteMessageRequest(queue_url=account.name, receipt_handle=handle))
    except Refused:
        removal.refused()
    except CutOff:
        pass  # it may have been deleted
    else:
        removal.done(world.now_ms())
        world.note(f"deleted {entry.body}")


async def _change_visibility(world: World, account: QueueAccount, handle: str, entry: Entry) -> None:
    seconds = world.random.choice((0, 0, 2, HIDDEN_SECONDS_MAX))
    request = pb.ChangeMessageVisibilityRequest(
        queue_url=account.name, receipt_handle=handle, visibility_timeout=seconds
    )
    entry.disturbed_ms = world.now_ms()
    still_held = entry.held_until_ms > entry.disturbed_ms
    until_ms = entry.disturbed_ms + seconds * 1000
    world.ledger.let_go(entry, until_ms)
    held_ms = entry.held_until_ms
    try:
        await world.call("ChangeMessageVisibility", request)
    except (Refused, CutOff):
        return
    # Otherwise somebody may have taken it before, or returned it since: the answer says nothing about that.
    if still_held and entry.held_until_ms == held_ms:
        entry.held_until_ms = until_ms


# --- what the administrator does


async def _create(world: World, account: QueueAccount) -> None:
    exists, account.exists = account.exists, None
    account.saw_retention(345_600_000)
    try:
        await world.call("CreateQueue", pb.CreateQueueRequest(queue_name=account.name))
    except Refused:
        account.exists = exists
    except CutOff:
        pass  # the world looks, when it has recovered
    else:
        account.exists = True
        world.note(f"created {account.name}")


async def _delete_queue(world: World, account: QueueAccount) -> None:
    account.exists = None
    removal = world.ledger.purging(account)
    try:
        await world.call("DeleteQueue", pb.DeleteQueueRequest(queue_url=account.name))
    except Refused as refusal:
        account.exists = refusal.code != _GONE
        removal.refused()
    except CutOff:
        pass
    else:
        account.exists = False
        removal.done(world.now_ms())
        world.note(f"deleted queue {account.name}")


async def _purge(world: World, account: QueueAccount) -> None:
    removal = world.ledger.purging(account)
    try:
        await world.call("PurgeQueue", pb.PurgeQueueRequest(queue_url=account.name))
    except Refused:
        removal.refused()
    except CutOff:
        pass
    else:
        removal.done(world.now_ms())
        world.note(f"purged {account.name}")


async def _set_attributes(world: World, account: QueueAccount) -> None:
    retention_s = world.random.choice((60, 300, 345_600))
    account.saw_retention(retention_s * 1000)
    attributes = {
        "MessageRetentionPeriod": str(retention_s),
        "DelaySeconds": str(world.random.choice((0, 0, 2))),
        "VisibilityTimeout": str(world.random.randint(0, HIDDEN_SECONDS_MAX)),
    }
    try:
        await world.call(
            "SetQueueAttributes", pb.SetQueueAttributesRequest(queue_url=account.name, attributes=attributes)
        )
    except (Refused, CutOff):
        return
    world.note(f"changed {account.name}")


async def _look(world: World, account: QueueAccount) -> None:
    """What PeekMessages shows follows the same rules as what is received."""
    called_ms = world.now_ms()
    try:
        request = pb.PeekMessagesRequest(queue_url=account.name, max_number_of_messages=100)
        messages = (await world.call("PeekMessages", request)).messages
    except (Refused, CutOff):
        return
    bodies = [message.message.body.decode() for message in messages]
    assert len(set(bodies)) == len(bodies), f"seen twice in one look: {bodies}"
    for message, body in zip(messages, bodies, strict=True):
        world.ledger.seen(body, message.message_id, called_ms)


# --- streams


async def stream_sender(world: World, number: int) -> None:
    """``Produce`` streams, one after the other: batches pipelined, results in order."""
    batches = 0
    while not world.closing:
        account = world.queues[world.random.choice(QUEUES)]
        stream = ProducingClient(world, account)
        running = asyncio.ensure_future(stream.run())
        for _ in range(world.random.randint(1, 12)):
            bodies = [f"p{number}-{batches}-{index}" for index in range(world.random.randint(1, 6))]
            batches += 1
            stream.send(bodies, MessageBatch(messages=[Message(body=body.encode()) for body in bodies]))
            await pause(world, 0.01)
            if running.done():
                break
        stream.finish()
        await running
        world.note(f"p{number} had {stream.accepted} accepted by {account.name}")
        await pause(world, 0.05)


async def stream_receiver(world: World, number: int) -> None:
    """``Consume`` streams: acknowledgements by ranges, returns, extensions, and streams that break."""
    while not world.closing:
        account = world.queues[world.random.choice(QUEUES)]
        stream = ConsumingClient(world, account)
        running = asyncio.ensure_future(stream.run())
        for _ in range(world.random.randint(1, 30)):
            await pause(world, 0.03)
            if running.done() or world.closing:
                break
            stream.act()
        stream.end(broken=world.random.random() < 0.4)
        await running
        world.note(f"c{number} had {stream.received} from {account.name}")
        await pause(world, 0.05)


async def clock_setter(world: World, _number: int) -> None:
    while not world.closing:
        await pause(world, 1.0)
        world.jump_clock()


async def pause(world: World, mean_s: float) -> None:
    await asyncio.sleep(world.random.expovariate(1 / mean_s))


CLIENTS: Final[tuple[Client, ...]] = (
    administrator,
    sender,
    sender,
    receiver,
    receiver,
    stream_sender,
    stream_receiver,
    stream_receiver,
    clock_setter,
)
