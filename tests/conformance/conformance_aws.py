"""The AWS endpoint as a face: boto3 over JSON, and botocore's own writer and reader over the legacy Query protocol.

Nothing is validated before it is sent, since rows send what no SDK would let pass. Never: a retry; a row's call is one.
"""

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from conformance_faces import CALL_SECONDS_MAX, AwsError, Call, Outcome, output_of

from tests.aws.protocols.query_model import query_model

ACCOUNT: Final = "000000000000"
REGION: Final = "us-east-1"
_UNTOUCHED: Final = Config(
    parameter_validation=False,
    retries={"total_max_attempts": 1},
    read_timeout=CALL_SECONDS_MAX,
    max_pool_connections=20,
)


class _AwsFace:
    virtual_time = False

    def start(self, operation: str, members: Mapping[str, Any], account: str = "") -> Call:
        return _ThreadCall(lambda: self._outcome(operation, dict(members), account or ACCOUNT))

    def call(self, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
        return output_of(self.start(operation, members))

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def now_s(self) -> float:
        return time.time()

    def _outcome(self, operation: str, members: dict[str, Any], account: str) -> Outcome:
        raise NotImplementedError


class AwsJsonFace(_AwsFace):
    """boto3 as everybody has it."""

    name = "aws-json"
    queue_does_not_exist = "The specified queue does not exist."

    def __init__(self, address: str) -> None:
        self._address = address
        self._clients: dict[str, Any] = {}
        self._model: ServiceModel = self._client(ACCOUNT).meta.service_model

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, account: str) -> Any:
        if account not in self._clients:
            client: BaseClient = boto3.session.Session().client(
                "sqs",
                endpoint_url=f"http://{self._address}",
                region_name=REGION,
                aws_access_key_id=account,
                aws_secret_access_key="anything",
                config=_UNTOUCHED,
            )
            self._clients[account] = client
        return self._clients[account]

    def _outcome(self, operation: str, members: dict[str, Any], account: str) -> Outcome:
        client = self._client(account)
        method = next(python for python, aws in client.meta.method_to_api_mapping.items() if aws == operation)
        try:
            output: dict[str, Any] = getattr(client, method)(**_spelled(self._model, operation, members))
        except ClientError as refusal:
            return _refusal(refusal.response)
        output.pop("ResponseMetadata")
        return output


class AwsQueryFace(_AwsFace):
    """What SDKs spoke before SQS had JSON, and many still do."""

    name = "aws-query"
    queue_does_not_exist = "The specified queue does not exist for this wsdl version."

    def __init__(self, address: str) -> None:
        self._address = address
        self._model = query_model("sqs")
        self._serializer = create_serializer("query", include_validation=False)
        self._parser = create_parser("query")

    def close(self) -> None:
        """Each call has a connection of its own."""

    def _outcome(self, operation: str, members: dict[str, Any], account: str) -> Outcome:
        model = self._model.operation_model(operation)
        request = self._serializer.serialize_to_request(_spelled(self._model, operation, members), model)
        form = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in request["body"].items())
        connection = http.client.HTTPConnection(self._address, timeout=CALL_SECONDS_MAX)
        credential = f"Credential={account}/20260101/{REGION}/sqs/aws4_request, SignedHeaders=host, Signature=none"
        headers = {**request["headers"], "Authorization": f"AWS4-HMAC-SHA256 {credential}"}
        try:
            connection.request("POST", "/", form.encode(), headers)
            answer = connection.getresponse()
            told = {"body": answer.read(), "status_code": answer.status, "headers": dict(answer.getheaders())}
        finally:
            connection.close()
        output: dict[str, Any] = self._parser.parse(told, model.output_shape)
        if "Error" in output:
            return _refusal(output)
        output.pop("ResponseMetadata")
        if operation == "ListDeadLetterSourceQueues":
            output.setdefault("queueUrls", [])  # XML cannot say that a list is empty
        return output


class _ThreadCall:
    def __init__(self, make: Callable[[], Outcome]) -> None:
        self._make = make
        self._result: tuple[float, Outcome] | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        started_s = time.monotonic()
        try:
            outcome = self._make()
            self._result = (time.monotonic() - started_s, outcome)
        except BaseException as failure:
            self._failure = failure

    def done(self) -> bool:
        return not self._thread.is_alive()

    def ended(self) -> tuple[float, Outcome]:
        self._thread.join(CALL_SECONDS_MAX + 5)
        if self._failure is not None:
            raise self._failure
        assert self._result is not None, "no answer, and no end of the call at its deadline"
        return self._result


def _refusal(response: Mapping[str, Any]) -> AwsError:
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    assert 400 <= status < 500, f"a refusal with status {status}: {response}"
    return AwsError(response["Error"]["Code"], response["Error"]["Message"])


def _spelled(model: ServiceModel, operation: str, members: Mapping[str, Any]) -> dict[str, Any]:
    """Rows spell members as most of AWS does; some of SQS are in lower case."""
    shape = model.operation_model(operation).input_shape
    known = {member.lower(): member for member in shape.members} if shape is not None else {}
    return {known[member.lower()]: value for member, value in members.items()}


def _quoted(value: Any) -> str:
    return quote(str(value), safe="-_.~")
