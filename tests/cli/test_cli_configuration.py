"""Where configuration comes from, which source wins, and what is said about values that cannot be used."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.cli import main
from broker.node.config import OPTIONS, Config, ConfigError, Endpoint, parse_endpoint

REPOSITORY = Path(__file__).parents[2]
TLS = Path(__file__).parent / "tls"


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), env=env)


def shown(*arguments: str, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    result = run("config", "--json", *arguments, env=env)
    assert result.exit_code == 0, result.output
    parsed = json.loads(result.stdout)
    assert isinstance(parsed, dict)
    return parsed


def option(key: str) -> Any:
    return next(o for o in OPTIONS if o.key == key)


def test_each_source_goes_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "heddle.toml"
    file.write_text('cache_bytes = "2MiB"\n')
    key = "cache_bytes"
    variable = {"HEDDLE_CACHE_BYTES": "3MiB"}
    assert shown()[key] == {"value": 64 * 2**20, "source": "default", "origin": None}
    assert shown("--config", str(file))[key] == {"value": 2 * 2**20, "source": "file", "origin": str(file)}
    assert shown("--config", str(file), env=variable)[key] == {
        "value": 3 * 2**20,
        "source": "environment",
        "origin": "HEDDLE_CACHE_BYTES",
    }
    assert shown("--config", str(file), "--cache-bytes", "4MiB", env=variable)[key] == {
        "value": 4 * 2**20,
        "source": "flag",
        "origin": "--cache-bytes",
    }


def test_the_file_can_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "heddle.toml"
    file.write_text('region = "eu-central-1"\n')
    assert shown(env={"HEDDLE_CONFIG": str(file)})["region"]["value"] == "eu-central-1"


def test_an_empty_variable_counts_as_absent() -> None:
    assert shown(env={"HEDDLE_GRPC": ""})["grpc"] == {"value": "127.0.0.1:7420", "source": "default", "origin": None}


@pytest.mark.parametrize("key", [o.key for o in OPTIONS])
def test_every_key_can_be_given_in_every_way(key: str, tmp_path: Path) -> None:
    file_of = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "server.pem"}
    file_of = {name: str(TLS / file) for name, file in file_of.items()}
    texts = {
        "data_dir": str(tmp_path),
        "external_url": "https://queues.example.com",
        "durability": "relaxed",
        "log_level": "debug",
        "log_format": "json",
        "grpc": "[::1]:0",
        "http": "localhost:0",
        "account": "123456789012",
        "region": "eu-west-3",
        "aws": "off",
        "aws_credentials_file": str(TLS / "server.pem"),
        "aws_regions": "eu-west-3,us-east-1",
        "aws_cors_origins": "https://app.example.com",
        "map_bytes_max": "1GiB",
        **file_of,
    }
    text = texts.get(key, option(key).render(option(key).default))
    # TLS keys need each other, so all three are there; the one under test comes from the source under test.
    others = [f"{option(o).flag}={path}" for o, path in file_of.items() if o != key] if key in file_of else []
    file = tmp_path / "heddle.toml"
    file.write_text(f"{key} = {json.dumps(text)}\n")
    for source, arguments, env in (
        ("flag", [f"{option(key).flag}={text}"], {}),
        ("environment", [], {option(key).variable: text}),
        ("file", [f"--config={file}"], {}),
    ):
        entry = shown(*others, *arguments, env=env)[key]
        assert entry["source"] == source
        value = tuple(entry["value"]) if isinstance(entry["value"], list) else entry["value"]
        assert value in {text, option(key).parse(text)}


@pytest.mark.parametrize("o", OPTIONS, ids=lambda o: o.key)
def test_a_default_is_allowed_and_reads_back(o: Any) -> None:
    if o.default is None:
        assert o.render(None) == ""
    else:
        assert o.parse(o.render(o.default)) == o.default
    assert o.help.endswith(".")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("grpc", "7420", "expected HOST:PORT with a port from 0 to 65535"),
        ("grpc", "127.0.0.1:65536", "expected HOST:PORT"),
        ("http", "::1:7421", "expected HOST:PORT"),
        ("http", "host:-1", "expected HOST:PORT"),
        ("aws", "4566", "HOST:PORT with a port from 0 to 65535, 0 for any free one, or off"),
        ("aws_auth", "basic", "one of none, sigv4"),
        ("aws_credentials_file", "/does/not/exist", "a readable file (No such file or directory)"),
        ("aws_regions", "us-east-1,Europe", "regions with commas between them (not Europe)"),
        ("aws_cors_origins", "app.example.com", "origins such as https://app.example.com"),
        ("profile", "test", "one of development, production"),
        ("external_url", "queues.example.com", "expected an http or https URL"),
        ("external_url", "https://x/?q=1", "without query"),
        ("account", "12345", "expected an account of exactly 12 digits"),
        ("account", "00000000000a", "exactly 12 digits"),
        ("region", "US East", "lower-case letters, digits and hyphens"),
        ("durability", "maybe", "expected one of fsync, relaxed"),
        ("relaxed_fsync_interval_ms", "0", "a whole number of milliseconds from 1 to 60000"),
        ("cache_bytes", "lots", "a size in bytes such as 67108864, 64MiB or 1GiB, at least 1MiB"),
        ("cache_bytes", "64MB", "the units are KiB, MiB, GiB and TiB, not MB"),
        ("cache_bytes", "1023KiB", "at least 1MiB"),
        ("commit_bytes_in_flight_max", "1MiB", "at least 3MiB"),
        ("map_bytes_max", "-1", "a size in bytes"),
        ("disk_free_bytes_min", "1.5GiB", "a size in bytes"),
        ("tls_cert", "/does/not/exist", "a readable file in PEM format (No such file or directory)"),
        ("tls_key", "/", "a readable file in PEM format (Is a directory)"),
        ("tls_client_ca", "/does/not/exist", "a readable file in PEM format"),
        ("grpc_message_bytes_max", "4GiB", "at most 2147483647"),
        ("queue_deleted_recently_seconds", "soon", "a whole number of seconds from 0 to 86400"),
        ("purge_interval_seconds", "1.5", "a whole number of seconds from 0 to 86400"),
        ("metrics_queues_max", "-5", "a whole number of queues from 0 to 100000"),
        ("log_level", "loud", "one of debug, info, warning, error"),
        ("log_format", "xml", "one of auto, json, console"),
        ("shutdown_grace_seconds", "1h", "a whole number of seconds from 0 to 3600"),
    ],
)
def test_a_bad_value_is_named_with_its_origin_and_what_is_allowed(
    key: str, value: str, allowed: str, tmp_path: Path
) -> None:
    file = tmp_path / "heddle.toml"
    file.write_text(f"{key} = {json.dumps(value)}\n")
    flag, variable = option(key).flag, option(key).variable
    for origin, arguments, env in (
        (f"flag {flag}", [f"{flag}={value}"], None),
        (f"environment {variable}", [], {variable: value}),
        (f"file {file}", [f"--config={file}"], {}),
    ):
        for command in ("config", "serve"):
            result = run(command, *arguments, env=env)
            assert result.exit_code == 2
            assert result.stdout == ""
            lines = result.stderr.splitlines()
            assert len(lines) == 1
            assert lines[0].startswith(f'Error: {key} = "{value}" (from {origin}): expected ')
            assert allowed in lines[0]


def test_every_key_that_can_be_wrong_has_a_bad_value_above() -> None:
    marks = test_a_bad_value_is_named_with_its_origin_and_what_is_allowed.pytestmark  # type: ignore[attr-defined]
    tested = {row[0] for row in marks[0].args[1]}
    assert {o.key for o in OPTIONS} - tested == {"data_dir"}


def test_the_data_directory_must_not_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text("")
    result = run("config", "--data-dir", str(file))
    assert result.exit_code == 2
    assert "data_dir = " in result.stderr
    assert "this is not a directory" in result.stderr


@pytest.mark.parametrize("value", ["true", "1.5", "[1]", "{ a = 1 }", "2026-01-01"])
def test_toml_values_of_other_types_are_refused(value: str, tmp_path: Path) -> None:
    file = tmp_path / "heddle.toml"
    for key in ("purge_interval_seconds", "cache_bytes", "grpc", "log_level", "data_dir"):
        file.write_text(f"{key} = {value}\n")
        result = run("config", "--config", str(file))
        assert result.exit_code == 2, (key, result.output)
        assert f"{key} = " in result.stderr


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("cache_byte = 5", "has an unknown key cache_byte; did you mean cache_bytes?"),
        ("data-dir = '/x'", "has an unknown key data-dir; did you mean data_dir?"),
        ("xyzzy = 1", "has an unknown key xyzzy; `heddle config` lists the keys"),
        ("sqs = '127.0.0.1:4566'", "has an unknown key sqs"),
        ("[server]\ngrpc = ':1'", "has an unknown key server"),
        ("grpc = ", "is not a TOML file: Invalid value (at end of document)"),
    ],
)
def test_a_bad_file_is_explained(toml: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "heddle.toml"
    file.write_text(toml)
    result = run("config", "--config", str(file))
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert message in result.stderr


def test_a_file_that_is_not_text_or_not_there_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "heddle.toml"
    file.write_bytes(b"\xff\xfe")
    assert "is not a TOML file" in run("config", "--config", str(file)).stderr
    missing = run("config", "--config", str(tmp_path / "missing.toml"))
    assert missing.exit_code == 2
    assert "does not exist" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "{pem}"], "tls_key is missing: TLS needs both"),
        (["--tls-key", "{pem}"], "tls_cert is missing: TLS needs both"),
        (["--tls-client-ca", "{pem}"], "works only with tls_cert and tls_key"),
        (["--grpc", "127.0.0.1:7421"], "is the endpoint of grpc"),
        (["--tls-cert", "{pem}", "--tls-key", "{tls}/server.key"], "no certificate chain in PEM that fits tls_key"),
        (["--tls-cert", "{tls}/server.pem", "--tls-key", "{tls}/other.key"], "KEY_VALUES_MISMATCH"),
        (["--tls-cert", "{tls}/server.pem", "--tls-key", "{tls}/locked.key"], "locked with a password"),
        (
            ["--tls-cert", "{tls}/server.pem", "--tls-key", "{tls}/server.key", "--tls-client-ca", "{pem}"],
            "no certificates in PEM",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(arguments: list[str], message: str, tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_text("PEM")
    result = run("config", *(a.format(pem=pem, tls=TLS) for a in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "(from " in result.stderr


def test_two_endpoints_may_both_take_any_free_port() -> None:
    assert Config(grpc=Endpoint("127.0.0.1", 0), http=Endpoint("127.0.0.1", 0)).grpc.port == 0


@pytest.mark.parametrize(
    ("text", "size"),
    [("67108864", 2**26), ("64MiB", 2**26), ("64 mib", 2**26), ("1GiB", 2**30), ("2097152B", 2**21), ("1TiB", 2**40)],
)
def test_sizes_are_read_with_and_without_unit(text: str, size: int) -> None:
    assert option("cache_bytes").parse(text) == size
    assert option("cache_bytes").parse(size) == size


def test_a_size_beyond_what_a_file_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="map_bytes_max"):
        option("map_bytes_max").parse("9999999999TiB")


@pytest.mark.parametrize(
    ("text", "host"), [("[::1]:80", "::1"), ("localhost:80", "localhost"), ("0.0.0.0:80", "0.0.0.0")]
)
def test_endpoints_read_back_as_written(text: str, host: str) -> None:
    endpoint = parse_endpoint(text)
    assert endpoint == Endpoint(host, 80)
    assert str(endpoint) == text


def test_the_table_shows_every_key_with_its_origin() -> None:
    result = run("config", env={"HEDDLE_LOG_LEVEL": "debug"})
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["log_level", "debug", "environment", "HEDDLE_LOG_LEVEL"] in rows
    assert {row[0] for row in rows if row} >= {o.key for o in OPTIONS}


def test_the_documentation_has_the_table_that_the_code_has() -> None:
    documentation = (REPOSITORY / "docs/configuration.md").read_text()
    table = run("config", "--markdown").stdout.strip()
    assert table in documentation, "run `heddle config --markdown` and put the table into docs/configuration.md"


def test_deployment_files_name_only_variables_that_exist() -> None:
    known = {o.variable for o in OPTIONS} | {"HEDDLE_CONFIG", "HEDDLE_SERVER"}
    for name in ("deploy/Dockerfile", "deploy/compose.yaml", "deploy/heddle.service", "docs/deployment.md"):
        text = (REPOSITORY / name).read_text()
        assert set(re.findall(r"HEDDLE_[A-Z_]+", text)) <= known, name


def test_service_managers_wait_longer_than_the_broker_does() -> None:
    grace = Config().shutdown_grace_seconds
    unit = (REPOSITORY / "deploy/heddle.service").read_text()
    compose = (REPOSITORY / "deploy/compose.yaml").read_text()
    for pattern, text in ((r"^TimeoutStopSec=(\d+)$", unit), (r"stop_grace_period: (\d+)s", compose)):
        match = re.search(pattern, text, re.MULTILINE)
        assert match is not None
        assert int(match[1]) > grace
