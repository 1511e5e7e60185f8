"""How many histories the state machines here go through together: 500 in ``make test``, 10,000 in ``make soak``."""

import os
from typing import Final

from hypothesis import settings

_EVERYDAY: Final = 500
_ASKED: Final = int(os.environ.get("HEDDLE_HISTORIES", _EVERYDAY))


def histories(share: int, *, steps: int) -> settings:
    """The settings of a state machine that takes a ``share`` of the 500. ``steps``: of one history, at most."""
    return settings(max_examples=max(1, share * _ASKED // _EVERYDAY), stateful_step_count=steps, deadline=None)
