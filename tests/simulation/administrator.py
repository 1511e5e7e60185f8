"""The one client that makes queues, and purges, deletes, changes and looks at them; it redrives dead letters too.

Like every client it writes into the account what it does before it does it. Never: a look into the broker.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb

from .entries import QueueAccount, Violation
from .ledger import Removal
from .wire import CutOff, Refused
from .world import HIDDEN_SECONDS_MAX, World, pause

_GONE: Final = grpc.StatusCode.NOT_FOUND
Action = Callable[[World, QueueAccount], Awaitable[None]]


async def administrator(world: World, _number: int) -> None:
    """What is missing is made, dead-letter queues first; then something is done to a queue, now and then."""
    while not world.closing:
        missing = [account for account in world.queues.values() if not account.exists]
        if missing:
            await _create(world, missing[0])
        else:
            dead = [account for account in world.queues.values() if account.is_dead_letter_queue]
            account = world.random.choice(dead if dead and world.random.random() < 0.5 else list(world.queues.values()))
            await world.random.choice(_actions(world, account))(world, account)
        missing = [account for account in world.queues.values() if not account.exists]
        await pause(world, 0.02 if missing else 0.08 if world.scene.redrives else 0.2)


def _actions(world: World, account: QueueAccount) -> tuple[Action, ...]:
    if not account.is_dead_letter_queue:
        looks = 8 if world.scene.redrives else 2
        return (_purge, _delete_queue, _set_attributes, _create, *[_look] * looks)
    redrive = (_start_move_task, _start_move_task, _start_move_task, _look_at_tasks, _cancel_move_task, _look)
    return redrive if world.scene.lasting_dead_letters else (*redrive, _delete_queue, _purge)


async def _create(world: World, account: QueueAccount) -> None:
    exists, account.exists = account.exists, None
    account.saw_retention(account.plan.retention_s * 1000)
    request = pb.CreateQueueRequest(queue_name=account.name, attributes=account.plan.attributes())
    try:
        await world.call("CreateQueue", request)
    except Refused:
        account.exists = exists
    except CutOff:
        pass  # the world looks, when it has recovered
    else:
        account.exists = True
        world.note(f"created {account.name}")


async def _delete_queue(world: World, account: QueueAccount) -> None:
    account.exists = None
    account.generation += 1
    removal = world.ledger.purging(account)
    try:
        await _clear(world, account, removal, "DeleteQueue", pb.DeleteQueueRequest(queue_url=account.name))
    except Refused as refusal:
        account.exists = refusal.code != _GONE
    except CutOff:
        pass
    else:
        account.exists = False
        world.note(f"deleted queue {account.name}")


async def _purge(world: World, account: QueueAccount) -> None:
    removal = world.ledger.purging(account)
    try:
        await _clear(world, account, removal, "PurgeQueue", pb.PurgeQueueRequest(queue_url=account.name))
    except (Refused, CutOff):
        return
    world.note(f"purged {account.name}")


async def _clear(world: World, account: QueueAccount, removal: Removal, handler: str, request: Any) -> None:
    """Raises Refused, CutOff."""
    begun_ms = world.now_ms()
    account.clearing += 1
    try:
        await world.call(handler, request)
    except Refused:
        removal.refused()
        raise
    finally:
        account.clearing -= 1
    removal.done(world.now_ms())
    account.cleared.append((begun_ms, world.now_ms()))


async def _set_attributes(world: World, account: QueueAccount) -> None:
    retention_s = min(account.plan.retention_s, world.random.choice((60, 300, 345_600)))
    account.saw_retention(retention_s * 1000)
    # What is redriven is visible at once: behind delayed messages of its group it would not be in order.
    delays = (0,) if account.plan.fifo and world.scene.dead_letter_queues else (0, 0, 2)
    attributes = {
        "MessageRetentionPeriod": str(retention_s),
        "DelaySeconds": str(world.random.choice(delays)),
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
    if len(set(bodies)) != len(bodies):
        raise Violation(f"seen twice in one look: {bodies}")
    for message, body in zip(messages, bodies, strict=True):
        world.ledger.seen(body, message.message_id, account, called_ms, world.now_ms())


# --- redrive


async def _start_move_task(world: World, account: QueueAccount) -> None:
    """Back to where the dead letters came from, or on to another queue; as fast as can be, or slowly."""
    request = pb.StartMessageMoveTaskRequest(source_arn=account.plan.arn)
    elsewhere = [other for other in world.queues.values() if other not in {account, account.source}]
    if elsewhere and world.random.random() < 0.3:
        request.destination_arn = world.random.choice(elsewhere).plan.arn
    if world.random.random() < 0.5:
        request.max_number_of_messages_per_second = world.random.choice((5, 50))
    world.ledger.redriving = account.leaks = True
    try:
        await world.call("StartMessageMoveTask", request)
    except (Refused, CutOff):
        return
    world.note(f"redrives {account.name} to {request.destination_arn or 'where they came from'}")


async def _look_at_tasks(world: World, account: QueueAccount) -> None:
    request = pb.ListMessageMoveTasksRequest(source_arn=account.plan.arn, max_results=10)
    try:
        results = (await world.call("ListMessageMoveTasks", request)).results
    except (Refused, CutOff):
        return
    told = []
    for task in results:
        moved, to_move = task.approximate_number_of_messages_moved, task.approximate_number_of_messages_to_move
        if moved > to_move:
            raise Violation(f"a task of {account.name} moved {moved} messages of {to_move}")
        told.append(f"{task.status} {moved}")
    world.note(f"tasks of {account.name}: {told}")


async def _cancel_move_task(world: World, account: QueueAccount) -> None:
    request = pb.ListMessageMoveTasksRequest(source_arn=account.plan.arn)
    try:
        results = (await world.call("ListMessageMoveTasks", request)).results
        for task in results:
            if task.HasField("task_handle"):
                await world.call("CancelMessageMoveTask", pb.CancelMessageMoveTaskRequest(task_handle=task.task_handle))
                world.note(f"cancelled a task of {account.name}")
    except (Refused, CutOff):
        return
