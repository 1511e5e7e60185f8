"""Conformance rows: what they mean, how they are read and how one is run through a face.

A row is a table in ``queues/*.toml``. It names a state, makes calls and says what each gives:

- ``name``; ``see``: the section of the AWS semantics that it holds the broker to; ``only``: the faces it concerns;
  ``time = "virtual"``: it waits for so long that it runs only through faces where that takes no time.
- State before: ``queue`` = attributes of the row's own queue (``false``: not made; with FifoQueue its name ends in
  .fifo); ``queues`` = names and attributes of others, made before it in their order; ``sent`` = bodies, or inputs of
  SendMessage; ``received`` = how many messages one ReceiveMessage then returns.
- Steps: ``before`` (a list), then the row's own call, then ``after`` (a list); or ``steps`` instead of all three. A
  step has ``call`` and ``input`` (the QueueUrl of the row's queue is added to operations that take one), and what
  comes of it: ``output`` or ``error`` (a code, or a code and a message). A step without either must succeed.
  ``pause`` = seconds to wait first; ``repeat`` = n calls, a pause before each, ``${i}`` counting from 0; ``seconds``
  = [least, most] duration of the call; ``as`` = a name for the output; ``start`` = a name: make the call beside the
  following steps, until a step with ``join`` = that name; ``within`` = seconds in which the call, repeated, must come
  to fit; ``account`` = who makes the call, when it is not the queue's owner. A step may be a reference to one in the
  case.
- Short forms of a step, with ``at`` = the URL of another queue: ``send`` = a body or a list of them; ``receive`` = the
  bodies that a receive of ``most`` (10) messages returns, in this order and no others; ``delete`` = a body or a list
  of them, and ``change`` = a body with ``to`` = seconds, by the latest receipt handle of that message.
- ``cases``: a list of tables; the row runs once for each, with the table's keys as references.

A body ``g/m`` (in ``sent`` and ``send``) is sent to message group g; to a FIFO queue (one whose URL ends in .fifo) with
itself as its deduplication id.

Texts hold references: ``${queue}``, ``${url}`` and ``${arn}`` of the row's queue; ``${NAME.queue}``, ``${NAME.url}``
and ``${NAME.arn}`` of one of its ``queues``; ``${handles.0}`` and ``${ids.0}`` (receipt handles and message ids in the
order in which they were received and sent); ``${receipt.BODY}`` (the latest receipt handle of that body);
``${face.queue_does_not_exist}``, the keys of the case and the outputs named by ``as``, with dots between member names
and indexes. A text that is a reference and nothing else has the type of what it refers to.

Made values: ``{ times = ["a", 81] }``, ``{ join = [...] }``, ``{ hex = "00ff" }`` (bytes), ``{ base64 = "text" }``,
``{ count = 3, each = ... }`` (a list, ``${i}`` counting from 0), ``{ many = 3, key = ..., value = ... }`` (a table,
likewise).

Expected values: a table names members that must be there and fit (others may be there); a list must fit item by item.
Where a plain value is too strict, a table with one of the keys of ``MATCHERS`` stands for it.
"""

import base64
import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from conformance_faces import AwsError, Call, Face, Outcome
from conformance_fits import mismatches

