"""The Date header of answers."""

import time
from email.utils import formatdate

_made: tuple[int, str] = (0, "")


def http_date() -> str:
    """The whole header line, made once a second."""
    global _made  # noqa: PLW0603  # one clock for all
    now_s = int(time.time())
    if _made[0] != now_s:
        _made = (now_s, f"date: {formatdate(now_s, usegmt=True)}\r\n")
    return _made[1]
