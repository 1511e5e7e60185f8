"""One broker for all tests of the doors; each test has queues of its own."""

from collections.abc import Iterator

import pytest
from heddle.v1 import queues_pb2 as pb
from heddle.v1 import queues_pb2_grpc as pb_grpc

from tests.api.running import Broker, broker, check_clean


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that, at the end, stops in order, has written no traceback, and leaves clean data."""
    with broker(tmp_path_factory.mktemp("api") / "data") as process:
        yield process
        assert process.terminate(15) == 0
        assert "Traceback" not in process.log()
    check_clean(process.data_dir)


@pytest.fixture
def stub(running: Broker) -> Iterator[pb_grpc.QueuesStub]:
    with running.stub() as made:
        yield made


@pytest.fixture
def name(stub: pb_grpc.QueuesStub, request: pytest.FixtureRequest) -> Iterator[str]:
    """A queue of the test's own."""
    queue_name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    stub.CreateQueue(pb.CreateQueueRequest(queue_name=queue_name))
    yield queue_name
    if queue_name in [url.rpartition("/")[2] for url in stub.ListQueues(pb.ListQueuesRequest()).queue_urls]:
        stub.DeleteQueue(pb.DeleteQueueRequest(queue_url=queue_name))
