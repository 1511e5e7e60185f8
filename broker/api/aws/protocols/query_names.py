"""What things are called in the Query protocol: parameters of the form, elements of the XML.

The model says it (``locationName``), but for a service whose model has moved on to another protocol and lost the
traits: then a ``Dialect`` has them as data, per shape and member. Never: anything about a single operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from botocore.model import ListShape, MapShape, ServiceModel, Shape


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the model of a service does not say.

    ``elements``: list shape -> name of its element. ``entries``: map shape -> names of key and value. ``members``:
    member of whatever structure -> its name. ``json_members``: member -> its name when the answer is JSON. ``detail``:
    errors carry an empty ``<Detail/>``. ``declared``: documents start with an XML declaration.
    """

    namespace: str
    elements: Mapping[str, str] = field(default_factory=dict)
    entries: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)
    json_members: Mapping[str, str] = field(default_factory=dict)
    detail: bool = False
    declared: bool = False


_NAME_VALUE: Final = ("Name", "Value")

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        # As its model was until 2023, when SQS went over to JSON. MessageSystemAttributeNames is younger than that; it
        # shares the parameter of AttributeNames. The declaration and <Detail/>: an answer of AWS quoted in rusoto
        # issue 586. The JSON names: answers of AWS quoted in the patterns of serverlessland (API Gateway to SQS).
        "sqs": Dialect(
            namespace="http://queue.amazonaws.com/doc/2012-11-05/",
            elements={
                "AWSAccountIdList": "AWSAccountId",
                "ActionNameList": "ActionName",
                "AttributeNameList": "AttributeName",
                "BatchResultErrorEntryList": "BatchResultErrorEntry",
                "BinaryList": "BinaryListValue",
                "ChangeMessageVisibilityBatchRequestEntryList": "ChangeMessageVisibilityBatchRequestEntry",
                "ChangeMessageVisibilityBatchResultEntryList": "ChangeMessageVisibilityBatchResultEntry",
                "DeleteMessageBatchRequestEntryList": "DeleteMessageBatchRequestEntry",
                "DeleteMessageBatchResultEntryList": "DeleteMessageBatchResultEntry",
                "ListMessageMoveTasksResultEntryList": "ListMessageMoveTasksResultEntry",
                "MessageAttributeNameList": "MessageAttributeName",
                "MessageList": "Message",
                "MessageSystemAttributeList": "AttributeName",
                "QueueUrlList": "QueueUrl",
                "SendMessageBatchRequestEntryList": "SendMessageBatchRequestEntry",
                "SendMessageBatchResultEntryList": "SendMessageBatchResultEntry",
                "StringList": "StringListValue",
                "TagKeyList": "TagKey",
            },
            entries={
                "MessageBodyAttributeMap": _NAME_VALUE,
                "MessageBodySystemAttributeMap": _NAME_VALUE,
                "MessageSystemAttributeMap": _NAME_VALUE,
                "QueueAttributeMap": _NAME_VALUE,
                "TagMap": ("Key", "Value"),
            },
            members={
                "Attributes": "Attribute",
                "MessageAttributes": "MessageAttribute",
                "MessageSystemAttributes": "MessageSystemAttribute",
                "Tags": "Tag",
                "tags": "Tag",
            },
            json_members={"Messages": "messages", "QueueUrls": "queueUrls"},
            detail=True,
            declared=True,
        ),
    }
)


def dialect(service: ServiceModel) -> Dialect:
    """``KeyError``: the service has never spoken Query."""
    known = DIALECTS.get(service.service_name)
    return known or Dialect(namespace=service.metadata["xmlNamespace"])


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one service's shapes on the wire."""

    dialect: Dialect

    def member(self, name: str, shape: Shape) -> str:
        """Of a structure's member: a flattened list goes by the name of its element."""
        if isinstance(shape, ListShape) and flattened(shape) and (element := self._element(shape)):
            return element
        own: str | None = shape.serialization.get("name")
        return own or self.dialect.members.get(name, name)

    def element(self, shape: ListShape) -> str:
        """Of a list that is not flattened."""
        return self._element(shape) or "member"

    def entry(self, shape: MapShape) -> tuple[str, str]:
        """Of a map's key and of its value."""
        if shape.name in self.dialect.entries:
            return self.dialect.entries[shape.name]
        return shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")

    def json_member(self, name: str) -> str:
        return self.dialect.json_members.get(name, name)

    def _element(self, shape: ListShape) -> str | None:
        own: str | None = shape.member.serialization.get("name")
        return own or self.dialect.elements.get(shape.name)


def flattened(shape: Shape) -> bool:
    """Its items stand side by side with the other members, without an element of their own around them."""
    return bool(shape.serialization.get("flattened"))
