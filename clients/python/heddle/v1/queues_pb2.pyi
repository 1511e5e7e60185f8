from heddle.v1 import message_pb2 as _message_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateQueueRequest(_message.Message):
    __slots__ = ("queue_name", "attributes", "tags")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    queue_name: str
    attributes: _containers.ScalarMap[str, str]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, queue_name: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateQueueResponse(_message.Message):
    __slots__ = ("queue_url",)
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    def __init__(self, queue_url: _Optional[str] = ...) -> None: ...

class DeleteQueueRequest(_message.Message):
    __slots__ = ("queue_url",)
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    def __init__(self, queue_url: _Optional[str] = ...) -> None: ...

class DeleteQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetQueueUrlRequest(_message.Message):
    __slots__ = ("queue_name", "queue_owner_aws_account_id")
    QUEUE_NAME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_OWNER_AWS_ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    queue_name: str
    queue_owner_aws_account_id: str
    def __init__(self, queue_name: _Optional[str] = ..., queue_owner_aws_account_id: _Optional[str] = ...) -> None: ...

class GetQueueUrlResponse(_message.Message):
    __slots__ = ("queue_url",)
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    def __init__(self, queue_url: _Optional[str] = ...) -> None: ...

class ListQueuesRequest(_message.Message):
    __slots__ = ("queue_name_prefix", "max_results", "next_token")
    QUEUE_NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    queue_name_prefix: str
    max_results: int
    next_token: str
    def __init__(self, queue_name_prefix: _Optional[str] = ..., max_results: _Optional[int] = ..., next_token: _Optional[str] = ...) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queue_urls", "next_token")
    QUEUE_URLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    queue_urls: _containers.RepeatedScalarFieldContainer[str]
    next_token: str
    def __init__(self, queue_urls: _Optional[_Iterable[str]] = ..., next_token: _Optional[str] = ...) -> None: ...

