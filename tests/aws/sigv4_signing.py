"""Requests as botocore signs them: the judge of what a right signature is."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from broker.api.aws.credentials import Credential, Credentials, root_arn
from broker.api.aws.sigv4 import Verifier
from broker.api.web.messages import Request

ACCOUNT = "123456789012"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ALICE = Credential("AKIDEXAMPLE", SECRET, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/alice", "AIDAALICE")
BOB = Credential("AKIDBOB", "another-secret-of-bob", "222222222222", root_arn("222222222222"), "222222222222")
SESSION = Credential("ASIASESSION", SECRET, ACCOUNT, root_arn(ACCOUNT), ACCOUNT, "token/of+session==")
CREDENTIALS = Credentials([ALICE, BOB, SESSION])
HOST = "127.0.0.1:4566"


def latin1(text: str) -> str:
    """How text arrives that was sent as UTF-8."""
    return text.encode().decode("latin-1")


def received(request: AWSRequest, body: bytes) -> Request:
    """What a server has of a request: names in lower case, values trimmed, repeated headers joined."""
    headers: dict[str, str] = {"host": HOST}
    for name, value in request.headers.items():
        text = latin1(value).strip(" \t")
        headers[name.lower()] = f"{headers[name.lower()]},{text}" if name.lower() in headers else text
    parts = urlsplit(str(request.url))
    return Request(str(request.method), latin1(parts.path + (f"?{parts.query}" if parts.query else "")), headers, body)


def signed(
    *,
    method: str = "POST",
    target: str = "/",
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"{}",
    credential: Credential = ALICE,
    service: str = "sqs",
    region: str = "eu-central-1",
) -> Request:
    """Signed in the Authorization header."""
    request = _unsigned(method, target, headers, body)
    SigV4Auth(_botocore(credential), service, region).add_auth(request)
    return received(request, body)


def presigned(
    *,
    method: str = "GET",
    target: str = "/?Action=ListQueues",
    headers: Sequence[tuple[str, str]] = (),
    credential: Credential = ALICE,
    service: str = "sqs",
    region: str = "eu-central-1",
    expires_seconds: int = 3600,
) -> Request:
    request = _unsigned(method, target, headers, b"")
    SigV4QueryAuth(_botocore(credential), service, region, expires=expires_seconds).add_auth(request)
    return received(request, b"")


def verifier(at: float | None = None, credentials: Credentials = CREDENTIALS) -> Verifier:
    """One whose clock stands; now when not told otherwise."""
    fixed = datetime.now(UTC).timestamp() if at is None else at
    return Verifier(credentials, lambda: fixed)


def with_header(request: Request, name: str, value: str | None) -> Request:
    """A copy with one header set or, for None, taken away."""
    headers = {**request.headers, name: value}
    return Request(request.method, request.target, _present(headers), request.body)


def _present(headers: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if value is not None}


def _unsigned(method: str, target: str, headers: Sequence[tuple[str, str]], body: bytes) -> AWSRequest:
    request = AWSRequest(method, f"http://{HOST}{target}", data=body)
    for name, value in headers:
        request.headers.add_header(name, value)
    return request


def _botocore(credential: Credential) -> BotocoreCredentials:
    return BotocoreCredentials(credential.access_key_id, credential.secret_access_key, credential.session_token or None)
