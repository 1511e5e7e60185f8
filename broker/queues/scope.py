"""Whose resources a request speaks of. Never: anything else."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The caller's account, and the region that it calls."""

    account: str
    region: str

    def queue_arn(self, name: str) -> str:
        """The ARN of the caller's queue of this name, whether or not it exists."""
        return f"arn:aws:sqs:{self.region}:{self.account}:{name}"