class GetQueueAttributesRequest(_message.Message):
    __slots__ = ("queue_url", "attribute_names")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_NAMES_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    attribute_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, queue_url: _Optional[str] = ..., attribute_names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetQueueAttributesResponse(_message.Message):
    __slots__ = ("attributes",)
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SetQueueAttributesRequest(_message.Message):
    __slots__ = ("queue_url", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, queue_url: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SetQueueAttributesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PurgeQueueRequest(_message.Message):
    __slots__ = ("queue_url",)
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    def __init__(self, queue_url: _Optional[str] = ...) -> None: ...

class PurgeQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TagQueueRequest(_message.Message):
    __slots__ = ("queue_url", "tags")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    tags: _containers.ScalarMap[str, str]
    def __init__(self, queue_url: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TagQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UntagQueueRequest(_message.Message):
    __slots__ = ("queue_url", "tag_keys")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    TAG_KEYS_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    tag_keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, queue_url: _Optional[str] = ..., tag_keys: _Optional[_Iterable[str]] = ...) -> None: ...

class UntagQueueResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListQueueTagsRequest(_message.Message):
    __slots__ = ("queue_url",)
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    def __init__(self, queue_url: _Optional[str] = ...) -> None: ...

class ListQueueTagsResponse(_message.Message):
    __slots__ = ("tags",)
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.ScalarMap[str, str]
    def __init__(self, tags: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AddPermissionRequest(_message.Message):
    __slots__ = ("queue_url", "label", "aws_account_ids", "actions")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    AWS_ACCOUNT_IDS_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    label: str
    aws_account_ids: _containers.RepeatedScalarFieldContainer[str]
    actions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, queue_url: _Optional[str] = ..., label: _Optional[str] = ..., aws_account_ids: _Optional[_Iterable[str]] = ..., actions: _Optional[_Iterable[str]] = ...) -> None: ...

class AddPermissionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemovePermissionRequest(_message.Message):
    __slots__ = ("queue_url", "label")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    label: str
    def __init__(self, queue_url: _Optional[str] = ..., label: _Optional[str] = ...) -> None: ...

class RemovePermissionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDeadLetterSourceQueuesRequest(_message.Message):
    __slots__ = ("queue_url", "max_results", "next_token")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    max_results: int
    next_token: str
    def __init__(self, queue_url: _Optional[str] = ..., max_results: _Optional[int] = ..., next_token: _Optional[str] = ...) -> None: ...

class ListDeadLetterSourceQueuesResponse(_message.Message):
    __slots__ = ("queue_urls", "next_token")
    QUEUE_URLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    queue_urls: _containers.RepeatedScalarFieldContainer[str]
    next_token: str
    def __init__(self, queue_urls: _Optional[_Iterable[str]] = ..., next_token: _Optional[str] = ...) -> None: ...

class StartMessageMoveTaskRequest(_message.Message):
    __slots__ = ("source_arn", "destination_arn", "max_number_of_messages_per_second")
    SOURCE_ARN_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ARN_FIELD_NUMBER: _ClassVar[int]
    MAX_NUMBER_OF_MESSAGES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    source_arn: str
    destination_arn: str
    max_number_of_messages_per_second: int
    def __init__(self, source_arn: _Optional[str] = ..., destination_arn: _Optional[str] = ..., max_number_of_messages_per_second: _Optional[int] = ...) -> None: ...

class StartMessageMoveTaskResponse(_message.Message):
    __slots__ = ("task_handle",)
    TASK_HANDLE_FIELD_NUMBER: _ClassVar[int]
    task_handle: str
    def __init__(self, task_handle: _Optional[str] = ...) -> None: ...

class ListMessageMoveTasksRequest(_message.Message):
    __slots__ = ("source_arn", "max_results")
    SOURCE_ARN_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    source_arn: str
    max_results: int
    def __init__(self, source_arn: _Optional[str] = ..., max_results: _Optional[int] = ...) -> None: ...

class ListMessageMoveTasksResultEntry(_message.Message):
    __slots__ = ("task_handle", "status", "source_arn", "destination_arn", "max_number_of_messages_per_second", "approximate_number_of_messages_moved", "approximate_number_of_messages_to_move", "failure_reason", "started_timestamp")
    TASK_HANDLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ARN_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ARN_FIELD_NUMBER: _ClassVar[int]
    MAX_NUMBER_OF_MESSAGES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_NUMBER_OF_MESSAGES_MOVED_FIELD_NUMBER: _ClassVar[int]
    APPROXIMATE_NUMBER_OF_MESSAGES_TO_MOVE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_REASON_FIELD_NUMBER: _ClassVar[int]
    STARTED_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    task_handle: str
    status: str
    source_arn: str
    destination_arn: str
    max_number_of_messages_per_second: int
    approximate_number_of_messages_moved: int
    approximate_number_of_messages_to_move: int
    failure_reason: str
    started_timestamp: int
    def __init__(self, task_handle: _Optional[str] = ..., status: _Optional[str] = ..., source_arn: _Optional[str] = ..., destination_arn: _Optional[str] = ..., max_number_of_messages_per_second: _Optional[int] = ..., approximate_number_of_messages_moved: _Optional[int] = ..., approximate_number_of_messages_to_move: _Optional[int] = ..., failure_reason: _Optional[str] = ..., started_timestamp: _Optional[int] = ...) -> None: ...

class ListMessageMoveTasksResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ListMessageMoveTasksResultEntry]
    def __init__(self, results: _Optional[_Iterable[_Union[ListMessageMoveTasksResultEntry, _Mapping]]] = ...) -> None: ...

class CancelMessageMoveTaskRequest(_message.Message):
    __slots__ = ("task_handle",)
    TASK_HANDLE_FIELD_NUMBER: _ClassVar[int]
    task_handle: str
    def __init__(self, task_handle: _Optional[str] = ...) -> None: ...

class CancelMessageMoveTaskResponse(_message.Message):
    __slots__ = ("approximate_number_of_messages_moved",)
    APPROXIMATE_NUMBER_OF_MESSAGES_MOVED_FIELD_NUMBER: _ClassVar[int]
    approximate_number_of_messages_moved: int
    def __init__(self, approximate_number_of_messages_moved: _Optional[int] = ...) -> None: ...

