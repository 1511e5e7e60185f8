"""Log lines: one shape whoever writes them, and nothing of a message in a traceback."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

WRITE_LINES = """
import logging, sys, warnings, structlog
from broker.node.logs import configure_logs
configure_logs(sys.argv[1], sys.argv[2])
log = structlog.get_logger("broker.node")
log.debug("quiet")
log.info("serving", port=7420)
logging.getLogger("grpc").warning("odd %s", "thing")
warnings.warn("careful")
try:
    body = "SECRET"
    raise KeyError("missing")
except KeyError:
    log.exception("failed")
"""


def lines_of(level: str, log_format: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", WRITE_LINES, level, log_format], capture_output=True, text=True, timeout=20, check=True
    )
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("log_format", ["json", "auto"])
def test_json_lines_have_one_shape(log_format: str) -> None:
    entries = [json.loads(line) for line in lines_of("info", log_format).splitlines()]
    assert [(e["level"], e["logger"]) for e in entries] == [
        ("info", "broker.node"),
        ("warning", "grpc"),
        ("warning", "py.warnings"),
        ("error", "broker.node"),
    ]
    assert entries[0]["port"] == 7420
    assert entries[1]["event"] == "odd thing"
    assert "careful" in entries[2]["event"]
    assert "KeyError: 'missing'" in entries[3]["exception"]
    for entry in entries:
        assert entry["timestamp"].endswith("Z")
        assert abs((datetime.now(UTC) - datetime.fromisoformat(entry["timestamp"])).total_seconds()) < 60


def test_the_level_is_the_least_severe_line() -> None:
    assert "quiet" in lines_of("debug", "json")
    assert [json.loads(line)["event"] for line in lines_of("error", "json").splitlines()] == ["failed"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_do_not_show_local_variables(log_format: str) -> None:
    text = lines_of("info", log_format)
    assert "KeyError: 'missing'" in text
    assert text.count("SECRET") == 0
