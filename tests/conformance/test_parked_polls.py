"""Long polls in random histories: nobody waits while a message may be delivered, nobody gets one that may not.

Sections 4.2 and 5.1, with several polls parked at a time. In virtual time; a history replays from its seed.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import pytest
from conformance_direct import DirectFace
from conformance_faces import AwsError, Call
from conformance_queue import FIFO, TestedQueue

STEPS: Final = 80
POLLS_MAX: Final = 5
LOOK_SECONDS: Final = 0.05
SLACK_MS: Final = 4
"""What the times of a call, to the millisecond, may differ from those that the broker went by."""


@dataclass(slots=True)
class Sent:
    """A message that was not deleted."""

    group: str
    hidden_until_ms: int
    handle: str = ""


@dataclass(slots=True)
class Poll:
    call: Call
    started_ms: int
    seconds: int
    most: int


@dataclass(slots=True)
class History:
    face: DirectFace
    random: Random
    queue: TestedQueue
    visibility_ms: int
    delay_ms: int
    sent: dict[str, Sent] = field(default_factory=dict)
    polls: list[Poll] = field(default_factory=list)
    bodies: int = 0

    def now_ms(self) -> int:
        return round(self.face.now_s() * 1000)

    def step(self) -> None:
        actions = (self.poll, self.send, self.delete, self.change, self.wait)
        [action] = self.random.choices(actions, weights=(30, 25, 17, 13, 15))
        action()
        self.face.pause(SLACK_MS / 1000)
        self.look()

    # --- what happens

    def poll(self) -> None:
        if len(self.polls) < POLLS_MAX:
            seconds, most = self.random.choice([1, 5, 20]), self.random.choice([1, 2, 10])
            members = {"QueueUrl": self.queue.url, "WaitTimeSeconds": seconds, "MaxNumberOfMessages": most}
            self.polls.append(Poll(self.face.start("ReceiveMessage", members), self.now_ms(), seconds, most))

    def send(self) -> None:
        for _ in range(self.random.choice([1, 1, 3])):
            self.bodies += 1
            group = self.random.choice("abc")
            body = f"{group}/{self.bodies}"
            self.queue.send(body)
            self.sent[body] = Sent(group, self.now_ms() + self.delay_ms)

    def delete(self) -> None:
        if (body := self._one_in_flight()) is not None:
            self.queue.call("DeleteMessage", ReceiptHandle=self.sent.pop(body).handle)

    def change(self) -> None:
        if (body := self._one_in_flight()) is not None:
            message, seconds = self.sent[body], self.random.choice([0, 0, 1, 30])
            self.queue.call("ChangeMessageVisibility", ReceiptHandle=message.handle, VisibilityTimeout=seconds)
            message.hidden_until_ms = self.now_ms() + seconds * 1000

    def _one_in_flight(self) -> str | None:
        after_ms = self.now_ms() + SLACK_MS
        bodies = [body for body, one in self.sent.items() if one.handle and one.hidden_until_ms > after_ms]
        return self.random.choice(bodies) if bodies else None

    def wait(self) -> None:
        for _ in range(round(self.random.choice([0.1, 0.7, 2.3, 4.1, 19.0, 31.0]) / LOOK_SECONDS)):
            self.face.pause(LOOK_SECONDS)
            self.look()

    # --- what must hold

    def look(self) -> None:
        ended = [poll for poll in self.polls if poll.call.done()]
        self.polls = [poll for poll in self.polls if poll not in ended]
        received = [(poll, message) for poll in ended for message in self._answer(poll)]
        bodies = {message["Body"] for _, message in received}
        assert len(bodies) == len(received), f"delivered twice: {[message['Body'] for _, message in received]}"
        self._check_order(bodies)
        for poll, message in received:
            one = self.sent[message["Body"]]
            ended_ms = poll.started_ms + round(poll.call.ended()[0] * 1000)
            assert one.hidden_until_ms <= ended_ms + 1, f"{message['Body']} was hidden"
            one.hidden_until_ms, one.handle = ended_ms + self.visibility_ms, message["ReceiptHandle"]
        left = self.deliverable(self.now_ms() - SLACK_MS)
        assert not (self.polls and left), f"{len(self.polls)} polls wait beside {left}"

    def _answer(self, poll: Poll) -> list[dict[str, Any]]:
        seconds, outcome = poll.call.ended()
        assert not isinstance(outcome, AwsError), outcome
        messages: list[dict[str, Any]] = outcome.get("Messages", [])
        assert len(messages) <= poll.most
        assert messages or poll.seconds <= seconds < poll.seconds + 0.05, f"empty after {seconds} s of {poll.seconds}"
        return messages

    def _check_order(self, bodies: set[str]) -> None:
        """On FIFO, what was delivered is the beginning of its groups."""
        passed: set[str] = set()
        for body, one in self.sent.items():
            assert not (self.queue.fifo and body in bodies and one.group in passed), f"{body} overtook its group"
            if body not in bodies:
                passed.add(one.group)

    def deliverable(self, now_ms: int) -> list[str]:
        found: list[str] = []
        blocked: set[str] = set()
        for body, one in self.sent.items():
            if one.hidden_until_ms > now_ms:
                blocked.add(one.group)
            elif not (self.queue.fifo and one.group in blocked):
                found.append(body)
        return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("attributes", [{}, FIFO], ids=["standard", "fifo"])
def test_polls_and_messages_find_each_other(direct_face: DirectFace, attributes: dict[str, str], seed: int) -> None:
    random = Random(seed)
    visibility, delay = random.choice([3, 20]), random.choice([0, 0, 2])
    times = {"VisibilityTimeout": str(visibility), "DelaySeconds": str(delay)}
    queue = TestedQueue(direct_face, {**attributes, **times})
    history = History(direct_face, random, queue, visibility * 1000, delay * 1000)
    for _ in range(STEPS):
        history.step()
    while history.polls:
        direct_face.pause(LOOK_SECONDS)
        history.look()
    direct_face.pause(31)
    assert sorted(history.deliverable(history.now_ms())) == sorted(history.sent)
    assert queue.counts() == (len(history.sent), 0, 0)
