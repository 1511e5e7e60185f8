"""Who may sign requests: access keys with their secrets, read from a file of the operator.

The file is TOML::

    [[credentials]]
    access_key_id = "AKIAEXAMPLE"
    secret_access_key = "at least 16 characters"
    account = "123456789012"
    user = "alice"            # optional: the IAM user that ARNs name; without it the account itself (root)
    # arn = "arn:aws:sts::123456789012:assumed-role/worker/one"   instead of user: any identity of the account
    # session_token = "..."   optional: requests must then carry it as X-Amz-Security-Token

Every defect stops the start with a sentence that names the file, the entry and the key, and never a value: a secret is
in no message, no repr and no log. Never: signatures (``sigv4``), and what an identity may do (queue policies).
"""

import base64
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from broker.errors import ConfigurationError

log = structlog.get_logger("broker.credentials")

FILE_BYTES_MAX: Final = 16 * 2**20
SECRET_CHARACTERS_MIN: Final = 16

_ACCESS_KEY_ID: Final = re.compile(r"[A-Za-z0-9_.-]{3,128}")  # AWS: 16 to 128 of \w; no slash, the scope splits there
_SECRET: Final = re.compile(r"[!-~]+")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_USER: Final = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")  # IAM: names of users
_ARN: Final = re.compile(
    r"arn:aws[a-z-]*:(?:iam|sts)::(?P<account>[0-9]{12}):"
    r"(?:root|(?P<kind>user|assumed-role|federated-user)/(?P<path>[A-Za-z0-9_+=,.@/-]{1,512}))"
)
_REQUIRED: Final = ("access_key_id", "secret_access_key", "account")
_OPTIONAL: Final = ("user", "arn", "session_token")


