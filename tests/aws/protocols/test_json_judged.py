"""AWS JSON with botocore as the judge, over every operation of the services."""

import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.protocols.json import JsonProtocol

from .rpc_model import ANSWERED, OPERATIONS, STREAMING, members_of, operation, read_by_botocore, read_by_us, request

SERIALIZER = create_serializer("json", include_validation=False)
PARSER = create_parser("json")
JSON = JsonProtocol()

briefly = settings(max_examples=4, deadline=None)


@pytest.mark.parametrize(("service", "name"), OPERATIONS)
@given(data=st.data())
@briefly
def test_what_botocore_sends_is_what_we_read(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    sent = data.draw(members_of(called.input_shape))
    assert read_by_us(JSON, SERIALIZER, called, sent) == sent


@pytest.mark.parametrize(("service", "name"), ANSWERED)
@given(data=st.data())
@briefly
def test_what_we_answer_is_what_botocore_reads(service: str, name: str, data: st.DataObject) -> None:
    called = operation(service, name)
    answered = data.draw(members_of(called.output_shape))
    assert read_by_botocore(JSON, PARSER, called, answered) == answered


@given(text=st.text())
@settings(max_examples=150, deadline=None)
def test_every_text_survives_both_ways(text: str) -> None:
    """Control characters, non-characters, astral planes: SQS decides what it refuses, not the protocol."""
    send = operation("sqs", "SendMessage")
    assert read_by_us(JSON, SERIALIZER, send, {"MessageBody": text}) == {"MessageBody": text}
    receive = operation("sqs", "ReceiveMessage")
    answered = {"Messages": [{"Body": text}]}
    assert read_by_botocore(JSON, PARSER, receive, answered) == answered


def test_what_precedes_a_stream_of_events_has_no_member_for_it() -> None:
    codec = JSON.codec(operation(*STREAMING))
    assert codec.serialize({}, "id").body == b"{}"


def test_a_codec_is_compiled_once() -> None:
    assert JSON.codec(operation("sqs", "SendMessage")) is JSON.codec(operation("sqs", "SendMessage"))
    assert JSON.codec(operation("sqs", "SendMessage")) is not JSON.codec(operation("sqs", "ReceiveMessage"))


def test_null_and_unknown_members_are_absent() -> None:
    codec = JSON.codec(operation("sqs", "SendMessage"))
    body = b'{"MessageBody": null, "QueueUrl": "q", "Surprise": {"MessageBody": [[]]}}'
    assert codec.parse(request(body)) == {"QueueUrl": "q"}
