"""How many messages a queue has, by state."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import heddle

COUNTS: Final = (
    ("visible", "ApproximateNumberOfMessages"),
    ("in_flight", "ApproximateNumberOfMessagesNotVisible"),
    ("delayed", "ApproximateNumberOfMessagesDelayed"),
)


def depth(handle: "heddle.Queue") -> dict[str, int]:
    """The messages of a queue by state."""
    return depth_of(handle.attributes(attribute for _, attribute in COUNTS))


def depth_of(attributes: dict[str, str]) -> dict[str, int]:
    """The same, from the queue's attributes."""
    return {key: int(attributes[attribute]) for key, attribute in COUNTS}
