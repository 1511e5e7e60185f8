"""Redrive policies and redrive allow policies: every row of the tables of the queue reference, 6.1 and 6.3."""

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidParameterValue
from broker.queues.queue import Queue
from broker.queues.redrive import (
    RedriveAllowPolicy,
    RedrivePolicy,
    check_target,
    parse_redrive_allow_policy,
    parse_redrive_policy,
)

HOME = "arn:aws:sqs:us-east-1:000000000000"
SOURCE, DLQ = f"{HOME}:orders", f"{HOME}:orders-dead"
POLICY = json.dumps({"deadLetterTargetArn": DLQ, "maxReceiveCount": 3})

NOT_JSON = "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map."
NO_COUNT = "Redrive policy does not contain mandatory attribute: maxReceiveCount."
NO_TARGET = "Redrive policy does not contain mandatory attribute: deadLetterTargetArn."
NOT_AN_ARN = "Dead-letter target ARN should be fully qualified ARN."
UNKNOWN_NAME = "Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn]."

UNSUPPORTED = (
    "Invalid value for the parameter RedriveAllowPolicy. "
    "Reason: Amazon SQS can't create the redrive allow policy, as it's in an unsupported format."
)
ONLY_BY_QUEUE = "To specify one or more source queue ARNs, you must set redrivePermission to byQueue."
NO_ARNS = "When you specify the byQueue permission type, you must also specify one or more sourceQueueArns values."
TOO_MANY_ARNS = "The maximum number of source queue ARNs you can specify is 10."


def bad_count(value: str) -> str:
    return f"Invalid value for maxReceiveCount: {value}, valid values are from 1 to 1000 both inclusive."


def refusal(parse: Callable[[str], object], text: str) -> str:
    with pytest.raises(InvalidParameterValue) as caught:
        parse(text)
    return caught.value.message


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (1000, 1000), ("5", 5), ("1000", 1000), ("007", 7)])
def test_the_receive_count_is_a_number_or_a_numeric_string_and_kept_as_a_number(count: int | str, kept: int) -> None:
    policy = parse_redrive_policy(json.dumps({"deadLetterTargetArn": DLQ, "maxReceiveCount": count}))
    assert policy == RedrivePolicy(DLQ, kept)
    assert policy.text() == f'{{"deadLetterTargetArn":"{DLQ}","maxReceiveCount":{kept}}}'


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "3", "null", '"a"', "{", "NaN", "{'maxReceiveCount': 1}", "[" * 100_000]
)
def test_a_redrive_policy_that_is_no_json_map(text: str) -> None:
    assert refusal(parse_redrive_policy, text) == NOT_JSON


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", NO_COUNT),
        ('{"foo": 1}', NO_COUNT),
        (f'{{"deadLetterTargetArn": "{DLQ}"}}', NO_COUNT),
        ('{"maxReceiveCount": 3}', NO_TARGET),
        ('{"maxReceiveCount": 0}', NO_TARGET),
        (f'{{"maxReceiveCount": 0, "deadLetterTargetArn": "{DLQ}"}}', bad_count("0")),
        (f'{{"maxReceiveCount": 1001, "deadLetterTargetArn": "{DLQ}"}}', bad_count("1001")),
        (f'{{"maxReceiveCount": -1, "deadLetterTargetArn": "{DLQ}"}}', bad_count("-1")),
        (f'{{"maxReceiveCount": "0", "deadLetterTargetArn": "{DLQ}"}}', bad_count("0")),
        (f'{{"maxReceiveCount": "", "deadLetterTargetArn": "{DLQ}"}}', bad_count("")),
        (f'{{"maxReceiveCount": "many", "deadLetterTargetArn": "{DLQ}"}}', bad_count("many")),
        (f'{{"maxReceiveCount": "+3", "deadLetterTargetArn": "{DLQ}"}}', bad_count("+3")),
        (f'{{"maxReceiveCount": "٣", "deadLetterTargetArn": "{DLQ}"}}', bad_count("٣")),
        (f'{{"maxReceiveCount": 2.5, "deadLetterTargetArn": "{DLQ}"}}', bad_count("2.5")),
        (f'{{"maxReceiveCount": true, "deadLetterTargetArn": "{DLQ}"}}', bad_count("true")),
        (f'{{"maxReceiveCount": null, "deadLetterTargetArn": "{DLQ}"}}', bad_count("null")),
        (f'{{"maxReceiveCount": [3], "deadLetterTargetArn": "{DLQ}"}}', bad_count("[3]")),
        ('{"maxReceiveCount": 0, "deadLetterTargetArn": "orders-dead", "foo": 1}', bad_count("0")),
        ('{"maxReceiveCount": 3, "deadLetterTargetArn": "orders-dead", "foo": 1}', NOT_AN_ARN),
        ('{"maxReceiveCount": 3, "deadLetterTargetArn": ""}', NOT_AN_ARN),
        ('{"maxReceiveCount": 3, "deadLetterTargetArn": 7}', NOT_AN_ARN),
        ('{"maxReceiveCount": 3, "deadLetterTargetArn": "arn:aws:sqs:us-east-1:orders-dead"}', NOT_AN_ARN),
        (f'{{"maxReceiveCount": 3, "deadLetterTargetArn": "{DLQ}", "foo": 1}}', UNKNOWN_NAME),
    ],
)
def test_a_redrive_policy_is_refused_with_the_first_reason(text: str, reason: str) -> None:
    assert (
        refusal(parse_redrive_policy, text) == f"Value {text} for parameter RedrivePolicy is invalid. Reason: {reason}"
    )


