"""REST-JSON byte by byte: paths to operations, where members stand, malformed requests, exact answers and errors."""

import json
from typing import Any

import pytest
from botocore.model import ServiceModel

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.protocols.rest_json import JSON_BYTES_MAX, RestJsonProtocol, Routes
from broker.api.web.messages import Request, Response

PIPES, SCHEDULER, SCHEMAS = service_model("pipes"), service_model("scheduler"), service_model("schemas")
ARN = "arn:aws:scheduler:us-east-1:000000000000:schedule-group/a"
ARN_ESCAPED = "arn%3Aaws%3Ascheduler%3Aus-east-1%3A000000000000%3Aschedule-group%2Fa"

DEPOT = ServiceModel(
    {
        "metadata": {"protocol": "rest-json", "apiVersion": "2026-01-01"},
        "operations": {
            "PutBlob": {
                "name": "PutBlob",
                "http": {"method": "PUT", "requestUri": "/blobs/{key}"},
                "input": {"shape": "BlobInput"},
                "output": {"shape": "BlobInput"},
            },
            "PutText": {
                "name": "PutText",
                "http": {"method": "PUT", "requestUri": "/texts"},
                "input": {"shape": "TextInput"},
                "output": {"shape": "TextInput"},
            },
            "PutRecord": {
                "name": "PutRecord",
                "http": {"method": "POST", "requestUri": "/blobs/{key}/record", "responseCode": 202},
                "input": {"shape": "RecordInput"},
                "output": {"shape": "RecordInput"},
            },
        },
        "shapes": {
            "String": {"type": "string"},
            "Blob": {"type": "blob"},
            "Time": {"type": "timestamp"},
            "Count": {"type": "integer"},
            "Record": {"type": "structure", "members": {"Count": {"shape": "Count", "locationName": "count"}}},
            "BlobInput": {
                "type": "structure",
                "payload": "Body",
                "members": {
                    "Key": {"shape": "String", "location": "uri", "locationName": "key"},
                    "Body": {"shape": "Blob"},
                    "Since": {"shape": "Time", "location": "header", "locationName": "If-Modified-Since"},
                    "Count": {"shape": "Count", "location": "header", "locationName": "X-Count"},
                },
            },
            "TextInput": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "String"}}},
            "RecordInput": {
                "type": "structure",
                "payload": "Record",
                "members": {
                    "Key": {"shape": "String", "location": "uri", "locationName": "key"},
                    "Record": {"shape": "Record"},
                },
            },
        },
    },
    service_name="depot",
)
"""What no model of the services here has: members in headers, and payloads of a request."""