class SendMessageRequest(_message.Message):
    __slots__ = ("queue_url", "message_body", "delay_seconds", "message_attributes", "message_system_attributes", "message_group_id", "message_deduplication_id")
    class MessageAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _message_pb2.MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_message_pb2.MessageAttributeValue, _Mapping]] = ...) -> None: ...
    class MessageSystemAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _message_pb2.MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_message_pb2.MessageAttributeValue, _Mapping]] = ...) -> None: ...
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BODY_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SYSTEM_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_DEDUPLICATION_ID_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    message_body: bytes
    delay_seconds: int
    message_attributes: _containers.MessageMap[str, _message_pb2.MessageAttributeValue]
    message_system_attributes: _containers.MessageMap[str, _message_pb2.MessageAttributeValue]
    message_group_id: str
    message_deduplication_id: str
    def __init__(self, queue_url: _Optional[str] = ..., message_body: _Optional[bytes] = ..., delay_seconds: _Optional[int] = ..., message_attributes: _Optional[_Mapping[str, _message_pb2.MessageAttributeValue]] = ..., message_system_attributes: _Optional[_Mapping[str, _message_pb2.MessageAttributeValue]] = ..., message_group_id: _Optional[str] = ..., message_deduplication_id: _Optional[str] = ...) -> None: ...

class SendMessageResponse(_message.Message):
    __slots__ = ("message_id", "md5_of_message_body", "md5_of_message_attributes", "md5_of_message_system_attributes", "sequence_number")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_BODY_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_SYSTEM_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    md5_of_message_body: str
    md5_of_message_attributes: str
    md5_of_message_system_attributes: str
    sequence_number: str
    def __init__(self, message_id: _Optional[str] = ..., md5_of_message_body: _Optional[str] = ..., md5_of_message_attributes: _Optional[str] = ..., md5_of_message_system_attributes: _Optional[str] = ..., sequence_number: _Optional[str] = ...) -> None: ...

class SendMessageBatchRequestEntry(_message.Message):
    __slots__ = ("id", "message_body", "delay_seconds", "message_attributes", "message_system_attributes", "message_group_id", "message_deduplication_id")
    class MessageAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _message_pb2.MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_message_pb2.MessageAttributeValue, _Mapping]] = ...) -> None: ...
    class MessageSystemAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _message_pb2.MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_message_pb2.MessageAttributeValue, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BODY_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SYSTEM_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_DEDUPLICATION_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    message_body: bytes
    delay_seconds: int
    message_attributes: _containers.MessageMap[str, _message_pb2.MessageAttributeValue]
    message_system_attributes: _containers.MessageMap[str, _message_pb2.MessageAttributeValue]
    message_group_id: str
    message_deduplication_id: str
    def __init__(self, id: _Optional[str] = ..., message_body: _Optional[bytes] = ..., delay_seconds: _Optional[int] = ..., message_attributes: _Optional[_Mapping[str, _message_pb2.MessageAttributeValue]] = ..., message_system_attributes: _Optional[_Mapping[str, _message_pb2.MessageAttributeValue]] = ..., message_group_id: _Optional[str] = ..., message_deduplication_id: _Optional[str] = ...) -> None: ...

class SendMessageBatchRequest(_message.Message):
    __slots__ = ("queue_url", "entries")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    entries: _containers.RepeatedCompositeFieldContainer[SendMessageBatchRequestEntry]
    def __init__(self, queue_url: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[SendMessageBatchRequestEntry, _Mapping]]] = ...) -> None: ...

class SendMessageBatchResultEntry(_message.Message):
    __slots__ = ("id", "message_id", "md5_of_message_body", "md5_of_message_attributes", "md5_of_message_system_attributes", "sequence_number")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_BODY_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_SYSTEM_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    id: str
    message_id: str
    md5_of_message_body: str
    md5_of_message_attributes: str
    md5_of_message_system_attributes: str
    sequence_number: str
    def __init__(self, id: _Optional[str] = ..., message_id: _Optional[str] = ..., md5_of_message_body: _Optional[str] = ..., md5_of_message_attributes: _Optional[str] = ..., md5_of_message_system_attributes: _Optional[str] = ..., sequence_number: _Optional[str] = ...) -> None: ...

