"""Which queues name which as their dead-letter queue: the redrive policies, turned round.

By ARN, since a policy outlives its dead-letter queue and means again what it says when that is made anew. Never: a
policy's checks, or a message.
"""

from collections.abc import Iterable

from broker.queues.queue import Queue


class DeadLetterSources:
    def __init__(self) -> None:
        self._sources: dict[str, set[Queue]] = {}
        self._targets: dict[Queue, str] = {}

    def record(self, queue: Queue) -> None:
        """Takes up a queue's redrive policy as it now is."""
        self.forget(queue)
        if queue.attributes.redrive is not None:
            target_arn = queue.attributes.redrive.dead_letter_target_arn
            self._targets[queue] = target_arn
            self._sources.setdefault(target_arn, set()).add(queue)

    def forget(self, queue: Queue) -> None:
        """The queue is gone, or its policy is."""
        target_arn = self._targets.pop(queue, None)
        if target_arn is not None:
            sources = self._sources[target_arn]
            sources.remove(queue)
            if not sources:
                del self._sources[target_arn]

    def of(self, target_arn: str) -> frozenset[Queue]:
        """The queues whose redrive policy names this queue."""
        return frozenset(self._sources.get(target_arn, ()))

    def replace(self, queues: Iterable[Queue]) -> None:
        """Starts over with these queues."""
        self._sources.clear()
        self._targets.clear()
        for queue in queues:
            self.record(queue)
