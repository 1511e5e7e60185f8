from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MessageBatchView(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, messages: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ProduceRequestView(_message.Message):
    __slots__ = ("queue_url", "request_id", "batch", "delay_seconds")
    QUEUE_URL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    queue_url: str
    request_id: int
    batch: bytes
    delay_seconds: int
    def __init__(self, queue_url: _Optional[str] = ..., request_id: _Optional[int] = ..., batch: _Optional[bytes] = ..., delay_seconds: _Optional[int] = ...) -> None: ...

class DeliveryView(_message.Message):
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
    batch: bytes
    first_message_id: bytes
    sent_timestamp_ms: int
    first_received_timestamp_ms: int
    receive_count: int
    sender_id: str
    visible_again_timestamp_ms: int
    dead_letter_queue_source_arn: str
    def __init__(self, delivery_id: _Optional[int] = ..., base_sequence: _Optional[int] = ..., batch: _Optional[bytes] = ..., first_message_id: _Optional[bytes] = ..., sent_timestamp_ms: _Optional[int] = ..., first_received_timestamp_ms: _Optional[int] = ..., receive_count: _Optional[int] = ..., sender_id: _Optional[str] = ..., visible_again_timestamp_ms: _Optional[int] = ..., dead_letter_queue_source_arn: _Optional[str] = ...) -> None: ...

class ConsumeResponseView(_message.Message):
    __slots__ = ("deliveries", "confirmed_request_id")
    DELIVERIES_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    deliveries: _containers.RepeatedCompositeFieldContainer[DeliveryView]
    confirmed_request_id: int
    def __init__(self, deliveries: _Optional[_Iterable[_Union[DeliveryView, _Mapping]]] = ..., confirmed_request_id: _Optional[int] = ...) -> None: ...
