"""What the endpoint knows of one AWS service: its model, the protocols it speaks, and what is done for each operation.

The table of operations is checked against the model when it is made; what the model has and Heddle does not serve is
answered as such. Never: bytes, and nothing of HTTP but what a handler may ask of its call.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import OperationModel, ServiceModel

from broker.api.aws.errors import AwsError
from broker.api.aws.sigv4 import Caller
from broker.api.web.messages import Request

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """Around an operation's members: who calls, and where the caller stands. ``base_url``: how the caller reaches the
    endpoint, without a slash at its end. ``protocol``: by its name."""

    caller: Caller
    request: Request
    base_url: str
    protocol: str


Operation = Callable[[Call, Members], Awaitable[Members]]
"""Input to output, by the names of the model. Raises BrokerError and AwsError."""


class Service:
    """``protocols``: those that it speaks, by name. Raises LookupError for an operation that the model has not."""

    def __init__(self, model: ServiceModel, operations: Mapping[str, Operation], protocols: Collection[str]) -> None:
        strangers = set(operations) - set(model.operation_names)
        if strangers:
            raise LookupError(f"{model.service_name} has no operations {sorted(strangers)}")
        self.model = model
        self.protocols = frozenset(protocols)
        self.operations = dict(operations)
        self._models = {name: model.operation_model(name) for name in operations}

    @property
    def name(self) -> str:
        """As botocore calls it."""
        return self.model.service_name

    @property
    def signing_name(self) -> str:
        """What the scope of a signature calls it."""
        return str(self.model.signing_name)

    def find(self, name: str, protocol: str) -> tuple[OperationModel, Operation]:
        """Raises AwsError for an operation that is not served."""
        operation = self.operations.get(name)
        if operation is None:
            raise self._unknown(name, protocol)
        return self._models[name], operation

    def _unknown(self, name: str, protocol: str) -> AwsError:
        if name in self.model.operation_names:
            return AwsError(
                "NotImplemented",
                "NotImplemented",
                f"The operation {name} of {self.name} is not implemented by this broker.",
                status=501,
                sender_fault=False,
            )
        if protocol.startswith("query"):
            return AwsError("InvalidAction", "InvalidAction", f"The action {name} is not valid for this endpoint.")
        return unknown_operation()


def unknown_operation() -> AwsError:
    return AwsError(
        "UnknownOperationException",
        "UnknownOperationException",
        "",
        status=404,
        namespace="com.amazon.coral.service",
    )
