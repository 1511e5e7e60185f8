"""The node: one broker process, from its configuration to its exit code.

Opens the data directory, wires store, planes, front desk and engine room together, and takes them down again in order:
stop accepting, let parked polls return, finish the commit in flight, close. Never: semantics.
"""

import asyncio
import gc
import json
import os
import resource
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import grpc
import structlog
import uvicorn
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry

from broker import __version__
from broker.api.desk import Desk
from broker.api.grpc.server import GrpcServer
from broker.api.http.app import http_app
from broker.errors import AddressInUse, ConfigurationError, StartupError
from broker.log import Batches, Sweeper
from broker.node.aws import aws_endpoint
from broker.node.clock import Clock
from broker.node.config import Config, Endpoint
from broker.node.data_dir import DataDirectory
from broker.node.engine_room import Services
from broker.node.handover import EngineRoom
from broker.node.metrics import BrokerCollector, Observations
from broker.queues import Queues, Scope
from broker.store import EngineError, Store, ThreadCommitter
from broker.store.lmdb_engine import LmdbEngine
from broker.store.schema import initialise

_ENDPOINTS_FILE: Final = "endpoints.json"
_READER_THREADS: Final = 2

log = structlog.get_logger("broker.node")


def serve(config: Config, *, print_ports: bool, ephemeral: bool = False) -> int:
    """Runs a broker until SIGTERM or SIGINT. Returns the exit code: 0 after a clean end, 1 after a fatal error.
    ``ephemeral``: the HTTP port offers to empty it.

    Raises StartupError when it cannot start.
    """
    _allow_connections()
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(_serve(config, print_ports=print_ports, ephemeral=ephemeral))


def _allow_connections() -> None:
    """As many open files as the operator lets this process have: each connection needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # what is allowed now must do then
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


async def _serve(config: Config, *, print_ports: bool, ephemeral: bool) -> int:
    ending = _Ending()
    async with Node.open(config, ending, ephemeral=ephemeral) as node:
        endpoints = node.endpoints()
        (config.data_dir / _ENDPOINTS_FILE).write_text(json.dumps(endpoints) + "\n")
        if print_ports:
            print(json.dumps(endpoints), flush=True)
        # What lives until the end is taken out of the garbage collector's rounds.
        gc.collect()
        gc.freeze()
        log.info(
            "serving", version=__version__, data_dir=str(config.data_dir), durability=config.durability, **endpoints
        )
        await ending.wanted.wait()
    log.info("stopped", failed=ending.failed)
    return 1 if ending.failed else 0


class _Ending:
    """Why and when the broker ends: a signal, or something that it cannot go on after."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.failed = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.wanted.set)

    def fatal(self, reason: object) -> None:
        log.critical("the broker ends: it cannot go on after this", reason=str(reason))
        self.failed = True
        self.wanted.set()


