"""The account of every message over all lives of the broker.

A call that a kill cut off leaves a doubt: both outcomes are allowed. Never: a look into the data directory.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Account:
    """``violations``: one sentence each. Bodies are unique; a message id belongs to one body."""

    attempted: set[str] = field(default_factory=set)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Message id by body of what the broker said was durable."""
    removing: set[str] = field(default_factory=set)
    """A delete or acknowledgement was sent: it may be gone."""
    removed: set[str] = field(default_factory=set)
    """The removal was confirmed: it must not come back."""
    violations: list[str] = field(default_factory=list)
    received: int = 0
    _body_by_id: dict[str, str] = field(default_factory=dict)
    _id_by_body: dict[str, str] = field(default_factory=dict)

    def sent(self, body: str, message_id: str) -> None:
        self.acknowledged[body] = message_id
        self._identify(body, message_id)

    def handed_out(self, body: str, message_id: str) -> None:
        """Received by a call of this life of the broker that began after all confirmations of earlier lives."""
        self.received += 1
        if body not in self.attempted:
            self.violations.append(f"nobody sent {body}")
        self._identify(body, message_id)

    def came_back(self, body: str) -> None:
        self.violations.append(f"{body} came back, although its removal was confirmed")

    def settle(self, left: list[str]) -> None:
        """``left``: the bodies drained at the end."""
        if len(set(left)) != len(left):
            self.violations.append(f"{len(left) - len(set(left))} messages were drained twice")
        self.violations.extend(f"{body} came back at the end" for body in self.removed.intersection(left))
        lost = self.acknowledged.keys() - self.removing - set(left)
        self.violations.extend(f"{body} is lost: it was acknowledged and never removed" for body in sorted(lost))

    def _identify(self, body: str, message_id: str) -> None:
        if self._body_by_id.setdefault(message_id, body) != body:
            self.violations.append(f"message id {message_id} belongs to {body} and {self._body_by_id[message_id]}")
        if self._id_by_body.setdefault(body, message_id) != message_id:
            self.violations.append(f"{body} has the message ids {message_id} and {self._id_by_body[body]}")
