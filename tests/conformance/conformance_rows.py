"""Conformance rows: what they mean, how they are read and how one is run through a face.

A row is a table in ``queues/*.toml``. It names a state, makes calls and says what each gives:

- ``name``; ``see``: the section of the AWS semantics that it holds the broker to; ``only``: the one face it concerns.
- State before: ``queue`` = attributes of the row's own queue (``false``: not made); ``sent`` = bodies, or inputs of
  SendMessage; ``received`` = how many messages one ReceiveMessage then returns.
- Steps: ``before`` (a list), then the row's own call, then ``after`` (a list). A step has ``call`` and ``input`` (the
  QueueUrl of the row's queue is added to operations that take one), and what comes of it: ``output`` or ``error`` (a
  code, or a code and a message). A step without either must succeed. ``pause`` = seconds to wait first; ``repeat`` = n
  calls, ``${i}`` counting from 0; ``seconds`` = [least, most] duration of the call; ``as`` = a name for the output;
  ``start`` = a name: make the call beside the following steps, until a step with ``join`` = that name.
- ``cases``: a list of tables; the row runs once for each, with the table's keys as references.

Texts hold references: ``${queue}`` (name of the row's queue), ``${url}`` (its URL), ``${handles.0}`` and ``${ids.0}``
(receipt handles and message ids in the order in which they were received and sent), ``${face.queue_does_not_exist}``,
the keys of the case and the outputs named by ``as``, with dots between member names and indexes. A text that is a
reference and nothing else has the type of what it refers to.

Made values: ``{ times = ["a", 81] }``, ``{ join = [...] }``, ``{ hex = "00ff" }`` (bytes),
``{ count = 3, each = ... }`` (a list, ``${i}`` counting from 0), ``{ many = 3, key = ..., value = ... }`` (a table,
likewise).

Expected values: a table names members that must be there and fit (others may be there); a list must fit item by item.
Where a plain value is too strict, a table with one of the keys of ``MATCHERS`` stands for it.
"""

import re
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from conformance_faces import AwsError, Face

