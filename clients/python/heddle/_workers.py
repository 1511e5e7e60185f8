"""Which worker of `Consumer.run` handles a message: on a FIFO queue, the one that has its group. No I/O.

A group stays with a worker as long as it has messages, so that they are handled one after the other; the others go past
it. On a standard queue every message is for whoever is free.
"""

from collections import deque
from threading import Lock

from heddle._delivery import Message


class Assignment:
    """Any thread may ask."""

    def __init__(self, *, by_group: bool) -> None:
        self._by_group = by_group
        self._lock = Lock()
        self._waiting: dict[str, deque[Message]] = {}  # groups that a worker has, and what waits for it there

    def claim(self, message: Message) -> bool:
        """Whether the caller may handle the message; otherwise it waits for the worker that has its group."""
        group = message.group_id
        if not self._by_group or group is None:
            return True
        with self._lock:
            if group not in self._waiting:
                self._waiting[group] = deque()
                return True
            self._waiting[group].append(message)
            return False

    def next_after(self, message: Message) -> Message | None:
        """What the worker that has just settled this message is to handle next; None: its group is free again."""
        group = message.group_id
        if not self._by_group or group is None:
            return None
        with self._lock:
            waiting = self._waiting[group]
            while waiting:
                following = waiting.popleft()
                if following.delivery.hands_out(following.sequence):
                    return following
            del self._waiting[group]
            return None
