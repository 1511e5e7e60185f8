"""Peers' servers: where they are found, how they are started on the loopback, and what they promise.

Each runs with a temporary directory and is stopped afterwards. Runs in the broker's environment.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from broker.bench.processes import Server, ServerDidNotStartError, stop

PEERS_VENV = Path(os.environ.get("HEDDLE_BENCH_PEERS_VENV", ".venv-peers"))
START_SECONDS_MAX = 60
POLL_SECONDS = 0.05
RABBITMQ_SCRIPTS = Path("/usr/lib/rabbitmq/bin")  # the Debian package; its wrapper in /usr/sbin wants a system user


class PeerNotInstalledError(Exception):
    """Something that this peer needs is not on this machine."""


@dataclass(frozen=True)
class Launch:
    """How a peer's server is started in `directory` on `port`, and cleaned up after."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    clean_up: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Peer:
    """`driver`: its name in `peers.client`. `modules`: what the peers' environment must have."""

    driver: str
    durability: str
    modules: tuple[str, ...]
    launch: Callable[[Path, int], Launch]


def _program(name: str) -> str:
    in_venv = PEERS_VENV / "bin" / name
    found = str(in_venv.absolute()) if in_venv.exists() else shutil.which(name)
    if found is None:
        raise PeerNotInstalledError(f"{name} is not installed (make bench-peers)")
    return found


def _redis(directory: Path, port: int) -> Launch:
    persistence = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory)]
    return Launch([_program("redis-server"), *where, *persistence])


def _nats(sync_interval: str | None) -> Callable[[Path, int], Launch]:
    def launch(directory: Path, port: int) -> Launch:
        sync = f"sync_interval: {sync_interval}" if sync_interval else ""
        configuration = directory / "nats.conf"
        configuration.write_text(
            f'listen: "127.0.0.1:{port}"\njetstream {{\n  store_dir: "{directory}/jetstream"\n  {sync}\n}}\n'
        )
        return Launch([_program("nats-server"), "--config", str(configuration)])

    return launch


def _rabbitmq(directory: Path, port: int) -> Launch:
    server = RABBITMQ_SCRIPTS / "rabbitmq-server"
    if not server.exists():
        raise PeerNotInstalledError("rabbitmq-server is not installed (make bench-peers)")
    configuration = directory / "rabbitmq.conf"
    configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 100MB\n")
    name_server_port = _free_port()
    env = {
        "HOME": str(directory),  # the Erlang cookie
        "ERL_EPMD_PORT": str(name_server_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"heddle-bench-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(_free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONFIG_FILE": str(configuration),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
    }
    return Launch([str(server)], env, clean_up=[["epmd", "-port", str(name_server_port), "-kill"]])


def _moto(_directory: Path, port: int) -> Launch:
    return Launch([_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)])


def _elasticmq(_directory: Path, port: int) -> Launch:
    jars, java = (PEERS_VENV / "elasticmq").absolute(), shutil.which("java")
    if java is None or not jars.is_dir():
        raise PeerNotInstalledError("ElasticMQ or java is not installed (make bench-peers-sqs)")
    where = {"bind-hostname": "127.0.0.1", "bind-port": port}
    settings = [f"-Drest-sqs.{key}={value}" for key, value in where.items()]
    settings += ["-Dnode-address.host=127.0.0.1", f"-Dnode-address.port={port}", "-Drest-stats.enabled=false"]
    return Launch([java, "-cp", f"{jars}/*", *settings, "org.elasticmq.server.Main"])


def _localstack(directory: Path, port: int) -> Launch:
    python = PEERS_VENV / "localstack" / "bin" / "python"
    if not python.exists():
        raise PeerNotInstalledError("LocalStack is not installed (make bench-peers-sqs)")
    env = {
        "SERVICES": "sqs",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "LOCALSTACK_HOST": f"127.0.0.1:{port}",
        "LOCALSTACK_VOLUME_DIR": str(directory),
        "DISABLE_EVENTS": "1",  # nothing is told to its makers
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
    }
    return Launch([str(python.absolute()), "-m", "localstack.runtime.main"], env)


PEERS: dict[str, Peer] = {
    "redis": Peer("redis", "appendfsync always: fsync before every answer", ("redis", "hiredis", "uvloop"), _redis),
    "redis-packed": Peer(
        "redis-packed", "appendfsync always: fsync before every answer", ("redis", "hiredis", "uvloop"), _redis
    ),
    "nats": Peer("nats", "sync_interval always: fsync before every ack", ("nats", "uvloop"), _nats("always")),
    "nats-default": Peer(
        "nats", "default sync_interval: no fsync before an ack (every 2 minutes)", ("nats", "uvloop"), _nats(None)
    ),
    "rabbitmq-quorum": Peer(
        "rabbitmq-quorum", "quorum queue of one, confirmed after fsync of its log", ("pika", "uvloop"), _rabbitmq
    ),
    "rabbitmq-classic": Peer(
        "rabbitmq-classic", "durable classic queue, persistent, confirmed once on disk", ("pika", "uvloop"), _rabbitmq
    ),
    "moto": Peer("moto", "none (moto: memory)", ("moto", "uvloop"), _moto),
    "elasticmq": Peer("elasticmq", "none (ElasticMQ: memory)", ("uvloop",), _elasticmq),
    "localstack": Peer("localstack", "none (LocalStack: memory)", ("uvloop",), _localstack),
}
SQS_PEERS = ("moto", "elasticmq", "localstack")
"""Those that `heddle bench aws` can run beside the broker."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def client_python(peer: Peer) -> str:
    """The interpreter of the peers' environment. Raises PeerNotInstalledError unless it has the peer's modules."""
    python = PEERS_VENV / "bin" / "python"
    if not python.exists():
        raise PeerNotInstalledError(f"no environment for peers' clients at {PEERS_VENV} (make bench-peers)")
    imports = f"import {', '.join(peer.modules)}"
    if subprocess.run([python, "-c", imports], capture_output=True, check=False).returncode != 0:
        raise PeerNotInstalledError(f"{PEERS_VENV} lacks one of {', '.join(peer.modules)} (make bench-peers)")
    return str(python.absolute())


async def _listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True


@contextmanager
def peer_server(peer: Peer) -> Iterator[Server]:
    """The peer's server, until it accepts connections. Raises PeerNotInstalledError or ServerDidNotStartError."""
    directory = Path(tempfile.mkdtemp(prefix="heddle-bench-peer-"))
    try:
        port = _free_port()
        launch = peer.launch(directory, port)
        env = {**os.environ, **launch.env}
        log = directory / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(launch.command, stdout=output, stderr=output, env=env, text=True)
        try:
            _wait_listening(process, port, log)
            yield Server(f"127.0.0.1:{port}", process.pid)
        finally:
            stop(process)
            for command in launch.clean_up:
                subprocess.run(command, env=env, capture_output=True, check=False)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_listening(process: "subprocess.Popen[str]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not asyncio.run(_listening(port)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerDidNotStartError(f"{process.args!r}: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(POLL_SECONDS)  # a foreign server offers no event to wait for
