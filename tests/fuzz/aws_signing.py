"""Signatures for requests that are bytes already, as botocore makes them. Never: the broker's own idea of one."""

import re
from typing import Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.fuzz.aws_inputs import AUTHORIZATION, PRESIGNED

ACCESS_KEY_ID: Final = "AKIAFUZZ"
SECRET: Final = "a-secret-of-at-least-sixteen"
ACCOUNT: Final = "000000000000"
_HEAD: Final = re.compile(rb"([^\r\n]*)\r\n(.*?)\r\n\r\n", re.DOTALL)
_REGION: Final = "us-east-1"


def signed(data: bytes) -> bytes:
    """``data`` with its placeholder replaced; as it is where it has none, or where it is no request any more."""
    if AUTHORIZATION not in data and PRESIGNED not in data:
        return data
    head = _HEAD.match(data)
    if head is None or head[1].count(b" ") != 2:
        return data
    method, target, _ = head[1].decode("latin-1").split(" ")
    headers = [line.partition(":")[::2] for line in head[2].decode("latin-1").split("\r\n")]
    try:
        if AUTHORIZATION in data:
            return _in_the_header(data, method, target, headers, data[head.end() :])
        return data.replace(PRESIGNED, _query(method, target, headers).encode("latin-1"), 1)
    except (ValueError, KeyError):  # no host, or a URL that botocore cannot sign
        return data


def _request(method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> AWSRequest:
    host = {name.lower(): value.strip() for name, value in headers}["host"]
    return AWSRequest(method=method, url=f"http://{host}{target}", data=body)


def _in_the_header(data: bytes, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    request = _request(method, target, headers, body)
    covered = {"host", "content-type", "x-amz-target"}
    for name, value in headers:
        if name.lower() in covered:
            request.headers[name] = value.strip()
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET), "sqs", _REGION).add_auth(request)
    date = request.headers["X-Amz-Date"].encode()
    authorization = request.headers["Authorization"].encode()
    return data.replace(AUTHORIZATION, authorization, 1).replace(b"20990101T000000Z", date, 1)


def _query(method: str, target: str, headers: list[tuple[str, str]]) -> str:
    plain = re.sub(rf"[?&]{PRESIGNED.decode()}", "", target)
    request = _request(method, plain, headers, b"")
    SigV4QueryAuth(Credentials(ACCESS_KEY_ID, SECRET), "sqs", _REGION).add_auth(request)
    return "&".join(pair for pair in urlsplit(str(request.url)).query.split("&") if pair.startswith("X-Amz-"))
