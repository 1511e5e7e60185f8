"""The security token service: who the caller is. Never: handing out credentials; those are the operator's file.

GetCallerIdentity alone is served: every tool asks it first. It needs no permission, as in AWS.
"""

from broker.api.aws import sigv4_errors
from broker.api.aws.model import service_model
from broker.api.aws.service import Call, Members, Service
from broker.api.aws.sigv4 import Caller


def get_caller_identity(caller: Caller) -> dict[str, str]:
    """Account, ARN and unique id, as the column ``aws:userid`` of IAM's table of principals has it: the account for
    its root user, ``AIDA...`` for a user, ``AROA...:session`` for an assumed role.

    Raises AwsError (MissingAuthenticationToken) where nobody signed.
    """
    if caller.is_anonymous:
        raise sigv4_errors.missing_authentication_token("sts")
    return {"UserId": caller.user_id, "Account": caller.account, "Arn": caller.arn}


def sts() -> Service:
    """The service, with the one operation."""

    async def identity(call: Call, _members: Members) -> Members:
        return dict(get_caller_identity(call.caller))

    return Service(service_model("sts"), dict.fromkeys(served(), identity), ("query", "query-json"))


def served() -> list[str]:
    """The operations that are served."""
    return ["GetCallerIdentity"]
