"""The cases of AWS's published Signature Version 4 test suite: requests and the signatures that they must have.

Data of the suite that AWS maintains with its C library (awslabs/aws-c-auth, Apache License 2.0); the variants that
normalise paths, as all services but S3 do. Requests that HTTP could not carry (raw spaces, raw UTF-8) are among them.
"""

from datetime import UTC, datetime

import pytest

from broker.api.aws.credentials import Credential, Credentials, root_arn
from broker.api.aws.sigv4 import Verifier
from broker.api.web.messages import Request

from .sigv4_signing import ACCOUNT, SECRET, latin1

TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
SIGNED_AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
SCOPE = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM_HASH = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"
FORM = {"content-length": "13", "x-amz-content-sha256": FORM_HASH}
ROOT_SIGNATURE = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"

Headers = dict[str, str]


def verifier(token: str = "") -> Verifier:
    credential = Credential("AKIDEXAMPLE", SECRET, ACCOUNT, root_arn(ACCOUNT), ACCOUNT, token)
    return Verifier(Credentials([credential]), lambda: SIGNED_AT + 60)


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "signature"),
    [
        ("GET", "/example/..", {}, b"", ROOT_SIGNATURE),
        ("GET", "/example1/example2/../..", {}, b"", ROOT_SIGNATURE),
        ("GET", "/./", {}, b"", ROOT_SIGNATURE),
        ("GET", "/", {}, b"", ROOT_SIGNATURE),
        ("GET", "//example//", {}, b"", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        ("GET", "/./example", {}, b"", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
        ("GET", "/example space/", {}, b"", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        ("GET", "/ሴ", {}, b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        ("GET", f"/{UNRESERVED}", {}, b"", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("GET", "/?ሴ=bar", {}, b"", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("GET", "/?Param1=value1", {}, b"", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            {},
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            {},
            b"",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        (
            "GET",
            "/",
            {"my-header1": "value2,value2,value1"},
            b"",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "GET",
            "/",
            {"my-header1": "value4,value1,value3,value2"},
            b"",
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        ),
        (
            "GET",
            "/",
            {"my-header1": " value1", "my-header2": ' "a   b   c"'},
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "GET",
            "/",
            {"my-header1": "value1,value2,value3"},  # three lines of one header
            b"",
            "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790",
        ),
        ("POST", "/", {}, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", "/?Param1=value1", {}, b"", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        (
            "POST",
            "/",
            {"my-header1": "value1"},
            b"",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "POST",
            "/",
            {"my-header1": "VALUE1"},
            b"",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "POST",
            "/",
            {**FORM, "content-type": "application/x-www-form-urlencoded"},
            b"Param1=value1",
            "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
        ),
        (
            "POST",
            "/",
            {**FORM, "content-type": "application/x-www-form-urlencoded; charset=utf-8"},
            b"Param1=value1",
            "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
        ),
    ],
)
def test_signed_in_a_header(method: str, target: str, headers: Headers, body: bytes, signature: str) -> None:
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    authorization = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={';'.join(sorted(headers))}"
    request = Request(
        method, latin1(target), {**headers, "authorization": f"{authorization}, Signature={signature}"}, body
    )

    assert verifier().verify(request).account == ACCOUNT


def test_signed_in_a_header_with_a_session_token() -> None:
    signature = "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
    headers = {
        "host": "example.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
        "x-amz-security-token": TOKEN,
        "authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE}, "
        f"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature={signature}",
    }

    assert verifier(TOKEN).verify(Request("GET", "/", headers, b"")).account == ACCOUNT


@pytest.mark.parametrize(
    ("query", "headers", "signature"),
    [
        ("ሴ=bar&", {}, "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600"),
        (
            f"{UNRESERVED}={UNRESERVED}&",
            {},
            "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf",
        ),
        (
            "Param-3=Value3&Param=Value2&%E1%88%B4=Value1&",
            {},
            "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
        ),
        (
            "",
            {"my-header1": " value1", "my-header2": ' "a   b   c"'},
            "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4",
        ),
        (
            f"X-Amz-Security-Token={TOKEN}&",
            {},
            "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c",
        ),
    ],
)
def test_presigned(query: str, headers: Headers, signature: str) -> None:
    names = "%3B".join(["host", *headers])
    target = (
        f"/?{latin1(query)}X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={SCOPE.replace('/', '%2F')}"
        f"&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders={names}&X-Amz-Expires=3600&X-Amz-Signature={signature}"
    )
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z", **headers}
    token = TOKEN if TOKEN in query else ""

    assert verifier(token).verify(Request("GET", target, headers, b"")).account == ACCOUNT
