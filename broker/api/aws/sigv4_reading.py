"""Where a request carries its signature, and what the parts of it are. Never: whether the signature is right.

Two places: the Authorization header, or the query of a presigned URL.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from broker.api.aws import sigv4_errors
from broker.api.aws.sigv4_canonical import query_pairs
from broker.api.web.messages import Request

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SKEW_SECONDS_MAX: Final = 15 * 60  # AWS: 15 minutes at SQS and SNS, 5 at newer services
EXPIRES_SECONDS_MAX: Final = 7 * 24 * 60 * 60  # AWS: a week

_AUTHORIZATION: Final = re.compile(
    rf"{ALGORITHM} +Credential=([^\s,=]+), *SignedHeaders=([^\s,=]+), *Signature=([^\s,=]+)"
)
"""How every SDK writes the header; other forms that AWS takes are read by ``_authorization_parts``."""
_ISO_DATE: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} (?:GMT|[+-]0000)")
_PRESIGNED: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
_PRESIGNED_OPTIONAL: Final = ("X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-Content-Sha256")
_MARKS: Final = frozenset(_PRESIGNED[:3])
"""Each makes a query one that wants to be signed; a date or a list of headers alone does not."""
_CACHED_TEXT_MAX: Final = 1024
"""Characters. A client sends the same credential and list of headers all day; longer ones are parsed each time, so
that caches of 256 stay small."""


@dataclass(slots=True)
class Signed:
    """The parts of a signature. ``expires_seconds``: None in a header. ``pairs``: the query without the signature."""

    credential: str
    signed_headers: str
    signature: str
    date: str
    token: str
    content_sha256: str
    pairs: list[tuple[str, str]]
    expires_seconds: int | None = None

    @property
    def is_presigned(self) -> bool:
        return self.expires_seconds is not None


@dataclass(frozen=True, slots=True)
class Scope:
    """A credential taken apart. ``name``: all of it but the access key, as it is signed."""

    access_key_id: str
    day: str
    region: str
    service: str
    terminator: str
    name: str


def is_unsigned(request: Request) -> bool:
    """Neither an Authorization header nor a presigned query, not even a broken one: the caller may be anonymous."""
    return "authorization" not in request.headers and not _wants_presigned(query_pairs(request.query))


def _wants_presigned(pairs: Iterable[tuple[str, str]]) -> bool:
    return not _MARKS.isdisjoint(name for name, _ in pairs)


def read_signature(request: Request, service: str) -> Signed:
    """The signature of a request for a service (empty: not known yet). Raises AwsError where it is not whole."""
    headers = request.headers
    pairs = query_pairs(request.query)
    authorization = headers.get("authorization")
    if authorization is None:
        if not _wants_presigned(pairs):
            raise sigv4_errors.missing_authentication_token(service)
        return _from_query(pairs)
    if any(name == "X-Amz-Algorithm" for name, _ in pairs):
        raise sigv4_errors.both_ways(service)
    date = headers.get("x-amz-date") or headers.get("date", "")
    if match := _AUTHORIZATION.fullmatch(authorization):
        credential, signed_headers, signature = match.groups()
        if not date:
            raise sigv4_errors.header_incomplete((), False, authorization)
    else:
        credential, signed_headers, signature = _authorization_parts(authorization, bool(date))
    return Signed(
        credential,
        signed_headers,
        signature,
        _iso_date(date),
        headers.get("x-amz-security-token", ""),
        headers.get("x-amz-content-sha256", ""),
        pairs,
    )


def _authorization_parts(authorization: str, dated: bool) -> tuple[str, str, str]:
    """Credential, SignedHeaders and Signature in any order, with commas or spaces between them."""
    algorithm, *parts = authorization.replace(",", " ").split() or [""]
    if "=" in algorithm:
        raise sigv4_errors.not_an_algorithm()
    found: dict[str, str] = {}
    for part in parts:
        name, equal_sign, value = part.partition("=")
        if not equal_sign:
            raise sigv4_errors.not_key_value(authorization)
        found[name] = value
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not found.get(name)]
    if missing or not dated:
        raise sigv4_errors.header_incomplete(missing, dated, authorization)
    if algorithm != ALGORITHM:
        raise sigv4_errors.unsupported_algorithm(algorithm)
    return found["Credential"], found["SignedHeaders"], found["Signature"]


def _from_query(pairs: Sequence[tuple[str, str]]) -> Signed:
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in _PRESIGNED or name in _PRESIGNED_OPTIONAL:
            if name in found:
                raise sigv4_errors.presigned_repeated(name)
            found[name] = unquote(value)
    if missing := [name for name in _PRESIGNED if not found.get(name)]:
        raise sigv4_errors.presigned_incomplete(missing)
    algorithm, credential, signature, signed_headers, date = (found[name] for name in _PRESIGNED)
    if algorithm != ALGORITHM:
        raise sigv4_errors.unsupported_algorithm(algorithm)
    if not _ISO_DATE.fullmatch(date):
        raise sigv4_errors.date_malformed(date)
    return Signed(
        credential,
        signed_headers,
        signature,
        date,
        found.get("X-Amz-Security-Token", ""),
        found.get("X-Amz-Content-Sha256", ""),
        [pair for pair in pairs if pair[0] != "X-Amz-Signature"],
        expires_seconds=_expires_seconds(found.get("X-Amz-Expires")),
    )


def _expires_seconds(text: str | None) -> int:
    """Without one, as long as a header lives: AWS asks for it at S3 only."""
    if text is None:
        return SKEW_SECONDS_MAX
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= EXPIRES_SECONDS_MAX:
        raise sigv4_errors.expires_range(EXPIRES_SECONDS_MAX)
    return int(text)


def _iso_date(date: str) -> str:
    """The Date header may also be in the form that HTTP gives it; what is signed is the ISO form."""
    if _ISO_DATE.fullmatch(date):
        return date
    if _HTTP_DATE.fullmatch(date):
        with suppress(ValueError):
            iso_date = parsedate_to_datetime(date).strftime("%Y%m%dT%H%M%SZ")
            if _ISO_DATE.fullmatch(iso_date):
                return iso_date
    raise sigv4_errors.date_malformed(date)


def read_scope(credential: str) -> Scope:
    """Raises AwsError where a credential has not its five parts."""
    return (_parse_scope if len(credential) > _CACHED_TEXT_MAX else _cached_scope)(credential)


def _parse_scope(credential: str) -> Scope:
    parts = credential.split("/")
    if len(parts) != 5:
        raise sigv4_errors.credential_malformed(credential)
    access_key_id, day, region, service, terminator = parts
    return Scope(access_key_id, day, region, service, terminator, credential.partition("/")[2])


_cached_scope = lru_cache(maxsize=256)(_parse_scope)


def list_names(signed_headers: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Sorted, and as a set."""
    return (_parse_names if len(signed_headers) > _CACHED_TEXT_MAX else _cached_names)(signed_headers)


def _parse_names(signed_headers: str) -> tuple[tuple[str, ...], frozenset[str]]:
    names = frozenset(signed_headers.lower().split(";"))
    return tuple(sorted(names)), names


_cached_names = lru_cache(maxsize=256)(_parse_names)
