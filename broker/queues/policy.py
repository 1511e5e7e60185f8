"""Queue policies: what the Policy attribute may hold, and which calls of other accounts it allows.

A caller is an account: Heddle knows no users and no roles within it. Where a policy is finer than that, or depends on a
condition (none is evaluated), the doubt goes against the caller: such an Allow allows nothing, such a Deny denies.
Never: a look at a queue.

Source: sections 1.1, 1.3 and 2 of the queue reference, the quotas of the SQS guide, and the grammar of IAM policies.
The texts of OverLimit are AWS's for size, statements and actions, and formed after these for principals and conditions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from broker import limits
from broker.errors import BrokerError, InvalidAttributeValue, OverLimit

SINGLE_FORMS: Final = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
"""What a batch call does many times over: the right to do it once covers it."""

_VERSION_DEFAULT: Final = "2008-10-17"
_VERSIONS: Final = (_VERSION_DEFAULT, "2012-10-17")
_EFFECTS: Final = ("Allow", "Deny")
_POLICY_MEMBERS: Final = frozenset({"Version", "Id", "Statement"})
_STATEMENT_MEMBERS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_PRINCIPAL_KINDS: Final = frozenset({"AWS", "Service", "Federated", "CanonicalUser"})
_CACHED_POLICIES: Final = 256  # parsed; a text has 8 KiB at most


@dataclass(frozen=True, slots=True)
class _Element:
    """The values of Principal, Action or Resource in a statement. ``inverted``: those of its Not form."""

    values: tuple[str, ...]
    inverted: bool


@dataclass(frozen=True, slots=True)
class _Statement:
    """``principals``: of the kind AWS only. ``resources``: None where the statement names none."""

    allow: bool
    principals: _Element
    actions: _Element
    resources: _Element | None
    conditional: bool


def check_policy(text: str) -> dict[str, Any]:
    """The policy document of a Policy attribute. Raises InvalidAttributeValue, and OverLimit where it is too large."""
    if len(text.encode()) > limits.POLICY_BYTES_MAX:
        raise OverLimit("Submitted policy is over max allowed size.")
    try:
        document = json.loads(text, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        document = None
    if not _is_policy(document):
        raise InvalidAttributeValue("Invalid value for the parameter Policy.")
    policy: dict[str, Any] = document
    _bound(statements_of(policy))
    return policy


def allows(policy: str, principal_account: str, action: str, resource_arn: str) -> bool:
    """Whether a policy lets an account that does not own the queue make a call. ``action``: its name without "SQS:"; a
    batch call is covered by its single form. A policy that does not pass ``check_policy`` allows nothing."""
    try:
        statements = _parsed(policy)
    except BrokerError:
        return False
    names = tuple(f"sqs:{name}".lower() for name in {action, SINGLE_FORMS.get(action, action)})
    allowed = False
    for statement in statements:
        if _applies(statement, principal_account, names, resource_arn):
            if not statement.allow:
                return False
            allowed = True
    return allowed


def statements_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements of a policy document, which may have one by itself instead of a list."""
    statements: dict[str, Any] | list[dict[str, Any]] = document["Statement"]
    return [statements] if isinstance(statements, dict) else statements


# --- checking


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of which no member is there twice: the one that counts would be hidden by the other."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is repeated")
    return members


def _is_policy(document: Any) -> bool:
    if not isinstance(document, dict) or not {"Statement"} <= document.keys() <= _POLICY_MEMBERS:
        return False
    statements = document["Statement"]
    return (
        document.get("Version", _VERSION_DEFAULT) in _VERSIONS
        and isinstance(document.get("Id", ""), str)
        and isinstance(statements, dict | list)
        and all(map(_is_statement, statements_of(document)))
    )


def _is_statement(statement: Any) -> bool:
    if not isinstance(statement, dict) or not statement.keys() <= _STATEMENT_MEMBERS:
        return False
    principals, actions, resources = (
        [statement[form] for form in (name, f"Not{name}") if form in statement]
        for name in ("Principal", "Action", "Resource")
    )
    conditions = statement.get("Condition", {})
    return (
        statement.get("Effect") in _EFFECTS
        and isinstance(statement.get("Sid", ""), str)
        and (len(principals), len(actions)) == (1, 1)
        and len(resources) <= 1
        and all(map(_is_principal, principals))
        and all(map(_is_texts, actions + resources))
        and isinstance(conditions, dict)
        and all(isinstance(keys, dict) for keys in conditions.values())
    )