class BatchResultErrorEntry(_message.Message):
    __slots__ = ("id", "sender_fault", "code", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    SENDER_FAULT_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    sender_fault: bool
    code: str
    message: str
    def __init__(self, id: _Optional[str] = ..., sender_fault: _Optional[bool] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class SendMessageBatchResponse(_message.Message):
    __slots__ = ("successful", "failed")
    SUCCESSFUL_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    successful: _containers.RepeatedCompositeFieldContainer[SendMessageBatchResultEntry]
    failed: _containers.RepeatedCompositeFieldContainer[BatchResultErrorEntry]
    def __init__(self, successful: _Optional[_Iterable[_Union[SendMessageBatchResultEntry, _Mapping]]] = ..., failed: _Optional[_Iterable[_Union[BatchResultErrorEntry, _Mapping]]] = ...) -> None: ...

class ReceiveMessageRequest(_message.Message):
    __slots__ = ("queue_url", "max_number_of_messages", "visibility_timeout", "wait_time_seconds", "message_system_attribute_names", "attribute_names", "message_attribute_names", "receive_request_attempt_id")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    MAX_NUMBER_OF_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    WAIT_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_SYSTEM_ATTRIBUTE_NAMES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_NAMES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ATTRIBUTE_NAMES_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_REQUEST_ATTEMPT_ID_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    max_number_of_messages: int
    visibility_timeout: int
    wait_time_seconds: int
    message_system_attribute_names: _containers.RepeatedScalarFieldContainer[str]
    attribute_names: _containers.RepeatedScalarFieldContainer[str]
    message_attribute_names: _containers.RepeatedScalarFieldContainer[str]
    receive_request_attempt_id: str
    def __init__(self, queue_url: _Optional[str] = ..., max_number_of_messages: _Optional[int] = ..., visibility_timeout: _Optional[int] = ..., wait_time_seconds: _Optional[int] = ..., message_system_attribute_names: _Optional[_Iterable[str]] = ..., attribute_names: _Optional[_Iterable[str]] = ..., message_attribute_names: _Optional[_Iterable[str]] = ..., receive_request_attempt_id: _Optional[str] = ...) -> None: ...

class ReceivedMessage(_message.Message):
    __slots__ = ("message_id", "receipt_handle", "md5_of_body", "body", "attributes", "md5_of_message_attributes", "message_attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class MessageAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _message_pb2.MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_message_pb2.MessageAttributeValue, _Mapping]] = ...) -> None: ...
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HANDLE_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_BODY_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MD5_OF_MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    receipt_handle: str
    md5_of_body: str
    body: bytes
    attributes: _containers.ScalarMap[str, str]
    md5_of_message_attributes: str
    message_attributes: _containers.MessageMap[str, _message_pb2.MessageAttributeValue]
    def __init__(self, message_id: _Optional[str] = ..., receipt_handle: _Optional[str] = ..., md5_of_body: _Optional[str] = ..., body: _Optional[bytes] = ..., attributes: _Optional[_Mapping[str, str]] = ..., md5_of_message_attributes: _Optional[str] = ..., message_attributes: _Optional[_Mapping[str, _message_pb2.MessageAttributeValue]] = ...) -> None: ...

class ReceiveMessageResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ReceivedMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[ReceivedMessage, _Mapping]]] = ...) -> None: ...

class DeleteMessageRequest(_message.Message):
    __slots__ = ("queue_url", "receipt_handle")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HANDLE_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    receipt_handle: str
    def __init__(self, queue_url: _Optional[str] = ..., receipt_handle: _Optional[str] = ...) -> None: ...

class DeleteMessageResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteMessageBatchRequestEntry(_message.Message):
    __slots__ = ("id", "receipt_handle")
    ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HANDLE_FIELD_NUMBER: _ClassVar[int]
    id: str
    receipt_handle: str
    def __init__(self, id: _Optional[str] = ..., receipt_handle: _Optional[str] = ...) -> None: ...

class DeleteMessageBatchRequest(_message.Message):
    __slots__ = ("queue_url", "entries")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    entries: _containers.RepeatedCompositeFieldContainer[DeleteMessageBatchRequestEntry]
    def __init__(self, queue_url: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[DeleteMessageBatchRequestEntry, _Mapping]]] = ...) -> None: ...