def test_a_receive_count_that_is_half_a_surrogate_pair_is_refused_in_words_that_can_be_sent() -> None:
    text = rf'{{"maxReceiveCount": "\ud800", "deadLetterTargetArn": "{DLQ}"}}'
    assert bad_count(r"\ud800") in refusal(parse_redrive_policy, text).encode().decode()


# --- the target


def dead_letter_queue(arn: str = DLQ, *, fifo: bool = False, allow: str = "") -> Queue:
    attributes = SimpleNamespace(values={"RedriveAllowPolicy": allow} if allow else {})
    return cast("Queue", SimpleNamespace(arn=arn, fifo=fifo, attributes=attributes))


def target_refusal(target: Queue | None, *, text: str = POLICY, source_arn: str = SOURCE, fifo: bool = False) -> str:
    def check(text: str) -> None:
        check_target(parse_redrive_policy(text), text, source_arn=source_arn, source_fifo=fifo, target=target)

    message = refusal(check, text)
    prefix = f"Value {text} for parameter RedrivePolicy is invalid. Reason: "
    assert message.startswith(prefix)
    return message.removeprefix(prefix)


def test_a_target_that_exists_and_fits_is_taken() -> None:
    for fifo in (False, True):
        check_target(
            parse_redrive_policy(POLICY),
            POLICY,
            source_arn=SOURCE,
            source_fifo=fifo,
            target=dead_letter_queue(fifo=fifo),
        )


def test_a_target_that_does_not_exist() -> None:
    assert target_refusal(None) == "Dead letter target does not exist."


@pytest.mark.parametrize("home", ["arn:aws:sqs:us-east-1:111111111111", "arn:aws:sqs:eu-west-1:000000000000"])
def test_a_target_of_another_account_or_region_does_not_exist(home: str) -> None:
    assert target_refusal(dead_letter_queue(), source_arn=f"{home}:orders") == "Dead letter target does not exist."


@pytest.mark.parametrize("fifo", [False, True])
def test_a_target_of_the_other_type(fifo: bool) -> None:
    refused = target_refusal(dead_letter_queue(fifo=not fifo), fifo=fifo)
    assert refused == "Dead-letter queue must be same type of queue as the source."


@pytest.mark.parametrize(
    ("allow", "allowed"),
    [
        (RedriveAllowPolicy(), True),
        (RedriveAllowPolicy("denyAll"), False),
        (RedriveAllowPolicy("byQueue", (f"{HOME}:other", SOURCE)), True),
        (RedriveAllowPolicy("byQueue", (f"{HOME}:other",)), False),
    ],
)
def test_a_target_takes_whom_its_allow_policy_allows(allow: RedriveAllowPolicy, allowed: bool) -> None:
    target = dead_letter_queue(allow=allow.text())
    if allowed:
        check_target(parse_redrive_policy(POLICY), POLICY, source_arn=SOURCE, source_fifo=False, target=target)
    else:
        assert target_refusal(target) == (
            "The redrive allow policy of the dead-letter queue does not allow this source queue."
        )