class Node:
    """The parts of a running broker. Made by ``open``."""

    def __init__(self, config: Config, engine: LmdbEngine, ending: _Ending, *, ephemeral: bool) -> None:
        loop = asyncio.get_running_loop()
        self._config, self._ending, self._ephemeral = config, ending, ephemeral
        self._registry = CollectorRegistry()
        self._observations = Observations(self._registry)
        self.clock = Clock()
        relaxed = config.durability == "relaxed"
        interval_s = config.relaxed_fsync_interval_ms / 1000
        self.store = Store(
            engine,
            call_soon=loop.call_soon,
            gather_clock=time.perf_counter,
            call_relaxed=(lambda step: loop.call_later(interval_s, step)) if relaxed else None,
        )
        self.store.bytes_in_flight_max = config.commit_bytes_in_flight_max
        self.store.on_fatal(ending.fatal)
        batches = Batches(self.store, cache_bytes=config.cache_bytes)
        sweeper = Sweeper(self.store, batches)
        self.queues = Queues(
            self.store,
            batches,
            sweeper,
            deleted_recently_ms=config.queue_deleted_recently_seconds * 1000,
            purge_interval_ms=config.purge_interval_seconds * 1000,
        )
        self.store.on_reset(batches.reset)
        self.store.on_reset(self.queues.reset)
        self._reader = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="reader")
        self.desk = Desk(
            store=self.store,
            batches=batches,
            queues=self.queues,
            now_ms=self.clock.now_ms,
            default_scope=Scope(config.account, config.region),
            reader=self._reader,
            queue_url=self._queue_url,
        )
        self.services = Services(
            store=self.store,
            queues=self.queues,
            sweeper=sweeper,
            clock=self.clock,
            data_dir=config.data_dir,
            disk_free_bytes_min=config.disk_free_bytes_min,
            observe_lag=self._observations.lag,
        )
        self.http_port = 0
        self.grpc = GrpcServer(
            self.desk,
            str(config.grpc),
            message_bytes_max=config.grpc_message_bytes_max,
            credentials=_credentials(config),
        )
        self._aws = aws_endpoint(config, self.desk)
        self._collector = BrokerCollector(
            store=self.store,
            batches=batches,
            queues=self.queues,
            now_ms=self.clock.now_ms,
            file_bytes=engine.file_bytes,
            queues_max=config.metrics_queues_max,
        )
        self._registry.register(self._collector)
        if self._aws is not None:
            self._registry.register(self._aws)
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self._registry.register(collector)

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config, ending: _Ending, *, ephemeral: bool) -> AsyncIterator["Node"]:
        """A broker that serves until the block ends; then it stops in order."""
        with _opened(config) as engine:
            node = cls(config, engine, ending, ephemeral=ephemeral)
            node._start_store(engine)
            try:
                await node._last_commit()  # the new generation of ids is durable before any of them is given out
                async with node._http_server():
                    engine_room = EngineRoom(node.services.run)
                    engine_room.start()
                    engine_room.ended.add_done_callback(node._engine_room_ended)
                    try:
                        await node.grpc.start()
                        await node._start_aws()
                        yield node
                    finally:
                        await node._stop_serving()
                        await engine_room.stop()
            finally:
                await node._last_commit()
                node.store.close()
                node._reader.shutdown()

    def _start_store(self, engine: LmdbEngine) -> None:
        committer = ThreadCommitter(
            engine,
            self.store.committed,
            call_main=asyncio.get_running_loop().call_soon_threadsafe,
            observe=self._observations.commit,
            clock=time.perf_counter,
        )
        self.store.start(committer)

    def endpoints(self) -> dict[str, str | None]:
        """HOST:PORT of each front door."""
        return {
            "grpc": str(Endpoint(self._config.grpc.host, self.grpc.port)),
            "http": str(Endpoint(self._config.http.host, self.http_port)),
            "aws": str(Endpoint(self._config.aws.host, self._aws.server.port))
            if self._config.aws and self._aws
            else None,
        }

    async def _start_aws(self) -> None:
        if self._aws is not None:
            try:
                await self._aws.server.start()
            except OSError as error:
                self._aws = None  # nothing to stop
                raise AddressInUse(f"cannot listen on {self._config.aws} for AWS: {error.strerror or error}") from error

    async def _stop_serving(self) -> None:
        """New calls are refused, parked ones return, those under way end."""
        await self.grpc.set_serving(serving=False)
        self.desk.stop()
        grace_seconds = self._config.shutdown_grace_seconds
        async with asyncio.TaskGroup() as doors:
            doors.create_task(self.grpc.stop(grace_seconds))
            if self._aws is not None:
                doors.create_task(self._aws.server.stop(grace_seconds))
        await self.desk.finished()

    async def _reset(self) -> None:
        """Every queue is gone, on the disk too."""
        self.queues.clear()
        await self.desk.durable()

    async def _last_commit(self) -> None:
        self.store.submit_all()
        while (commit := self.store.last_commit()) is not None:
            done = asyncio.Event()
            commit.add_done_callback(lambda _commit, done=done: done.set())  # type: ignore[misc]
            await done.wait()
            self.store.submit_all()

    def _engine_room_ended(self, ended: "asyncio.Future[None]") -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.critical("the engine room failed", exc_info=error)
            self._ending.fatal("the engine room failed")

    def _not_ready(self) -> str | None:
        if self._ending.wanted.is_set() or self.desk.stopping.is_set():
            return "shutting down"
        if self.store.full is not None:
            return str(self.store.full)
        return None

    def _queue_url(self, scope: Scope, name: str) -> str:
        base = self._config.external_url
        if base is None:
            base = f"http://{Endpoint(self._config.grpc.host, self.grpc.port)}"
        return f"{base}/{scope.account}/{name}"

    @asynccontextmanager
    async def _http_server(self) -> AsyncIterator[None]:
        listener = _listen(self._config.http)
        self.http_port = listener.getsockname()[1]
        about = {"version": __version__, "durability": self._config.durability}
        app = http_app(
            self._registry,
            prepare=self._collector.prepare,
            not_ready=self._not_ready,
            about=about,
            reset=self._reset if self._ephemeral else None,
        )
        server = _HttpServer(
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        )
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


class _HttpServer(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The node minds the signals."""
        yield


@contextmanager
def _opened(config: Config) -> Iterator[LmdbEngine]:
    directory = DataDirectory(config.data_dir)
    try:
        with suppress(FileNotFoundError):
            (config.data_dir / _ENDPOINTS_FILE).unlink()
        engine = LmdbEngine(config.data_dir, map_bytes_max=config.map_bytes_max)
        try:
            initialise(engine, new_store_id=secrets.token_bytes(16))
        except EngineError as error:
            raise StartupError(f"cannot write to the data directory {config.data_dir}: {error}") from error
        try:
            yield engine
        finally:
            engine.close()
    finally:
        directory.close()


def _listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((endpoint.host, endpoint.port))
    except OSError as error:
        listener.close()
        raise AddressInUse(f"cannot listen on {endpoint} for HTTP: {os.strerror(error.errno or 0)}") from error
    return listener


def _credentials(config: Config) -> grpc.ServerCredentials | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        pair = (config.tls_key.read_bytes(), config.tls_cert.read_bytes())
        client_ca = config.tls_client_ca.read_bytes() if config.tls_client_ca is not None else None
        return grpc.ssl_server_credentials([pair], client_ca, require_client_auth=client_ca is not None)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot use the TLS certificate: {error}") from error
