"""The broker under attack: what an input must not do to it, and what must still work afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
from heddle.v1 import queues_pb2 as pb

from tests.api.running import Broker, broker, check_clean, raw_stream, raw_unary
from tests.api.streams import Stream
from tests.fuzz.inputs import HANDLE, METHODS, QUEUE, Input

ANSWER_SECONDS_MAX: Final = 5.0
"""An answer that takes longer is a stall: everybody else waited too."""

_POLL_SECONDS: Final = 0.15
_REFUSALS: Final = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_NOT_ON_PURPOSE: Final = ("metadata size", "Sent message larger than max", "Exception", "Unexpected")


class Harmed(AssertionError):
    """What an input did that no input may do. ``signature``: the same for inputs that do the same."""

    def __init__(self, signature: str, details: str) -> None:
        super().__init__(f"{signature}: {details}")
        self.signature = signature


class Target:
    def __init__(self, running: Broker, channel: grpc.Channel) -> None:
        self.running, self.channel = running, channel
        self._log_read = 0
        self._handle = HANDLE

    def is_alive(self) -> bool:
        return self.running.process.poll() is None

    def anonymous_bytes(self) -> int:
        return self.running.anonymous_bytes()

    def renew(self) -> None:
        """Everything works: queues can be made, a message goes in and comes out; a fresh receipt handle."""
        name = pb.CreateQueueRequest(queue_name=QUEUE)
        probe = pb.CreateQueueRequest(queue_name="probe")
        for request in (name, probe):
            try:
                self._call("CreateQueue", request)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.ALREADY_EXISTS:  # its attributes were fuzzed
                    raise Harmed("an ordinary CreateQueue fails", str(error)) from error
        try:
            self._call("SendMessage", pb.SendMessageRequest(queue_url="probe", message_body=b"probe"))
            poll = pb.ReceiveMessageRequest(queue_url="probe", wait_time_seconds=2)
            (received,) = pb.ReceiveMessageResponse.FromString(self._call("ReceiveMessage", poll)).messages
            delete = pb.DeleteMessageRequest(queue_url="probe", receipt_handle=received.receipt_handle)
            self._call("DeleteMessage", delete)
            for _ in range(3):
                self._call("SendMessage", pb.SendMessageRequest(queue_url=QUEUE, message_body=b"x"))
            poll = pb.ReceiveMessageRequest(queue_url=QUEUE)
            for message in pb.ReceiveMessageResponse.FromString(self._call("ReceiveMessage", poll)).messages:
                self._handle = message.receipt_handle
        except (grpc.RpcError, ValueError) as error:
            raise Harmed("an ordinary send and receive fail", str(error)) from error

    def _call(self, method: str, request: Any) -> bytes:
        call: Any = raw_unary(self.channel, method)
        answer: bytes = call(request.SerializeToString(), timeout=ANSWER_SECONDS_MAX)
        return answer

    def strike(self, attack: Input) -> None:
        """Sends one input. Raises Harmed."""
        handle = self._handle.encode()
        frames = [frame.replace(HANDLE.encode(), handle) for frame in attack.frames]
        if METHODS[attack.method].client_streaming:
            error = self._stream(attack, frames)
        else:
            error = self._unary(attack, frames[0])
        if error is not None:
            self._judge(attack, error)
        if self.running.process.poll() is not None:
            raise Harmed(f"{attack.method}: the broker ended", f"exit code {self.running.process.returncode}")
        self._read_log(attack)

    def _unary(self, attack: Input, frame: bytes) -> grpc.RpcError | None:
        # A long poll waits on purpose: it is given up soon.
        seconds = _POLL_SECONDS if attack.method == "ReceiveMessage" else ANSWER_SECONDS_MAX
        call: Any = raw_unary(self.channel, attack.method)
        try:
            call(frame, timeout=seconds)
        except grpc.RpcError as error:
            waited = attack.method == "ReceiveMessage" and error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            return None if waited else error
        return None

    def _stream(self, attack: Input, frames: list[bytes]) -> grpc.RpcError | None:
        with Stream[bytes, bytes](raw_stream(self.channel, attack.method)) as stream:
            for frame in frames:
                stream.send(frame)
                if frame is not frames[-1]:
                    stream.silent(0.005)  # time for a delivery, so that what follows is about something
            if attack.leave == "cancel":
                stream.call.cancel()
                return None
            stream.half_close()
            try:
                while True:
                    stream.receive(ANSWER_SECONDS_MAX)
            except EOFError:
                return None
            except grpc.RpcError as error:
                return error
            except AssertionError as error:
                raise Harmed(f"{attack.method}: the stream does not end", str(error)) from error

    def _judge(self, attack: Input, error: grpc.RpcError) -> None:
        details = error.details() or ""
        if error.code() not in _REFUSALS or any(words in details for words in _NOT_ON_PURPOSE):
            raise Harmed(f"{attack.method}: {error.code().name} {details[:40]}", details[:500])

    def _read_log(self, attack: Input) -> None:
        with self.running.log_path.open("rb") as log:
            log.seek(self._log_read)
            fresh = log.read().decode(errors="replace")
            self._log_read = log.tell()
        if "Traceback" in fresh or '"critical"' in fresh:
            raise Harmed(f"{attack.method}: a traceback in the log", fresh[-1500:])


@contextmanager
def target(data_dir: Path) -> Iterator[Target]:
    """A broker to attack; at the end it stops in order, and its data is whole."""
    with broker(data_dir, "--cache-bytes", "4MiB") as running:
        with running.channel() as channel:
            attacked = Target(running, channel)
            attacked.renew()
            yield attacked
        if running.terminate(15):
            raise Harmed("the broker does not stop in order", running.log()[-500:])
    check_clean(data_dir)