# --- redrive allow policies


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ('{"redrivePermission": "allowAll"}', RedriveAllowPolicy("allowAll")),
        ('{"redrivePermission": "denyAll", "sourceQueueArns": []}', RedriveAllowPolicy("denyAll")),
        (
            f'{{"sourceQueueArns": ["{SOURCE}"], "redrivePermission": "byQueue"}}',
            RedriveAllowPolicy("byQueue", (SOURCE,)),
        ),
        (
            json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [f"{HOME}:q{n}" for n in range(10)]}),
            RedriveAllowPolicy("byQueue", tuple(f"{HOME}:q{n}" for n in range(10))),
        ),
    ],
)
def test_allow_policies_are_read(text: str, policy: RedriveAllowPolicy) -> None:
    assert parse_redrive_allow_policy(text) == policy


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "{}",
        "[" * 100_000,
        '{"redrivePermission": "allowSome"}',
        '{"redrivePermission": 1}',
        '{"redrivePermission": []}',
        '{"redrivePermission": "allowAll", "foo": 1}',
        f'{{"sourceQueueArns": ["{SOURCE}"]}}',
        f'{{"redrivePermission": "byQueue", "sourceQueueArns": "{SOURCE}"}}',
        '{"redrivePermission": "byQueue", "sourceQueueArns": null}',
        '{"redrivePermission": "byQueue", "sourceQueueArns": [1]}',
        '{"redrivePermission": "byQueue", "sourceQueueArns": ["orders"]}',
    ],
)
def test_an_allow_policy_in_an_unsupported_format(text: str) -> None:
    assert refusal(parse_redrive_allow_policy, text) == UNSUPPORTED


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{{"redrivePermission": "allowAll", "sourceQueueArns": ["{SOURCE}"]}}', ONLY_BY_QUEUE),
        (f'{{"redrivePermission": "denyAll", "sourceQueueArns": ["{SOURCE}"]}}', ONLY_BY_QUEUE),
        (json.dumps({"redrivePermission": "denyAll", "sourceQueueArns": [SOURCE] * 11}), ONLY_BY_QUEUE),
        ('{"redrivePermission": "byQueue"}', NO_ARNS),
        ('{"redrivePermission": "byQueue", "sourceQueueArns": []}', NO_ARNS),
        (json.dumps({"redrivePermission": "byQueue", "sourceQueueArns": [SOURCE] * 11}), TOO_MANY_ARNS),
    ],
)
def test_an_allow_policy_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert refusal(parse_redrive_allow_policy, text) == (
        f"Value {text} for parameter RedriveAllowPolicy is invalid. "
        f"Reason: Amazon SQS can't create the redrive allow policy. {reason}"
    )


# --- whatever comes


@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists).map(json.dumps)
)
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    for parse in (parse_redrive_policy, parse_redrive_allow_policy):
        refusal(parse, text)


_fields = st.sampled_from(["maxReceiveCount", "deadLetterTargetArn", "redrivePermission", "sourceQueueArns", "foo"])
_values = (
    st.sampled_from([DLQ, SOURCE, "allowAll", "denyAll", "byQueue", "3"])
    | st.integers(-1, 1001)
    | st.none()
    | st.lists(st.sampled_from([DLQ, SOURCE, "x"]), max_size=11)
)


@given(st.dictionaries(_fields, _values))
def test_what_was_taken_is_stored_as_text_that_is_taken_again(fields: dict[str, object]) -> None:
    text = json.dumps(fields)
    for parse in (parse_redrive_policy, parse_redrive_allow_policy):
        try:
            policy = parse(text)
        except InvalidParameterValue:
            continue
        assert parse(policy.text()) == policy


def test_a_policy_of_megabytes_is_not_decoded() -> None:
    huge = "[" + "[]," * 1_000_000 + "0]"
    started = time.process_time()
    with pytest.raises(InvalidParameterValue, match="not a valid JSON map"):
        parse_redrive_policy(huge)
    with pytest.raises(InvalidParameterValue):
        parse_redrive_allow_policy(huge)
    assert time.process_time() - started < 0.05  # decoding takes 0.5 s