class DeleteMessageBatchResultEntry(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteMessageBatchResponse(_message.Message):
    __slots__ = ("successful", "failed")
    SUCCESSFUL_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    successful: _containers.RepeatedCompositeFieldContainer[DeleteMessageBatchResultEntry]
    failed: _containers.RepeatedCompositeFieldContainer[BatchResultErrorEntry]
    def __init__(self, successful: _Optional[_Iterable[_Union[DeleteMessageBatchResultEntry, _Mapping]]] = ..., failed: _Optional[_Iterable[_Union[BatchResultErrorEntry, _Mapping]]] = ...) -> None: ...

class ChangeMessageVisibilityRequest(_message.Message):
    __slots__ = ("queue_url", "receipt_handle", "visibility_timeout")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HANDLE_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    receipt_handle: str
    visibility_timeout: int
    def __init__(self, queue_url: _Optional[str] = ..., receipt_handle: _Optional[str] = ..., visibility_timeout: _Optional[int] = ...) -> None: ...

class ChangeMessageVisibilityResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChangeMessageVisibilityBatchRequestEntry(_message.Message):
    __slots__ = ("id", "receipt_handle", "visibility_timeout")
    ID_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_HANDLE_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    receipt_handle: str
    visibility_timeout: int
    def __init__(self, id: _Optional[str] = ..., receipt_handle: _Optional[str] = ..., visibility_timeout: _Optional[int] = ...) -> None: ...

class ChangeMessageVisibilityBatchRequest(_message.Message):
    __slots__ = ("queue_url", "entries")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    entries: _containers.RepeatedCompositeFieldContainer[ChangeMessageVisibilityBatchRequestEntry]
    def __init__(self, queue_url: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[ChangeMessageVisibilityBatchRequestEntry, _Mapping]]] = ...) -> None: ...

class ChangeMessageVisibilityBatchResultEntry(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ChangeMessageVisibilityBatchResponse(_message.Message):
    __slots__ = ("successful", "failed")
    SUCCESSFUL_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    successful: _containers.RepeatedCompositeFieldContainer[ChangeMessageVisibilityBatchResultEntry]
    failed: _containers.RepeatedCompositeFieldContainer[BatchResultErrorEntry]
    def __init__(self, successful: _Optional[_Iterable[_Union[ChangeMessageVisibilityBatchResultEntry, _Mapping]]] = ..., failed: _Optional[_Iterable[_Union[BatchResultErrorEntry, _Mapping]]] = ...) -> None: ...

class PeekMessagesRequest(_message.Message):
    __slots__ = ("queue_url", "max_number_of_messages", "from_sequence")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    MAX_NUMBER_OF_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    FROM_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    max_number_of_messages: int
    from_sequence: int
    def __init__(self, queue_url: _Optional[str] = ..., max_number_of_messages: _Optional[int] = ..., from_sequence: _Optional[int] = ...) -> None: ...

class PeekedMessage(_message.Message):
    __slots__ = ("sequence", "message_id", "state", "until_timestamp_ms", "sent_timestamp_ms", "receive_count", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    SENT_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    message_id: str
    state: str
    until_timestamp_ms: int
    sent_timestamp_ms: int
    receive_count: int
    message: _message_pb2.Message
    def __init__(self, sequence: _Optional[int] = ..., message_id: _Optional[str] = ..., state: _Optional[str] = ..., until_timestamp_ms: _Optional[int] = ..., sent_timestamp_ms: _Optional[int] = ..., receive_count: _Optional[int] = ..., message: _Optional[_Union[_message_pb2.Message, _Mapping]] = ...) -> None: ...

class PeekMessagesResponse(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[PeekedMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[PeekedMessage, _Mapping]]] = ...) -> None: ...

class ProduceRequest(_message.Message):
    __slots__ = ("queue_url", "request_id", "batch", "delay_seconds")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    request_id: int
    batch: _message_pb2.MessageBatch
    delay_seconds: int
    def __init__(self, queue_url: _Optional[str] = ..., request_id: _Optional[int] = ..., batch: _Optional[_Union[_message_pb2.MessageBatch, _Mapping]] = ..., delay_seconds: _Optional[int] = ...) -> None: ...

class ProduceResult(_message.Message):
    __slots__ = ("request_id", "count", "base_sequence", "first_message_id", "error_code", "error_message", "duplicates")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    BASE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    count: int
    base_sequence: int
    first_message_id: bytes
    error_code: str
    error_message: str
    duplicates: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, request_id: _Optional[int] = ..., count: _Optional[int] = ..., base_sequence: _Optional[int] = ..., first_message_id: _Optional[bytes] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., duplicates: _Optional[_Iterable[int]] = ...) -> None: ...

class ProduceResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ProduceResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ProduceResult, _Mapping]]] = ...) -> None: ...

class SequenceRange(_message.Message):
    __slots__ = ("first", "end")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    first: int
    end: int
    def __init__(self, first: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("range", "delay_seconds", "unhandled", "delivery_id")
    RANGE_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    UNHANDLED_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    range: SequenceRange
    delay_seconds: int
    unhandled: bool
    delivery_id: int
    def __init__(self, range: _Optional[_Union[SequenceRange, _Mapping]] = ..., delay_seconds: _Optional[int] = ..., unhandled: _Optional[bool] = ..., delivery_id: _Optional[int] = ...) -> None: ...

class Extension(_message.Message):
    __slots__ = ("range", "visibility_timeout")
    RANGE_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    range: SequenceRange
    visibility_timeout: int
    def __init__(self, range: _Optional[_Union[SequenceRange, _Mapping]] = ..., visibility_timeout: _Optional[int] = ...) -> None: ...

class ConsumeRequest(_message.Message):
    __slots__ = ("queue_url", "visibility_timeout", "keep_in_flight_on_disconnect", "credit", "acks", "nacks", "extensions", "request_id", "stop")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    VISIBILITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    KEEP_IN_FLIGHT_ON_DISCONNECT_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    visibility_timeout: int
    keep_in_flight_on_disconnect: bool
    credit: int
    acks: _containers.RepeatedCompositeFieldContainer[SequenceRange]
    nacks: _containers.RepeatedCompositeFieldContainer[Nack]
    extensions: _containers.RepeatedCompositeFieldContainer[Extension]
    request_id: int
    stop: bool
    def __init__(self, queue_url: _Optional[str] = ..., visibility_timeout: _Optional[int] = ..., keep_in_flight_on_disconnect: _Optional[bool] = ..., credit: _Optional[int] = ..., acks: _Optional[_Iterable[_Union[SequenceRange, _Mapping]]] = ..., nacks: _Optional[_Iterable[_Union[Nack, _Mapping]]] = ..., extensions: _Optional[_Iterable[_Union[Extension, _Mapping]]] = ..., request_id: _Optional[int] = ..., stop: _Optional[bool] = ...) -> None: ...

class Delivery(_message.Message):
    __slots__ = ("delivery_id", "base_sequence", "batch", "first_message_id", "sent_timestamp_ms", "first_received_timestamp_ms", "receive_count", "sender_id", "visible_again_timestamp_ms", "dead_letter_queue_source_arn")
    DELIVERY_ID_FIELD_NUMBER: _ClassVar[int]
    BASE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_RECEIVED_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SENDER_ID_FIELD_NUMBER: _ClassVar[int]
    VISIBLE_AGAIN_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    DEAD_LETTER_QUEUE_SOURCE_ARN_FIELD_NUMBER: _ClassVar[int]
    delivery_id: int
    base_sequence: int
    batch: _message_pb2.MessageBatch
    first_message_id: bytes
    sent_timestamp_ms: int
    first_received_timestamp_ms: int
    receive_count: int
    sender_id: str
    visible_again_timestamp_ms: int
    dead_letter_queue_source_arn: str
    def __init__(self, delivery_id: _Optional[int] = ..., base_sequence: _Optional[int] = ..., batch: _Optional[_Union[_message_pb2.MessageBatch, _Mapping]] = ..., first_message_id: _Optional[bytes] = ..., sent_timestamp_ms: _Optional[int] = ..., first_received_timestamp_ms: _Optional[int] = ..., receive_count: _Optional[int] = ..., sender_id: _Optional[str] = ..., visible_again_timestamp_ms: _Optional[int] = ..., dead_letter_queue_source_arn: _Optional[str] = ...) -> None: ...

class ConsumeResponse(_message.Message):
    __slots__ = ("deliveries", "confirmed_request_id")
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[Delivery]
    confirmed_request_id: int
    def __init__(self, deliveries: _Optional[_Iterable[_Union[Delivery, _Mapping]]] = ..., confirmed_request_id: _Optional[int] = ...) -> None: ...