def parse(service: ServiceModel, operation: str, target: str, body: bytes = b"", **headers: str) -> dict[str, Any]:
    method = service.operation_model(operation).http["method"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RestJsonProtocol().codec(service.operation_model(operation)).parse(Request(method, target, named, body))


def serialize(service: ServiceModel, operation: str, output: dict[str, Any]) -> Response:
    return RestJsonProtocol().codec(service.operation_model(operation)).serialize(output, "r-1")


@pytest.mark.parametrize(
    ("service", "method", "path", "operation"),
    [
        (PIPES, "GET", "/v1/pipes", "ListPipes"),
        (PIPES, "GET", "/v1/pipes/start", "DescribePipe"),
        (PIPES, "POST", "/v1/pipes/a", "CreatePipe"),
        (PIPES, "POST", "/v1/pipes/a%2Fb/start", "StartPipe"),
        (PIPES, "GET", "/v1/pipes/a/start", None),
        (PIPES, "PATCH", "/v1/pipes/a", None),
        (PIPES, "GET", "/v1/pipes/", None),
        (PIPES, "GET", "/v1/pipes/a/", None),
        (PIPES, "GET", "/v1/pipes/a/b", None),
        (PIPES, "GET", "/v1", None),
        (PIPES, "GET", "/", None),
        (PIPES, "GET", "", None),
        (PIPES, "GET", "/a" * 10_000, None),
        (SCHEDULER, "GET", f"/tags/{ARN_ESCAPED}", "ListTagsForResource"),
        (SCHEDULER, "DELETE", f"/tags/{ARN}", "UntagResource"),
        (SCHEDULER, "DELETE", "/tags/arn%3Aaws:scheduler/a", "UntagResource"),
        (SCHEDULER, "DELETE", "/tags/a/b", None),
        (SCHEMAS, "GET", "/v1/registries/name/r/schemas/search", "SearchSchemas"),
        (SCHEMAS, "GET", "/v1/registries/name/r/schemas/name/search", "DescribeSchema"),
        (SCHEMAS, "GET", "/v1/registries/name/name/schemas", "ListSchemas"),
    ],
)
def test_paths(service: ServiceModel, method: str, path: str, operation: str | None) -> None:
    found = Routes(service).resolve(method, path)
    assert (found and found.name) == operation


@pytest.mark.parametrize("path", [f"/tags/{ARN_ESCAPED}", f"/tags/{ARN}"])
def test_an_arn_is_a_label_with_its_slashes_escaped_or_not(path: str) -> None:
    assert parse(SCHEDULER, "UntagResource", f"{path}?TagKeys=a&TagKeys=b%26+c&Other=x") == {
        "ResourceArn": ARN,
        "TagKeys": ["a", "b& c"],
    }


@pytest.mark.parametrize(
    ("operation", "target", "body", "parsed"),
    [
        ("CreatePipe", "/v1/pipes/a%2Bb%20c+d", b'{"Name":"other","Source":"s","Unknown":[],"RoleArn":null}',
         {"Name": "a+b c+d", "Source": "s"}),
        ("CreatePipe", "/v1/pipes/a", b"", {"Name": "a"}),
        ("DescribePipe", "/v1/pipes/a?Name=b&Limit=x", b"", {"Name": "a"}),
        ("ListPipes", "/v1/pipes?Limit=1&NamePrefix=&Limit=2", b"", {"Limit": 2, "NamePrefix": ""}),
        ("ListPipes", "/v1/pipes?", b"", {}),
    ],
)  # fmt: skip
def test_where_members_stand(operation: str, target: str, body: bytes, parsed: dict[str, Any]) -> None:
    assert parse(PIPES, operation, target, body) == parsed


def test_what_stands_elsewhere_is_not_read_from_the_body() -> None:
    body = b'{"registryName":"r","Policy":"{}"}'
    assert parse(SCHEMAS, "PutResourcePolicy", "/v1/policy", body) == {"Policy": "{}"}
    assert parse(SCHEMAS, "PutResourcePolicy", "/v1/policy?registryName=q", body) == {
        "Policy": "{}",
        "RegistryName": "q",
    }


@pytest.mark.parametrize(
    ("operation", "target", "body", "message"),
    [
        ("ListPipes", "/v1/pipes?Limit=abc", b"", "STRING_VALUE can not be converted to an Integer"),
        ("ListPipes", "/v1/pipes?NamePrefix=%ff", b"", "The parameters are not encoded as UTF-8"),
        ("ListPipes", "/v1/pipes?" + "&" * 2000, b"", "Too many parameters: more than 2000"),
        ("DescribePipe", "/v1/pipes/%f", b"", "A percent sign needs two hexadecimal digits after it"),
        ("DescribePipe", "/v1/pipes/%ff", b"", "The parameters are not encoded as UTF-8"),
        ("CreatePipe", "/v1/pipes/a", b'{"Source":1}', "NUMBER_VALUE can not be converted to a String"),
        ("CreatePipe", "/v1/pipes/a", b"[]", "Start of list found where not expected"),
    ],
)
def test_malformed_requests(operation: str, target: str, body: bytes, message: str) -> None:
    with pytest.raises(AwsError) as refused:
        parse(PIPES, operation, target, body)
    assert (refused.value.shape, refused.value.status, refused.value.message) == (
        "SerializationException",
        400,
        message,
    )


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"{}{}", b'{"Source":NaN}'])
def test_malformed_json(body: bytes) -> None:
    with pytest.raises(AwsError, match="The request body is not valid JSON"):
        parse(PIPES, "CreatePipe", "/v1/pipes/a", body)


def test_the_length_of_json_is_bounded() -> None:
    source = "x" * (JSON_BYTES_MAX - len('{"Source":""}'))
    assert parse(PIPES, "CreatePipe", "/v1/pipes/a", b'{"Source":"%b"}' % source.encode())["Source"] == source
    with pytest.raises(AwsError, match="The request body is longer than 2097152 bytes"):
        parse(PIPES, "CreatePipe", "/v1/pipes/a", b'{"Source":"x%b"}' % source.encode())


