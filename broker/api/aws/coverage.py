"""What of AWS is served: every operation of the models of the services that there are, yes or no.

Never: a list by hand; it is read from the tables that requests are answered by.
"""

from collections.abc import Callable, Mapping
from typing import Final

from broker.api.aws import sqs, sts
from broker.api.aws.model import service_model

_SERVICES: Final[Mapping[str, Callable[[], list[str]]]] = {"sqs": sqs.served, "sts": sts.served}


def coverage() -> dict[str, dict[str, bool]]:
    """By service and operation, in the order of the models."""
    return {
        name: {operation: operation in served() for operation in service_model(name).operation_names}
        for name, served in _SERVICES.items()
    }


def markdown_table() -> str:
    """The table of docs/aws-operations.md."""
    rows = ["| Service | Operation | Served |", "| --- | --- | --- |"]
    for service, operations in coverage().items():
        rows += [
            f"| {service} | {operation} | {'yes' if is_served else 'no'} |"
            for operation, is_served in operations.items()
        ]
    return "\n".join(rows)
