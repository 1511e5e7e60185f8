"""The Query protocol with botocore as the judge, over every operation of the services that speak it."""

import itertools
from typing import Any, cast
from urllib.parse import urlencode

import pytest
from botocore.model import OperationModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.model import service_model
from broker.api.aws.protocols.query import QueryProtocol
from broker.api.web.messages import Request

from .member_values import seconds, values, without_empty
from .query_model import query_model

SERIALIZER = create_serializer("query", include_validation=False)
PARSER = create_parser("query")
OPERATIONS = [
    (service, operation) for service in ("sqs", "sns", "sts") for operation in service_model(service).operation_names
]
FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
REQUEST_ID = "ef2d1c0a-0000-4000-8000-0123456789ab"

every_operation = pytest.mark.parametrize(("service", "name"), OPERATIONS)
briefly = settings(max_examples=8, deadline=None)


def ours(service: str, name: str) -> OperationModel:
    return service_model(service).operation_model(name)


def form(service: str, name: str, members: dict[str, Any]) -> bytes:
    """As botocore sends it."""
    body = SERIALIZER.serialize_to_request(members, query_model(service).operation_model(name))["body"]
    return urlencode(body).encode()


def is_sent(value: Any) -> bool:
    """botocore sends empty lists, but nothing for empty maps and structures."""
    return bool(value != {})


def members_sent(shape: StructureShape | None) -> st.SearchStrategy[Any]:
    """MessageSystemAttributeNames has no parameter of its own."""
    if shape is None:
        return st.just({})
    return values(shape).map(
        lambda value: {
            name: item for name, item in without_empty(value, is_sent).items() if name != "MessageSystemAttributeNames"
        }
    )


@every_operation
@given(data=st.data())
@briefly
def test_what_botocore_sends_is_what_we_read(service: str, name: str, data: st.DataObject) -> None:
    operation = ours(service, name)
    sent = data.draw(members_sent(operation.input_shape))
    request = Request("POST", "/", FORM, form(service, name, sent))
    assert QueryProtocol().codec(operation).parse(request) == sent


@every_operation
@given(data=st.data())
@briefly
def test_what_we_answer_is_what_botocore_reads(service: str, name: str, data: st.DataObject) -> None:
    operation = ours(service, name)
    shape = operation.output_shape
    answered = without_empty(data.draw(values(shape)), lambda value: value is not None) if shape else {}
    response = QueryProtocol().codec(operation).serialize(answered, REQUEST_ID)
    assert isinstance(response.body, bytes)
    wire = {"status_code": 200, "headers": dict(response.headers), "body": response.body}
    parsed = PARSER.parse(wire, cast("Shape", query_model(service).operation_model(name).output_shape))
    assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
    empty: list[Any] = [{}, []] if service == "sqs" else []  # flattened: nothing is left of them
    assert without_empty(seconds(parsed), lambda value: value not in empty) == without_empty(
        answered, lambda value: value not in empty
    )


@given(order=st.permutations(range(6)), gaps=st.lists(st.integers(1, 1000), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_indices_have_gaps_and_come_in_any_order(order: list[int], gaps: list[int]) -> None:
    indices = list(itertools.accumulate(gaps))
    sent = [
        (f"SendMessageBatchRequestEntry.{index}.{member}", f"{member} {position}")
        for position, index in enumerate(indices)
        for member in ("Id", "MessageBody")
    ]
    body = urlencode([sent[place] for place in order]).encode()
    parsed = QueryProtocol().codec(ours("sqs", "SendMessageBatch")).parse(Request("POST", "/", FORM, body))
    assert parsed["Entries"] == [
        {"Id": f"Id {position}", "MessageBody": f"MessageBody {position}"} for position in range(3)
    ]
