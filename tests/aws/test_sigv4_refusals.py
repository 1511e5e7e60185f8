"""What is refused, with which error of AWS, and that no secret and no control character gets into a message."""

import base64
import hashlib
import re
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4QueryAuth
from hypothesis import given
from hypothesis import strategies as st

from broker.api.aws.credentials import Credential, Credentials, root_arn
from broker.api.aws.errors import AwsError
from broker.api.aws.sigv4 import Trusting, Verifier, claimed
from broker.api.aws.sigv4_reading import is_unsigned
from broker.api.web.messages import Request

from .sigv4_signing import ACCOUNT, ALICE, BOB, CREDENTIALS, HOST, SECRET, SESSION, presigned, signed, verifier
from .sigv4_signing import with_header as having


def refusal(request: Request, by: Verifier | None = None, service: str = "") -> AwsError:
    with pytest.raises(AwsError) as refused:
        (by or verifier()).verify(request, service)
    return refused.value


def edited(request: Request, pattern: str, replacement: str) -> Request:
    """With its Authorization header changed."""
    text, changes = re.subn(pattern, replacement, request.headers["authorization"])
    assert changes == 1
    return having(request, "authorization", text)


def requeried(request: Request, pattern: str, replacement: str) -> Request:
    """With its target changed."""
    target, changes = re.subn(pattern, replacement, request.target)
    assert changes == 1
    return Request(request.method, target, request.headers, request.body)


def iso(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def signed_at(request: Request) -> float:
    date = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    return date.replace(tzinfo=UTC).timestamp()


def hashed(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.parametrize(("service", "status"), [("sqs", 403), ("sns", 403), ("kinesis", 400), ("events", 400)])
def test_an_access_key_that_nobody_has(service: str, status: int) -> None:
    stranger = Credential("AKIDSTRANGER", SECRET, ACCOUNT, "", "")
    error = refusal(signed(service=service, credential=stranger), service=service)

    assert (error.shape, error.code, error.status) == ("UnrecognizedClientException", "InvalidClientTokenId", status)
    assert error.message == "The security token included in the request is invalid."
    assert error.namespace == "com.amazon.coral.service"


@pytest.mark.parametrize("token", [None, "", "other-token"])
def test_a_session_token_that_is_not_the_credentials(token: str | None) -> None:
    other = Credential(SESSION.access_key_id, SECRET, ACCOUNT, "", "", token or "")

    assert refusal(signed(credential=other)).code == "InvalidClientTokenId"
    assert refusal(presigned(credential=other)).code == "InvalidClientTokenId"


def test_a_session_token_for_a_credential_without_one() -> None:
    other = Credential(ALICE.access_key_id, SECRET, ACCOUNT, "", "", "a-token")

    assert refusal(signed(credential=other)).code == "InvalidClientTokenId"


def test_another_secret() -> None:
    forged = Credential(ALICE.access_key_id, BOB.secret_access_key, ACCOUNT, "", "")
    request = signed(credential=forged, body=b"{}")
    error = refusal(request)
    date = request.headers["x-amz-date"]
    canonical = f"POST\n/\n\nhost:{HOST}\nx-amz-date:{date}\n\nhost;x-amz-date\n{hashlib.sha256(b'{}').hexdigest()}"

    assert (error.shape, error.code, error.status) == ("InvalidSignatureException", "SignatureDoesNotMatch", 403)
    assert error.message == (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.\n"
        "\n"
        f"The Canonical String for this request should have been\n'{canonical}'\n"
        "\n"
        f"The String-to-Sign should have been\n'AWS4-HMAC-SHA256\n{date}\n{date[:8]}/eu-central-1/sqs/aws4_request\n"
        f"{hashlib.sha256(canonical.encode()).hexdigest()}'\n"
    )


def test_no_signature_at_all() -> None:
    request = Request("GET", "/?Action=ListQueues", {"host": HOST, "x-amz-date": "20260101T000000Z"}, b"")
    error = refusal(request)

    assert is_unsigned(request)
    assert (error.shape, error.code) == ("MissingAuthenticationTokenException", "MissingAuthenticationToken")
    assert (error.status, error.message) == (403, "Request is missing Authentication Token")
    assert refusal(request, service="kinesis").status == 400


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer abc", "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and "
         "encoded with Base64): '{hash}'."),
        ("", "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' "
         "parameter. Authorization header requires 'SignedHeaders' parameter. (Hashed with SHA-256 and encoded with "
         "Base64) Authorization={hash}"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host", "Authorization header requires 'Signature' "
         "parameter. (Hashed with SHA-256 and encoded with Base64) Authorization={hash}"),
        ("AWS4-HMAC-SHA256 Credential=,SignedHeaders=host,Signature=0", "Authorization header requires 'Credential' "
         "parameter. (Hashed with SHA-256 and encoded with Base64) Authorization={hash}"),
        ("Credential=a Signature=b", "Authorization header must begin with the algorithm name, which cannot include "
         "an equal-sign"),
        ("AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d/e SignedHeaders=host Signature=0", "Unsupported AWS 'algorithm': "
         "'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). "),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=0", "Credential must have exactly 5 "
         "slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d'"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=host, Signature=0", "Credential must have exactly 5 "
         "slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d/e/f'"),
    ],
)  # fmt: skip
def test_an_authorization_header_that_is_not_whole(authorization: str, message: str) -> None:
    request = having(signed(), "authorization", authorization)
    error = refusal(request)

    assert not is_unsigned(request)
    assert (error.shape, error.code) == ("IncompleteSignatureException", "IncompleteSignature")
    assert (error.status, error.message) == (400, message.replace("{hash}", hashed(authorization)))


