"""What a queue promises does not end with the process: the same data directory, served again."""

from pathlib import Path

from conformance_broker import running_broker
from conformance_faces import GrpcFace
from conformance_queue import FIFO, TestedQueue


def test_a_restart_changes_nothing_that_a_client_was_told(tmp_path: Path) -> None:
    """5.2: deduplication survives a restart; so do order, in-flight messages, handles, receive counts and policies."""
    with running_broker(tmp_path) as endpoints:
        face = GrpcFace(endpoints["grpc"])
        dead_letters = TestedQueue(face, FIFO)
        attributes = {**FIFO, "RedrivePolicy": dead_letters.redrive_policy(2), "VisibilityTimeout": "600"}
        queue = TestedQueue(face, attributes)
        original = queue.send("g/1")
        queue.delete(*queue.receive())
        last = queue.send("g/2", "g/3", "h/1", "h/2")
        [held] = queue.receive(1)
        [returned] = queue.receive(1, VisibilityTimeout=0)
        assert (held["Body"], returned["Body"]) == ("g/2", "h/1")
        queue.call("AddPermission", Label="one", AWSAccountIds=["111122223333"], Actions=["SendMessage"])
        policy = queue.call("GetQueueAttributes", AttributeNames=["Policy"])
        task = face.call("StartMessageMoveTask", {"SourceArn": dead_letters.arn})
        assert task["TaskHandle"]
        face.close()

    with running_broker(tmp_path) as endpoints:
        again = GrpcFace(endpoints["grpc"])
        queue.face = dead_letters.face = again
        assert queue.send("g/1") == original  # deleted, and remembered
        assert queue.send("h/2") == last
        assert queue.counts() == (3, 1, 0)
        assert queue.bodies() == ["h/1", "h/2"]  # g waits for the message in flight
        queue.delete(held)
        assert queue.bodies() == ["g/3"]
        newer = queue.send("i/1")
        assert newer["SequenceNumber"] > last["SequenceNumber"]
        assert queue.call("GetQueueAttributes", AttributeNames=["Policy"]) == policy
        assert (
            again.call("ListMessageMoveTasks", {"SourceArn": dead_letters.arn})["Results"][0]["Status"] == "COMPLETED"
        )
        sources = again.call("ListDeadLetterSourceQueues", {"QueueUrl": dead_letters.url})["queueUrls"]
        assert [url.rpartition("/")[2] for url in sources] == [queue.name]
        again.close()


def test_receives_before_a_restart_count_towards_the_dead_letter_queue(tmp_path: Path) -> None:
    """6.2: the count of this stay and the cumulative count are both kept."""
    with running_broker(tmp_path) as endpoints:
        face = GrpcFace(endpoints["grpc"])
        dead_letters = TestedQueue(face)
        attributes = {"RedrivePolicy": dead_letters.redrive_policy(2), "VisibilityTimeout": "0"}
        queue = TestedQueue(face, attributes)
        sent = queue.send("x")
        assert queue.bodies() == ["x"]
        face.close()

    with running_broker(tmp_path) as endpoints:
        again = GrpcFace(endpoints["grpc"])
        queue.face = dead_letters.face = again
        assert queue.bodies() == ["x"]
        assert queue.bodies() == []
        [moved] = dead_letters.receive(AttributeNames=["All"])
        assert moved["MessageId"] == sent["MessageId"]
        assert moved["Attributes"]["ApproximateReceiveCount"] == "3"
        assert moved["Attributes"]["DeadLetterQueueSourceArn"] == queue.arn
        again.close()
