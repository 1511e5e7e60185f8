from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageAttributeValue(_message.Message):
    __slots__ = ("data_type", "string_value", "binary_value")
    DATA_TYPE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    BINARY_VALUE_FIELD_NUMBER: _ClassVar[int]
    data_type: str
    string_value: str
    binary_value: bytes
    def __init__(self, data_type: _Optional[str] = ..., string_value: _Optional[str] = ..., binary_value: _Optional[bytes] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("body", "message_attributes", "message_group_id", "message_deduplication_id", "aws_trace_header")
    class MessageAttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: MessageAttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[MessageAttributeValue, _Mapping]] = ...) -> None: ...
    BODY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_DEDUPLICATION_ID_FIELD_NUMBER: _ClassVar[int]
    AWS_TRACE_HEADER_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    message_attributes: _containers.MessageMap[str, MessageAttributeValue]
    message_group_id: str
    message_deduplication_id: str
    aws_trace_header: str
    def __init__(self, body: _Optional[bytes] = ..., message_attributes: _Optional[_Mapping[str, MessageAttributeValue]] = ..., message_group_id: _Optional[str] = ..., message_deduplication_id: _Optional[str] = ..., aws_trace_header: _Optional[str] = ...) -> None: ...

class MessageBatch(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[Message]
    def __init__(self, messages: _Optional[_Iterable[_Union[Message, _Mapping]]] = ...) -> None: ...
