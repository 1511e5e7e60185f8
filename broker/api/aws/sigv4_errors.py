"""What AWS says to requests whose signature it does not accept. Never: deciding that.

One error has two names: the shape is that of JSON and CBOR services, the code that of Query services. The status is
403 at services that speak or once spoke Query (seen for SQS, also in its JSON protocol, SNS and STS) and 400 at
Kinesis, DynamoDB and their like (seen for Kinesis); 403 is assumed for REST services. IncompleteSignature is 400.

Texts are from answers of AWS that are quoted in public issues (``aws-sdk-php`` 642 and 2469, ``aws-sdk-go`` 487 and
2194, ``boto3`` 1752, ``boto`` 1573, ``amazonka`` 5, ``cognitect aws-api`` 27) and from the IAM user guide's page about
troubleshooting signatures. Not verified against AWS, but formed after those: which part of an Authorization header the
hash in IncompleteSignature covers, ``presigned_incomplete``, ``both_ways``, ``expires_range``, ``header_not_signed``
for other headers than Host, ``content_sha256``, the two dates at the end of ``scope_mismatch``, and RequestExpired (the
text is EC2's; STS is known to let presigned URLs live 15 minutes whatever they ask for).
"""

import base64
import hashlib
import re
import time
from collections.abc import Iterable
from typing import Final

from broker.api.aws.errors import AwsError

_UNPRINTABLE: Final = re.compile(r"[^\n -~]")
_NAMESPACE: Final = "com.amazon.coral.service"
_SERVICES_ANSWERING_400: Final = frozenset({"kinesis", "events"})


def _refused(shape: str, code: str, message: str, service: str) -> AwsError:
    status = 400 if service in _SERVICES_ANSWERING_400 else 403
    return AwsError(shape, code, _printable(message), status, namespace=_NAMESPACE)


def _incomplete(message: str) -> AwsError:
    shape, code = "IncompleteSignatureException", "IncompleteSignature"
    return AwsError(shape, code, _printable(message), 400, namespace=_NAMESPACE)


def _invalid_signature(message: str, service: str) -> AwsError:
    return _refused("InvalidSignatureException", "SignatureDoesNotMatch", message, service)


def missing_authentication_token(service: str) -> AwsError:
    return _refused(
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "Request is missing Authentication Token",
        service,
    )


def unknown_access_key(service: str) -> AwsError:
    """Also where a session token is wrong, missing or not expected: AWS does not tell which."""
    return _refused(
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "The security token included in the request is invalid.",
        service,
    )


def mismatch(canonical_request: str, string_to_sign: str, service: str) -> AwsError:
    """The strings help to find what a client or proxy signs differently; they hold what the client sent, no secret."""
    return _invalid_signature(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.\n\n"
        f"The Canonical String for this request should have been\n'{canonical_request}'\n\n"
        f"The String-to-Sign should have been\n'{string_to_sign}'\n",
        service,
    )


def expired(signed_at: float, now: float, allowed_seconds: int, service: str) -> AwsError:
    return _invalid_signature(
        f"Signature expired: {_iso(signed_at)} is now earlier than {_iso(now - allowed_seconds)} "
        f"({_iso(now)} - {allowed_seconds // 60} min.)",
        service,
    )


def not_yet_current(signed_at: float, now: float, allowed_seconds: int, service: str) -> AwsError:
    return _invalid_signature(
        f"Signature not yet current: {_iso(signed_at)} is still later than {_iso(now + allowed_seconds)} "
        f"({_iso(now)} + {allowed_seconds // 60} min.)",
        service,
    )


def presigned_expired() -> AwsError:
    return AwsError("RequestExpired", "RequestExpired", "Request has expired.", 400, namespace=_NAMESPACE)


def header_not_signed(name: str, service: str) -> AwsError:
    shown = "'Host' or ':authority'" if name == "host" else f"'{name}'"
    return _invalid_signature(f"{shown} must be a 'SignedHeader' in the AWS Authorization.", service)


def content_sha256(service: str) -> AwsError:
    return _invalid_signature("x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value.", service)


def both_ways(service: str) -> AwsError:
    return _invalid_signature(
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.", service
    )


def scope_region(region: str) -> str:
    return f"Credential should be scoped to a valid region, not '{region}'. "


def scope_service(service: str) -> str:
    return f"Credential should be scoped to correct service: '{service}'. "


def scope_terminator(terminator: str) -> str:
    return f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'. "


def scope_date(scoped: str, date: str) -> str:
    return (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'{scoped}' != '{date[:8]}', from '{date}'."
    )


def scope_mismatch(faults: Iterable[str], service: str) -> AwsError:
    """All that is wrong with the scope, in one message, as AWS tells it."""
    return _invalid_signature("".join(faults), service)


def credential_malformed(credential: str) -> AwsError:
    return _incomplete(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
        f"got '{credential}'"
    )


def not_an_algorithm() -> AwsError:
    return _incomplete("Authorization header must begin with the algorithm name, which cannot include an equal-sign")


def unsupported_algorithm(algorithm: str) -> AwsError:
    return _incomplete(f"Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). ")


def not_key_value(authorization: str) -> AwsError:
    return _incomplete(
        "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with "
        f"Base64): '{_hashed(authorization)}'."
    )


def header_incomplete(missing: Iterable[str], dated: bool, authorization: str) -> AwsError:
    faults = [f"Authorization header requires '{name}' parameter. " for name in missing]
    if not dated:
        faults.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    hashed = f"(Hashed with SHA-256 and encoded with Base64) Authorization={_hashed(authorization)}"
    return _incomplete("".join(faults) + hashed)


def presigned_incomplete(missing: Iterable[str]) -> AwsError:
    faults = "".join(f"AWS query-string parameters must include '{name}'. " for name in missing)
    return _incomplete(faults + "Re-examine the query-string parameters.")


def presigned_repeated(name: str) -> AwsError:
    return _incomplete(f"AWS query-string parameters must include '{name}' once. Re-examine them.")


def date_malformed(date: str) -> AwsError:
    return _incomplete(
        f"Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
    )


def expires_range(seconds_max: int) -> AwsError:
    return _incomplete(f"X-Amz-Expires must be a number of seconds from 1 to {seconds_max}, which is a week.")


def _printable(message: str) -> str:
    """Messages repeat what the client sent; XML can carry no control character but the line feed."""
    return _UNPRINTABLE.sub("?", message)


def _hashed(authorization: str) -> str:
    """Not the header itself: it may be meant for somebody else, with a password or a bearer token in it."""
    return base64.b64encode(hashlib.sha256(authorization.encode("utf-8", "surrogatepass")).digest()).decode()


def _iso(epoch_seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch_seconds))