@dataclass(frozen=True, slots=True)
class Credential:
    """One access key. ``arn`` and ``user_id``: as STS tells them. ``session_token``: empty where none is expected."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    account: str
    arn: str
    user_id: str
    session_token: str = field(default="", repr=False)


class Credentials:
    """The access keys that are known; looked up once a request."""

    __slots__ = ("_by_access_key_id",)

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._by_access_key_id = {one.access_key_id: one for one in credentials}

    def get(self, access_key_id: str) -> Credential | None:
        return self._by_access_key_id.get(access_key_id)

    def __len__(self) -> int:
        return len(self._by_access_key_id)

    def __repr__(self) -> str:
        return f"<Credentials: {len(self)} access keys>"


def root_arn(account: str) -> str:
    """The account itself, as its root user."""
    return f"arn:aws:iam::{account}:root"


def load_credentials(path: Path, *, production: bool) -> Credentials:
    """Reads the file. It may be read again at any time: a ``Verifier`` takes what its ``credentials`` are set to.

    ``production``: a file that others than its owner can read is refused; otherwise that is a warning in the log.
    The rule is PostgreSQL's for private keys: mode 0600 or less for a file of the broker's own user; one of another
    user (root: secrets that Kubernetes mounts) may also be readable by its group, which is the broker's only way in.

    Raises ConfigurationError.
    """
    text = _read(path, production)
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: this is not TOML: {error}") from None
    if set(document) - {"credentials"}:
        raise ConfigurationError(
            f"{path}: unknown key {_listed(set(document) - {'credentials'})}; expected [[credentials]] tables only"
        )
    entries = document.get("credentials")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(f"{path}: names no credentials; expected at least one [[credentials]] table")
    found: dict[str, Credential] = {}
    for number, entry in enumerate(entries, start=1):
        credential = _credential(f"{path}: credentials number {number}", entry)
        if credential.access_key_id in found:
            raise ConfigurationError(
                f"{path}: credentials number {number}: access_key_id {credential.access_key_id} was given before"
            )
        found[credential.access_key_id] = credential
    return Credentials(found.values())


def _read(path: Path, production: bool) -> str:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{path}: the credentials are not in a regular file")
            _check_mode(path, status, production)
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: the credentials cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 at byte {error.start}") from None


def _check_mode(path: Path, status: os.stat_result, production: bool) -> None:
    mode = stat.S_IMODE(status.st_mode)
    forbidden = 0o077 if status.st_uid == os.geteuid() else 0o037
    if not mode & forbidden:
        return
    problem = (
        f"{path}: others than its owner can open this file of secrets (mode {mode:04o}); "
        f"run `chmod {mode & ~forbidden & 0o640:o} {path}`, or set that mode where the secret is mounted"
    )
    if production:
        raise ConfigurationError(problem)
    log.warning("credentials file is open to others", problem=problem)


def _credential(place: str, entry: Mapping[str, Any]) -> Credential:
    if missing := [key for key in _REQUIRED if key not in entry]:
        raise ConfigurationError(f"{place}: {_listed(missing)} is missing")
    if unknown := set(entry) - {*_REQUIRED, *_OPTIONAL}:
        raise ConfigurationError(
            f"{place}: unknown key {_listed(unknown)}; known are {', '.join((*_REQUIRED, *_OPTIONAL))}"
        )
    for key, value in entry.items():
        if not isinstance(value, str):
            raise ConfigurationError(f"{place}: {key} must be a string in quotes")
    _require(place, "access_key_id", entry, _ACCESS_KEY_ID, "3 to 128 letters, digits, '_', '-' and '.'")
    _require(place, "account", entry, _ACCOUNT, "exactly 12 digits")
    _require(place, "secret_access_key", entry, _SECRET, "printable ASCII without spaces")
    if len(entry["secret_access_key"]) < SECRET_CHARACTERS_MIN:
        raise ConfigurationError(
            f"{place}: secret_access_key is too short to withstand guessing; "
            f"use at least {SECRET_CHARACTERS_MIN} random characters"
        )
    if "session_token" in entry:
        _require(place, "session_token", entry, _SECRET, "printable ASCII without spaces")
    arn, user_id = _identity(place, entry)
    return Credential(
        access_key_id=entry["access_key_id"],
        secret_access_key=entry["secret_access_key"],
        account=entry["account"],
        arn=arn,
        user_id=user_id,
        session_token=entry.get("session_token", ""),
    )


def _identity(place: str, entry: Mapping[str, str]) -> tuple[str, str]:
    """ARN and unique id. AWS draws ids at random; here they follow from the ARN, so that they outlast the process."""
    account = entry["account"]
    if "user" in entry and "arn" in entry:
        raise ConfigurationError(f"{place}: user and arn name the identity twice; keep one of them")
    if "user" in entry:
        _require(place, "user", entry, _USER, "1 to 64 letters, digits and characters of _+=,.@-")
        arn = f"arn:aws:iam::{account}:user/{entry['user']}"
    else:
        arn = entry.get("arn", root_arn(account))
    match = _ARN.fullmatch(arn)
    if match is None:
        raise ConfigurationError(
            f"{place}: arn must be that of an identity, such as arn:aws:iam::{account}:user/alice or "
            f"arn:aws:sts::{account}:assumed-role/worker/session"
        )
    if match["account"] != account:
        raise ConfigurationError(f"{place}: arn is of account {match['account']}, not of {account}")
    match match["kind"]:
        case None:
            return arn, account
        case "user":
            return arn, _unique_id("AIDA", arn)
        case "federated-user":
            return arn, f"{account}:{match['path']}"
        case _:
            role, _, session = match["path"].rpartition("/")
            if not role or not session:
                raise ConfigurationError(f"{place}: arn of an assumed role must end in /role/session")
            return arn, f"{_unique_id('AROA', arn.rpartition('/')[0])}:{session}"


def _unique_id(prefix: str, of: str) -> str:
    return prefix + base64.b32encode(hashlib.sha256(of.encode()).digest())[:17].decode()


def _require(place: str, key: str, entry: Mapping[str, str], pattern: re.Pattern[str], allowed: str) -> None:
    if not pattern.fullmatch(entry[key]):
        raise ConfigurationError(f"{place}: {key} must be {allowed}")


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))
