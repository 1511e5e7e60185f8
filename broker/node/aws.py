"""The AWS endpoint of a node: made from its configuration, if it is wanted and installed. Never: a request."""

import importlib.util
import ipaddress
import resource
import ssl
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.api.desk import Desk
from broker.errors import ConfigurationError
from broker.node.config import Config

if TYPE_CHECKING:
    from broker.api.aws.app import AwsApp
    from broker.api.web.server import WebServer

_OTHER_FILES: Final = 200

log = structlog.get_logger("broker.node")


class AwsEndpoint(Collector):
    """The server and the application in it, and what Prometheus learns of both."""

    def __init__(self, app: "AwsApp", server: "WebServer") -> None:
        self._app, self.server = app, server

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "heddle_aws_calls",
            "Calls answered at the AWS endpoint; outcome is ok or the code of the error.",
            labels=("service", "operation", "outcome"),
        )
        for labels, count in self._app.statistics.calls.items():
            calls.add_metric(labels, count)
        yield calls
        web = self.server.statistics()
        for name, documentation, value in (
            ("connections", "Connections to the AWS endpoint.", web.connections),
            (
                "requests",
                "Requests at the AWS endpoint that are being answered; long polls are among them.",
                web.requests,
            ),
            ("body_bytes", "Bodies held in memory for requests at the AWS endpoint.", web.body_bytes),
        ):
            yield GaugeMetricFamily(f"heddle_aws_{name}", documentation, value=float(value))


def aws_endpoint(config: Config, desk: Desk) -> AwsEndpoint | None:
    """The endpoint, not started yet; None when it is off, or its extra is not installed. Raises StartupError."""
    if config.aws is None:
        return None
    if importlib.util.find_spec("botocore") is None:
        log.warning("the AWS endpoint is not served: install heddle-broker[aws], or set aws = off")
        return None
    # Not at the top: the models and their reader are the extra's.
    from broker.api.aws.app import AwsApp
    from broker.api.aws.cors import Cors
    from broker.api.aws.credentials import load_credentials
    from broker.api.aws.sigv4 import Trusting, Verifier
    from broker.api.aws.sqs import sqs
    from broker.api.aws.sts import sts
    from broker.api.queue_calls import QueueCalls
    from broker.api.web.limits import WebLimits
    from broker.api.web.server import WebServer

    gate: Trusting | Verifier
    if config.aws_auth == "sigv4":
        assert config.aws_credentials_file is not None
        credentials = load_credentials(config.aws_credentials_file, production=config.profile == "production")
        gate = Verifier(credentials, time.time, config.aws_regions)
    else:
        if not _is_loopback(config.aws.host):
            log.warning("anybody who reaches the AWS endpoint may call it (aws_auth = none)", aws=str(config.aws))
        gate = Trusting(config.account, config.region)
    app = AwsApp(
        (sqs(QueueCalls(desk)), sts()),
        gate,
        cors=Cors(config.aws_cors_origins, _own_hosts(config)),
        base_url=config.external_url,
        default_region=config.region,
    )
    return AwsEndpoint(
        app,
        WebServer(
            app.handle,
            str(config.aws),
            tls=_tls(config),
            limits=WebLimits(connections_max=min(WebLimits().connections_max, _files_for_connections())),
        ),
    )


def _files_for_connections() -> int:
    """Files that may be open, but for some that the other doors and the store need."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if files == resource.RLIM_INFINITY else max(1, files - _OTHER_FILES)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _own_hosts(config: Config) -> list[str] | None:
    """Where nobody has to sign, a page of the internet must not pass for one of the endpoint's own."""
    if config.aws_auth == "sigv4":
        return None
    name = urlsplit(config.external_url or "").hostname
    return [name] if name is not None else []


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as error:
        raise ConfigurationError(f"cannot use the TLS certificate: {error}") from error
    return context