def test_parts_in_another_order_and_with_other_separators() -> None:
    request = signed()
    algorithm, *parts = request.headers["authorization"].replace(",", "").split()

    assert verifier().verify(having(request, "authorization", " ".join([algorithm, *reversed(parts)]))).arn == ALICE.arn
    assert verifier().verify(having(request, "authorization", f"{algorithm}  {','.join(parts)}")).arn == ALICE.arn


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("/eu-central-1/", "/Not A Region/".replace(" ", "_"), "Credential should be scoped to a valid region, not "
         "'Not_A_Region'. "),
        ("/sqs/", "/sns/", "Credential should be scoped to correct service: 'sqs'. "),
        ("/aws4_request", "/aws5_request", "Credential should be scoped with a valid terminator: 'aws4_request', not "
         "'aws5_request'. "),
        (r"/\d{8}/", "/20150830/", "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
         "from HTTP: '20150830' != '{date:.8}', from '{date}'."),
        ("/sqs/aws4_request", "/sns/aws5_request", "Credential should be scoped to correct service: 'sqs'. "
         "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. "),
    ],
)  # fmt: skip
def test_a_scope_that_is_not_of_this_request(pattern: str, replacement: str, message: str) -> None:
    request = signed()
    error = refusal(edited(request, pattern, replacement), service="sqs")

    assert (error.shape, error.code) == ("InvalidSignatureException", "SignatureDoesNotMatch")
    assert error.message == message.format(date=request.headers["x-amz-date"])


def test_only_the_regions_that_the_operator_lists() -> None:
    by = Verifier(CREDENTIALS, lambda: datetime.now(UTC).timestamp(), regions=["eu-central-1"])

    assert by.verify(signed()).region == "eu-central-1"
    assert refusal(signed(region="us-east-1"), by).message == (
        "Credential should be scoped to a valid region, not 'us-east-1'. "
    )


def test_fifteen_minutes_either_way() -> None:
    request = signed()
    at = signed_at(request)

    assert verifier(at + 900).verify(request).arn == verifier(at - 900).verify(request).arn == ALICE.arn
    late, early = refusal(request, verifier(at + 901)), refusal(request, verifier(at - 901))
    assert late.message == f"Signature expired: {iso(at)} is now earlier than {iso(at + 1)} ({iso(at + 901)} - 15 min.)"
    assert early.message == (
        f"Signature not yet current: {iso(at)} is still later than {iso(at - 1)} ({iso(at - 901)} + 15 min.)"
    )
    assert (late.code, late.status) == (early.code, early.status) == ("SignatureDoesNotMatch", 403)


