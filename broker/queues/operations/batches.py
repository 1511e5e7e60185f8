"""What the batch calls share: the checks of a whole call, and the fate of each entry by itself."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

from heddle.v1 import queues_pb2 as pb

from broker import limits
from broker.errors import (
    BatchEntryIdsNotDistinct,
    BrokerError,
    EmptyBatchRequest,
    InvalidBatchEntryId,
    TooManyEntriesInBatchRequest,
)

_ENTRY_IDS: Final = re.compile(r"[A-Za-z0-9_-]{1,80}(?:\n[A-Za-z0-9_-]{1,80})*+", re.ASCII)


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


E = TypeVar("E", bound=_Entry)


def check_entries(entry_name: str, entries: Sequence[_Entry]) -> None:
    """Raises what fails a batch call as a whole, in AWS's order."""
    check_count(entry_name, len(entries))
    check_ids([entry.id for entry in entries])


def check_count(entry_name: str, count: int) -> None:
    """The first part of ``check_entries``, before any of the entries is looked at: there may be millions."""
    if not count:
        raise EmptyBatchRequest(f"There should be at least one {entry_name} in the request.")
    if count > limits.BATCH_ENTRIES_MAX:
        raise TooManyEntriesInBatchRequest(
            f"Maximum number of entries per request are {limits.BATCH_ENTRIES_MAX}. You have sent {count}."
        )


def check_ids(ids: Sequence[str]) -> None:
    """The second part: the ids of the entries."""
    lines = "\n".join(ids)  # a look at all at once: a third of the time
    if lines.count("\n") != len(ids) - 1 or not _ENTRY_IDS.fullmatch(lines):
        raise InvalidBatchEntryId(
            "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
            "It can be at most 80 letters long."
        )
    if len(set(ids)) < len(ids):
        repeated = next(entry_id for index, entry_id in enumerate(ids) if entry_id in ids[:index])
        raise BatchEntryIdsNotDistinct(f"Id {repeated} repeated.")


def each(entries: Iterable[E], apply: Callable[[E], None]) -> Iterable[tuple[E, pb.BatchResultErrorEntry | None]]:
    """Applies each entry by itself: the failure of one leaves the others."""
    for entry in entries:
        try:
            apply(entry)
        except BrokerError as error:
            yield entry, failed(entry.id, error)
        else:
            yield entry, None


def failed(entry_id: str, error: BrokerError) -> pb.BatchResultErrorEntry:
    return pb.BatchResultErrorEntry(
        id=entry_id, sender_fault=error.sender_fault, code=error.code, message=error.message
    )
