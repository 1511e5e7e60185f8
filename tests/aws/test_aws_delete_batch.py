"""DeleteMessageBatch deletes what it names and nothing else, whatever the order, the gaps and the repetitions."""

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.queues import Scope

from .app import App, members

OWNER = Scope("000000000000", "us-east-1")
_sends = st.lists(st.integers(1, 10), min_size=1, max_size=4)
_batches = st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=10), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sends=_sends, batches=_batches, apart=st.booleans())
def test_deletes_what_is_named(sends: list[int], batches: list[list[int]], apart: bool) -> None:
    with App() as app:
        url = app.create()
        handles: dict[str, str] = {}
        for number, size in enumerate(sends):
            entries = [{"Id": str(i), "MessageBody": f"{number}-{i}"} for i in range(size)]
            assert app.json("SendMessageBatch", {"QueueUrl": url, "Entries": entries}).status == 200
            if apart:  # else the sends may share an entry of the log
                app.loop.now_s += 1
        while received := members(
            app.json("ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10, "VisibilityTimeout": 600})
        ).get("Messages"):
            handles |= {message["Body"]: message["ReceiptHandle"] for message in received}
        assert len(handles) == sum(sends)

        bodies, left, asked = list(handles), set(handles), 0
        for batch in batches:
            chosen = [bodies[pick % len(bodies)] for pick in batch]
            named = [{"Id": str(i), "ReceiptHandle": handles[body]} for i, body in enumerate(chosen)]
            answer = members(app.json("DeleteMessageBatch", {"QueueUrl": url, "Entries": named}))
            assert [entry["Id"] for entry in answer["Successful"]] == [entry["Id"] for entry in named]
            left -= set(chosen)
            asked += len(chosen)
        queue = app.queues.find(OWNER, "q")
        assert queue.counts(app.desk.now_ms()) == (0, len(left), 0)
        assert queue.activity.deleted_messages == asked

        app.loop.now_s += 601
        again: set[str] = set()
        while received := members(app.json("ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10})).get(
            "Messages"
        ):
            again |= {message["Body"] for message in received}
        assert again == left


def test_a_handle_of_another_queue_fails_alone() -> None:
    with App() as app:
        one, two = app.create("one"), app.create("two")
        handles = []
        for url in (one, two):
            app.json("SendMessage", {"QueueUrl": url, "MessageBody": "x"})
            handles.append(members(app.json("ReceiveMessage", {"QueueUrl": url}))["Messages"][0]["ReceiptHandle"])
        entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate([*handles, "garbage"])]
        answer = members(app.json("DeleteMessageBatch", {"QueueUrl": one, "Entries": entries}))
        assert [entry["Id"] for entry in answer["Successful"]] == ["0"]
        assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [
            ("1", "ReceiptHandleIsInvalid"),
            ("2", "ReceiptHandleIsInvalid"),
        ]
        assert app.queues.find(OWNER, "two").counts(app.desk.now_ms()) == (0, 1, 0)