def test_a_presigned_url_lives_as_long_as_it_says_and_any_number_of_times() -> None:
    request = presigned(expires_seconds=7200)
    match = re.search(r"X-Amz-Date=(\w+)", request.target)
    assert match is not None
    at = datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    by = verifier(at + 7200)

    assert by.verify(request) == by.verify(request)
    expired, early = refusal(request, verifier(at + 7201)), refusal(request, verifier(at - 901))
    assert (expired.shape, expired.code, expired.status) == ("RequestExpired", "RequestExpired", 400)
    assert expired.message == "Request has expired."
    assert early.message.startswith("Signature not yet current: ")


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "x", "", "1e3", "99999999999999999999", "%D9%A3"])
def test_expiry_outside_of_a_week(expires: str) -> None:
    error = refusal(requeried(presigned(), "X-Amz-Expires=3600", f"X-Amz-Expires={expires}"))

    assert (error.code, error.status) == ("IncompleteSignature", 400)
    assert error.message == "X-Amz-Expires must be a number of seconds from 1 to 604800, which is a week."


def test_expiry_of_exactly_a_week() -> None:
    assert verifier().verify(presigned(expires_seconds=604_800)).arn == ALICE.arn


@pytest.mark.parametrize("name", ["Algorithm", "Credential", "Signature", "SignedHeaders", "Date"])
def test_a_presigned_query_that_is_not_whole(name: str) -> None:
    error = refusal(requeried(presigned(), f"&X-Amz-{name}=[^&]*", ""))

    assert (error.shape, error.status) == ("IncompleteSignatureException", 400)
    assert error.message == (
        f"AWS query-string parameters must include 'X-Amz-{name}'. Re-examine the query-string parameters."
    )