OPERATIONS_WITHOUT_QUEUE_URL: Final = {
    *("CreateQueue", "GetQueueUrl", "ListQueues"),
    *("StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask"),
}
SHORT_FORMS: Final = {
    "send": "SendMessage",
    "receive": "ReceiveMessage",
    "delete": "DeleteMessage",
    "change": "ChangeMessageVisibility",
}
STEP_KEYS: Final = {
    *("call", "input", "output", "error", "pause", "repeat", "seconds", "as", "start", "join", "within", "account"),
    *SHORT_FORMS,
    *("at", "most", "to"),
}
ROW_KEYS: Final = STEP_KEYS | {
    *("name", "see", "only", "time", "queue", "queues", "sent", "received", "before", "after", "steps", "cases"),
}
REFERENCE: Final = re.compile(r"\$\{([^}]+)\}")
RETRY_SECONDS: Final = 0.05
STALL_SECONDS_MAX: Final = 1.5
"""What a call may take beyond its row's bound where time is real: the machine may be busy with something else."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, for one of its cases."""

    id: str
    table: Mapping[str, Any]
    case: Mapping[str, Any]

    def concerns(self, face: str, *, virtual_time: bool) -> bool:
        return face in self.table.get("only", (face,)) and ("time" not in self.table or virtual_time)

    @property
    def is_of_few_faces(self) -> bool:
        return "only" in self.table

    def steps(self) -> Iterator[Mapping[str, Any]]:
        """In order, the row's own call among them."""
        own = [self.table] if "call" in self.table or "join" in self.table else []
        table = self.table
        for step in (*table.get("before", ()), *own, *table.get("after", ()), *table.get("steps", ())):
            reference = REFERENCE.fullmatch(step) if isinstance(step, str) else None
            yield step if reference is None else self.case[reference[1]]

    def kinds(self) -> set[tuple[str, str]]:
        """What of a protocol the row speaks: operations with each member of their input and each code of an error."""
        found: set[tuple[str, str]] = set()
        for step in self.steps():
            form = next((name for name in step if name in SHORT_FORMS), None)
            operation = SHORT_FORMS[form] if form else self._named(step.get("call", "join"))
            found.add((operation, ""))
            found.update((operation, member) for member in self._named(step.get("input", {})))
            if "error" in step:
                error = self._named(step["error"])
                found.add((operation, str(self._named(error[0]) if isinstance(error, list) else error)))
        return found

    def _named(self, value: Any) -> Any:
        """What the case has in the place of a text that is a reference into it."""
        whole = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        return value if whole is None else self.case.get(whole[1], value)

    def seconds_least(self) -> float:
        """How long the row takes where time is real: its pauses, and the calls that must last."""
        pauses = [
            _made(step.get("pause", 0), self.case) * _made(step.get("repeat", 1), self.case) for step in self.steps()
        ]
        return float(sum(pauses) + sum(step.get("seconds", [0])[0] for step in self.steps()))


def load_rows(directory: Path) -> list[Row]:
    """All rows, files in the order of their names. A row that is misspelt or asserts nothing is refused."""
    rows = [row for path in sorted(directory.glob("*.toml")) for row in _rows_of(path)]
    ids = [row.id for row in rows]
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    return rows


def _rows_of(path: Path) -> Iterator[Row]:
    for table in tomllib.loads(path.read_text(encoding="utf-8"))["row"]:
        where = f"{path.stem}/{table['name']}"
        assert set(table) <= ROW_KEYS, (where, set(table) - ROW_KEYS)
        assert "see" in table, where
        assert table.get("time", "virtual") == "virtual", where
        cases = table.get("cases")
        rows = [Row(f"{where}/{index}", table, case) for index, case in enumerate(cases or ())]
        for row in [Row(where, table, {})] if cases is None else rows:
            steps = list(row.steps())
            assert all(set(step) <= STEP_KEYS for step in steps if step is not table), where
            asserting = (step.get("output") or step.get("error") or "receive" in step for step in steps)
            assert any(asserting), f"{where} asserts nothing"
            yield row


