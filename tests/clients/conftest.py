"""One broker for each module of tests, which verifies every signature; every test uses queues of its own names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .served import ServedBroker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They are not for every day: a client takes its seconds."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("full")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    served = ServedBroker(tmp_path_factory.mktemp("broker"))
    yield served
    served.stop()
