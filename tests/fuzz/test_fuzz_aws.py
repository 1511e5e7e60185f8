"""Hostile input at the AWS endpoint, the everyday part: some hundreds of new inputs, and those that once did harm."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.aws_inputs import KINDS, AwsInput, inputs
from tests.fuzz.aws_target import AwsTarget, aws_target
from tests.fuzz.doors import DOORS

EVERYDAY = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsTarget]:
    with aws_target(tmp_path_factory.mktemp("fuzz") / "data") as it:
        yield it


@pytest.mark.parametrize("kind", KINDS)
def test_no_input_does_harm(kind: str, attacked: AwsTarget) -> None:
    @EVERYDAY
    @given(inputs(kind))
    def strike(attack: AwsInput) -> None:
        attacked.strike(attack)

    attacked.renew()
    strike()
    attacked.renew()


@pytest.mark.parametrize("seed", DOORS["aws"].kept(), ids=lambda seed: seed.stem)
def test_what_once_did_harm_does_no_more(seed: Path, attacked: AwsTarget) -> None:
    attacked.renew()
    attacked.strike(AwsInput.load(seed.read_text()))
    attacked.renew()