@dataclass(slots=True)
class _Run:
    """What a row knows while it runs."""

    face: Face
    known: dict[str, Any]
    started: dict[str, Call] = field(default_factory=dict)

    def create(self, name: str, attributes: Mapping[str, str]) -> dict[str, str]:
        made = _made(attributes, self.known)
        if "FifoQueue" in made:
            name += ".fifo"
        url = self.face.call("CreateQueue", {"QueueName": name, "Attributes": made})["QueueUrl"]
        return _names(name, url)

    def step(self, step: Mapping[str, Any]) -> None:
        pause_s = _made(step.get("pause", 0), self.known)
        if "join" in step:
            self.face.pause(pause_s)
            self._check(step, *self.started.pop(step["join"]).ended())
            return
        for position, plain in enumerate(self._plain(step)):
            operation = _made(plain["call"], self.known)
            for index in range(_made(plain.get("repeat", 1), self.known)):
                if position == 0 or index:  # before each repetition, but once before a list of bodies
                    self.face.pause(pause_s)
                known = {**self.known, "i": str(index)}
                members = _made(plain.get("input", {}), known)
                if operation not in OPERATIONS_WITHOUT_QUEUE_URL:
                    members = {"QueueUrl": self.known["url"], **members}
                self._make(plain, operation, members)

    def _make(self, step: Mapping[str, Any], operation: str, members: Mapping[str, Any]) -> None:
        account = step.get("account", "")
        call = self.face.start(operation, members, account)
        if "start" in step:
            self.started[step["start"]] = call
            return None
        deadline = self.face.now_s() + step.get("within", 0)
        while True:
            try:
                return self._check(step, *call.ended())
            except AssertionError:
                if self.face.now_s() >= deadline:
                    raise
            self.face.pause(RETRY_SECONDS)
            call = self.face.start(operation, members, account)

    def _plain(self, step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The step without short forms."""
        form = next((name for name in step if name in SHORT_FORMS), None)
        if form is None:
            yield step
            return
        rest = {key: value for key, value in step.items() if key not in {form, "at", "most", "to", "pause"}}
        url = _made(step.get("at", "${url}"), self.known)
        target = {"QueueUrl": url, **step.get("input", {})}
        what = _made(step[form], self.known)
        if form == "receive":
            fitting: dict[str, Any] = {"Messages": [{"Body": body} for body in what]} if what else {"only": {}}
            most = {"MaxNumberOfMessages": step.get("most", 10)}
            yield {"output": fitting, **rest, "call": "ReceiveMessage", "input": {**most, **target}}
            return
        for body in what if isinstance(what, list) else [what]:
            if form == "send":
                yield {**rest, "call": "SendMessage", "input": {**message_of(body, url), **target}}
                continue
            handle = {"ReceiptHandle": self.known["receipt"][body]}
            if form == "delete":
                yield {**rest, "call": "DeleteMessage", "input": {**handle, **target}}
            else:
                change = {**handle, "VisibilityTimeout": step["to"]}
                yield {**rest, "call": "ChangeMessageVisibility", "input": {**change, **target}}

    def _check(self, step: Mapping[str, Any], seconds: float, outcome: Outcome) -> None:
        what = step.get("call", f"join {step.get('join')}")
        now_s = self.face.now_s()
        if isinstance(outcome, AwsError):
            assert "error" in step, f"{what} was refused: {outcome}"
            expected = _made(step["error"], self.known)
            code, message = expected if isinstance(expected, list) else (expected, {"present": True})
            faults = [
                *mismatches(code, outcome.code, "code", now_s),
                *mismatches(message, outcome.message, "message", now_s),
            ]
        else:
            assert "error" not in step, f"{what} succeeded, not refused with {step['error']}: {outcome}"
            self._remember(step, outcome)
            faults = list(mismatches(_made(step.get("output", {}), self.known), outcome, "output", now_s))
        assert not faults, f"{what}: " + "\n".join(faults)
        least, most = step.get("seconds", (0, 60))
        most += 0 if self.face.virtual_time else STALL_SECONDS_MAX
        assert least <= seconds <= most, f"{what} took {seconds:.3f} s"

    def _remember(self, step: Mapping[str, Any], output: dict[str, Any]) -> None:
        for message in output.get("Messages", ()):
            self.known["handles"].append(message["ReceiptHandle"])
            self.known["receipt"][message["Body"]] = message["ReceiptHandle"]
        self.known["ids"] += [entry["MessageId"] for entry in output.get("Successful", ()) if "MessageId" in entry]
        if "MessageId" in output:
            self.known["ids"].append(output["MessageId"])
        if "as" in step:
            self.known[step["as"]] = output


def message_of(body: str, queue_url: str) -> dict[str, Any]:
    """The input of SendMessage that the short form of a message stands for."""
    group, slash, _ = body.partition("/")
    ids = {"MessageGroupId": group} if slash else {}
    if slash and queue_url.endswith(".fifo"):
        ids["MessageDeduplicationId"] = body
    return {"MessageBody": body, **ids}


def run_row(row: Row, face: Face) -> None:
    """Raises ``AssertionError`` where the broker deviates from the row."""
    table, name = row.table, f"c{uuid.uuid4().hex[:16]}"
    known: dict[str, Any] = {"face": face, "handles": [], "receipt": {}, "ids": [], **_names(name, name)}
    run = _Run(face, known)
    assert not set(row.case) & set(known), f"a case may not rename {sorted(known)}"
    known.update(_made(row.case, known))
    for other, attributes in table.get("queues", {}).items():
        known[other] = run.create(f"{name}-{other}", attributes)
    if table.get("queue", {}) is not False:
        known.update(run.create(name, table.get("queue", {})))
    for body in _made(table.get("sent", []), known):
        run.step({"send": body} if isinstance(body, str) else {"call": "SendMessage", "input": body})
    if "received" in table:
        count = table["received"]
        fitting = {"Messages": {"length": count}}
        run.step({"call": "ReceiveMessage", "input": {"MaxNumberOfMessages": count}, "output": fitting})
    for step in row.steps():
        run.step(step)


def _names(name: str, url: str) -> dict[str, str]:
    return {"queue": name, "url": url, "arn": f"arn:aws:sqs:us-east-1:000000000000:{name}"}


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
        case {"base64": text, **rest} if not rest:
            return base64.b64encode(_made(text, known).encode()).decode()
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
