"""The AWS endpoint of a node: made from its configuration, if it is wanted and installed. Never: a request."""

import importlib.util
import ssl
import time
from typing import TYPE_CHECKING

import structlog

from broker.api.desk import Desk
from broker.errors import ConfigurationError
from broker.node.config import Config

if TYPE_CHECKING:
    from broker.api.web.server import WebServer

log = structlog.get_logger("broker.node")


def aws_endpoint(config: Config, desk: Desk) -> "WebServer | None":
    """The server, not started yet; None when it is off, or its extra is not installed. Raises StartupError."""
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
    from broker.api.web.server import WebServer

    gate: Trusting | Verifier
    if config.aws_auth == "sigv4":
        assert config.aws_credentials_file is not None
        credentials = load_credentials(config.aws_credentials_file, production=config.profile == "production")
        gate = Verifier(credentials, time.time, config.aws_regions)
    else:
        gate = Trusting(config.account, config.region)
    app = AwsApp(
        (sqs(QueueCalls(desk)), sts()),
        gate,
        cors=Cors(config.aws_cors_origins),
        base_url=config.external_url,
        default_region=config.region,
    )
    return WebServer(app.handle, str(config.aws), tls=_tls(config))


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as error:
        raise ConfigurationError(f"cannot use the TLS certificate: {error}") from error
    return context
