"""The table of served operations in the documentation is that of the code."""

import json
from pathlib import Path

from click.testing import CliRunner

from broker.api.aws.coverage import coverage, markdown_table
from broker.cli import main

DOCUMENT = Path(__file__).parents[2] / "docs/aws-operations.md"


def test_the_documentation_has_the_table_that_the_code_has() -> None:
    assert markdown_table() in DOCUMENT.read_text()


def test_all_of_sqs_is_served() -> None:
    assert all(coverage()["sqs"].values())
    assert coverage()["sts"]["GetCallerIdentity"]
    assert not coverage()["sts"]["AssumeRole"]


def test_the_command_line_tells_it() -> None:
    told = CliRunner().invoke(main, ["aws", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.stdout) == coverage()
    table = CliRunner().invoke(main, ["aws"])
    assert "GetCallerIdentity" in table.stdout
