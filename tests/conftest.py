"""What all tests have in common: hypothesis measures no time, since a machine that is busy is no failure; and a test is
called the same in every process, or the two that share the tests would not agree on them."""

import pytest
from hypothesis import HealthCheck, settings

# On top of what hypothesis takes by itself: where CI is set, the same histories in each run.
settings.register_profile(
    "heddle", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("heddle")


@pytest.hookimpl
def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Binary data names no test: it may hold the time at which it was made, as gzip's does."""
    return argname if isinstance(val, bytes) and not val.isascii() else None