def _is_texts(value: object) -> bool:
    """A text, or a list of some."""
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    )


def _is_principal(value: object) -> bool:
    if not isinstance(value, dict):
        return value == "*"
    return bool(value) and value.keys() <= _PRINCIPAL_KINDS and all(map(_is_texts, value.values()))


def _bound(statements: Sequence[dict[str, Any]]) -> None:
    """Raises OverLimit beyond what SQS allows one policy to hold."""
    principals = sum(len(_texts(kind)) for one in statements for kind in _principal_lists(one))
    conditions = sum(len(keys) for one in statements for keys in one.get("Condition", {}).values())
    for what, count, most in (
        ("statements", len(statements), limits.POLICY_STATEMENTS_MAX),
        ("principals", principals, limits.POLICY_PRINCIPALS_MAX),
        ("conditions", conditions, limits.POLICY_CONDITIONS_MAX),
    ):
        if count > most:
            raise OverLimit(f"{count} {what} were found in the submitted policy, max allowed is {most}")
    actions = max((len(_element(one, "Action").values) for one in statements), default=0)
    if actions > limits.POLICY_STATEMENT_ACTIONS_MAX:
        raise OverLimit(
            f"{actions} actions were found in a statement from the submitted policy, "
            f"max allowed is {limits.POLICY_STATEMENT_ACTIONS_MAX}"
        )


def _principal_lists(statement: dict[str, Any]) -> list[str | list[str]]:
    principal = statement.get("Principal", statement.get("NotPrincipal"))
    return list(principal.values()) if isinstance(principal, dict) else ["*"]


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


# --- evaluating


@lru_cache(_CACHED_POLICIES)
def _parsed(text: str) -> tuple[_Statement, ...]:
    return tuple(
        _Statement(
            allow=statement["Effect"] == "Allow",
            principals=_principals(statement),
            actions=_element(statement, "Action"),
            resources=_element(statement, "Resource") if statement.keys() & {"Resource", "NotResource"} else None,
            conditional=bool(statement.get("Condition")),
        )
        for statement in statements_of(check_policy(text))
    )


def _element(statement: dict[str, Any], name: str) -> _Element:
    inverted = name not in statement
    return _Element(_texts(statement[f"Not{name}" if inverted else name]), inverted)


def _principals(statement: dict[str, Any]) -> _Element:
    inverted = "Principal" not in statement
    principal = statement["NotPrincipal" if inverted else "Principal"]
    return _Element(_texts(principal.get("AWS", [])) if isinstance(principal, dict) else ("*",), inverted)


def _applies(statement: _Statement, account: str, actions: tuple[str, ...], arn: str) -> bool:
    """Whether a statement speaks of a call: for an Allow certainly so, for a Deny perhaps."""
    if statement.allow and (statement.conditional or statement.resources is None):
        return False
    principals, resources = statement.principals, statement.resources
    # Inverted, what is certain of the list is uncertain of what is left.
    listed = _names_account if statement.allow is not principals.inverted else _may_name_account
    if any(listed(value, account) for value in principals.values) is principals.inverted:
        return False
    if any(_like(name, value.lower()) for value in statement.actions.values for name in actions) is (
        statement.actions.inverted
    ):
        return False
    return resources is None or any(_like(arn, value) for value in resources.values) is not resources.inverted


def _names_account(principal: str, account: str) -> bool:
    """Whether a principal is everyone or the account as a whole."""
    return principal in {"*", account} or _identity(principal) == (account, "root")


def _may_name_account(principal: str, account: str) -> bool:
    """Whether a principal is everyone, the account, or someone in it."""
    return principal in {"*", account} or _like(account, _identity(principal)[0])


def _identity(principal: str) -> tuple[str, str]:
    """Account and name of an ARN of IAM or STS; empty for anything else."""
    parts = principal.split(":", 5)
    return (parts[4], parts[5]) if len(parts) == 6 and parts[2] in {"iam", "sts"} else ("", "")


def _like(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern with * and ?. In time that no pattern makes explode, as ``fnmatch`` promises."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))
