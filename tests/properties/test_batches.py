"""A batch call is refused for the number of its entries before any of them is looked at."""

from collections.abc import Sequence
from typing import Any, overload

import pytest
from heddle.v1 import queues_pb2 as pb

from broker.errors import BatchEntryIdsNotDistinct, InvalidBatchEntryId, TooManyEntriesInBatchRequest
from broker.queues.operations.batches import check_entries


class _Unread(Sequence[Any]):
    def __len__(self) -> int:
        return 2_000_000

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        raise AssertionError(f"entry {index} was looked at")


def test_too_many_entries_are_not_looked_at() -> None:
    with pytest.raises(TooManyEntriesInBatchRequest, match="You have sent 2000000"):
        check_entries("SendMessageBatchRequestEntry", _Unread())


@pytest.mark.parametrize("entry_id", ["", "a\nb", "a\n", "\n", "ä", "a b", "a" * 81])
def test_one_bad_id_among_good_ones_is_found(entry_id: str) -> None:
    entries = [pb.SendMessageBatchRequestEntry(id=each) for each in ("a", entry_id, "b")]
    with pytest.raises(InvalidBatchEntryId):
        check_entries("SendMessageBatchRequestEntry", entries)


def test_ids_are_distinct_in_a_good_batch() -> None:
    check_entries("X", [pb.SendMessageBatchRequestEntry(id=each) for each in ("a", "b", "a" * 80, "A-_9")])
    with pytest.raises(BatchEntryIdsNotDistinct, match="Id b repeated"):
        check_entries("X", [pb.SendMessageBatchRequestEntry(id=each) for each in ("a", "b", "b")])
