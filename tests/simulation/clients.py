"""The clients of the simulation: small state machines that write into the account what they do and what they learn.

Each does one thing at a time, over and over, until the world closes. A call that is cut off leaves a doubt; a refusal
means that nothing was kept. Never: a look into the broker.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from heddle.v1 import queues_pb2 as pb
from heddle.v1.message_pb2 import MessageBatch

from .administrator import administrator
from .authors import Author, message_of
from .entries import Entry, Hold, QueueAccount, Receipt
from .streams import ConsumingClient, ProducingClient
from .wire import CutOff, Refused
from .world import HIDDEN_SECONDS_MAX, SEQUENCE_NUMBER_BASE, World, pause

Client = Callable[[World, int], Coroutine[Any, Any, None]]


async def sender(world: World, number: int) -> None:
    """Unary batches of one to four, some delayed."""
    author = Author(world, f"s{number}")
    while not world.closing:
        account = world.queue_to_send_to()
        request = pb.SendMessageBatchRequest(queue_url=account.name)
        entries: list[Entry] = []
        for index in range(world.random.randint(1, 4)):
            entry = author.write(account)
            entries.append(entry)
            message = message_of(entry)
            line = request.entries.add(id=str(index), message_body=message.body)
            if message.message_group_id:
                line.message_group_id = message.message_group_id
            if entry.attempts is not None:
                line.message_deduplication_id = message.message_deduplication_id
            elif world.random.random() < 0.2:
                line.delay_seconds = world.random.randint(0, HIDDEN_SECONDS_MAX // 2)
        try:
            response = pb.SendMessageBatchResponse.FromString(await world.call("SendMessageBatch", request))
        except Refused:
            for entry in entries:
                world.ledger.refused(entry)
        except CutOff:
            for entry in entries:
                world.ledger.cut_off(entry, world.now_ms())
            await pause(world, 0.02)
        else:
            for line in response.successful:
                sequence = int(line.sequence_number or SEQUENCE_NUMBER_BASE) - SEQUENCE_NUMBER_BASE
                world.ledger.sent(entries[int(line.id)], line.message_id, world.now_ms(), sequence)
            world.note(f"s{number} sent {[entry.body for entry in entries]} to {account.name}")
        await pause(world, 0.03)


async def receiver(world: World, number: int) -> None:
    """Unary receives, short and long; then deletes, changes of visibility, duplicates of either, or nothing."""
    known: list[_Known] = []  # old ones too
    attempts = 0
    while not world.closing:
        account = world.queue_to_receive_from()
        timeout_s = world.random.choice((0, 0, 1, 5) if world.scene.redrives else (0, 1, 5, HIDDEN_SECONDS_MAX))
        request = pb.ReceiveMessageRequest(
            queue_url=account.name,
            max_number_of_messages=world.random.randint(1, 10),
            visibility_timeout=timeout_s,
            wait_time_seconds=world.random.choice((0, 0, 0, 1) if world.scene.redrives else (0, 0, 1, 3)),
            message_system_attribute_names=["All"],
        )
        if account.plan.fifo and world.random.random() < 0.3:
            attempts += 1
            request.receive_request_attempt_id = f"r{number}-{attempts}"
        received = await _receive(world, account, request)
        known.extend(received)
        if received:
            world.note(f"r{number} received {[each.entry.body for each in received]} from {account.name}")
        for _ in range(world.random.randint(0, len(received) + 1)):
            if known:
                await _settle_one(world, known)
        await pause(world, 0.01 if world.scene.redrives else 0.03)


@dataclass(frozen=True, slots=True)
class _Known:
    """A receipt handle, and the message that it names, under the id that it then had."""

    account: QueueAccount
    handle: str
    entry: Entry
    message_id: str


async def _receive(world: World, account: QueueAccount, request: pb.ReceiveMessageRequest) -> list[_Known]:
    """What was received. Where the attempt has a name, a receive whose answer was lost is repeated once."""
    generation, hold = account.generation, Hold()
    for _ in range(2 if request.receive_request_attempt_id else 1):
        called_ms = world.now_ms()
        try:
            messages = (await world.call("ReceiveMessage", request)).messages
        except CutOff:
            continue
        except Refused:
            return []
        known = []
        for message in messages:
            attributes = message.attributes
            receipt = Receipt(
                message.body.decode(),
                message.message_id,
                int(attributes["ApproximateReceiveCount"]),
                account,
                hold,
                called_ms=called_ms,
                now_ms=world.now_ms(),
                until_ms=called_ms + request.visibility_timeout * 1000,
                loop_s=world.loop.now_s,
                generation=generation if generation == account.generation else None,
                sequence=int(attributes["SequenceNumber"]) - SEQUENCE_NUMBER_BASE if account.plan.fifo else 0,
                origin=attributes.get("DeadLetterQueueSourceArn", ""),
            )
            known.append(_Known(account, message.receipt_handle, world.ledger.taken(receipt), message.message_id))
        return known
    return []


async def _settle_one(world: World, known: "list[_Known]") -> None:
    place = world.random.randrange(len(known))
    if world.random.random() < (0.4 if world.scene.redrives else 0.75):
        await _delete(world, known[place])
        if world.random.random() < 0.9:  # else the handle is used again: a duplicate
            del known[place]
    else:
        await _change_visibility(world, known[place])


async def _delete(world: World, known: "_Known") -> None:
    account, entry = known.account, known.entry
    removal = world.ledger.removing(account, [(entry, known.message_id)])
    request = pb.DeleteMessageRequest(queue_url=account.name, receipt_handle=known.handle)
    try:
        await world.call("DeleteMessage", request)
    except Refused:
        removal.refused()
    except CutOff:
        pass  # it may have been deleted
    else:
        removal.done(world.now_ms())
        world.note(f"deleted {entry.body} from {account.name}")


async def _change_visibility(world: World, known: "_Known") -> None:
    entry = known.entry
    seconds = world.random.choice((0, 0, 2, HIDDEN_SECONDS_MAX))
    request = pb.ChangeMessageVisibilityRequest(
        queue_url=known.account.name, receipt_handle=known.handle, visibility_timeout=seconds
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


# --- streams


async def stream_sender(world: World, number: int) -> None:
    """``Produce`` streams, one after the other: batches pipelined, results in order."""
    author = Author(world, f"p{number}")
    while not world.closing:
        account = world.queue_to_send_to()
        stream = ProducingClient(world, account)
        running = asyncio.ensure_future(stream.run())
        for _ in range(world.random.randint(1, 12)):
            entries = [author.write(account) for _ in range(world.random.randint(1, 6))]
            stream.send(entries, MessageBatch(messages=map(message_of, entries)))
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
        account = world.queue_to_receive_from()
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
