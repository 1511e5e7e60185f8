"""The doors that hostile input comes through, each with its kinds of input, its target, and the seeds kept of it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

from hypothesis import strategies as st

from tests.fuzz import aws_inputs, inputs
from tests.fuzz.aws_target import aws_target
from tests.fuzz.target import target

_SEEDS: Final = Path(__file__).with_name("seeds")


class Attack(Protocol):
    """One input, which can be kept."""

    @property
    def kind(self) -> str: ...

    def dump(self) -> str: ...


class Attacked(Protocol):
    """Brokers under attack."""

    def is_alive(self) -> bool: ...

    def anonymous_bytes(self) -> int: ...

    def renew(self) -> None: ...

    def strike(self, attack: Any) -> None: ...


@dataclass(frozen=True)
class Door:
    """``variant``: another input much like one that there is. ``variants``: how many are struck with for each that is
    drawn; at gRPC they are far cheaper."""

    kinds: tuple[str, ...]
    inputs: Callable[[str], st.SearchStrategy[Any]]
    variant: Callable[[Any, Random], Any]
    load: Callable[[str], Attack]
    target: Callable[[Path], AbstractContextManager[Attacked]]
    variants: int
    seeds: Path

    def kept(self) -> list[Path]:
        """Inputs that once did harm."""
        return sorted(self.seeds.glob("*.json"))


DOORS: Final = {
    "grpc": Door(tuple(inputs.METHODS), inputs.inputs, inputs.variant, inputs.Input.load, target, 6, _SEEDS / "grpc"),
    "aws": Door(
        aws_inputs.KINDS,
        aws_inputs.inputs,
        aws_inputs.variant,
        aws_inputs.AwsInput.load,
        aws_target,
        2,
        _SEEDS / "aws",
    ),
}
