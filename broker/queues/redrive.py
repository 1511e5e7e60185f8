"""Redrive policies: which queue takes the messages that were received too often, and which queues may name it so.

Source: sections 6.1 and 6.3 of the queue reference. The empty string, which removes a policy, is the caller's to
handle. Never: a message, or a change to a queue.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from broker import limits
from broker.errors import InvalidParameterValue

if TYPE_CHECKING:
    from broker.queues.queue import Queue

_RECEIVE_COUNT_MAX: Final = 1_000  # SQS, RedrivePolicy: maxReceiveCount
_SOURCE_ARNS_MAX: Final = 10  # SQS, RedriveAllowPolicy: sourceQueueArns
_ARN: Final = re.compile(r"arn(:[^:\s]+){5}")

ALLOW_ALL: Final = "allowAll"
DENY_ALL: Final = "denyAll"
BY_QUEUE: Final = "byQueue"


@dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """Of a source queue: a message that was received ``max_receive_count`` times from it goes to the dead-letter queue
    ``dead_letter_target_arn`` instead of being received again."""

    dead_letter_target_arn: str
    max_receive_count: int

    def text(self) -> str:
        """The policy as it is stored and returned: the receive count is a number, however it was given."""
        return _text(
            {"deadLetterTargetArn": self.dead_letter_target_arn, "maxReceiveCount": self.max_receive_count},
        )


@dataclass(frozen=True, slots=True)
class RedriveAllowPolicy:
    """Of a dead-letter queue: the source queues whose redrive policy may name it."""

    permission: str = ALLOW_ALL
    source_queue_arns: tuple[str, ...] = ()

    def allows(self, source_arn: str) -> bool:
        return self.permission == ALLOW_ALL or (self.permission == BY_QUEUE and source_arn in self.source_queue_arns)

    def text(self) -> str:
        """The policy as it is stored and returned."""
        if self.permission == BY_QUEUE:
            return _text({"redrivePermission": BY_QUEUE, "sourceQueueArns": list(self.source_queue_arns)})
        return _text({"redrivePermission": self.permission})


def is_arn(text: str) -> bool:
    """Whether this has the form arn:<partition>:<service>:<region>:<account-id>:<resource-id>."""
    return _ARN.fullmatch(text) is not None


def parse_redrive_policy(text: str) -> RedrivePolicy:
    """The policy, as far as it can be checked without looking at other queues. Raises InvalidParameterValue."""
    fields = _json_map(text)
    if fields is None:
        raise InvalidParameterValue(
            "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map."
        )
    for name in ("maxReceiveCount", "deadLetterTargetArn"):
        if name not in fields:
            _refuse_redrive(text, f"Redrive policy does not contain mandatory attribute: {name}.")
    count, target_arn = _whole_number(fields["maxReceiveCount"]), fields["deadLetterTargetArn"]
    if count is None or not 1 <= count <= _RECEIVE_COUNT_MAX:
        _refuse_redrive(
            text,
            f"Invalid value for maxReceiveCount: {_shown(fields['maxReceiveCount'])}, "
            "valid values are from 1 to 1000 both inclusive.",
        )
    if not isinstance(target_arn, str) or not is_arn(target_arn):
        _refuse_redrive(text, "Dead-letter target ARN should be fully qualified ARN.")
    if len(fields) > 2:
        _refuse_redrive(text, "Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn].")
    return RedrivePolicy(target_arn, count)


def check_target(
    policy: RedrivePolicy, text: str, *, source_arn: str, source_fifo: bool, target: "Queue | None"
) -> None:
    """The rest of the checks, given the queue that the policy names: it exists, in the source's account and region, is
    of the source's type, and lets the source name it. ``text``: the policy as the caller wrote it. Raises
    InvalidParameterValue."""
    if target is None or _home(policy.dead_letter_target_arn) != _home(source_arn):
        _refuse_redrive(text, "Dead letter target does not exist.")
    if target.fifo != source_fifo:
        _refuse_redrive(text, "Dead-letter queue must be same type of queue as the source.")
    allow_text = target.attributes.values.get("RedriveAllowPolicy")
    if allow_text and not parse_redrive_allow_policy(allow_text).allows(source_arn):
        # The wording is ours: AWS's could not be found.
        _refuse_redrive(text, "The redrive allow policy of the dead-letter queue does not allow this source queue.")


def parse_redrive_allow_policy(text: str) -> RedriveAllowPolicy:
    """The policy. Raises InvalidParameterValue."""
    fields = _json_map(text)
    if fields is None or not fields.keys() <= {"redrivePermission", "sourceQueueArns"}:
        _refuse_format()
    permission, source_arns = fields.get("redrivePermission"), fields.get("sourceQueueArns", [])
    if permission not in (ALLOW_ALL, DENY_ALL, BY_QUEUE) or not isinstance(source_arns, list):
        _refuse_format()
    if not all(isinstance(arn, str) and is_arn(arn) for arn in source_arns):
        _refuse_format()
    if permission != BY_QUEUE and source_arns:
        _refuse_allow(text, "To specify one or more source queue ARNs, you must set redrivePermission to byQueue.")
    if permission == BY_QUEUE and not source_arns:
        _refuse_allow(
            text,
            "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values.",
        )
    if len(source_arns) > _SOURCE_ARNS_MAX:
        _refuse_allow(text, "The maximum number of source queue ARNs you can specify is 10.")
    return RedriveAllowPolicy(permission, tuple(source_arns))


def _refuse_redrive(text: str, reason: str) -> NoReturn:
    raise InvalidParameterValue(f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}")


def _refuse_allow(text: str, reason: str) -> NoReturn:
    raise InvalidParameterValue(
        f"Value {text} for parameter RedriveAllowPolicy is invalid. "
        f"Reason: Amazon SQS can't create the redrive allow policy. {reason}"
    )


def _refuse_format() -> NoReturn:
    raise InvalidParameterValue(
        "Invalid value for the parameter RedriveAllowPolicy. "
        "Reason: Amazon SQS can't create the redrive allow policy, as it's in an unsupported format."
    )


def _home(arn: str) -> str:
    """Partition, service, region and account of an ARN."""
    return arn.rpartition(":")[0]


def _json_map(text: str) -> dict[str, object] | None:
    if len(text) > limits.REDRIVE_POLICY_CHARACTERS_MAX:  # decoding megabytes would hold up everybody
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _whole_number(value: object) -> int | None:
    """A JSON number without fraction, or a string of ASCII digits; None for anything else, ``true`` included."""
    if isinstance(value, str):
        # As for the attributes that are numbers: int() reads digits of other scripts, AWS does not.
        return int(value) if value.isascii() and value.isdigit() and len(value) <= 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _shown(value: object) -> str:
    """A JSON value in an error text. Half of a surrogate pair, which no answer could carry, is spelled out."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "backslashreplace").decode()


def _text(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, separators=(",", ":"))
