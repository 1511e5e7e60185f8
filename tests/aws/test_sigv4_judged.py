"""Signatures that botocore made are accepted, whatever the request looks like; a request that was changed is not."""

from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.sigv4 import Caller, claimed
from broker.api.web.messages import Request

from .sigv4_signing import ACCOUNT, ALICE, SESSION, presigned, signed, verifier, with_header

METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"])
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)
ODD_PATH = st.text(st.one_of(st.sampled_from("/.~%-_ +;:@&=$,!*'()aA0"), st.characters(exclude_characters="?#[]\\")))
PATHS = ODD_PATH.filter(lambda path: all(character.isprintable() for character in path)).map(lambda path: "/" + path)
NAMES = TEXT.filter(lambda name: name and not name.startswith("X-Amz-"))
PAIRS = st.lists(st.tuples(NAMES, TEXT), max_size=6)
HEADER_VALUES = st.text(
    st.one_of(st.sampled_from(" \t,;=\"'a"), st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"])),
    max_size=20,
)
HEADER_NAMES = st.sampled_from(["Content-Type", "X-Amz-Target", "X-Custom", "x-amz-meta", "Accept", "a-b_c.d"])
HEADERS = st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES), max_size=6)


def encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)


@given(METHODS, PATHS, PAIRS, HEADERS, st.binary(max_size=64))
def test_what_botocore_signs_in_a_header_is_right(
    method: str, path: str, pairs: list[tuple[str, str]], headers: list[tuple[str, str]], body: bytes
) -> None:
    request = signed(method=method, target=f"{path}?{encoded(pairs)}" if pairs else path, headers=headers, body=body)

    assert verifier().verify(request) == Caller(
        ACCOUNT, ALICE.access_key_id, "eu-central-1", "sqs", ALICE.arn, ALICE.user_id
    )


@given(METHODS, PATHS, st.dictionaries(NAMES, TEXT, max_size=6), HEADERS)
def test_what_botocore_presigns_is_right(
    method: str, path: str, pairs: dict[str, str], headers: list[tuple[str, str]]
) -> None:
    request = presigned(method=method, target=f"{path}?{encoded(list(pairs.items()))}", headers=headers)

    assert verifier().verify(request).arn == ALICE.arn


def test_a_session_token_is_part_of_the_credential() -> None:
    for request in (signed(credential=SESSION), presigned(credential=SESSION)):
        assert verifier().verify(request).access_key_id == SESSION.access_key_id


@pytest.mark.parametrize("service", ["sqs", "sns", "kinesis", "events", "sts"])
def test_the_service_that_was_signed_for_is_the_callers(service: str) -> None:
    request = signed(service=service, region="ap-south-1")
    caller = verifier().verify(request, service)
    claim = claimed(request)

    assert (caller.service, caller.region) == (service, "ap-south-1")
    assert claim is not None
    assert (claim.access_key_id, claim.region, claim.service) == (ALICE.access_key_id, "ap-south-1", service)


@st.composite
def changed(draw: st.DrawFn) -> Request:
    """A signed request with one signed part changed."""
    headers = [("X-Amz-Target", "AmazonSQS.SendMessage"), ("X-Custom", "a b"), ("Content-Type", "text/plain")]
    target = "/123456789012/orders?Action=SendMessage&MessageBody=hello&Attribute.1.Name=a&Attribute.1.Name=b"
    in_header = draw(st.booleans())
    sign = signed if in_header else presigned
    request = sign(method="POST", target=target, headers=headers)
    kinds = ["method", "path", "query", "body", "value", "gone", "new"] + ["authorization"] * in_header
    match draw(st.sampled_from(kinds)):
        case "method":
            request.method = draw(st.sampled_from(["GET", "PUT", "post", "DELETE"]))
        case "path":
            request.target = draw(st.sampled_from(["/x", "//2", "/%41"])) + request.target
        case "query":
            request.target += "&" + draw(st.sampled_from(["a", "a=b", "Action=SendMessage", "X-Amz-Foo=1"]))
        case "body":
            request.body += draw(st.binary(min_size=1))
        case "value":
            name = draw(st.sampled_from(sorted({"host", "x-amz-target", "x-custom", "content-type"})))
            return with_header(request, name, request.headers[name] + draw(st.sampled_from(["x", ",", " y", "\xa0"])))
        case "gone":
            return with_header(request, draw(st.sampled_from(["host", "x-amz-target", "x-custom"])), None)
        case "new":
            return with_header(request, draw(st.sampled_from(["x-amz-security-token", "x-amz-foo"])), "v")
        case "authorization":
            text = request.headers["authorization"]
            start = draw(st.integers(len("AWS4-HMAC-SHA256 "), len(text) - 1))
            letter = draw(st.sampled_from("0a9z/,;= ").filter(lambda one: one != text[start]))
            assume(text[start] not in ", " or letter not in ", ")  # between the parts, either will do
            return with_header(request, "authorization", text[:start] + letter + text[start + 1 :])
    return request


@given(changed())
def test_whatever_was_signed_cannot_be_changed(request: Request) -> None:
    with pytest.raises(AwsError) as refused:
        verifier().verify(request)

    assert refused.value.status in {400, 403}


@given(st.integers(0, 63), st.sampled_from("0123456789abcdefABCDEF-\xe9"))
def test_a_signature_is_right_in_every_digit(place: int, digit: str) -> None:
    request = signed()
    head, _, signature = request.headers["authorization"].rpartition("=")
    forged = signature[:place] + digit + signature[place + 1 :]
    if forged == signature:
        return
    with pytest.raises(AwsError) as refused:
        verifier().verify(with_header(request, "authorization", f"{head}={forged}"))

    assert refused.value.code == "SignatureDoesNotMatch"
