"""The command itself: start-up, completion, exit codes, and what people read when something is wrong."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import broker.node
from broker.cli import COMMANDS, main
from broker.errors import AddressInUse, ConfigurationError, DataDirectoryLocked, DataFileForeign, SchemaTooNew
from broker.node.config import Config

COMPLETION_SECONDS_MAX = 20


def heddle(*arguments: str, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "broker", *arguments],
        capture_output=True,
        text=True,
        timeout=COMPLETION_SECONDS_MAX,
        env=env,
        check=False,
    )


def test_the_version_is_told_without_loading_the_broker() -> None:
    code = (
        "import sys\n"
        "from broker.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'grpc', 'rich', 'lmdb', 'structlog', 'trio', 'heddle', 'google'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("heddle 0.")


def test_help_names_every_command_and_the_exit_codes_without_loading_them() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name, (_, help_text) in COMMANDS.items():
        assert f"  {name} " in result.output
        assert help_text.split()[0] in result.output
    assert "130  interrupted" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself_as_the_list_does(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0
    if not isinstance(command, click.Group):
        assert command.short_help is None or command.short_help == COMMANDS[name][1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_for_heddle(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_HEDDLE_COMPLETE" in result.output
    assert CliRunner().invoke(main, ["completion", "cmd.exe"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "word", "expected"),
    [
        ("heddle ", "1", {"serve", "queue", "bench", "demo"}),
        ("heddle se", "1", {"serve"}),
        ("heddle queue rec", "2", {"receive"}),
        ("heddle queue re", "2", {"receive", "redrive"}),
        ("heddle queue move ", "3", {"status", "cancel"}),
        ("heddle queue permission add q l --action Send", "7", {"SendMessage"}),
        ("heddle queue stats --w", "3", {"--watch"}),
        ("heddle serve --durability ", "3", {"fsync", "relaxed"}),
        ("heddle serve --log-f", "2", {"--log-format"}),
    ],
)
def test_bash_completes(words: str, word: str, expected: set[str]) -> None:
    env = {"_HEDDLE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": word}
    result = heddle(env=env)
    offered = {line.partition(",")[2] for line in result.stdout.splitlines()}
    assert offered >= expected, result.stderr
    if len(expected) < 3:
        assert offered == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AddressInUse("127.0.0.1:7420 is in use: another broker runs, or choose another port with --grpc"), 1),
        (DataDirectoryLocked("data is in use by process 42"), 1),
        (DataFileForeign("data/data.mdb is not a data file of Heddle"), 1),
        (SchemaTooNew("data was written by schema 9, this is 1"), 1),
        (ConfigurationError("tls_cert holds no certificate"), 2),
        (OSError(28, "No space left on device", "data/data.mdb"), 1),
    ],
)
def test_a_start_that_fails_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def serve(config: Config, *, print_ports: bool) -> int:
        raise error

    monkeypatch.setattr(broker.node, "serve", serve, raising=False)
    result = CliRunner().invoke(main, ["serve", "--data-dir", "data"])
    assert result.exit_code == code
    assert result.stderr == f"Error: {error}\n"
    assert "Traceback" not in result.output


def test_serve_hands_over_the_configuration_and_the_exit_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[Config, bool]] = []

    def serve(config: Config, *, print_ports: bool) -> int:
        calls.append((config, print_ports))
        return 7

    monkeypatch.setattr(broker.node, "serve", serve, raising=False)
    arguments = ["--data-dir", str(tmp_path), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--aws", "127.0.0.1:0"]
    result = CliRunner().invoke(main, ["serve", *arguments, "--print-ports"])
    assert result.exit_code == 7
    [(config, print_ports)] = calls
    assert (config.data_dir, config.grpc.port, config.http.host, print_ports) == (tmp_path, 0, "127.0.0.1", True)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes `heddle serve` raise what it is given."""

    def fail_with(error: BaseException) -> None:
        def serve(config: Config, *, print_ports: bool) -> int:
            raise error

        monkeypatch.setattr(broker.node, "serve", serve, raising=False)

    return fail_with


def test_an_interruption_is_exit_code_130(failing: Callable[[BaseException], None]) -> None:
    failing(KeyboardInterrupt())
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 130
    assert "Error" not in result.output


def test_a_bug_is_one_line_and_a_traceback_only_with_debug(failing: Callable[[BaseException], None]) -> None:
    failing(ZeroDivisionError("division by zero"))
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: internal error: ZeroDivisionError: division by zero (run `heddle --debug ...` for the traceback)\n"
    )
    debugged = CliRunner().invoke(main, ["--debug", "serve"])
    assert isinstance(debugged.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"], ["queue", "show"], ["check"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


def test_no_broker_is_exit_code_3_and_one_line() -> None:
    with socket.socket() as deaf:  # bound and not listening: connections are refused, and nobody else gets the port
        deaf.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{deaf.getsockname()[1]}"
        result = heddle("queue", "list", "--server", server, "--timeout", "1")
    assert result.returncode == 3, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: no answer from a broker at {server}")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["send", "q", "body", "--lines"], "not from both"),
        (["create", "q", "-a", "VisibilityTimeout"], '"VisibilityTimeout" is not KEY=VALUE'),
        (["receive", "q", "--wait", "21"], "21 is not in the range"),
        (["peek", "q", "--max", "101"], "101 is not in the range"),
        (["create", "q", "--fifo"], "ends in .fifo"),
        (["create", "q", "--content-based-dedup"], "needs --fifo"),
        (["create", "q", "--max-receive-count", "3"], "needs --dlq"),
        (["send", "q.fifo", "a", "b", "--group", "g", "--dedup-id", "d"], "is for one message"),
        (["redrive", "q", "--rate", "501"], "501 is not in the range"),
        (["permission", "add", "q", "label", "--account-id", "1", "--action", "Fly"], "'Fly' is not one of"),
        (["permission", "add", "q", "label", "--action", "*"], "--account-id"),
        (["stats", "--samples", "2"], "needs --watch"),
        (["list", "--client-cert", __file__], "--client-cert and --client-key need each other"),
        (["list", "--client-cert", __file__, "--client-key", __file__], "--client-cert needs --ca"),
        (["list", "--ca", "/does/not/exist"], "does not exist"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_broker_is_asked(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["queue", *arguments, "--server", "127.0.0.1:1"])
    assert result.exit_code == 2
    assert message in result.stderr


def test_check_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(tmp_path / "missing")])
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
