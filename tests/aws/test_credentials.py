"""The credentials file: what it may hold, and that every defect is told in a sentence without a secret."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from broker.api.aws.credentials import Credentials, load_credentials
from broker.errors import ConfigurationError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ALICE = f"""
[[credentials]]
access_key_id = "AKIDALICE"
secret_access_key = "{SECRET}"
account = "123456789012"
user = "alice"
"""


def entry(**members: str) -> str:
    """Alice's, with other members; those that are empty are left out."""
    usual = {"access_key_id": "AKIDALICE", "secret_access_key": SECRET, "account": "123456789012", **members}
    lines = [f"{key} = {value if value[:1] in '0[{' else repr(value)}" for key, value in usual.items() if value]
    return "\n".join(["[[credentials]]", *lines, ""])


def write(directory: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = directory / "credentials.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def load(directory: Path, text: str | bytes) -> Credentials:
    return load_credentials(write(directory, text), production=True)


def defect(directory: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load(directory, text)
    message = str(refused.value)
    assert message.startswith(f"{directory / 'credentials.toml'}: ")
    return message.partition(": ")[2]


def test_access_keys_with_their_accounts(tmp_path: Path) -> None:
    credentials = load(tmp_path, ALICE + entry(access_key_id="AKIDROOT", account="999999999999"))
    alice, root = credentials.get("AKIDALICE"), credentials.get("AKIDROOT")

    assert len(credentials) == 2
    assert credentials.get("AKIDNOBODY") is None
    assert alice is not None
    assert root is not None
    assert (alice.secret_access_key, alice.account) == (SECRET, "123456789012")
    assert alice.arn == "arn:aws:iam::123456789012:user/alice"
    assert (root.arn, root.user_id) == ("arn:aws:iam::999999999999:root", "999999999999")


@pytest.mark.parametrize(
    ("arn", "user_id"),
    [
        ("arn:aws:iam::123456789012:root", r"123456789012"),
        ("arn:aws:iam::123456789012:user/path/bob", r"AIDA[A-Z2-7]{17}"),
        ("arn:aws-cn:sts::123456789012:assumed-role/worker/job-7", r"AROA[A-Z2-7]{17}:job-7"),
        ("arn:aws:sts::123456789012:federated-user/bob", r"123456789012:bob"),
    ],
)
def test_an_identity_by_its_arn(tmp_path: Path, arn: str, user_id: str) -> None:
    once, again = (load(tmp_path, entry(arn=arn)).get("AKIDALICE") for _ in range(2))

    assert once == again
    assert once is not None
    assert once.arn == arn
    assert re.fullmatch(user_id, once.user_id)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no credentials; expected at least one [[credentials]] table"),
        ("credentials = []", "names no credentials; expected at least one [[credentials]] table"),
        ("credentials = 'AKID'", "names no credentials; expected at least one [[credentials]] table"),
        ("[credentials]\na = 1", "names no credentials; expected at least one [[credentials]] table"),
        (ALICE + "[other]", "unknown key other; expected [[credentials]] tables only"),
        (entry(account=""), "credentials number 1: account is missing"),
        ("[[credentials]]", "credentials number 1: access_key_id, account, secret_access_key is missing"),
        (ALICE + ALICE, "credentials number 2: access_key_id AKIDALICE was given before"),
        (entry(account="12345678901"), "credentials number 1: account must be exactly 12 digits"),
        (entry(account="0x1"), "credentials number 1: account must be a string in quotes"),
        (entry(access_key_id="a/b"), "credentials number 1: access_key_id must be 3 to 128 letters, digits, '_', '-' "
         "and '.'"),
        (entry(secret_access_key="short"), "credentials number 1: secret_access_key is too short to withstand "
         "guessing; use at least 16 random characters"),
        (entry(secret_access_key=SECRET + " x"), "credentials number 1: secret_access_key must be printable ASCII "
         "without spaces"),
        (entry(secret="x"), "credentials number 1: unknown key secret; known are access_key_id, secret_access_key, "
         "account, user, arn, session_token"),
        (entry(user="a b"), "credentials number 1: user must be 1 to 64 letters, digits and characters of _+=,.@-"),
        (entry(user="a", arn="arn:aws:iam::123456789012:root"), "credentials number 1: user and arn name the identity "
         "twice; keep one of them"),
        (entry(arn="arn:aws:sqs:eu:123456789012:q"), "credentials number 1: arn must be that of an identity, such as "
         "arn:aws:iam::123456789012:user/alice or arn:aws:sts::123456789012:assumed-role/worker/session"),
        (entry(arn="arn:aws:iam::999999999999:root"), "credentials number 1: arn is of account 999999999999, not of "
         "123456789012"),
        (entry(arn="arn:aws:sts::123456789012:assumed-role/worker"), "credentials number 1: arn of an assumed role "
         "must end in /role/session"),
        (entry(session_token=" x"), "credentials number 1: session_token must be printable ASCII without spaces"),
        (b"\xff", "not UTF-8 at byte 0"),
    ],
)  # fmt: skip
def test_a_defect_is_told_in_a_sentence(tmp_path: Path, text: str | bytes, problem: str) -> None:
    assert defect(tmp_path, text) == problem


