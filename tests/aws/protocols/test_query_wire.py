"""The Query protocol byte by byte: names, odd and malformed requests, exact answers and errors."""

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.aws.errors import AwsError
from broker.api.aws.model import service_model
from broker.api.aws.protocols.query import QueryJsonProtocol, QueryProtocol, wants_json
from broker.api.aws.protocols.query_form import PARAMETERS_MAX
from broker.api.aws.protocols.query_names import Names, dialect
from broker.api.web.messages import Request, Response

from .query_model import ELEMENTS, ENTRIES, MEMBERS

FORM = {"content-type": "application/x-www-form-urlencoded"}
SQS, SNS, STS = service_model("sqs"), service_model("sns"), service_model("sts")
NOT_PLACED = "Start of list found where not expected"


def parse(operation: str, form: str, query: str = "", service: ServiceModel = SQS) -> dict[str, Any]:
    request = Request("POST", f"/?{query}" if query else "/", FORM, form.encode())
    return QueryProtocol().codec(service.operation_model(operation)).parse(request)


def serialize(operation: str, output: dict[str, Any], service: ServiceModel = SQS) -> Response:
    return QueryProtocol().codec(service.operation_model(operation)).serialize(output, "r-1")


def text(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def test_the_names_of_sqs_are_those_of_its_last_query_model() -> None:
    spoken = dialect(SQS)
    names = Names(spoken)
    assert spoken.elements == ELEMENTS
    assert spoken.entries == ENTRIES
    for (structure, member), told in MEMBERS.items():
        shape = SQS.shape_for(structure)
        assert isinstance(shape, StructureShape)
        assert names.member(member, shape.members[member]) == told, (structure, member)


def test_the_names_of_sqs_cover_every_list_and_map_of_its_model() -> None:
    def kind(shape: Shape) -> str | None:
        return "list" if isinstance(shape, ListShape) else "map" if isinstance(shape, MapShape) else None

    kinds = {name: kind(SQS.shape_for(name)) for name in SQS.shape_names}
    assert {name for name, told in kinds.items() if told == "list"} == set(ELEMENTS)
    assert {name for name, told in kinds.items() if told == "map"} == set(ENTRIES)


@pytest.mark.parametrize(
    ("operation", "form", "parsed"),
    [
        ("SendMessage", "MessageBody=a%20b%2Bc+%C3%BC%5Cx41\\x41%25", {"MessageBody": "a b+c ü\\x41\\x41%"}),
        ("SendMessage", "MessageBody=", {"MessageBody": ""}),
        ("SendMessage", "MessageBody&&=x&MessageGroupId=a=b", {"MessageBody": "", "MessageGroupId": "a=b"}),
        ("SendMessage", "MessageGroupId=a&MessageGroupId=b", {"MessageGroupId": "b"}),
        ("SendMessage", "DelaySeconds=-05&Unknown.1.X=1&Version=1999-01-01", {"DelaySeconds": -5}),
        ("SendMessage", "MessageBody.=x", {"MessageBody": "x"}),
        ("SendMessageBatch", "SendMessageBatchRequestEntry=", {"Entries": []}),
        ("SendMessageBatch", "Entries=", {"Entries": []}),
        ("SendMessageBatch", "SendMessageBatchRequestEntry.999999999.Id=x", {"Entries": [{"Id": "x"}]}),
        (
            "SendMessageBatch",
            "SendMessageBatchRequestEntry.10.Id=c&SendMessageBatchRequestEntry.9.Id=b&SendMessageBatchRequestEntry=",
            {"Entries": [{"Id": "b"}, {"Id": "c"}]},
        ),
        ("SendMessageBatch", "SendMessageBatchRequestEntry.1=", {"Entries": [{}]}),
        (
            "ReceiveMessage",
            "AttributeName.1=All&AttributeName.2=SenderId&MessageAttributeName.1=.*",
            {"AttributeNames": ["All", "SenderId"], "MessageAttributeNames": [".*"]},
        ),
        (
            "SendMessage",
            "MessageAttribute.1.Name=a&MessageAttribute.1.Value.DataType=Binary&MessageAttribute.1.Value.BinaryValue=AP8%3D",
            {"MessageAttributes": {"a": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}},
        ),
        ("SendMessage", "MessageAttribute.1.Name=a", {"MessageAttributes": {"a": {}}}),
        ("CreateQueue", "Attribute.1.Name=A&Attribute.1.Value=&Tag.1.Key=k&Tag.1.Value=v",
         {"Attributes": {"A": ""}, "tags": {"k": "v"}}),
        ("CreateQueue", "Attribute=", {"Attributes": {}}),
        ("TagQueue", "Tag.1.Key=k&Tag.1.Value=v", {"Tags": {"k": "v"}}),
    ],
)  # fmt: skip
def test_forms(operation: str, form: str, parsed: dict[str, Any]) -> None:
    assert parse(operation, form) == parsed


def test_parameters_come_in_the_query_string_too() -> None:
    assert parse("SendMessage", "DelaySeconds=1", "MessageBody=a&DelaySeconds=2") == {
        "MessageBody": "a",
        "DelaySeconds": 1,
    }
    get = Request("GET", "/1/q?Action=SendMessage&MessageBody=a+b", {"content-type": "application/json"}, b"")
    assert QueryProtocol().codec(SQS.operation_model("SendMessage")).parse(get) == {"MessageBody": "a b"}


def test_lists_and_maps_of_sns() -> None:
    form = "Attributes.entry.1.key=DisplayName&Attributes.entry.1.value=x&Tags.member.2.Key=k&Tags.member.2.Value=v"
    assert parse("CreateTopic", form, service=SNS) == {
        "Attributes": {"DisplayName": "x"},
        "Tags": [{"Key": "k", "Value": "v"}],
    }
    assert parse("CreateTopic", "Tags=&Attributes.entry=", service=SNS) == {"Tags": [], "Attributes": {}}


INTEGER = "STRING_VALUE can not be converted to an Integer"
BASE64 = "STRING_VALUE can not be decoded as base64"


@pytest.mark.parametrize(
    ("operation", "form", "message"),
    [
        ("SendMessage", "DelaySeconds=abc", INTEGER),
        ("SendMessage", "DelaySeconds=", INTEGER),
        ("SendMessage", "DelaySeconds=1.0", INTEGER),
        ("SendMessage", "DelaySeconds=1_0", INTEGER),
        ("SendMessage", "DelaySeconds=%D9%A1", INTEGER),
        ("SendMessage", "DelaySeconds=2147483648", INTEGER),
        ("SendMessage", f"DelaySeconds={'9' * 5000}", INTEGER),
        ("SendMessage", "MessageBody.1=x", NOT_PLACED),
        ("SendMessage", "MessageBody=y&MessageBody.1=x", NOT_PLACED),
        ("SendMessage", "MessageBody=%zz", "A percent sign needs two hexadecimal digits after it"),
        ("SendMessage", "MessageBody=100%", "A percent sign needs two hexadecimal digits after it"),
        ("SendMessage", "MessageBody=%ff", "The parameters are not encoded as UTF-8"),
        ("SendMessage", "MessageBody=%ED%A0%80", "The parameters are not encoded as UTF-8"),
        ("SendMessage", "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=A", BASE64),
        ("SendMessage", "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=A%0A%3D%3D%3D", BASE64),
        ("SendMessage", "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=AP%0A8%3D", BASE64),
        ("SendMessage", "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=AP8%3DAP8%3D", BASE64),
        ("SendMessage", "MessageAttribute.1.Name=a&MessageAttribute.1.Value.BinaryValue=%C3%BC", BASE64),
        ("SendMessage", "MessageAttribute.1.Value.DataType=String", "A map entry needs Name and Value"),
        ("SetQueueAttributes", "Attribute.1.Name=DelaySeconds", "A map entry needs Name and Value"),
        ("SetQueueAttributes", "Attributes.entry.1.key=DelaySeconds", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeNames.member.1=All", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeName.1=All&MessageAttributeName=x", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeName=x&MessageAttributeName.1=All", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeName.-1=All", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeName.%C2%B2=All", NOT_PLACED),
        ("ReceiveMessage", f"MessageAttributeName.{'9' * 11}=All", NOT_PLACED),
        ("ReceiveMessage", "MessageAttributeName=All", "Unexpected value where a list or structure is expected"),
        ("SendMessageBatch", "SendMessageBatchRequestEntry.1=x",
         "Unexpected value where a list or structure is expected"),
        ("SendMessageBatch", "SendMessageBatchRequestEntry.1" + ".1" * 1000 + "=x", None),
    ],
)  # fmt: skip
def test_malformed_forms(operation: str, form: str, message: str | None) -> None:
    if message is None:  # an unknown member of an entry, however deep
        assert parse(operation, form) == {"Entries": [{}]}
        return
    with pytest.raises(AwsError) as refused:
        parse(operation, form)
    assert (refused.value.code, refused.value.status, refused.value.message) == ("MalformedInput", 400, message)


@pytest.mark.parametrize("form", ["Tags.1.Key=k", "Tags.entry.1.Key=k", "Tags.member.1.Key=k&Tags.other=x"])
def test_lists_of_sns_have_members(form: str) -> None:
    with pytest.raises(AwsError, match="found where not expected"):
        parse("CreateTopic", form, service=SNS)


@pytest.mark.parametrize("told", ["yes", "TRUE", ""])
def test_booleans_of_sns(told: str) -> None:
    with pytest.raises(AwsError, match=r"boolean must follow xsd1\.1 definition"):
        parse("Subscribe", f"ReturnSubscriptionArn={told}", service=SNS)
    assert parse("Subscribe", "ReturnSubscriptionArn=1", service=SNS) == {"ReturnSubscriptionArn": True}


def test_the_number_of_parameters_is_bounded() -> None:
    most = "&".join(f"SendMessageBatchRequestEntry.{index}.Id=x" for index in range(PARAMETERS_MAX))
    assert len(parse("SendMessageBatch", most)["Entries"]) == PARAMETERS_MAX
    with pytest.raises(AwsError, match="Too many parameters: more than 2000"):
        parse("SendMessageBatch", most + "&Version=2012-11-05")


PARTS = ("SendMessageBatchRequestEntry", "MessageAttribute", "Value", "Name", "Id", "1", "2", "", "x")


@given(
    names=st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=9).map(".".join), max_size=6),
    junk=st.binary(max_size=20),
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_parsed_or_refused(names: list[str], junk: bytes) -> None:
    body = "&".join(f"{name}=1" for name in names).encode() + b"&SendMessageBatchRequestEntry.3.Id=" + junk
    request = Request("POST", "/", FORM, body)
    match outcome("SendMessageBatch", request):
        case AwsError() as refusal:
            assert refusal.code == "MalformedInput"
        case parsed:
            assert parsed["Entries"]
            assert all(isinstance(entry, dict) for entry in parsed["Entries"])


def outcome(operation: str, request: Request) -> dict[str, Any] | AwsError:
    try:
        return QueryProtocol().codec(SQS.operation_model(operation)).parse(request)
    except AwsError as refusal:
        return refusal


DECLARATION = '<?xml version="1.0"?>'
META = "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"


@pytest.mark.parametrize(
    ("operation", "output", "inner"),
    [
        ("DeleteQueue", {}, ""),
        ("ReceiveMessage", {}, "<ReceiveMessageResult/>"),
        ("ReceiveMessage", {"Messages": []}, "<ReceiveMessageResult/>"),
        ("GetQueueUrl", {"QueueUrl": "http://h/1/q"}, "<GetQueueUrlResult><QueueUrl>http://h/1/q</QueueUrl></GetQueueUrlResult>"),
        ("ListQueues", {"QueueUrls": ["a", "b"], "NextToken": None},
         "<ListQueuesResult><QueueUrl>a</QueueUrl><QueueUrl>b</QueueUrl></ListQueuesResult>"),
        ("ListQueueTags", {"Tags": {"k": "v"}},
         "<ListQueueTagsResult><Tag><Key>k</Key><Value>v</Value></Tag></ListQueueTagsResult>"),
        ("SendMessageBatch", {"Failed": [{"Id": "a", "SenderFault": True, "Code": "X"}], "Successful": []},
         "<SendMessageBatchResult><BatchResultErrorEntry><Id>a</Id><SenderFault>true</SenderFault><Code>X</Code>"
         "</BatchResultErrorEntry></SendMessageBatchResult>"),
        ("ReceiveMessage",
         {"Messages": [{"MessageId": "m", "Body": "<a&\"'\r\n\t>\x00\ud800\uffff", "Attributes": {"SenderId": "s"},
                        "MessageAttributes": {"n": {"DataType": "Binary", "BinaryValue": b"\xff"}}}]},
         "<ReceiveMessageResult><Message><MessageId>m</MessageId><Body>&lt;a&amp;&quot;'&#xD;\n\t&gt;\ufffd\ufffd\ufffd</Body>"
         "<Attribute><Name>SenderId</Name><Value>s</Value></Attribute><MessageAttribute><Name>n</Name><Value>"
         "<BinaryValue>/w==</BinaryValue><DataType>Binary</DataType></Value></MessageAttribute></Message>"
         "</ReceiveMessageResult>"),
    ],
)  # fmt: skip
def test_answers(operation: str, output: dict[str, Any], inner: str) -> None:
    response = serialize(operation, output)
    assert dict(response.headers) == {"content-type": "text/xml", "x-amzn-requestid": "r-1"}
    assert text(response) == (
        f'{DECLARATION}<{operation}Response xmlns="http://queue.amazonaws.com/doc/2012-11-05/">'
        f"{inner}{META}</{operation}Response>"
    )


@pytest.mark.parametrize(
    ("operation", "output", "inner"),
    [
        ("DeleteTopic", {}, ""),
        ("TagResource", {}, "<TagResourceResult/>"),
        ("ListTopics", {"Topics": []}, "<ListTopicsResult><Topics></Topics></ListTopicsResult>"),
        ("ListTopics", {"Topics": [{"TopicArn": "t"}]},
         "<ListTopicsResult><Topics><member><TopicArn>t</TopicArn></member></Topics></ListTopicsResult>"),
        ("GetTopicAttributes", {"Attributes": {"Owner": "1"}},
         "<GetTopicAttributesResult><Attributes><entry><key>Owner</key><value>1</value></entry></Attributes>"
         "</GetTopicAttributesResult>"),
    ],
)  # fmt: skip
def test_answers_of_sns(operation: str, output: dict[str, Any], inner: str) -> None:
    assert text(serialize(operation, output, SNS)) == (
        f'<{operation}Response xmlns="http://sns.amazonaws.com/doc/2010-03-31/">{inner}{META}</{operation}Response>'
    )


def test_timestamps_are_iso_8601() -> None:
    answer = text(serialize("AssumeRole", {"Credentials": {"Expiration": 1_700_000_000.25}}, STS))
    assert "<Expiration>2023-11-14T22:13:20.250Z</Expiration>" in answer


def test_errors() -> None:
    error = AwsError("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", 'No "q".')
    response = QueryProtocol().error(SQS, error, "r-1")
    assert (response.status, dict(response.headers)) == (400, {"content-type": "text/xml", "x-amzn-requestid": "r-1"})
    assert text(response) == (
        f'{DECLARATION}<ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type>'
        "<Code>AWS.SimpleQueueService.NonExistentQueue</Code><Message>No &quot;q&quot;.</Message><Detail/></Error>"
        "<RequestId>r-1</RequestId></ErrorResponse>"
    )
    broken = AwsError("InternalFailure", "InternalFailure", "\ud800", status=500, sender_fault=False)
    response = QueryProtocol().error(SNS, broken, "r-1")
    assert response.status == 500
    assert text(response) == (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Receiver</Type>'
        "<Code>InternalFailure</Code><Message>\ufffd</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    )


def test_answers_in_json() -> None:
    protocol = QueryJsonProtocol()

    def answered(service: ServiceModel, operation: str, output: dict[str, Any]) -> Any:
        response = protocol.codec(service.operation_model(operation)).serialize(output, "r-1")
        assert dict(response.headers) == {"content-type": "application/json", "x-amzn-requestid": "r-1"}
        answer = json.loads(text(response))[f"{operation}Response"]
        assert answer.pop("ResponseMetadata") == {"RequestId": "r-1"}
        return answer

    assert answered(SQS, "DeleteQueue", {}) == {}
    assert answered(SQS, "ListQueues", {}) == {"ListQueuesResult": {"queueUrls": None, "NextToken": None}}
    assert answered(SQS, "ReceiveMessage", {"Messages": [{"MessageId": "m", "Attributes": {"SenderId": "s"}}]}) == {
        "ReceiveMessageResult": {
            "messages": [
                {
                    "MessageId": "m",
                    "ReceiptHandle": None,
                    "MD5OfBody": None,
                    "Body": None,
                    "Attributes": [{"Name": "SenderId", "Value": "s"}],
                    "MD5OfMessageAttributes": None,
                    "MessageAttributes": None,
                }
            ]
        }
    }
    topic = answered(SNS, "GetTopicAttributes", {"Attributes": {"Owner": "1"}})
    assert topic == {"GetTopicAttributesResult": {"Attributes": {"Owner": "1"}}}
    refusal = protocol.error(SQS, AwsError("X", "Y", "Z", status=403), "r-1")
    assert (refusal.status, json.loads(text(refusal))) == (
        403,
        {"Error": {"Type": "Sender", "Code": "Y", "Message": "Z"}, "RequestId": "r-1"},
    )


def test_who_wants_json() -> None:
    assert wants_json(Request("GET", "/", {"accept": "text/html, application/json;q=0.9"}, b""))
    assert not wants_json(Request("GET", "/", {"accept": "*/*"}, b""))
    assert not wants_json(Request("GET", "/", {}, b""))


@pytest.mark.parametrize("code", [0x00, 0x1F, 0xD800, 0xDFFF, 0xFFFE, 0xFFFF])
def test_each_character_that_xml_cannot_carry_is_replaced(code: int) -> None:
    assert "<Body>a\ufffdb</Body>" in text(serialize("ReceiveMessage", {"Messages": [{"Body": f"a{chr(code)}b"}]}))


@given(st.text(st.characters(exclude_categories=())))
@settings(max_examples=200, deadline=None)
def test_every_text_makes_a_document(body: str) -> None:
    answer = text(serialize("ReceiveMessage", {"Messages": [{"Body": body}]}))
    read = ElementTree.fromstring(answer).findtext(".//{*}Body")
    assert read == "".join(character if carried(character) else "\ufffd" for character in body)


def carried(character: str) -> bool:
    """``Char`` of XML 1.0."""
    return (
        character in "\t\n\r"
        or " " <= character <= "\ud7ff"
        or "\ue000" <= character <= "\ufffd"
        or character >= "\U00010000"
    )
