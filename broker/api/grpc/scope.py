"""Whose call it is: the account and the region in a call's metadata. Never: what the caller may do."""

from typing import Any

import grpc

from broker.errors import InvalidParameterValue
from broker.queues import Scope


def scope_of(context: "grpc.aio.ServicerContext[Any, Any]", default: Scope) -> Scope:
    """The account and region that the call's metadata names, the broker's own where it names none."""
    account, region = default.account, default.region
    for key, value in context.invocation_metadata() or ():
        if key == "heddle-account":
            account = str(value)
        elif key == "heddle-region":
            region = str(value)
    if account is default.account and region is default.region:
        return default
    if not (len(account) == 12 and account.isascii() and account.isdigit()):
        raise InvalidParameterValue(f"Value {account} for metadata heddle-account is invalid. Reason: 12 digits.")
    if not (region.isascii() and region.replace("-", "").isalnum() and len(region) <= 64):
        raise InvalidParameterValue(f"Value {region} for metadata heddle-region is invalid. Reason: not a region name.")
    return Scope(account, region)
