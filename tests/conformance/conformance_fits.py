"""Whether an actual value fits an expected one, and where it does not: the matchers of the conformance rows."""

import base64
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final


def _fits_without_order(expected: list[Any], actual: Any, now_s: float) -> bool:
    left = list(actual)
    for item in expected:
        found = next((one for one in left if not list(mismatches(item, one, "", now_s))), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _fits_only(expected: Mapping[str, Any], actual: Any, now_s: float) -> bool:
    return set(actual) == set(expected) and not list(mismatches(expected, actual, "", now_s))


def _increases(member: str, actual: Any, now_s: float) -> bool:
    texts = [item[member] for item in actual]
    return all(len(one) == len(other) and one < other for one, other in pairwise(texts))


MATCHERS: Final[Mapping[str, Callable[[Any, Any, float], bool]]] = {
    "present": lambda _, actual, now_s: actual is not None,  # there, whatever it is
    "matches": lambda pattern, actual, now_s: re.fullmatch(pattern, actual, re.DOTALL) is not None,
    "other": lambda value, actual, now_s: bool(actual != value),
    "above": lambda value, actual, now_s: len(actual) == len(value) and actual > value,  # numbers of constant width
    "between": lambda ends, actual, now_s: ends[0] <= actual <= ends[1],
    "length": lambda count, actual, now_s: len(actual) == count,
    "length_at_most": lambda count, actual, now_s: len(actual) <= count,
    "length_between": lambda ends, actual, now_s: ends[0] <= len(actual) <= ends[1],
    "unordered": _fits_without_order,  # these items in any order, and no others
    "contains": lambda item, actual, now_s: item in actual,
    "only": _fits_only,  # these members and no others
    "keys": lambda keys, actual, now_s: sorted(actual) == sorted(keys),
    "distinct": lambda member, actual, now_s: len({item[member] for item in actual}) == len(actual),
    "increasing": _increases,  # the member, a text of constant width, from item to item
    "json": lambda value, actual, now_s: bool(json.loads(actual) == value),  # as values: 1 is not "1"
    "base64_json": lambda value, actual, now_s: _fits_only(value, json.loads(base64.b64decode(actual)), now_s),
    "seconds_ago_at_most": lambda age, actual, now_s: 0 <= now_s - int(actual) <= age,  # epoch seconds
    "ms_ago_at_most": lambda age, actual, now_s: -50 <= now_s * 1000 - int(actual) <= age,  # epoch milliseconds
    "uuid": lambda _, actual, now_s: isinstance(actual, str) and str(uuid.UUID(actual)) == actual,
}


def mismatches(expected: Any, actual: Any, path: str, now_s: float = 0) -> Iterator[str]:
    """Sentences about where the actual value does not fit. ``now_s``: by the broker's clock, for what has an age."""
    if isinstance(expected, dict):
        if expected and set(expected) <= set(MATCHERS):
            for name, argument in expected.items():
                if not MATCHERS[name](argument, actual, now_s):
                    yield f"{path}: expected {name} {argument!r:.300}, got {actual!r:.300}"
            return
        if not isinstance(actual, Mapping):
            yield f"{path}: expected members {sorted(expected)}, got {actual!r:.300}"
            return
        for key, value in expected.items():
            if value == {"absent": True}:
                if key in actual:
                    yield f"{path}.{key}: expected to be absent, got {actual[key]!r:.300}"
            elif key not in actual:
                yield f"{path}.{key}: missing; there is {sorted(actual)}"
            else:
                yield from mismatches(value, actual[key], f"{path}.{key}", now_s)
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            yield f"{path}: expected {len(expected)} items, got {actual!r:.300}"
            return
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from mismatches(one, other, f"{path}[{index}]", now_s)
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path}: expected {expected!r:.300}, got {actual!r:.300}"
