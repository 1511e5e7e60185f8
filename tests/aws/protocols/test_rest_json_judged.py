"""REST-JSON with botocore as the judge, over every operation of the services that speak it."""

from typing import Any, cast
from urllib.parse import urlencode

import pytest
from botocore.model import OperationModel, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.protocols.rest_json import RestJsonProtocol, routes
from broker.api.web.messages import Request, Response

from .member_values import seconds, values, without_empty

SERIALIZER = create_serializer("rest-json", include_validation=False)
PARSER = create_parser("rest-json")
SERVICES = ("pipes", "scheduler", "schemas")
OPERATIONS = [(service, operation) for service in SERVICES for operation in service_model(service).operation_names]
REQUEST_ID = "ef2d1c0a-0000-4000-8000-0123456789ab"

every_operation = pytest.mark.parametrize(("service", "name"), OPERATIONS)
briefly = settings(max_examples=8, deadline=None)


def model(service: str, name: str) -> OperationModel:
    return service_model(service).operation_model(name)


def as_sent(operation: OperationModel, members: dict[str, Any]) -> Request:
    """As botocore sends it."""
    sent = SERIALIZER.serialize_to_request(members, operation)
    query = urlencode(sent["query_string"] or {}, doseq=True)
    headers = {name.lower(): value for name, value in sent["headers"].items()}
    return Request(sent["method"], sent["url_path"] + (f"?{query}" if query else ""), headers, sent["body"])


def members_sent(shape: StructureShape | None) -> st.SearchStrategy[Any]:
    """Labels are never empty, and an empty list leaves no trace in a query string."""
    if shape is None:
        return st.just({})
    located = {name: member.serialization.get("location") for name, member in shape.members.items()}
    return values(shape).filter(
        lambda sent: all(item not in ("", []) for name, item in sent.items() if located[name] in ("uri", "querystring"))
    )


@every_operation
@given(data=st.data())
@briefly
def test_what_botocore_sends_is_what_we_read(service: str, name: str, data: st.DataObject) -> None:
    operation = model(service, name)
    sent = data.draw(members_sent(operation.input_shape))
    request = as_sent(operation, sent)
    assert routes(operation.service_model).resolve(request.method, request.path) is operation
    assert RestJsonProtocol().codec(operation).parse(request) == sent


@every_operation
@given(data=st.data())
@briefly
def test_what_we_answer_is_what_botocore_reads(service: str, name: str, data: st.DataObject) -> None:
    operation = model(service, name)
    shape = operation.output_shape
    answered = data.draw(values(shape)) if shape else {}
    if shape and "payload" in shape.serialization:
        answered = {"Body": b"plain text"}  # what botocore reads of a blob must be UTF-8, outside of a stream
    response = RestJsonProtocol().codec(operation).serialize(answered, REQUEST_ID)
    assert response.status == operation.http["responseCode"]
    parsed = PARSER.parse(wire(response), cast("Shape", shape))
    assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
    if shape and "payload" in shape.serialization:
        answered = {"Body": "plain text"}
    assert seconds(parsed) == without_empty(answered, lambda value: value is not None)


def wire(response: Response) -> dict[str, Any]:
    return {"status_code": response.status, "headers": dict(response.headers), "body": response.body}


@pytest.mark.parametrize("service", SERVICES)
def test_botocore_reads_every_error(service: str) -> None:
    for shape in service_model(service).error_shapes:
        error = AwsError(shape.name, shape.name, "Why, \ud800", status=shape.metadata["error"]["httpStatusCode"])
        response = RestJsonProtocol().error(service_model(service), error, REQUEST_ID)
        parsed = PARSER.parse(wire(response), cast("Shape", None))
        assert parsed["Error"] == {"Code": shape.name, "Message": "Why, ?"}
        assert parsed["ResponseMetadata"]["RequestId"] == REQUEST_ID
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == shape.metadata["error"]["httpStatusCode"]
        required = set(shape.required_members) - {"resourceId", "resourceType", "serviceCode", "quotaCode"}
        assert required <= PARSER.parse(wire(response), shape).keys()
