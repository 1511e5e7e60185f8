"""GetCallerIdentity: the identity of whoever signed."""

import pytest

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.sigv4 import Caller, Trusting
from broker.api.aws.sts import get_caller_identity
from broker.api.web.messages import Request

from .sigv4_signing import ACCOUNT, ALICE, presigned, signed, verifier


def test_the_identity_of_a_user() -> None:
    expected = {"UserId": ALICE.user_id, "Account": ACCOUNT, "Arn": ALICE.arn}
    for request in (
        signed(service="sts", body=b"Action=GetCallerIdentity&Version=2011-06-15"),
        presigned(service="sts", target="/?Action=GetCallerIdentity&Version=2011-06-15"),
    ):
        assert get_caller_identity(verifier().verify(request, "sts")) == expected


def test_the_identity_of_anybody_in_none_mode() -> None:
    caller = Trusting("000000000000").verify(Request("POST", "/", {}, b""), "sts")

    assert get_caller_identity(caller) == {
        "UserId": "000000000000",
        "Account": "000000000000",
        "Arn": "arn:aws:iam::000000000000:root",
    }


def test_all_that_the_model_names_is_answered() -> None:
    output = service_model("sts").operation_model("GetCallerIdentity").output_shape

    assert output is not None
    assert set(output.members) == set(get_caller_identity(verifier().verify(signed(service="sts"))))


def test_nobody_has_no_identity() -> None:
    with pytest.raises(AwsError) as refused:
        get_caller_identity(Caller.anonymous("us-east-1", "sts"))

    assert (refused.value.code, refused.value.status) == ("MissingAuthenticationToken", 403)
