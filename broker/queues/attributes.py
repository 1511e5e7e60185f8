"""Queue attributes: names, ranges, defaults, and the typed values that the plane works with.

Source: SetQueueAttributes and CreateQueue of the SQS API; section 2 of the queue reference. What a redrive policy says
of another queue is checked by the plane, which knows the others. Never: knowledge of messages.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from broker import limits
from broker.errors import InvalidAttributeName, InvalidAttributeValue, InvalidParameterValue
from broker.queues.policy import check_policy
from broker.queues.redrive import parse_redrive_allow_policy, parse_redrive_policy

INTEGER_RANGES: Final[Mapping[str, tuple[int, int, int]]] = {
    # name: (default, lowest, highest)
    "DelaySeconds": (0, 0, limits.DELAY_SECONDS_MAX),
    "MaximumMessageSize": (
        limits.MESSAGE_BYTES_MAX,
        limits.MESSAGE_SIZE_ATTRIBUTE_BYTES_MIN,
        limits.MESSAGE_BYTES_MAX,
    ),
    "MessageRetentionPeriod": (
        limits.RETENTION_SECONDS_DEFAULT,
        limits.RETENTION_SECONDS_MIN,
        limits.RETENTION_SECONDS_MAX,
    ),
    "ReceiveMessageWaitTimeSeconds": (0, 0, limits.WAIT_TIME_SECONDS_MAX),
    "VisibilityTimeout": (
        limits.VISIBILITY_TIMEOUT_SECONDS_DEFAULT,
        0,
        limits.VISIBILITY_TIMEOUT_SECONDS_MAX,
    ),
}
DEFAULTS: Final[Mapping[str, str]] = {
    **{name: str(default) for name, (default, _, _) in INTEGER_RANGES.items()},
    "SqsManagedSseEnabled": "true",
}
FIFO_DEFAULTS: Final[Mapping[str, str]] = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
READ_ONLY: Final = frozenset({*COUNTS, "CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"})
OPTIONAL: Final = frozenset(
    {"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds"}
)
KNOWN: Final = frozenset({*DEFAULTS, *FIFO_DEFAULTS, *READ_ONLY, *OPTIONAL})
_JSON: Final = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy"})


class QueueAttributes:
    """The settable attributes of a queue, as strings, and as values those that are asked for on every call.

    ``values`` need only hold what differs from the defaults. ``redrive``: None without a dead-letter queue.
    """

    __slots__ = (
        "content_based_deduplication",
        "deduplication_per_group",
        "delay_ms",
        "fifo",
        "maximum_message_bytes",
        "redrive",
        "retention_ms",
        "values",
        "visibility_timeout_ms",
        "wait_time_seconds",
    )

    def __init__(self, values: Mapping[str, str]) -> None:
        self.fifo = values.get("FifoQueue") == "true"
        self.values: dict[str, str] = {**DEFAULTS, **(FIFO_DEFAULTS if self.fifo else {}), **values}
        self.delay_ms = self._number("DelaySeconds") * 1000
        self.maximum_message_bytes = self._number("MaximumMessageSize")
        self.retention_ms = self._number("MessageRetentionPeriod") * 1000
        self.wait_time_seconds = self._number("ReceiveMessageWaitTimeSeconds")
        self.visibility_timeout_ms = self._number("VisibilityTimeout") * 1000
        self.content_based_deduplication = self.values.get("ContentBasedDeduplication") == "true"
        self.deduplication_per_group = self.values.get("DeduplicationScope") == "messageGroup"
        redrive_policy = self.values.get("RedrivePolicy")
        self.redrive = None if redrive_policy is None else parse_redrive_policy(redrive_policy)

    def _number(self, name: str) -> int:
        return int(self.values[name])

    @classmethod
    def of_new_queue(cls, requested: Mapping[str, str]) -> "QueueAttributes":
        """Those of a queue that is created with the requested ones. Raises what ``changed_by`` raises."""
        return cls({"FifoQueue": "true"} if requested_fifo(requested) else {}).changed_by(requested)

    def changed_by(self, requested: Mapping[str, str]) -> "QueueAttributes":
        """These with the requested values, all of them or none. Raises InvalidAttributeName, InvalidAttributeValue,
        InvalidParameterValue for redrive policies, OverLimit for a policy that is too large."""
        values = dict(self.values)
        if requested.get("KmsMasterKeyId") and _boolean_or_none(requested.get("SqsManagedSseEnabled")) == "true":
            raise InvalidAttributeName(
                "You can use one type of server-side encryption (SSE) at one time. "
                "You can either enable KMS SSE or SQS SSE."
            )
        for name, raw in requested.items():
            value = _validated(name, raw, fifo=self.fifo)
            if value is None:
                values.pop(name, None)
            else:
                values[name] = value
            if name == "KmsMasterKeyId" and value is not None:
                values["SqsManagedSseEnabled"] = "false"
        if values.get("FifoThroughputLimit") == "perMessageGroupId" and values["DeduplicationScope"] != "messageGroup":
            raise InvalidAttributeValue(
                "Invalid value for the parameter FifoThroughputLimit. "
                "Reason: To set FifoThroughputLimit to perMessageGroupId, the DeduplicationScope must be messageGroup."
            )
        return QueueAttributes(values)

    def first_difference(self, requested: Mapping[str, str]) -> str | None:
        """The first requested attribute whose value differs from the current one; None when all are equal."""
        for name, raw in requested.items():
            value, current = _validated(name, raw, fifo=self.fifo), self.values.get(name)
            if name in _JSON and value is not None and current is not None:
                if json.loads(value) != json.loads(current):
                    return name
            elif value != current:
                return name
        return None


def _validated(name: str, raw: str, *, fifo: bool) -> str | None:
    """The value as it is kept; None for one that is removed by the empty string."""
    if name in INTEGER_RANGES:
        _, lowest, highest = INTEGER_RANGES[name]
        return _integer(name, raw, lowest, highest)
    if name in _CHOICES and not fifo:
        raise InvalidAttributeName(f"You can specify the {name} only when FifoQueue is set to true.")
    validate = _VALIDATORS.get(name)
    if validate is None or (name in FIFO_DEFAULTS and not fifo):
        raise InvalidAttributeName(f"Unknown Attribute {name}.")
    return validate(name, raw)


def _integer(name: str, raw: str, lowest: int, highest: int) -> str:
    # isdecimal() would let through digits of other scripts, which int() reads and AWS does not.
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 10 and lowest <= int(raw) <= highest):
        raise InvalidAttributeValue(f"Invalid value for the parameter {name}.")
    return str(int(raw))


def _boolean_or_none(raw: str | None) -> str | None:
    return raw.lower() if raw is not None and raw.lower() in {"true", "false"} else None


def _boolean(name: str, raw: str) -> str:
    value = _boolean_or_none(raw)
    if value is None:
        raise InvalidAttributeValue(f"Invalid value for the parameter {name}.")
    return value


def _kms_reuse_period(name: str, raw: str) -> str | None:
    value = _integer(name, raw, limits.KMS_REUSE_SECONDS_MIN, limits.KMS_REUSE_SECONDS_MAX)
    return None if int(value) == limits.KMS_REUSE_SECONDS_DEFAULT else value


def _kms_key(name: str, raw: str) -> str | None:
    if len(raw) > limits.KMS_KEY_ID_CHARACTERS_MAX:
        raise InvalidAttributeValue(f"Invalid value for the parameter {name}.")
    return raw or None


def _fifo_queue(name: str, raw: str) -> str:
    if _boolean(name, raw) == "false":
        raise InvalidAttributeValue(
            f"Invalid value for the parameter {name}. Reason: Modifying queue type is not supported."
        )
    return "true"


def _choice(name: str, raw: str) -> str:
    if raw not in _CHOICES[name]:
        raise InvalidAttributeValue(f"Invalid value for the parameter {name}.")
    return raw


def _policy(_name: str, raw: str) -> str | None:
    if raw:
        check_policy(raw)
    return raw or None


def _redrive_policy(_name: str, raw: str) -> str | None:
    return parse_redrive_policy(raw).text() if raw else None


def _redrive_allow_policy(_name: str, raw: str) -> str | None:
    return parse_redrive_allow_policy(raw).text() if raw else None


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_VALIDATORS: Final[Mapping[str, Callable[[str, str], str | None]]] = {
    "SqsManagedSseEnabled": _boolean,
    "KmsMasterKeyId": _kms_key,
    "KmsDataKeyReusePeriodSeconds": _kms_reuse_period,
    "Policy": _policy,
    "RedrivePolicy": _redrive_policy,
    "RedriveAllowPolicy": _redrive_allow_policy,
    "FifoQueue": _fifo_queue,
    "ContentBasedDeduplication": _boolean,
    **dict.fromkeys(_CHOICES, _choice),
}


def requested_fifo(requested: Mapping[str, str]) -> bool:
    """Whether CreateQueue asks for a FIFO queue. Raises InvalidAttributeValue for anything but a boolean."""
    raw = requested.get("FifoQueue")
    return raw is not None and _boolean("FifoQueue", raw) == "true"


def wanted_names(requested: list[str]) -> set[str]:
    """The attribute names that GetQueueAttributes asks for, "All" spelled out. Raises InvalidAttributeName."""
    names: set[str] = set()
    for name in requested:
        if name == "All":
            names |= KNOWN
        elif name in KNOWN:
            names.add(name)
        else:
            raise InvalidAttributeName(f"Unknown Attribute {name}.")
    return names


def check_tags(queue_name: str, current: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The tags after adding. Raises InvalidParameterValue; then nothing is added."""
    for key, value in added.items():
        if not 1 <= len(key) <= limits.TAG_KEY_CHARACTERS_MAX:
            raise InvalidParameterValue("Tag keys must be between 1 and 128 characters in length.")
        if len(value) > limits.TAG_VALUE_CHARACTERS_MAX:
            raise InvalidParameterValue("Tag values must be between 0 and 256 characters in length.")
        if not (_tag_characters(key) and _tag_characters(value)):
            raise InvalidParameterValue(
                "Tag keys and values can only include letters, digits, whitespace and _ . : / = + - @."
            )
    tags = {**current, **added}
    if len(tags) > limits.TAGS_MAX:
        raise InvalidParameterValue(f"Too many tags added for queue {queue_name}.")
    return tags


def _tag_characters(text: str) -> bool:
    return all(c.isalnum() or c.isspace() or c in "_.:/=+-@" for c in text)
