"""Queue attributes: names, ranges, defaults, types of queue, and what a change leaves."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import BrokerError, InvalidAttributeName, InvalidAttributeValue, InvalidParameterValue, OverLimit
from broker.queues.attributes import DEFAULTS, FIFO_DEFAULTS, QueueAttributes, wanted_names
from broker.queues.redrive import RedrivePolicy

DLQ = "arn:aws:sqs:us-east-1:000000000000:dead"
STANDARD = QueueAttributes({})
FIFO = QueueAttributes({"FifoQueue": "true"})


def refusal(attributes: QueueAttributes, requested: dict[str, str]) -> BrokerError:
    before = dict(attributes.values)
    with pytest.raises(BrokerError) as caught:
        attributes.changed_by(requested)
    assert attributes.values == before
    return caught.value


# --- defaults and types


def test_defaults_of_a_standard_queue() -> None:
    assert QueueAttributes.of_new_queue({}).values == {
        "DelaySeconds": "0",
        "MaximumMessageSize": "1048576",
        "MessageRetentionPeriod": "345600",
        "ReceiveMessageWaitTimeSeconds": "0",
        "VisibilityTimeout": "30",
        "SqsManagedSseEnabled": "true",
    }
    assert not STANDARD.fifo
    assert not STANDARD.content_based_deduplication
    assert not STANDARD.deduplication_per_group
    assert STANDARD.redrive is None


@pytest.mark.parametrize("true", ["true", "True", "TRUE"])
def test_defaults_of_a_fifo_queue(true: str) -> None:
    attributes = QueueAttributes.of_new_queue({"FifoQueue": true})
    assert attributes.values == {
        **DEFAULTS,
        "FifoQueue": "true",
        "ContentBasedDeduplication": "false",
        "DeduplicationScope": "queue",
        "FifoThroughputLimit": "perQueue",
    }
    assert attributes.fifo
    assert not attributes.content_based_deduplication
    assert not attributes.deduplication_per_group


def test_numbers_have_their_units() -> None:
    found = STANDARD.changed_by(
        {
            "DelaySeconds": "900",
            "MaximumMessageSize": "1024",
            "MessageRetentionPeriod": "60",
            "ReceiveMessageWaitTimeSeconds": "20",
            "VisibilityTimeout": "43200",
        }
    )
    assert (found.delay_ms, found.visibility_timeout_ms, found.retention_ms) == (900_000, 43_200_000, 60_000)
    assert (found.wait_time_seconds, found.maximum_message_bytes) == (20, 1_024)


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("DelaySeconds", 0, 900),
        ("MaximumMessageSize", 1_024, 1_048_576),
        ("MessageRetentionPeriod", 60, 1_209_600),
        ("ReceiveMessageWaitTimeSeconds", 0, 20),
        ("VisibilityTimeout", 0, 43_200),
        ("KmsDataKeyReusePeriodSeconds", 60, 86_400),
    ],
)
@pytest.mark.parametrize("attributes", [STANDARD, FIFO], ids=["standard", "fifo"])
def test_ranges(name: str, lowest: int, highest: int, attributes: QueueAttributes) -> None:
    for value in (lowest, highest):
        assert attributes.changed_by({name: str(value)}).values[name] == str(value)
    for bad in (lowest - 1, highest + 1, "", "x", "1.0", " 60", "\u0667\u0667", "9" * 5_000):
        error = refusal(attributes, {name: str(bad)})
        assert isinstance(error, InvalidAttributeValue)
        assert error.message == f"Invalid value for the parameter {name}."


@pytest.mark.parametrize("name", ["QueueArn", "CreatedTimestamp", "ApproximateNumberOfMessages", "Nothing", ""])
@pytest.mark.parametrize("attributes", [STANDARD, FIFO], ids=["standard", "fifo"])
def test_what_cannot_be_set(name: str, attributes: QueueAttributes) -> None:
    error = refusal(attributes, {"DelaySeconds": "1", name: "1"})
    assert isinstance(error, InvalidAttributeName)
    assert error.message == f"Unknown Attribute {name}."


# --- FIFO attributes


@pytest.mark.parametrize("value", ["true", "false", "queue", "anything", ""])
@pytest.mark.parametrize("name", FIFO_DEFAULTS)
def test_fifo_attributes_of_a_standard_queue(name: str, value: str) -> None:
    error = refusal(STANDARD, {name: value})
    assert isinstance(error, InvalidAttributeName)
    if name in {"FifoQueue", "ContentBasedDeduplication"}:
        assert error.message == f"Unknown Attribute {name}."
    else:
        assert error.message == f"You can specify the {name} only when FifoQueue is set to true."


def test_a_queue_that_asks_not_to_be_fifo() -> None:
    with pytest.raises(InvalidAttributeName, match=r"Unknown Attribute FifoQueue\."):
        QueueAttributes.of_new_queue({"FifoQueue": "false"})
    with pytest.raises(InvalidAttributeValue, match=r"Invalid value for the parameter FifoQueue\."):
        QueueAttributes.of_new_queue({"FifoQueue": "perhaps"})


def test_the_type_of_a_queue_is_fixed() -> None:
    assert FIFO.changed_by({"FifoQueue": "true"}).values == FIFO.values
    error = refusal(FIFO, {"FifoQueue": "false"})
    assert isinstance(error, InvalidAttributeValue)
    assert error.message == "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ContentBasedDeduplication", "yes"),
        ("ContentBasedDeduplication", ""),
        ("DeduplicationScope", "messagegroup"),
        ("DeduplicationScope", "perQueue"),
        ("DeduplicationScope", ""),
        ("FifoThroughputLimit", "queue"),
        ("FifoThroughputLimit", ""),
        ("FifoQueue", ""),
    ],
)
def test_bad_fifo_attributes(name: str, value: str) -> None:
    error = refusal(FIFO, {name: value})
    assert isinstance(error, InvalidAttributeValue)
    assert error.message == f"Invalid value for the parameter {name}."


def test_deduplication_is_configured() -> None:
    assert FIFO.changed_by({"ContentBasedDeduplication": "True"}).content_based_deduplication
    per_group = FIFO.changed_by({"DeduplicationScope": "messageGroup"})
    assert per_group.deduplication_per_group
    assert not per_group.changed_by({"DeduplicationScope": "queue"}).deduplication_per_group


def test_a_limit_per_group_needs_deduplication_per_group() -> None:
    message = (
        "Invalid value for the parameter FifoThroughputLimit. "
        "Reason: To set FifoThroughputLimit to perMessageGroupId, the DeduplicationScope must be messageGroup."
    )
    fast = {"FifoThroughputLimit": "perMessageGroupId", "DeduplicationScope": "messageGroup"}
    for requested in (fast, dict(reversed(fast.items()))):
        assert FIFO.changed_by(requested).values["FifoThroughputLimit"] == "perMessageGroupId"
    scoped = FIFO.changed_by({"DeduplicationScope": "messageGroup"})
    assert (
        scoped.changed_by({"FifoThroughputLimit": "perMessageGroupId"}).values["DeduplicationScope"] == "messageGroup"
    )
    for attributes, requested in (
        (FIFO, {"FifoThroughputLimit": "perMessageGroupId"}),
        (FIFO, {"FifoThroughputLimit": "perMessageGroupId", "DeduplicationScope": "queue"}),
        (FIFO.changed_by(fast), {"DeduplicationScope": "queue"}),
    ):
        error = refusal(attributes, requested)
        assert isinstance(error, InvalidAttributeValue)
        assert error.message == message
    with pytest.raises(InvalidAttributeValue, match="must be messageGroup"):
        QueueAttributes.of_new_queue({"FifoQueue": "true", "FifoThroughputLimit": "perMessageGroupId"})


# --- policies


@pytest.mark.parametrize("count", [3, "3"])
def test_a_redrive_policy_is_kept_in_one_form(count: int | str) -> None:
    text = json.dumps({"maxReceiveCount": count, "deadLetterTargetArn": DLQ}, indent=2)
    found = STANDARD.changed_by({"RedrivePolicy": text})
    assert found.values["RedrivePolicy"] == f'{{"deadLetterTargetArn":"{DLQ}","maxReceiveCount":3}}'
    assert found.redrive == RedrivePolicy(DLQ, 3)
    assert QueueAttributes(found.values).redrive == found.redrive


def test_a_redrive_allow_policy_is_kept_in_one_form() -> None:
    text = json.dumps({"sourceQueueArns": [DLQ], "redrivePermission": "byQueue"}, indent=2)
    found = STANDARD.changed_by({"RedriveAllowPolicy": text})
    assert found.values["RedriveAllowPolicy"] == f'{{"redrivePermission":"byQueue","sourceQueueArns":["{DLQ}"]}}'


VALUES = {
    "Policy": '{"Statement":[]}',
    "RedrivePolicy": json.dumps({"maxReceiveCount": 3, "deadLetterTargetArn": DLQ}),
    "RedriveAllowPolicy": '{"redrivePermission":"denyAll"}',
    "KmsMasterKeyId": "alias/k",
}


@pytest.mark.parametrize("name", VALUES)
def test_the_empty_string_removes(name: str) -> None:
    without = STANDARD.changed_by({name: ""})
    assert without.values == STANDARD.values
    removed = STANDARD.changed_by({name: VALUES[name]}).changed_by({name: ""})
    assert name not in removed.values
    assert removed.redrive is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("Policy", "{", InvalidAttributeValue),
        ("Policy", "x" * 9_000, OverLimit),
        ("RedrivePolicy", "{}", InvalidParameterValue),
        ("RedriveAllowPolicy", "{}", InvalidParameterValue),
    ],
)
def test_bad_policies(name: str, value: str, error: type[BrokerError]) -> None:
    assert isinstance(refusal(STANDARD, {name: value}), error)


# --- changes and comparisons

_requests = st.fixed_dictionaries(
    {},
    optional={
        "DelaySeconds": st.sampled_from(["0", "007", "900", "901", "x"]),
        "VisibilityTimeout": st.sampled_from(["0", "30", "-1"]),
        "ContentBasedDeduplication": st.sampled_from(["true", "False", "no"]),
        "DeduplicationScope": st.sampled_from(["queue", "messageGroup", "group"]),
        "FifoThroughputLimit": st.sampled_from(["perQueue", "perMessageGroupId"]),
        "RedrivePolicy": st.sampled_from(["", VALUES["RedrivePolicy"], "{}"]),
        "Policy": st.sampled_from(["", VALUES["Policy"], "x"]),
        "KmsMasterKeyId": st.sampled_from(["", "alias/k"]),
        "SqsManagedSseEnabled": st.sampled_from(["true", "FALSE"]),
    },
)


@given(st.booleans(), st.lists(_requests, max_size=4))
def test_a_change_is_whole_or_refused(fifo: bool, requests: list[dict[str, str]]) -> None:
    attributes = FIFO if fifo else STANDARD
    for requested in requests:
        before = dict(attributes.values)
        try:
            changed = attributes.changed_by(requested)
        except BrokerError:
            assert attributes.values == before
            continue
        if "KmsMasterKeyId" not in requested:  # which turns managed encryption off
            assert changed.first_difference(requested) is None
        assert {name for name in before | changed.values if before.get(name) != changed.values.get(name)} <= (
            requested.keys() | {"SqsManagedSseEnabled"}
        )
        assert QueueAttributes(changed.values).values == changed.values
        attributes = changed
    assert attributes.fifo == fifo


@pytest.mark.parametrize(
    ("current", "requested", "different"),
    [
        ({}, {}, None),
        ({}, {"DelaySeconds": "0", "VisibilityTimeout": "030"}, None),
        ({}, {"VisibilityTimeout": "30", "DelaySeconds": "1"}, "DelaySeconds"),
        ({"Policy": '{"Statement":[], "Id":"a"}'}, {"Policy": '{ "Id": "a", "Statement": [] }'}, None),
        ({"Policy": '{"Statement":[]}'}, {"Policy": '{"Statement":[],"Id":"a"}'}, "Policy"),
        ({"Policy": '{"Statement":[]}'}, {"Policy": ""}, "Policy"),
        ({}, {"RedrivePolicy": ""}, None),
        ({}, {"RedrivePolicy": VALUES["RedrivePolicy"]}, "RedrivePolicy"),
        (
            {"RedrivePolicy": VALUES["RedrivePolicy"]},
            {"RedrivePolicy": json.dumps({"deadLetterTargetArn": DLQ, "maxReceiveCount": "3"})},
            None,
        ),
        (
            {"RedrivePolicy": VALUES["RedrivePolicy"]},
            {"RedrivePolicy": json.dumps({"deadLetterTargetArn": DLQ, "maxReceiveCount": 4})},
            "RedrivePolicy",
        ),
        (
            {"RedriveAllowPolicy": '{"redrivePermission": "denyAll"}'},
            {"RedriveAllowPolicy": '{ "redrivePermission" : "denyAll" }'},
            None,
        ),
    ],
)
def test_what_differs(current: dict[str, str], requested: dict[str, str], different: str | None) -> None:
    assert STANDARD.changed_by(current).first_difference(requested) == different


def test_what_differs_of_a_fifo_queue() -> None:
    same = {"FifoQueue": "True", "ContentBasedDeduplication": "false", "DeduplicationScope": "queue"}
    assert FIFO.first_difference(same) is None
    assert FIFO.first_difference({**same, "ContentBasedDeduplication": "true"}) == "ContentBasedDeduplication"


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (["Nothing"], "Unknown Attribute Nothing."),
        (["All", ""], "Unknown Attribute ."),
        (["all"], "Unknown Attribute all."),
    ],
)
def test_unknown_names_are_not_asked_for(requested: list[str], message: str) -> None:
    with pytest.raises(InvalidAttributeName) as caught:
        wanted_names(requested)
    assert caught.value.message == message


def test_all_is_every_name() -> None:
    known: Any = wanted_names(["All"])
    assert {*DEFAULTS, *FIFO_DEFAULTS, "Policy", "RedrivePolicy", "QueueArn", "LastModifiedTimestamp"} <= known
    assert wanted_names([]) == set()
    assert wanted_names(["Policy", "FifoQueue"]) == {"Policy", "FifoQueue"}
