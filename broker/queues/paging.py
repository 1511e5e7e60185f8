"""Pages of long lists, as ListQueues and ListDeadLetterSourceQueues give them. Never: what the lists are of."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable

from broker import limits
from broker.errors import InvalidParameterValue


def page(names: Iterable[str], *, max_results: int | None, next_token: str) -> tuple[list[str], str]:
    """The names, in order, that come after the token's, and the token of the next page: empty when there is none, and
    always where the caller did not ask for pages. Raises InvalidParameterValue."""
    if max_results is not None and not 1 <= max_results <= limits.LIST_RESULTS_MAX:
        raise InvalidParameterValue(
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000."
        )
    if next_token and max_results is None:
        raise InvalidParameterValue("MaxResults is a mandatory parameter when you provide a value for NextToken.")
    ordered = sorted(names)
    start = bisect_right(ordered, _last_name(next_token)) if next_token else 0
    shown = ordered[start : start + (max_results or limits.LIST_RESULTS_MAX)]
    more = max_results is not None and start + len(shown) < len(ordered)
    return shown, urlsafe_b64encode(shown[-1].encode()).decode() if more else ""


def _last_name(token: str) -> str:
    try:
        return urlsafe_b64decode(token.encode("ascii")).decode()
    except ValueError as error:
        raise InvalidParameterValue("Invalid or expired next token.") from error