def test_what_is_not_toml(tmp_path: Path) -> None:
    message = defect(tmp_path, f"[[credentials]]\nsecret_access_key = {SECRET}\n")

    assert message.startswith("this is not TOML: ")
    assert "line 2" in message
    assert SECRET not in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError, match=f"the credentials cannot be read: {problem}"):
            load_credentials(path, production=False)


def test_a_file_that_never_ends() -> None:
    with pytest.raises(ConfigurationError, match="not in a regular file"):
        load_credentials(Path("/dev/zero"), production=False)


@pytest.mark.parametrize(
    ("mode", "mended"), [(0o644, "600"), (0o640, "600"), (0o660, "600"), (0o604, "600"), (0o444, "400"), (0o601, "600")]
)
def test_a_file_that_others_can_open(tmp_path: Path, mode: int, mended: str) -> None:
    path = write(tmp_path, ALICE, mode)
    with pytest.raises(ConfigurationError, match=f"mode {mode:04o}") as refused:
        load_credentials(path, production=True)
    with capture_logs() as logs:
        assert len(load_credentials(path, production=False)) == 1

    assert f"`chmod {mended} {path}`" in str(refused.value)
    assert [log["log_level"] for log in logs] == ["warning"]
    assert SECRET not in str(logs)


@pytest.mark.parametrize(("mode", "accepted"), [(0o440, True), (0o640, True), (0o444, False), (0o660, False)])
def test_a_file_of_another_user_may_be_readable_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, accepted: bool
) -> None:
    """As Kubernetes mounts secrets: of root, for a group."""
    path = write(tmp_path, ALICE, mode)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if accepted:
        assert len(load_credentials(path, production=True)) == 1
    else:
        with pytest.raises(ConfigurationError, match="others than its owner"):
            load_credentials(path, production=True)


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    credentials = load(tmp_path, entry(session_token="token-of-session"))
    one = credentials.get("AKIDALICE")
    shown = f"{credentials!r} {credentials} {one!r} {one}"

    assert "AKIDALICE" in shown
    assert SECRET not in shown
    assert "token-of-session" not in shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=80),
        st.text(st.sampled_from("[]{}credentials=\"'\n .#0"), max_size=80).map(str.encode),
        st.integers(1, 3000).map(lambda depth: b"a = " + b"[" * depth),
        st.dictionaries(st.sampled_from(["access_key_id", "account", "arn", "user"]), st.text(max_size=30)).map(
            lambda members: entry(**{key: value for key, value in members.items() if value.isprintable()}).encode(
                "utf-8", "replace"
            )
        ),
    )
)
def test_whatever_is_in_the_file_only_configuration_errors_come_out(tmp_path: Path, content: bytes) -> None:
    try:
        told = repr(load(tmp_path, content))
    except ConfigurationError as error:
        told = str(error)

    assert SECRET not in told
