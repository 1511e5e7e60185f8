"""The two streams of ``Queues`` by hand: a test says what goes out and sees each frame that comes back."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc

from tests.api.running import CALL_SECONDS_MAX

Request = TypeVar("Request")
Response = TypeVar("Response")


class Stream(Generic[Request, Response]):
    """A bidirectional call. ``send`` never waits; a frame that does not come in time fails the test."""

    def __init__(self, method: Any) -> None:
        self._outbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._inbox: queue.SimpleQueue[Response | None] = queue.SimpleQueue()
        self.call = method(self._requests())
        self.error: grpc.RpcError | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call.cancel()
        self.half_close()
        self._reader.join(CALL_SECONDS_MAX)

    def send(self, request: Request) -> None:
        self._outbox.put(request)

    def half_close(self) -> None:
        self._outbox.put(None)

    def receive(self, seconds: float = CALL_SECONDS_MAX) -> Response:
        """The next frame. Raises the status of a stream that has failed, EOFError for one that has ended."""
        try:
            frame = self._inbox.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"no frame within {seconds} s") from None
        if frame is None:
            self._inbox.put(None)
            if self.error is not None:
                raise self.error
            raise EOFError
        return frame

    def silent(self, seconds: float) -> bool:
        """Nothing comes for this long."""
        try:
            frame = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return True
        self._inbox.put(frame)
        return False

    def status(self) -> grpc.StatusCode:
        """The status that the stream ends with, what comes before it passed over."""
        try:
            while True:
                self.receive()
        except EOFError:
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code

    def _requests(self) -> Iterator[Request]:
        while (request := self._outbox.get()) is not None:
            yield request

    def _read(self) -> None:
        try:
            for frame in self.call:
                self._inbox.put(frame)
        except grpc.RpcError as error:
            self.error = error
        self._inbox.put(None)


class ProduceStream(Stream[pb.ProduceRequest, pb.ProduceResponse]):
    def __init__(self, stub: pb_grpc.QueuesStub) -> None:
        super().__init__(stub.Produce)

    def results(self, count: int) -> list[pb.ProduceResult]:
        """The next ``count`` results, in the order in which they came."""
        found: list[pb.ProduceResult] = []
        while len(found) < count:
            found.extend(self.receive().results)
        return found


class ConsumeStream(Stream[pb.ConsumeRequest, pb.ConsumeResponse]):
    def __init__(self, stub: pb_grpc.QueuesStub, first: pb.ConsumeRequest) -> None:
        super().__init__(stub.Consume)
        self._request_id = 0
        self.deliveries: list[pb.Delivery] = []
        """All that have come."""
        self.send(first)

    def take(self, count: int) -> list[pb.Delivery]:
        """The next deliveries, of ``count`` messages in all and not one more."""
        start, messages = len(self.deliveries), 0
        while messages < count:
            fresh = self.receive().deliveries
            self.deliveries.extend(fresh)
            messages += sum(len(delivery.batch.messages) for delivery in fresh)
        assert messages == count
        return self.deliveries[start:]

    def settle(self, request: pb.ConsumeRequest) -> None:
        """Sends and waits until all of it is durable; deliveries that come meanwhile are kept."""
        self._request_id += 1
        request.request_id = self._request_id
        self.send(request)
        confirmed = 0
        while confirmed < self._request_id:
            frame = self.receive()
            self.deliveries.extend(frame.deliveries)
            confirmed = max(confirmed, frame.confirmed_request_id)
        assert confirmed == self._request_id


def span(delivery: pb.Delivery) -> pb.SequenceRange:
    """The sequence numbers of a delivery."""
    first = delivery.base_sequence
    return pb.SequenceRange(first=first, end=first + len(delivery.batch.messages))


def bodies(deliveries: list[pb.Delivery]) -> list[bytes]:
    return [message.body for delivery in deliveries for message in delivery.batch.messages]
