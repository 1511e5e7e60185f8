"""Histories of state machines: how many, and how often what happens in them."""

import os
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

_EVERYDAY: Final = 500
_ASKED: Final = int(os.environ.get("HEDDLE_HISTORIES", _EVERYDAY))

Action = tuple[str, dict[str, Any]]
"""A method of a state machine, and its arguments."""


def histories(share: int, *, steps: int) -> settings:
    """The settings of a state machine that takes a ``share`` of the 500 histories of ``make test``, or of as many as
    HEDDLE_HISTORIES asks for. ``steps``: of one history, at most."""
    return settings(max_examples=max(1, share * _ASKED // _EVERYDAY), stateful_step_count=steps, deadline=None)


def actions(weighted: Mapping[str, tuple[int, dict[str, st.SearchStrategy[Any]]]]) -> st.SearchStrategy[Action]:
    """By method: how often it comes, compared with others, and what its arguments are drawn from.

    Rules of their own would be switched on and off by hypothesis, most of them in most histories, and little would
    happen where one needs another.
    """
    every = []
    for method, (weight, arguments) in weighted.items():
        every += [st.tuples(st.just(method), st.fixed_dictionaries(arguments))] * weight
    return st.one_of(every)
