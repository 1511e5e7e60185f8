"""AWS JSON: bodies made to exhaust stack, memory or time, and honest ones that look like them."""

import json
import time
import tracemalloc
from typing import Any

import pytest

from broker.api.aws.errors import AwsError
from broker.api.aws.protocols.json import CONTAINERS_MAX, JsonProtocol

from .rpc_model import operation, request, scalars_model

JSON = JsonProtocol()


def send(body: bytes) -> dict[str, Any]:
    return JSON.codec(operation("sqs", "SendMessage")).parse(request(body))


def echo(body: bytes) -> dict[str, Any]:
    return JSON.codec(scalars_model()).parse(request(body))


def refusal(body: bytes) -> str:
    with pytest.raises(AwsError) as refused:
        send(body)
    assert refused.value.shape == "SerializationException"
    return refused.value.message


@pytest.mark.parametrize("nest", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("member", [b"%s", b'{"QueueUrl": %s', b'{"Surprise": %s'])
def test_deep_nesting_is_refused(member: bytes, nest: bytes) -> None:
    assert "not valid JSON" in refusal(member % (nest * 100_000))


def test_a_shape_that_contains_itself_is_not_followed_without_end() -> None:
    read: dict[str, Any] = {}
    for _ in range(200):
        read = {"Inner": read}
    assert echo(b'{"inner":' * 200 + b"{}" + b"}" * 200) == read
    with pytest.raises(AwsError, match="SerializationException"):  # still below what orjson refuses by itself
        echo(b'{"inner":' * 1000 + b"{}" + b"}" * 1000)


@pytest.mark.parametrize("filling", [b"[],", b"{},", b'"",', b"1,", b"null,"])
def test_a_body_of_many_small_values_costs_in_proportion(filling: bytes) -> None:
    count = 300_000 // len(filling)
    body = b'{"Surprise": [' + filling * count + b"0]}"
    started = time.process_time()
    tracemalloc.start()
    try:
        assert send(body) == {}
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 40 * len(body)


@pytest.mark.parametrize("filling", [b"[],", b"{},", b"[[],[]],", b'{"a":{}},'])
def test_millions_of_lists_are_not_built(filling: bytes) -> None:
    body = b'{"Surprise": [' + filling * (CONTAINERS_MAX // 2 + 1) * 2 + b"0]}"
    tracemalloc.start()
    try:
        assert "too many" in refusal(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_message_may_be_all_brackets() -> None:
    text = "[" * 1_048_576
    assert send(json.dumps({"MessageBody": text}).encode()) == {"MessageBody": text}


def test_a_body_of_ten_megabytes() -> None:
    text = "x" * 10_000_000
    assert send(json.dumps({"MessageBody": text}).encode()) == {"MessageBody": text}
