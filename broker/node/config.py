"""Configuration: what a broker is told when it starts, and the one table that describes every key.

`Config` is that table: each field carries its default, its kind (how a value is read and what is allowed) and its
meaning. Flags, environment variables, the keys of the TOML file, `heddle config` and docs/configuration.md are derived
from it, so a new key is one new field. Where a value came from is known to the command line alone.

Never: reading the environment, the command line or the configuration file, and no defaults anywhere else.
"""

import dataclasses
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
GRPC_FRAME_BYTES_MAX: Final = 2**31 - 1  # gRPC keeps its message limits in an int32
PRODUCE_REQUEST_BYTES_MAX: Final = 3 * MIB  # a Produce batch of 2 MiB with its envelope must pass every limit below
RECEIVE_ANSWER_BYTES_MAX: Final = 12 * MIB  # ten messages of 1 MiB with their envelopes must fit an answer
COUNT_MAX: Final = 2**63 - 1

_SIZE_UNITS: Final = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": 2**40}
_SIZE: Final = re.compile(r"(\d{1,19})\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_ENDPOINT: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s:\[\]/]+)):(?P<port>\d{1,5})", re.ASCII)


class ConfigError(ValueError):
    """A configuration value that cannot be used: its key, the value as given, and what is wrong or what is allowed."""

    def __init__(self, key: str, value: object, problem: str) -> None:
        super().__init__(key, value, problem)
        self.key = key
        self.value = value
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port to listen on; port 0 lets the system choose a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of an option are read: from text (flags, environment) or from a TOML value.

    `parse` raises ValueError for what is not allowed; `allowed` completes the sentence "expected ...".
    """

    metavar: str
    allowed: str
    parse: Callable[[object], object]
    render: Callable[[Any], str] = str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table: a key with everything that is derived from it."""

    key: str
    default: object
    kind: Kind
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return "HEDDLE_" + self.key.upper()

    def parse(self, value: object) -> object:
        """The value of this option that `value` stands for; ConfigError when it is not allowed."""
        try:
            return self.kind.parse(value)
        except ValueError as error:
            detail = f" ({error})" if str(error) else ""
            raise ConfigError(self.key, value, f"expected {self.kind.allowed}{detail}") from error

    def render(self, value: object) -> str:
        """The value as a person would write it; empty when there is none."""
        return "" if value is None else self.kind.render(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    raise ValueError


def _integer(low: int, high: int, unit: str) -> Kind:
    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*\d{1,19}\s*", value, re.ASCII):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return Kind(unit.upper(), f"a whole number of {unit} from {low} to {high}", parse)


def render_bytes(size: int) -> str:
    """`size` in the largest unit that leaves no remainder: 67108864 is 64MiB."""
    for unit, scale in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size and size % scale == 0:
            return f"{size // scale}{unit}"
    return str(size)


def _bytes(low: int, high: int = COUNT_MAX) -> Kind:
    def parse(value: object) -> int:
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            digits, unit = match.groups()
            if unit.lower() not in _SIZE_UNITS:
                raise ValueError(f"the units are KiB, MiB, GiB and TiB, not {unit}")
            value = int(digits) * _SIZE_UNITS[unit.lower()]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    bounds = f", at least {render_bytes(low)}" if low else ""
    bounds += "" if high == COUNT_MAX else f", at most {render_bytes(high)}"
    return Kind("SIZE", f"a size in bytes such as 67108864, 64MiB or 1GiB{bounds}", parse, render_bytes)


def _choice(*choices: str) -> Kind:
    def parse(value: object) -> str:
        if (text := _text(value).lower()) not in choices:
            raise ValueError
        return text

    return Kind("|".join(choices), "one of " + ", ".join(choices), parse, choices=choices)


def _pattern(metavar: str, allowed: str, pattern: str) -> Kind:
    def parse(value: object) -> str:
        if not re.fullmatch(pattern, text := _text(value), re.ASCII):
            raise ValueError
        return text

    return Kind(metavar, allowed, parse)


def parse_endpoint(value: object) -> Endpoint:
    """HOST:PORT, an IPv6 address in brackets; ValueError for anything else."""
    match = _ENDPOINT.fullmatch(_text(value))
    if not match or (port := int(match["port"])) > 65535:
        raise ValueError
    return Endpoint(match["v6"] or match["host"], port)


def _directory(value: object) -> Path:
    if not (text := _text(value)) or "\0" in text:
        raise ValueError
    path = Path(text).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError("this is not a directory")
    return path


def _file_or_none(value: object) -> Path | None:
    if not (text := _text(value)):
        return None
    path = Path(text).expanduser()
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    return path


def _refuse_password() -> str:
    raise ValueError("the key is locked with a password, which a broker cannot be asked for")


def _url_or_none(value: object) -> str | None:
    if not (text := _text(value)):
        return None
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError
    return text.rstrip("/")


def _endpoint_or_off(value: object) -> Endpoint | None:
    return None if _text(value).lower() in {"", "off"} else parse_endpoint(value)


def _list_of(pattern: str) -> Callable[[object], tuple[str, ...]]:
    """Reads a list in TOML, or text with commas."""

    def parse(value: object) -> tuple[str, ...]:
        parts = value if isinstance(value, list | tuple) else _text(value).split(",")
        names = tuple(name for part in parts if (name := _text(part)))
        for name in names:
            if not re.fullmatch(pattern, name, re.ASCII):
                raise ValueError(f"not {name}")
        return names

    return parse


_REGION: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LISTEN: Final = Kind("HOST:PORT", "HOST:PORT with a port from 0 to 65535, 0 for any free one", parse_endpoint)
_PEM_FILE: Final = Kind("FILE", "a readable file in PEM format", _file_or_none)


def _about(help_text: str, kind: Kind) -> dict[str, object]:
    return {"help": help_text, "kind": kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a broker is told when it starts. Every key has a default; every number has its unit in its name.

    Raises ConfigError when keys contradict each other; single values are checked where they are read (`Option.parse`).
    """

    data_dir: Path = field(
        default=Path("data"),
        metadata=_about(
            "Directory of everything durable; made when it is missing. One process at a time.",
            Kind("DIR", "the path of a directory", _directory),
        ),
    )
    grpc: Endpoint = field(default=Endpoint("127.0.0.1", 7420), metadata=_about("Where the gRPC API listens.", _LISTEN))
    http: Endpoint = field(
        default=Endpoint("127.0.0.1", 7421),
        metadata=_about("Where metrics and health (/metrics, /healthz, /readyz) are served.", _LISTEN),
    )
    aws: Endpoint | None = field(
        default=Endpoint("127.0.0.1", 4566),
        metadata=_about(
            "Where AWS SDKs find the broker (HTTP; HTTPS with tls_cert). Needs the extra heddle-broker[aws].",
            Kind("HOST:PORT", "HOST:PORT with a port from 0 to 65535, 0 for any free one, or off", _endpoint_or_off),
        ),
    )
    aws_auth: str = field(
        default="none",
        metadata=_about(
            "none: any credentials are taken, and an access key of 12 digits names the account; for local work. "
            "sigv4: signatures are verified against aws_credentials_file.",
            _choice("none", "sigv4"),
        ),
    )
    aws_credentials_file: Path | None = field(
        default=None,
        metadata=_about(
            "Access keys that may sign, their secrets and their accounts (TOML).",
            Kind("FILE", "a readable file", _file_or_none),
        ),
    )
    aws_regions: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "With sigv4: the regions that may be called; none: any.",
            Kind("REGIONS", "regions with commas between them", _list_of(_REGION), ",".join),
        ),
    )
    aws_cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=_about(
            "Web pages that may call the AWS endpoint besides those of this machine; *: any.",
            Kind(
                "ORIGINS",
                "origins such as https://app.example.com with commas between them, or *",
                _list_of(r"\*|https?://[^\s/,]+"),
                ",".join,
            ),
        ),
    )
    profile: str = field(
        default="development",
        metadata=_about(
            "production: refuses to start with what is for local work only (aws_auth = none, --ephemeral).",
            _choice("development", "production"),
        ),
    )
    external_url: str | None = field(
        default=None,
        metadata=_about(
            "What queue URLs begin with, where clients reach the broker by another name than it listens on.",
            Kind("URL", "an http or https URL without query, such as https://queues.example.com", _url_or_none),
        ),
    )
    account: str = field(
        default="000000000000",
        metadata=_about(
            "Account of requests that name none.", _pattern("ACCOUNT", "an account of exactly 12 digits", r"\d{12}")
        ),
    )
    region: str = field(
        default="us-east-1",
        metadata=_about(
            "Region of requests that name none.",
            _pattern(
                "REGION",
                "a region of 1 to 63 lower-case letters, digits and hyphens, such as eu-central-1",
                _REGION,
            ),
        ),
    )
    durability: str = field(
        default="fsync",
        metadata=_about(
            "fsync: an answer leaves after its commit is on the disk. relaxed: answers leave at once and a commit "
            "follows every relaxed_fsync_interval_ms; a crash may lose that much of what was acknowledged.",
            _choice("fsync", "relaxed"),
        ),
    )
    relaxed_fsync_interval_ms: int = field(
        default=100,
        metadata=_about("With relaxed durability: time between two commits.", _integer(1, 60_000, "milliseconds")),
    )
    cache_bytes: int = field(
        default=64 * MIB,
        metadata=_about("Memory for batches kept at hand for consumers that are near the tail.", _bytes(MIB)),
    )
    commit_bytes_in_flight_max: int = field(
        default=64 * MIB,
        metadata=_about(
            "Data that may wait for its commit; sends beyond it wait (back-pressure).",
            _bytes(PRODUCE_REQUEST_BYTES_MAX),
        ),
    )
    map_bytes_max: int = field(
        default=0,
        metadata=_about("Size that the data file may grow to; 0: as large as the disk allows.", _bytes(0)),
    )
    disk_free_bytes_min: int = field(
        default=256 * MIB,
        metadata=_about("Free space on the disk below which sends are refused; receives and deletes go on.", _bytes(0)),
    )
    tls_cert: Path | None = field(
        default=None,
        metadata=_about("Certificate chain of the gRPC API; with tls_key it turns TLS on.", _PEM_FILE),
    )
    tls_key: Path | None = field(default=None, metadata=_about("Private key that belongs to tls_cert.", _PEM_FILE))
    tls_client_ca: Path | None = field(
        default=None,
        metadata=_about("Authorities whose client certificates are accepted; clients then need one.", _PEM_FILE),
    )
    grpc_message_bytes_max: int = field(
        default=16 * MIB,
        metadata=_about(
            "Largest answer over gRPC; requests may have 4 MiB.", _bytes(RECEIVE_ANSWER_BYTES_MAX, GRPC_FRAME_BYTES_MAX)
        ),
    )
    queue_deleted_recently_seconds: int = field(
        default=60,
        metadata=_about(
            "How long the name of a deleted queue cannot be used again, as in AWS; 0: at once.",
            _integer(0, 86_400, "seconds"),
        ),
    )
    purge_interval_seconds: int = field(
        default=60,
        metadata=_about(
            "Time between two purges of one queue, as in AWS; 0: any time.", _integer(0, 86_400, "seconds")
        ),
    )
    metrics_queues_max: int = field(
        default=200,
        metadata=_about(
            "Queues that get metrics of their own, so that a scrape stays small; 0: none.",
            _integer(0, 100_000, "queues"),
        ),
    )
    log_level: str = field(
        default="info",
        metadata=_about("Least severe log lines to write.", _choice("debug", "info", "warning", "error")),
    )
    log_format: str = field(
        default="auto",
        metadata=_about("auto: console on a terminal, json elsewhere.", _choice("auto", "json", "console")),
    )
    shutdown_grace_seconds: int = field(
        default=10,
        metadata=_about(
            "How long calls in progress may take to end after SIGTERM before they are cut off.",
            _integer(0, 3_600, "seconds"),
        ),
    )

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise ConfigError(given, str(getattr(self, given)), f"{missing} is missing: TLS needs both")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ConfigError("tls_client_ca", str(self.tls_client_ca), "works only with tls_cert and tls_key")
        self._check_certificates()
        if self.grpc.port and self.grpc == self.http:
            raise ConfigError("http", str(self.http), "is the endpoint of grpc; each needs a port of its own")
        self._check_aws()

    def _check_aws(self) -> None:
        if self.aws is None:
            return
        for key, other in (("grpc", self.grpc), ("http", self.http)):
            if self.aws.port and self.aws == other:
                raise ConfigError("aws", str(self.aws), f"is the endpoint of {key}; each needs a port of its own")
        if self.aws_auth == "sigv4" and self.aws_credentials_file is None:
            raise ConfigError("aws_auth", self.aws_auth, "needs aws_credentials_file: without it nobody could call")
        if self.aws_auth == "none" and self.profile == "production":
            raise ConfigError("aws_auth", self.aws_auth, "is refused in production: use sigv4, or aws = off")

    def _check_certificates(self) -> None:
        """Reads the files once with the standard library: gRPC would only say that it cannot listen."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.tls_cert is not None and self.tls_key is not None:
            try:
                context.load_cert_chain(self.tls_cert, self.tls_key, password=_refuse_password)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                problem = f"no certificate chain in PEM that fits tls_key {self.tls_key}: {error}"
                raise ConfigError("tls_cert", str(self.tls_cert), problem) from error
        if self.tls_client_ca is not None:
            try:
                context.load_verify_locations(self.tls_client_ca)
            except OSError as error:
                raise ConfigError(
                    "tls_client_ca", str(self.tls_client_ca), f"no certificates in PEM: {error}"
                ) from error


OPTIONS: Final[tuple[Option, ...]] = tuple(
    Option(f.name, f.default, f.metadata["kind"], f.metadata["help"]) for f in dataclasses.fields(Config)
)
