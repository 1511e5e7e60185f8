"""What the packages export, what the errors are, what the wheel brings along."""

import tomllib
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import heddle
import heddle.aio
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from heddle._backoff import FIRST_SECONDS_MAX, SECONDS_MAX, Backoff
from heddle._channel import call_metadata
from heddle._errors import ERROR_CLASSES, error_of_code, error_of_rpc
from heddle._model import message_id_at, pack_attributes

import broker.errors


@pytest.mark.parametrize("package", [heddle, heddle.aio])
def test_all_names_what_is_there(package: Any) -> None:
    public = {name for name, value in vars(package).items() if isinstance(value, type)}
    assert public == set(package.__all__)


def test_every_refusal_of_the_broker_has_its_class() -> None:
    codes = {each.code for each in broker.errors.BrokerError.__subclasses__()}
    assert codes <= set(ERROR_CLASSES)


def test_every_error_class_is_exported() -> None:
    assert {each.__name__ for each in heddle.HeddleError.__subclasses__()} <= set(heddle.__all__)
    assert all(getattr(heddle, each.__name__) is each for each in ERROR_CLASSES.values())


def failure(status: grpc.StatusCode, details: bytes | None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata(*([] if details is None else [("grpc-status-details-bin", details)]))
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, "what the broker said")


def packed_status(reason: str, domain: str = "heddle") -> bytes:
    other, info = any_pb2.Any(), any_pb2.Any()
    other.Pack(error_details_pb2.RetryInfo())
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata={"k": "v"}))
    return bytes(status_pb2.Status(code=5, message="m", details=[other, info]).SerializeToString())


@pytest.mark.parametrize(
    ("status", "details", "kind", "code"),
    [
        (
            grpc.StatusCode.NOT_FOUND,
            packed_status("AWS.SimpleQueueService.NonExistentQueue"),
            heddle.QueueDoesNotExist,
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        (grpc.StatusCode.NOT_FOUND, packed_status("New"), heddle.HeddleError, "New"),
        (grpc.StatusCode.NOT_FOUND, packed_status("X", "other"), heddle.HeddleError, "heddle.NOT_FOUND"),
        (grpc.StatusCode.NOT_FOUND, b"\xff", heddle.HeddleError, "heddle.NOT_FOUND"),
        (grpc.StatusCode.UNAVAILABLE, None, heddle.Unavailable, "heddle.UNAVAILABLE"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, None, heddle.DeadlineExceeded, "heddle.DEADLINE_EXCEEDED"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            packed_status("heddle.NewLimit"),
            heddle.Overloaded,
            "heddle.NewLimit",
        ),
        (grpc.StatusCode.FAILED_PRECONDITION, packed_status("OverLimit"), heddle.OverLimit, "OverLimit"),
    ],
)
def test_a_failed_call_becomes_its_error(
    status: grpc.StatusCode, details: bytes | None, kind: type[heddle.HeddleError], code: str
) -> None:
    error = error_of_rpc(failure(status, details))
    assert type(error) is kind
    assert (error.code, error.message) == (code, "what the broker said")


def test_an_unknown_code_is_a_plain_error() -> None:
    assert type(error_of_code("Never.Seen", "m")) is heddle.HeddleError
    assert str(error_of_code("Never.Seen", "m")) == "Never.Seen: m"


def test_message_ids_count_up_in_their_last_four_bytes() -> None:
    first = bytes(12) + b"\xff\xff\xff\xfe"
    assert message_id_at(first, 0) == "00000000-0000-0000-0000-0000fffffffe"
    assert message_id_at(first, 3) == "00000000-0000-0000-0000-000000000001"


def test_attributes_know_their_types() -> None:
    packed = pack_attributes({"a": 1.5, "b": heddle.Attribute("Number.int", "7"), "c": heddle.Attribute("Binary", b"")})
    assert [(packed[name].data_type, packed[name].string_value) for name in ("a", "b", "c")] == [
        ("Number", "1.5"),
        ("Number.int", "7"),
        ("Binary", ""),
    ]
    with pytest.raises(TypeError, match="bool"):
        pack_attributes({"a": True})


def test_metadata_names_only_what_was_chosen() -> None:
    assert call_metadata(None, None) == ()
    assert call_metadata("1", "r") == (("heddle-account", "1"), ("heddle-region", "r"))


class LargestDraw:
    def uniform(self, _: float, high: float) -> float:
        return high


def test_backoff_doubles_up_to_its_limit_and_starts_over() -> None:
    random: Any = LargestDraw()
    backoff = Backoff(random)
    waits = [backoff.next_seconds() for _ in range(10)]
    assert waits[:3] == [FIRST_SECONDS_MAX, FIRST_SECONDS_MAX * 2, FIRST_SECONDS_MAX * 4]
    assert waits[-1] == SECONDS_MAX
    backoff.reset()
    assert backoff.next_seconds() == FIRST_SECONDS_MAX


def test_the_client_needs_grpc_and_protobuf_and_nothing_else() -> None:
    project = Path(__file__).parents[2] / "clients/python/pyproject.toml"
    dependencies = tomllib.loads(project.read_text())["project"]["dependencies"]
    assert [each.partition(">")[0] for each in dependencies] == ["grpcio", "protobuf"]