def test_headers_and_payloads() -> None:
    since = "Tue, 14 Nov 2023 22:13:20 GMT"
    parsed = parse(DEPOT, "PutBlob", "/blobs/k", b"\xff", if_modified_since=since, x_count="7")
    assert parsed == {"Key": "k", "Body": b"\xff", "Since": 1_700_000_000.0, "Count": 7}
    response = serialize(DEPOT, "PutBlob", {"Body": b"\xff", "Since": 1_700_000_000.0, "Count": None})
    assert (response.status, response.body) == (200, b"\xff")
    assert dict(response.headers) == {
        "x-amzn-requestid": "r-1",
        "content-type": "application/octet-stream",
        "if-modified-since": since,
    }
    assert parse(DEPOT, "PutText", "/texts", "ü".encode()) == {"Body": "ü"}
    assert serialize(DEPOT, "PutText", {"Body": "ü"}).body == "ü".encode()
    assert parse(DEPOT, "PutRecord", "/blobs/k/record", b'{"count":1}') == {"Key": "k", "Record": {"Count": 1}}
    assert parse(DEPOT, "PutRecord", "/blobs/k/record") == {"Key": "k"}
    assert serialize(DEPOT, "PutRecord", {"Record": {"Count": 1}}).body == b'{"count":1}'


@pytest.mark.parametrize(
    ("operation", "target", "body", "headers", "message"),
    [
        ("PutBlob", "/blobs/k", b"", {"if_modified_since": "yesterday"}, "STRING_VALUE is not a timestamp of RFC 822"),
        ("PutBlob", "/blobs/k", b"", {"if_modified_since": "Tue, 14 Nov 2023 22:13:20 +" + "9" * 30},
         "STRING_VALUE is not a timestamp of RFC 822"),
        ("PutBlob", "/blobs/k", b"", {"x_count": ""}, "STRING_VALUE can not be converted to an Integer"),
        ("PutText", "/texts", b"\xff", {}, "The request body is not encoded as UTF-8"),
    ],
)  # fmt: skip
def test_malformed_headers_and_payloads(
    operation: str, target: str, body: bytes, headers: dict[str, str], message: str
) -> None:
    with pytest.raises(AwsError) as refused:
        parse(DEPOT, operation, target, body, **headers)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("service", "operation", "output", "status", "body"),
    [
        (SCHEDULER, "DeleteSchedule", {}, 200, b"{}"),
        (SCHEDULER, "GetSchedule", {"Name": "a", "CreationDate": 1_700_000_000.2504, "State": None}, 200,
         b'{"Name":"a","CreationDate":1700000000.25}'),
        (SCHEMAS, "CreateSchema", {"LastModified": 1_700_000_000.25, "Tags": {"a": "b"}}, 201,
         b'{"LastModified":"2023-11-14T22:13:20.250Z","tags":{"a":"b"}}'),
        (SCHEMAS, "DeleteSchema", {}, 204, b""),
    ],
)  # fmt: skip
def test_answers(service: ServiceModel, operation: str, output: dict[str, Any], status: int, body: bytes) -> None:
    response = serialize(service, operation, output)
    assert (response.status, response.body) == (status, body)
    assert dict(response.headers) == {"x-amzn-requestid": "r-1"} | (
        {"content-type": "application/json"} if body else {}
    )


@pytest.mark.parametrize(
    ("service", "body"),
    [
        (PIPES, {"message": "Why"}),
        (SCHEDULER, {"Message": "Why"}),
        (SCHEMAS, {"Message": "Why", "Code": "Conflict"}),
        (DEPOT, {"message": "Why"}),
    ],
)
def test_errors(service: ServiceModel, body: dict[str, str]) -> None:
    response = RestJsonProtocol().error(service, AwsError("ConflictException", "Conflict", "Why", status=409), "r-1")
    assert isinstance(response.body, bytes)
    assert (response.status, json.loads(response.body)) == (409, body)
    assert dict(response.headers) == {
        "x-amzn-requestid": "r-1",
        "x-amzn-errortype": "ConflictException",
        "content-type": "application/json",
    }