OPERATIONS_WITHOUT_QUEUE_URL: Final = {"CreateQueue", "GetQueueUrl", "ListQueues"}
STEP_KEYS: Final = {
    *("call", "input", "output", "error", "pause", "repeat", "seconds", "as", "start", "join"),
}
ROW_KEYS: Final = STEP_KEYS | {"name", "see", "only", "queue", "sent", "received", "before", "after", "cases"}
REFERENCE: Final = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, for one of its cases."""

    id: str
    table: Mapping[str, Any]
    case: Mapping[str, Any]

    def concerns(self, face: str) -> bool:
        return bool(self.table.get("only", face) == face)


def load_rows(directory: Path) -> list[Row]:
    """All rows, files in the order of their names. A row that is misspelt or asserts nothing is refused."""
    rows = [row for path in sorted(directory.glob("*.toml")) for row in _rows_of(path)]
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    return rows


def _rows_of(path: Path) -> Iterator[Row]:
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["row"]:
        where = f"{path.stem}/{table['name']}"
        own_steps = [*table.get("before", ()), *table.get("after", ())]
        assert set(table) <= ROW_KEYS, (where, set(table) - ROW_KEYS)
        assert "see" in table, where
        assert all(set(step) <= STEP_KEYS for step in own_steps), where
        assert any(step.get("output") or step.get("error") for step in [table, *own_steps]), f"{where} asserts nothing"
        cases = table.get("cases")
        if cases is None:
            yield Row(where, table, {})
        for index, case in enumerate(cases or ()):
            yield Row(f"{where}/{index}", table, case)


@dataclass(slots=True)
class _Run:
    """What a row knows while it runs."""

    face: Face
    threads: ThreadPoolExecutor
    known: dict[str, Any]
    started: dict[str, Future[tuple[float, dict[str, Any] | AwsError]]] = field(default_factory=dict)

    def step(self, step: Mapping[str, Any]) -> None:
        time.sleep(step.get("pause", 0))
        if "join" in step:
            self._check(step, *self.started.pop(step["join"]).result())
            return
        operation = _made(step["call"], self.known)
        for index in range(step.get("repeat", 1)):
            known = {**self.known, "i": str(index)}
            members = _made(step.get("input", {}), known)
            if operation not in OPERATIONS_WITHOUT_QUEUE_URL:
                members = {"QueueUrl": self.known["url"], **members}
            if "start" in step:
                self.started[step["start"]] = self.threads.submit(self._timed_call, operation, members)
            else:
                self._check(step, *self._timed_call(operation, members))

    def _timed_call(self, operation: str, members: Mapping[str, Any]) -> tuple[float, dict[str, Any] | AwsError]:
        start = time.monotonic()
        try:
            outcome: dict[str, Any] | AwsError = self.face.call(operation, members)
        except AwsError as refusal:
            outcome = refusal
        return time.monotonic() - start, outcome

    def _check(self, step: Mapping[str, Any], seconds: float, outcome: dict[str, Any] | AwsError) -> None:
        what = step.get("call", f"join {step.get('join')}")
        if isinstance(outcome, AwsError):
            assert "error" in step, f"{what} was refused: {outcome}"
            expected = _made(step["error"], self.known)
            code, message = expected if isinstance(expected, list) else (expected, {"present": True})
            faults = [*mismatches(code, outcome.code, "code"), *mismatches(message, outcome.message, "message")]
        else:
            assert "error" not in step, f"{what} succeeded, not refused with {step['error']}: {outcome}"
            self._remember(step, outcome)
            faults = list(mismatches(_made(step.get("output", {}), self.known), outcome, "output"))
        assert not faults, f"{what}: " + "\n".join(faults)
        least, most = step.get("seconds", (0, 60))
        assert least <= seconds <= most, f"{what} took {seconds:.3f} s"

    def _remember(self, step: Mapping[str, Any], output: dict[str, Any]) -> None:
        self.known["handles"] += [message["ReceiptHandle"] for message in output.get("Messages", ())]
        self.known["ids"] += [entry["MessageId"] for entry in output.get("Successful", ()) if "MessageId" in entry]
        if "MessageId" in output:
            self.known["ids"].append(output["MessageId"])
        if "as" in step:
            self.known[step["as"]] = output


def run_row(row: Row, face: Face) -> None:
    """Raises ``AssertionError`` where the broker deviates from the row."""
    name = f"c{uuid.uuid4().hex[:16]}"
    with ThreadPoolExecutor(max_workers=4) as threads:
        known: dict[str, Any] = {"queue": name, "url": name, "face": face, "handles": [], "ids": []}
        run = _Run(face, threads, known)
        assert not set(row.case) & set(known), f"a case may not rename {sorted(known)}"
        known.update(_made(row.case, known))
        table = row.table
        if table.get("queue", {}) is not False:
            created = face.call("CreateQueue", {"QueueName": name, "Attributes": _made(table.get("queue", {}), known)})
            known["url"] = created["QueueUrl"]
        for body in _made(table.get("sent", []), known):
            run.step({"call": "SendMessage", "input": {"MessageBody": body} if isinstance(body, str) else body})
        if "received" in table:
            count = table["received"]
            run.step(
                {
                    "call": "ReceiveMessage",
                    "input": {"MaxNumberOfMessages": count},
                    "output": {"Messages": {"length": count}},
                }
            )
        for step in table.get("before", ()):
            run.step(step)
        if "call" in table or "join" in table:
            run.step(table)
        for step in table.get("after", ()):
            run.step(step)


def _made(value: Any, known: Mapping[str, Any]) -> Any:
    """The value with references followed and made values made."""
    if isinstance(value, str):
        if (whole := REFERENCE.fullmatch(value)) is not None:
            return _made_once(_follow(whole[1], known), known)
        return REFERENCE.sub(lambda reference: str(_made_once(_follow(reference[1], known), known)), value)
    if isinstance(value, list):
        return [_made(item, known) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"times": [text, count], **rest} if not rest:
            return _made(text, known) * count
        case {"join": parts, **rest} if not rest:
            return "".join(_made(part, known) for part in parts)
        case {"hex": digits, **rest} if not rest:
            return bytes.fromhex(digits)
        case {"count": count, "each": item, **rest} if not rest:
            return [_made(item, {**known, "i": str(index)}) for index in range(_made(count, known))]
        case {"many": count, "key": key, "value": item, **rest} if not rest:
            each = [{**known, "i": str(index)} for index in range(_made(count, known))]
            return {_made(key, one): _made(item, one) for one in each}
    return {_made(key, known): _made(item, known) for key, item in value.items()}


def _made_once(value: Any, known: Mapping[str, Any]) -> Any:
    """What a reference leads to may be a made value (in a case), but texts from the broker are taken as they are."""
    return value if isinstance(value, str) else _made(value, known)


def _follow(path: str, known: Mapping[str, Any]) -> Any:
    value: Any = known
    for part in path.split("."):
        if isinstance(value, list):
            value = value[int(part)]
        elif isinstance(value, Mapping):
            value = value[part]
        else:
            value = getattr(value, part)
    return value


def _fits_without_order(expected: list[Any], actual: Any) -> bool:
    left = list(actual)
    for item in expected:
        found = next((one for one in left if not list(mismatches(item, one, ""))), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def _fits_only(expected: Mapping[str, Any], actual: Any) -> bool:
    return set(actual) == set(expected) and not list(mismatches(expected, actual, ""))


MATCHERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "present": lambda _, actual: actual is not None,  # there, whatever it is
    "matches": lambda pattern, actual: re.fullmatch(pattern, actual, re.DOTALL) is not None,
    "other": lambda value, actual: bool(actual != value),
    "length": lambda count, actual: len(actual) == count,
    "length_at_most": lambda count, actual: len(actual) <= count,
    "unordered": _fits_without_order,  # these items in any order, and no others
    "contains": lambda item, actual: item in actual,
    "only": _fits_only,  # these members and no others
    "keys": lambda keys, actual: sorted(actual) == sorted(keys),
    "distinct": lambda member, actual: len({item[member] for item in actual}) == len(actual),
    "seconds_ago_at_most": lambda age, actual: 0 <= time.time() - int(actual) <= age,  # epoch seconds
    "ms_ago_at_most": lambda age, actual: -50 <= time.time() * 1000 - int(actual) <= age,  # epoch milliseconds
    "uuid": lambda _, actual: str(uuid.UUID(actual)) == actual,
}


def mismatches(expected: Any, actual: Any, path: str) -> Iterator[str]:
    """Sentences about where the actual value does not fit."""
    if isinstance(expected, dict):
        if expected and set(expected) <= set(MATCHERS):
            for name, argument in expected.items():
                if not MATCHERS[name](argument, actual):
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
                yield from mismatches(value, actual[key], f"{path}.{key}")
    elif isinstance(expected, list):
        if not isinstance(actual, list) or len(actual) != len(expected):
            yield f"{path}: expected {len(expected)} items, got {actual!r:.300}"
            return
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from mismatches(one, other, f"{path}[{index}]")
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path}: expected {expected!r:.300}, got {actual!r:.300}"
