"""The model of SQS as it was when SQS spoke Query, for botocore to serialize and parse by.

The names below are those of ``sqs/2012-11-05/service-2.json`` in botocore 1.29.165, among the last whose model had
them; they are put into today's model. ``MessageSystemAttributeList`` is younger; its name is the developer guide's.
"""

import copy
from functools import cache

import botocore.loaders
from botocore.model import ServiceModel

ELEMENTS = {
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
}
ENTRIES = {
    "MessageBodyAttributeMap": ("Name", "Value"),
    "MessageBodySystemAttributeMap": ("Name", "Value"),
    "MessageSystemAttributeMap": ("Name", "Value"),
    "QueueAttributeMap": ("Name", "Value"),
    "TagMap": ("Key", "Value"),
}
MEMBERS = {
    ("CreateQueueRequest", "Attributes"): "Attribute",
    ("CreateQueueRequest", "tags"): "Tag",
    ("GetQueueAttributesResult", "Attributes"): "Attribute",
    ("ListQueueTagsResult", "Tags"): "Tag",
    ("Message", "Attributes"): "Attribute",
    ("Message", "MessageAttributes"): "MessageAttribute",
    ("MessageAttributeValue", "BinaryListValues"): "BinaryListValue",
    ("MessageAttributeValue", "StringListValues"): "StringListValue",
    ("MessageSystemAttributeValue", "BinaryListValues"): "BinaryListValue",
    ("MessageSystemAttributeValue", "StringListValues"): "StringListValue",
    ("SendMessageBatchRequestEntry", "MessageAttributes"): "MessageAttribute",
    ("SendMessageBatchRequestEntry", "MessageSystemAttributes"): "MessageSystemAttribute",
    ("SendMessageRequest", "MessageAttributes"): "MessageAttribute",
    ("SendMessageRequest", "MessageSystemAttributes"): "MessageSystemAttribute",
    ("SetQueueAttributesRequest", "Attributes"): "Attribute",
    ("TagQueueRequest", "Tags"): "Tag",  # said by TagMap itself
}


@cache
def query_model(service: str) -> ServiceModel:
    """By which botocore speaks Query with a service."""
    model = copy.deepcopy(botocore.loaders.Loader().load_service_model(service, "service-2"))
    if service == "sqs":
        model["metadata"] |= {"protocol": "query", "protocols": ["query"]}
        for name, element in ELEMENTS.items():
            model["shapes"][name]["member"]["locationName"] = element
        for name, (key, value) in ENTRIES.items():
            model["shapes"][name]["key"]["locationName"] = key
            model["shapes"][name]["value"]["locationName"] = value
        for (name, member), told in MEMBERS.items():
            model["shapes"][name]["members"][member]["locationName"] = told
        for name, operation in model["operations"].items():
            if "output" in operation:
                operation["output"]["resultWrapper"] = f"{name}Result"
    return ServiceModel(model, service_name=service)
