"""Queue policies: what is accepted, which calls of other accounts they allow, and how permissions change them."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidAttributeValue, InvalidParameterValue, OverLimit
from broker.queues.permissions import with_permission, without_permission
from broker.queues.policy import allows, check_policy

ARN = "arn:aws:sqs:us-east-1:000000000000:orders"
FRIEND, STRANGER = "111122223333", "444455556666"
ROOT = f"arn:aws:iam::{FRIEND}:root"

Statement = dict[str, Any]


def statement(**members: Any) -> Statement:
    """One that allows FRIEND to send to the queue, with other members; those that are None are left out."""
    usual = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "SQS:SendMessage", "Resource": ARN}
    return {name: value for name, value in {**usual, **members}.items() if value is not None}


def policy(*statements: Statement) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


# --- evaluation


@pytest.mark.parametrize(
    ("members", "action", "allowed"),
    [
        ({}, "SendMessage", True),
        ({}, "ReceiveMessage", False),
        ({"Effect": "Deny"}, "SendMessage", False),
        # principals
        ({"Principal": "*"}, "SendMessage", True),
        ({"Principal": {"AWS": "*"}}, "SendMessage", True),
        ({"Principal": {"AWS": FRIEND}}, "SendMessage", True),
        ({"Principal": {"AWS": [f"arn:aws:iam::{STRANGER}:root", ROOT]}}, "SendMessage", True),
        ({"Principal": {"AWS": f"arn:aws-cn:iam::{FRIEND}:root"}}, "SendMessage", True),
        ({"Principal": {"AWS": STRANGER}}, "SendMessage", False),
        ({"Principal": {"AWS": f"arn:aws:iam::{FRIEND}:user/bob"}}, "SendMessage", False),
        ({"Principal": {"AWS": f"arn:aws:iam::{FRIEND}:user:root"}}, "SendMessage", False),
        ({"Principal": {"AWS": "arn:aws:iam::*:root"}}, "SendMessage", False),
        ({"Principal": {"Service": "sns.amazonaws.com"}}, "SendMessage", False),
        ({"Principal": None, "NotPrincipal": {"AWS": STRANGER}}, "SendMessage", True),
        ({"Principal": None, "NotPrincipal": {"AWS": ROOT}}, "SendMessage", False),
        ({"Principal": None, "NotPrincipal": {"AWS": f"arn:aws:iam::{FRIEND}:user/bob"}}, "SendMessage", False),
        # actions
        ({"Action": "*"}, "SendMessage", True),
        ({"Action": "sqs:*"}, "PurgeQueue", True),
        ({"Action": "sqs:sendmessage"}, "SendMessage", True),
        ({"Action": "SQS:Send*"}, "SendMessage", True),
        ({"Action": "SQS:?endMessage"}, "SendMessage", True),
        ({"Action": "SQS:[S]endMessage"}, "SendMessage", False),
        ({"Action": "sns:*"}, "SendMessage", False),
        ({"Action": ["SQS:ReceiveMessage", "SQS:SendMessage"]}, "SendMessage", True),
        ({"Action": None, "NotAction": "SQS:ReceiveMessage"}, "SendMessage", True),
        ({"Action": None, "NotAction": ["SQS:ReceiveMessage", "SQS:Send*"]}, "SendMessage", False),
        # the right to do it once covers the batch, and not the other way round
        ({}, "SendMessageBatch", True),
        ({"Action": "SQS:SendMessageBatch"}, "SendMessageBatch", True),
        ({"Action": "SQS:SendMessageBatch"}, "SendMessage", False),
        ({"Action": "SQS:DeleteMessage"}, "DeleteMessageBatch", True),
        ({"Action": "SQS:ChangeMessageVisibility"}, "ChangeMessageVisibilityBatch", True),
        ({"Action": None, "NotAction": "SQS:SendMessage"}, "SendMessageBatch", False),
        # resources
        ({"Resource": "*"}, "SendMessage", True),
        ({"Resource": "arn:aws:sqs:*:000000000000:ord?rs"}, "SendMessage", True),
        ({"Resource": ARN.upper()}, "SendMessage", False),
        ({"Resource": [f"{ARN}-2", ARN]}, "SendMessage", True),
        ({"Resource": None}, "SendMessage", False),
        ({"Resource": None, "NotResource": f"{ARN}-2"}, "SendMessage", True),
        ({"Resource": None, "NotResource": "arn:*"}, "SendMessage", False),
        # conditions: none is evaluated
        ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, "SendMessage", False),
        ({"Condition": {}}, "SendMessage", True),
    ],
)
def test_one_statement(members: Statement, action: str, allowed: bool) -> None:
    assert allows(policy(statement(**members)), FRIEND, action, ARN) is allowed


@pytest.mark.parametrize(
    ("members", "allowed"),
    [
        ({}, False),
        ({"Principal": "*"}, False),
        ({"Principal": {"AWS": STRANGER}}, True),
        ({"Principal": {"AWS": f"arn:aws:iam::{FRIEND}:user/bob"}}, False),  # it might be Bob who calls
        ({"Principal": {"AWS": f"arn:aws:sts::{FRIEND}:assumed-role/clerk/bob"}}, False),
        ({"Principal": {"Service": "sns.amazonaws.com"}}, True),
        ({"Principal": None, "NotPrincipal": {"AWS": ROOT}}, True),
        ({"Principal": None, "NotPrincipal": {"AWS": f"arn:aws:iam::{FRIEND}:user/bob"}}, False),
        ({"Principal": None, "NotPrincipal": {"AWS": STRANGER}}, False),
        ({"Action": "SQS:ReceiveMessage"}, True),
        ({"Action": None, "NotAction": "SQS:SendMessage"}, True),
        ({"Action": None, "NotAction": "SQS:ReceiveMessage"}, False),
        ({"Resource": f"{ARN}-2"}, True),
        ({"Resource": None}, False),
        ({"Condition": {"Bool": {"aws:SecureTransport": "false"}}}, False),
    ],
)
@pytest.mark.parametrize("denied_first", [True, False])
def test_a_deny_beside_an_allow(members: Statement, allowed: bool, denied_first: bool) -> None:
    statements = [statement(Effect="Deny", **members), statement()]
    text = policy(*(statements if denied_first else reversed(statements)))
    assert allows(text, FRIEND, "SendMessage", ARN) is allowed


def test_a_deny_of_the_single_form_denies_the_batch() -> None:
    text = policy(statement(Action="SQS:*"), statement(Effect="Deny"))
    assert not allows(text, FRIEND, "SendMessageBatch", ARN)
    assert allows(text, FRIEND, "ReceiveMessage", ARN)


def test_a_statement_by_itself() -> None:
    assert allows(json.dumps({"Statement": statement()}), FRIEND, "SendMessage", ARN)


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"Statement": [{"Effect": "allow"}]}'])
def test_what_is_no_policy_allows_nothing(text: str) -> None:
    assert not allows(text, FRIEND, "SendMessage", ARN)


def test_no_pattern_takes_long() -> None:
    """A backtracking matcher would not come back from this one."""
    name = ARN + "a" * 80
    assert not allows(policy(statement(Resource="*a" * 1_000 + "b")), FRIEND, "SendMessage", name)
    assert allows(policy(statement(Resource="*a" * 80)), FRIEND, "SendMessage", name)


_principals = st.sampled_from(["*", {"AWS": "*"}, {"AWS": ROOT}, {"AWS": STRANGER}, {"Service": "sns.amazonaws.com"}])
_actions = st.sampled_from(["*", "SQS:*", "SQS:SendMessage", "SQS:ReceiveMessage", "SQS:SendMessageBatch"])
_statements = st.builds(
    statement,
    Effect=st.sampled_from(["Allow", "Deny"]),
    Principal=_principals,
    Action=_actions,
    Resource=st.sampled_from([ARN, "*", f"{ARN}-2"]),
    Condition=st.sampled_from([None, {"Bool": {"aws:SecureTransport": "true"}}]),
)
_calls = st.sampled_from(["SendMessage", "SendMessageBatch", "ReceiveMessage"])


@given(st.lists(_statements, max_size=4), _statements, _calls, st.randoms())
def test_statements_count_by_effect_and_not_by_order(
    statements: list[Statement], added: Statement, action: str, random: Any
) -> None:
    def allowed(*found: Statement) -> bool:
        return allows(policy(*found), FRIEND, action, ARN)

    before, after = allowed(*statements), allowed(*statements, added)
    shuffled = [*statements, added]
    random.shuffle(shuffled)
    assert allowed(*shuffled) == after
    if added["Effect"] == "Deny" or "Condition" in added:
        assert after <= before
    else:
        assert after >= before
    denies = [one for one in shuffled if one["Effect"] == "Deny"]
    assert after == (any(allowed(one) for one in shuffled) and allowed(statement(Action="*"), *denies))


# --- validation


BAD_MEMBERS: list[Statement] = [
    {"Effect": None},
    {"Effect": "allow"},
    {"Effect": ["Allow"]},
    {"Sid": 7},
    {"Note": "x"},
    {"Principal": None},
    {"Principal": "everyone"},
    {"Principal": {}},
    {"Principal": {"AWS": []}},
    {"Principal": {"AWS": 111122223333}},
    {"Principal": {"Robot": "x"}},
    {"Principal": ["*"]},
    {"NotPrincipal": "*"},
    {"Action": None},
    {"Action": []},
    {"Action": {"AWS": "x"}},
    {"NotAction": "SQS:SendMessage"},
    {"Resource": []},
    {"Resource": 7},
    {"NotResource": "*"},
    {"Condition": []},
    {"Condition": {"Bool": "x"}},
]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "{not json",
        "[]",
        '"text"',
        "{}",
        "null",
        "[" * 3_000,
        '{"Statement": [], "Statement": []}',
        {"Statement": None},
        {"Statement": "x"},
        {"Statement": [None]},
        {"Statement": [[]]},
        {"Statement": [], "Version": "2012-10-18"},
        {"Statement": [], "Version": ["2012-10-17"]},
        {"Statement": [], "Id": 7},
        {"Statement": [], "Note": "x"},
        *({"Statement": [statement(**members)]} for members in BAD_MEMBERS),
    ],
    ids=str,
)
def test_what_is_no_policy(document: str | dict[str, Any]) -> None:
    with pytest.raises(InvalidAttributeValue) as refusal:
        check_policy(document if isinstance(document, str) else json.dumps(document))
    assert refusal.value.message == "Invalid value for the parameter Policy."


def conditions(count: int) -> Statement:
    keys = [f"aws:Key{number}" for number in range(count)]
    return statement(
        Condition={"StringEquals": dict.fromkeys(keys[::2], "x"), "StringLike": dict.fromkeys(keys[1::2], "x")}
    )


IN_SUBMITTED = "were found in the submitted policy, max allowed is"


@pytest.mark.parametrize(
    ("within", "beyond", "message"),
    [
        ([statement()] * 20, [statement()] * 21, f"21 statements {IN_SUBMITTED} 20"),
        (
            [statement(Principal={"AWS": [ROOT] * 10})] * 5,
            [statement(Principal={"AWS": [ROOT] * 10})] * 5 + [statement(Principal="*")],
            f"51 principals {IN_SUBMITTED} 50",
        ),
        ([conditions(5), conditions(5)], [conditions(5), conditions(6)], f"11 conditions {IN_SUBMITTED} 10"),
        (
            [statement(Action=["SQS:SendMessage"] * 7)] * 2,
            [statement(), statement(Action=["SQS:SendMessage"] * 8)],
            "8 actions were found in a statement from the submitted policy, max allowed is 7",
        ),
    ],
    ids=["statements", "principals", "conditions", "actions"],
)
def test_a_policy_is_bounded(within: list[Statement], beyond: list[Statement], message: str) -> None:
    assert check_policy(policy(*within))["Statement"] == within
    with pytest.raises(OverLimit) as refusal:
        check_policy(policy(*beyond))
    assert refusal.value.message == message


def test_the_size_of_a_policy_is_in_bytes() -> None:
    room = 8_192 - len('{"Statement":[],"Id":""}')
    assert check_policy('{"Statement":[],"Id":"' + "p" * room + '"}')["Id"] == "p" * room
    for too_long in ("p" * (room + 1), "ä" * (room // 2 + 1)):
        with pytest.raises(OverLimit) as refusal:
            check_policy('{"Statement":[],"Id":"' + too_long + '"}')
        assert refusal.value.message == "Submitted policy is over max allowed size."


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=20) | st.text())
def test_whatever_comes_is_refused_or_taken(document: Any) -> None:
    for text in (json.dumps(document), json.dumps({"Statement": [{"Effect": "Allow", "Principal": document}]})):
        with suppress(InvalidAttributeValue):
            check_policy(text)
        assert not allows(text, FRIEND, "SendMessage", ARN)


# --- permissions


def test_the_first_permission() -> None:
    assert with_permission("", ARN, "friends", [FRIEND], ["SendMessage"]) == (
        '{"Version":"2008-10-17","Id":"arn:aws:sqs:us-east-1:000000000000:orders/SQSDefaultPolicy","Statement":['
        '{"Sid":"friends","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},'
        '"Action":"SQS:SendMessage","Resource":"arn:aws:sqs:us-east-1:000000000000:orders"}]}'
    )


def test_permissions_are_appended_and_removed() -> None:
    one = with_permission("", ARN, "one", [FRIEND], ["SendMessage"])
    two = with_permission(one, ARN, "two", [FRIEND, STRANGER], ["ReceiveMessage", "DeleteMessage"])
    assert [found["Sid"] for found in json.loads(two)["Statement"]] == ["one", "two"]
    assert json.loads(two)["Statement"][1] == {
        "Sid": "two",
        "Effect": "Allow",
        "Principal": {"AWS": [ROOT, f"arn:aws:iam::{STRANGER}:root"]},
        "Action": ["SQS:ReceiveMessage", "SQS:DeleteMessage"],
        "Resource": ARN,
    }
    assert without_permission(two, "two") == one
    assert without_permission(one, "one") == ""


def test_a_permission_beside_a_policy_of_the_users_own() -> None:
    own = json.dumps({"Version": "2012-10-17", "Id": "mine", "Statement": statement(Sid="own")})
    found = json.loads(with_permission(own, ARN, "new", [FRIEND], ["*"]))
    assert (found["Version"], found["Id"]) == ("2012-10-17", "mine")
    assert [one["Sid"] for one in found["Statement"]] == ["own", "new"]
    assert allows(json.dumps(found), FRIEND, "PurgeQueue", ARN)


WSDL = "Please refer to the appropriate WSDL for a list of valid actions."
OWNER = "Only the queue owner is allowed to invoke this action."
ARABIC_DIGITS = "\u0661" * 12
LABEL = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"label": "taken"}, "Value taken for parameter Label is invalid. Reason: Already exists."),
        ({"label": "a b"}, f"Value a b for parameter Label is invalid. Reason: {LABEL}"),
        ({"label": "x" * 81}, f"Value {'x' * 81} for parameter Label is invalid. Reason: {LABEL}"),
        ({"account_ids": []}, "Value [] for parameter PrincipalId is invalid. Reason: Unable to verify."),
        (
            {"account_ids": [FRIEND, "1"]},
            f"Value [{FRIEND}, 1] for parameter PrincipalId is invalid. Reason: Unable to verify.",
        ),
        (
            {"account_ids": [ARABIC_DIGITS]},
            f"Value [{ARABIC_DIGITS}] for parameter PrincipalId is invalid. Reason: Unable to verify.",
        ),
        *(
            (
                {"actions": ["SendMessage", action]},
                f"Value SQS:{action} for parameter ActionName is invalid. Reason: {why}",
            )
            for why, actions in (
                (WSDL, ("Fly", "sendmessage", "SQS:SendMessage", "SendMessageBatch", "")),
                (OWNER, ("AddPermission", "RemovePermission", "CreateQueue", "DeleteQueue", "ListQueues")),
                (OWNER, ("TagQueue", "UntagQueue", "ListQueueTags", "SetQueueAttributes")),
                (OWNER, ("StartMessageMoveTask", "ListMessageMoveTasks", "CancelMessageMoveTask")),
            )
            for action in actions
        ),
    ],
)
def test_permissions_that_are_refused(changed: dict[str, Any], message: str) -> None:
    request = {"label": "new", "account_ids": [FRIEND], "actions": ["SendMessage"], **changed}
    with pytest.raises(InvalidParameterValue) as refusal:
        with_permission(policy(statement(Sid="taken")), ARN, **request)
    assert refusal.value.message == message


def test_more_than_seven_actions() -> None:
    assert with_permission("", ARN, "seven", [FRIEND], ["SendMessage"] * 7)
    with pytest.raises(OverLimit) as refusal:
        with_permission("", ARN, "eight", [FRIEND], ["SendMessage"] * 8)
    assert refusal.value.message == "8 Actions were found, maximum allowed is 7."


@pytest.mark.parametrize("text", ["", policy(), policy(statement()), policy(statement(Sid="other"))])
def test_a_label_that_is_not_there(text: str) -> None:
    with pytest.raises(InvalidParameterValue) as refusal:
        without_permission(text, "gone")
    assert refusal.value.message == "Value gone for parameter Label is invalid. Reason: can't find label."


@pytest.mark.parametrize(
    "action",
    [
        *("ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl"),
        *("ListDeadLetterSourceQueues", "PurgeQueue", "ReceiveMessage", "SendMessage"),
    ],
)
def test_what_may_be_granted_is_granted(action: str) -> None:
    text = with_permission("", ARN, "one", [FRIEND], [action])
    assert check_policy(text)
    assert allows(text, FRIEND, action, ARN)
    assert not allows(text, STRANGER, action, ARN)
