"""Requests as botocore's clients put them on the wire: what arrives at a server still has the signature's form."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from broker.api.aws.sigv4 import Caller, claimed
from broker.api.web.messages import Request

from .sigv4_signing import ALICE, SESSION, verifier

QUEUE_URL = "http://sqs.eu-central-1.localhost/123456789012/orders"


class Recorder(BaseHTTPRequestHandler):
    """Keeps what it gets and answers with an error, after which a client does not ask again."""

    received: ClassVar[list[Request]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.received.append(Request(self.command, self.path, headers, body))
        self.send_response(400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    Recorder.received.clear()
    with HTTPServer(("127.0.0.1", 0), Recorder) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server.server_port
        server.shutdown()
        serving.join()


def client(service: str, port: int, token: str | None = None) -> Any:
    credential = ALICE if token is None else SESSION
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
    return botocore.session.Session().create_client(
        service,
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=credential.access_key_id,
        aws_secret_access_key=credential.secret_access_key,
        aws_session_token=token,
        config=config,
    )


def arrived() -> tuple[Request, Caller]:
    (request,) = Recorder.received
    return request, verifier().verify(request)


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sqs", "send_message", {"QueueUrl": QUEUE_URL, "MessageBody": "grün ☃ \r\n"}),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-central-1:123456789012:news", "Message": "a+b & ü"}),
        ("kinesis", "put_record", {"StreamName": "clicks", "Data": b"\x00\xff", "PartitionKey": "k"}),
        ("events", "list_rules", {"NamePrefix": "a"}),
        ("sts", "get_caller_identity", {}),
        ("pipes", "describe_pipe", {"Name": "a.b-c_d"}),
        ("scheduler", "list_tags_for_resource", {"ResourceArn": "arn:aws:scheduler:eu:1:schedule-group/a b%/ü+~*"}),
        ("schemas", "search_schemas", {"RegistryName": "a/b c", "Keywords": "x+y &=ü"}),
    ],
)
@pytest.mark.parametrize("token", [None, SESSION.session_token])
def test_a_client_is_recognised(
    port: int, service: str, operation: str, parameters: dict[str, Any], token: str | None
) -> None:
    with pytest.raises((ClientError, ResponseParserError)):
        getattr(client(service, port, token), operation)(**parameters)
    request, caller = arrived()
    claim = claimed(request)

    assert (caller.service, caller.region) == (service, "eu-central-1")
    assert caller.access_key_id == (ALICE if token is None else SESSION).access_key_id
    assert claim is not None
    assert (claim.service, claim.region) == (service, "eu-central-1")


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sts", "get_caller_identity", {}),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-central-1:123456789012:news", "Message": "a+b & ü/~"}),
    ],
)
def test_a_presigned_url_is_recognised(port: int, service: str, operation: str, parameters: dict[str, Any]) -> None:
    url = client(service, port).generate_presigned_url(operation, parameters, ExpiresIn=60, HttpMethod="GET")
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", url.removeprefix(f"http://127.0.0.1:{port}"))
        assert connection.getresponse().status == 400
    finally:
        connection.close()

    assert arrived()[1].service == service