@pytest.mark.parametrize(
    ("pattern", "replacement", "code"),
    [
        ("X-Amz-Algorithm=[^&]*", "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256", "IncompleteSignature"),
        ("X-Amz-Date=[^&]*", "X-Amz-Date=yesterday", "IncompleteSignature"),
        ("X-Amz-Date=[^&]*", "X-Amz-Date=20261399T000000Z", "SignatureDoesNotMatch"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3601", "SignatureDoesNotMatch"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&X-Amz-Expires=4600", "IncompleteSignature"),
        ("&X-Amz-Signature=", "&X-Amz-Signature=0&X-Amz-Signature=", "IncompleteSignature"),
        ("&X-Amz-Expires=3600", "", "SignatureDoesNotMatch"),
        ("Action=ListQueues", "Action=DeleteQueue", "SignatureDoesNotMatch"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=x-host", "SignatureDoesNotMatch"),
        ("&X-Amz-Signature=", "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Signature=", "SignatureDoesNotMatch"),
    ],
)
def test_a_presigned_query_that_was_changed(pattern: str, replacement: str, code: str) -> None:
    assert refusal(requeried(presigned(), pattern, replacement)).code == code


def test_signed_both_ways() -> None:
    request = having(presigned(), "authorization", signed().headers["authorization"])

    assert refusal(request).message == (
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )


@pytest.mark.parametrize("date", ["2026-01-01", "20260101T000000", "1442252505", "Thu, 99 Jan 2026 00:00:00 GMT", "٣"])
def test_a_date_in_another_format(date: str) -> None:
    error = refusal(having(signed(), "x-amz-date", date))

    assert (error.code, error.status) == ("IncompleteSignature", 400)
    shown = date if date.isascii() else "?"
    assert error.message == (
        f"Date must be in ISO-8601 'basic format'. Got '{shown}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def test_no_date_at_all() -> None:
    request = having(signed(), "x-amz-date", None)

    assert refusal(request).message == (
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 "
        f"and encoded with Base64) Authorization={hashed(request.headers['authorization'])}"
    )


def test_the_date_header_of_http_does_as_well() -> None:
    """botocore signs it where a request has one."""
    request = signed(headers=[("Date", "to be replaced")])

    assert "x-amz-date" not in request.headers
    assert verifier().verify(request).arn == ALICE.arn


@pytest.mark.parametrize(
    ("headers", "unsigned", "message"),
    [
        ([], "host;", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."),
        ([("X-Amz-Target", "a")], ";x-amz-target", "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."),
    ],
)
def test_headers_that_must_be_signed(headers: list[tuple[str, str]], unsigned: str, message: str) -> None:
    error = refusal(edited(signed(headers=headers), unsigned, ""))

    assert (error.code, error.message) == ("SignatureDoesNotMatch", message)


def test_the_hash_of_the_body_is_not_taken_from_the_client() -> None:
    right = hashlib.sha256(b"{}").hexdigest()
    request = signed(headers=[("X-Amz-Content-Sha256", right)])

    assert verifier().verify(request).arn == ALICE.arn
    request.body = b'{"QueueName":"other"}'
    assert refusal(request).code == "SignatureDoesNotMatch"


def test_a_body_that_its_client_left_unsigned() -> None:
    request = signed(headers=[("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")])
    request.body = b"anything"

    assert verifier().verify(request).arn == ALICE.arn


def test_a_presigned_url_that_leaves_the_body_unsigned_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder could put other parameters over those that were signed."""
    monkeypatch.setattr(SigV4QueryAuth, "payload", lambda _auth, _request: "UNSIGNED-PAYLOAD")
    request = presigned(target="/?Action=ListQueues&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD")

    assert verifier().verify(request).arn == ALICE.arn
    request.body = b"Action=CreateQueue&QueueName=stolen"
    assert refusal(request).shape == "InvalidSignatureException"


def test_a_compressed_body_is_signed_as_it_was_sent() -> None:
    request = signed(body=b"compressed")
    request.sent_body, request.body = request.body, b"plain"

    assert verifier().verify(request).arn == ALICE.arn
    request.sent_body = b"other"
    assert refusal(request).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("kind", ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
def test_signed_chunks_are_s3s(kind: str) -> None:
    error = refusal(signed(headers=[("X-Amz-Content-Sha256", kind)]))

    assert error.message == "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value."


def test_the_name_that_http_2_has_for_host() -> None:
    """A client that signs it says so; the server has the same value as ``host``."""
    date = "20150830T123600Z"
    headers = {"host": "example.amazonaws.com", "x-amz-date": date}
    scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request"
    authorization = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=:authority;x-amz-date, Signature=0"
    error = refusal(Request("GET", "/", {**headers, "authorization": authorization}, b""), verifier(1440938160.0))

    assert f"\n:authority:example.amazonaws.com\nx-amz-date:{date}\n\n:authority;x-amz-date\n" in error.message


def test_a_secret_that_was_replaced_is_not_used_again() -> None:
    by = verifier()
    request = signed()
    assert by.verify(request).arn == ALICE.arn
    by.credentials = Credentials([Credential(ALICE.access_key_id, "the-secret-of-tomorrow", ACCOUNT, "", "")])

    assert refusal(request, by).code == "SignatureDoesNotMatch"


def test_what_is_remembered_of_credentials_is_bounded_and_earned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.api.aws.sigv4.SIGNING_KEYS_MAX", 3)
    by = verifier()
    for number in (0, 1, 2, 0, 3):  # 0 is in use, so 1 has to go
        by.verify(signed(region=f"region-{number}"))
    remembered = [known.caller.region for known in by._known.values()]
    forged = Credential(ALICE.access_key_id, BOB.secret_access_key, ACCOUNT, "", "")
    refusal(signed(credential=forged, region="region-4"), by)

    assert remembered == ["region-2", "region-0", "region-3"]
    assert [known.caller.region for known in by._known.values()] == remembered


def printable_and_without_secrets(error: AwsError) -> None:
    assert re.fullmatch(r"[\n -~]*", error.message)
    for secret in (SECRET, BOB.secret_access_key):
        assert secret not in f"{error!r} {error} {error.message}"


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.text(st.sampled_from("AWS4-HMAC-SHA256 Credential=/,;SignedHeaders=Signature=host\t\x00"), max_size=80),
    st.from_regex(
        r"AWS4-HMAC-SHA256 Credential=(AKIDEXAMPLE|[^ ]{0,9})/[0-9]{8}/[a-z-]{1,9}/sqs/aws4_request, "
        r"SignedHeaders=(host|[^,]{0,20}), ?Signature=.{0,64}",
        fullmatch=True,
    ),
)
HOSTILE_QUERY = st.lists(
    st.tuples(
        st.sampled_from(["X-Amz-" + name for name in ("Algorithm", "Credential", "Signature", "SignedHeaders", "Date")]
                        + ["X-Amz-Expires", "X-Amz-Security-Token", "a", "%", "%zz", "+", "\ud800"]),
        st.one_of(st.text(max_size=20), st.sampled_from([
            "AWS4-HMAC-SHA256", "AKIDEXAMPLE%2F20260101%2Fus-east-1%2Fsqs%2Faws4_request", "host", "20260101T000000Z",
            "99999999T999999Z", "60", "%00%ff", "%"])),
    ),
    max_size=9,
).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs))  # fmt: skip
DATES = st.one_of(st.text(max_size=30), st.from_regex(r"[0-9]{8}T[0-9]{6}Z", fullmatch=True), st.from_regex(
    r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT", fullmatch=True))  # fmt: skip


@given(HOSTILE, DATES, st.text(max_size=30), st.sampled_from(["x-amz-date", "date"]))
def test_hostile_headers_are_refused_in_words(authorization: str, date: str, other: str, name: str) -> None:
    headers = {"host": HOST, "authorization": authorization, name: date, "x-amz-content-sha256": other, "x-b": other}
    request = Request("POST", "/", headers, b"")

    printable_and_without_secrets(refusal(request, verifier(1e9)))
    claimed(request)


@given(HOSTILE_QUERY, st.text(max_size=20))
def test_hostile_queries_are_refused_in_words(query: str, path: str) -> None:
    request = Request("GET", f"/{path}?{query}", {"host": HOST}, b"")

    printable_and_without_secrets(refusal(request, verifier(datetime(2026, 1, 1, tzinfo=UTC).timestamp())))
    assert Trusting("000000000000").verify(request).arn.endswith(":root")


@given(HOSTILE, HOSTILE_QUERY)
def test_in_none_mode_nothing_is_refused(authorization: str, query: str) -> None:
    request = Request("GET", f"/?{query}", {"authorization": authorization}, b"")
    caller = Trusting("000000000000", "eu-central-1").verify(request, "sqs")

    assert re.fullmatch(r"[0-9]{12}", caller.account)
    assert re.fullmatch(r"[a-z0-9-]{1,63}", caller.region)
    assert caller.service == "sqs"


@pytest.mark.parametrize(
    ("access_key_id", "account"),
    [
        ("111122223333", "111122223333"),
        ("test", "000000000000"),
        ("11112222333", "000000000000"),
        ("a/b", "000000000000"),
    ],
)
def test_in_none_mode_an_access_key_of_twelve_digits_names_the_account(access_key_id: str, account: str) -> None:
    anyone = Credential(access_key_id, "anything", "", "", "")
    for request in (signed(credential=anyone), presigned(credential=anyone)):
        caller = Trusting("000000000000").verify(request)
        assert (caller.account, caller.access_key_id) == (account, access_key_id)
        assert (caller.region, caller.service) == ("eu-central-1", "sqs")
        assert (caller.arn, caller.user_id) == (root_arn(account), account)


def test_in_none_mode_a_signature_is_not_needed() -> None:
    caller = Trusting("000000000000", "eu-west-1").verify(Request("GET", "/", {}, b""), "sqs")

    assert (caller.account, caller.region, caller.service) == ("000000000000", "eu-west-1", "sqs")
    assert not caller.is_anonymous
