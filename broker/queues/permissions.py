"""AddPermission and RemovePermission: statements of a queue's policy, by label. Never: a look at a queue.

Source: section 1.3 of the queue reference.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from broker import limits
from broker.errors import InvalidParameterValue, OverLimit
from broker.queues.policy import check_policy, statements_of

_LABEL: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{limits.LABEL_CHARACTERS_MAX}}}", re.ASCII)
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_OWNERS: Final = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "ListMessageMoveTasks",
        "ListQueueTags",
        "ListQueues",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    }
)


def with_permission(policy: str, queue_arn: str, label: str, account_ids: Sequence[str], actions: Sequence[str]) -> str:
    """The policy, empty where there is none yet, with a statement more. Raises InvalidParameterValue; OverLimit for too
    many actions. That the whole stays within the limits of a policy is checked where it is set."""
    if not _LABEL.fullmatch(label):
        raise InvalidParameterValue(
            f"Value {label} for parameter Label is invalid. "
            "Reason: Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."
        )
    if not account_ids or not all(map(_ACCOUNT.fullmatch, account_ids)):
        raise InvalidParameterValue(
            f"Value [{', '.join(account_ids)}] for parameter PrincipalId is invalid. Reason: Unable to verify."
        )
    _check_actions(actions)
    document = check_policy(policy) if policy else _empty(queue_arn)
    statements = statements_of(document)
    if any(statement.get("Sid") == label for statement in statements):
        raise InvalidParameterValue(f"Value {label} for parameter Label is invalid. Reason: Already exists.")
    added = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": _one_or_all([f"arn:aws:iam::{account_id}:root" for account_id in account_ids])},
        "Action": _one_or_all([f"SQS:{action}" for action in actions]),
        "Resource": queue_arn,
    }
    return _text({**document, "Statement": [*statements, added]})


def without_permission(policy: str, label: str) -> str:
    """The policy without the statement of a label; empty where it was the only one. Raises InvalidParameterValue."""
    document = check_policy(policy) if policy else _empty("")
    statements = statements_of(document)
    left = [statement for statement in statements if statement.get("Sid") != label]
    if len(left) == len(statements):
        raise InvalidParameterValue(f"Value {label} for parameter Label is invalid. Reason: can't find label.")
    return _text({**document, "Statement": left}) if left else ""


def _check_actions(actions: Sequence[str]) -> None:
    if len(actions) > limits.POLICY_STATEMENT_ACTIONS_MAX:
        raise OverLimit(f"{len(actions)} Actions were found, maximum allowed is {limits.POLICY_STATEMENT_ACTIONS_MAX}.")
    for action in actions:
        if action not in limits.PERMISSION_ACTIONS:
            reason = (
                "Only the queue owner is allowed to invoke this action."
                if action in _OWNERS
                else "Please refer to the appropriate WSDL for a list of valid actions."
            )
            raise InvalidParameterValue(f"Value SQS:{action} for parameter ActionName is invalid. Reason: {reason}")


def _empty(queue_arn: str) -> dict[str, Any]:
    return {"Version": "2008-10-17", "Id": f"{queue_arn}/SQSDefaultPolicy", "Statement": []}


def _one_or_all(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
