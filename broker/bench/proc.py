"""What the kernel says of a process and its descendants: CPU time and anonymous memory, read from /proc.

Only the standard library: peers' load generators run in an environment that has nothing of the server's.
"""

import os
from pathlib import Path

CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def stat_fields(stat: str) -> list[str]:
    """The fields of /proc/PID/stat from the third (state) on; the second, the name, may hold spaces and brackets."""
    return stat[stat.rindex(")") + 2 :].split()


def parse_ppid(stat: str) -> int:
    return int(stat_fields(stat)[1])


def parse_cpu_ticks(stat: str) -> int:
    """utime + stime of the process, and of those of its children that ended and were waited for, in clock ticks."""
    return sum(int(field) for field in stat_fields(stat)[11:15])


def parse_rss_anon_kib(status: str) -> int:
    """RssAnon of /proc/PID/status, in KiB: pages of mapped files are not counted. 0 for a process that has ended."""
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def _read(path: Path) -> str | None:
    """The text of a /proc file, or None when its process has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None


def family(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (stat := _read(entry / "stat")) is not None:
            children.setdefault(parse_ppid(stat), []).append(int(entry.name))
    members = [pid]
    for member in members:
        members.extend(children.get(member, ()))
    return members


def cpu_seconds(pid: int) -> float:
    """CPU time that `pid` and its descendants have used so far. Its grain is one clock tick, 10 ms as a rule."""
    stats = (_read(PROC / str(member) / "stat") for member in family(pid))
    return sum(parse_cpu_ticks(stat) for stat in stats if stat is not None) / CLOCK_TICKS_PER_SECOND


def rss_anon_mb(pid: int) -> float:
    """Anonymous resident memory of `pid` and its descendants, in MB (10^6 bytes)."""
    statuses = (_read(PROC / str(member) / "status") for member in family(pid))
    return sum(parse_rss_anon_kib(status) for status in statuses if status is not None) * 1024 / 1e6
