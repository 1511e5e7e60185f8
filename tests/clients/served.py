"""A broker in a process of its own, and what its queues hold when a client has finished. Never: a client under test."""

import json
import os
import selectors
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import botocore.session
from botocore.config import Config

REGION: Final = "eu-central-1"
ACCOUNT: Final = "123456789012"
KEY: Final = "AKIAHEDDLETESTS00001"
OTHER_ACCOUNT: Final = "210987654321"
OTHER_KEY: Final = "AKIAHEDDLETESTS00002"
SECRET: Final = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYTESTKEY"
"""Of both keys."""
CREDENTIALS: Final = "".join(
    f'[[credentials]]\naccess_key_id = "{key}"\nsecret_access_key = "{SECRET}"\naccount = "{account}"\n'
    for key, account in ((KEY, ACCOUNT), (OTHER_KEY, OTHER_ACCOUNT))
)
CERTIFICATE: Final = Path(__file__).parents[1] / "cli" / "tls" / "server.pem"
"""Of 127.0.0.1, signed by itself."""

_START_SECONDS_MAX: Final = 30.0
_STOP_SECONDS_MAX: Final = 30.0
_COUNTS: Final = {
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages that a queue holds. Heddle's counts are exact."""

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0


class ServedBroker:
    """An ephemeral broker; serves when the constructor returns.

    ``signed``: it verifies signatures. ``tls``: its AWS endpoint speaks TLS, with CERTIFICATE.
    """

    def __init__(self, folder: Path, *, signed: bool = True, tls: bool = False) -> None:
        self._log_file = log_file = folder / "log"
        flags = []
        if signed:
            credentials = folder / "credentials.toml"
            credentials.touch(0o600)
            credentials.write_text(CREDENTIALS)
            flags += ["--aws-auth", "sigv4", "--aws-credentials-file", str(credentials)]
        if tls:
            flags += ["--tls-cert", str(CERTIFICATE), "--tls-key", str(CERTIFICATE.with_suffix(".key"))]
        listen = [flag for port in ("grpc", "http", "aws") for flag in (f"--{port}", "127.0.0.1:0")]
        command = [sys.executable, "-m", "broker", "serve", "--ephemeral", *listen, "--print-ports"]
        command += ["--disk-free-bytes-min", "0", "--log-level", "warning", *flags]
        # Configuration of whoever runs the tests must not reach the broker.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")}
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
        try:
            ports = json.loads(self._first_line())
            self.endpoint: str = f"{'https' if tls else 'http'}://{ports['aws']}"
            self.metrics: str = f"http://{ports['http']}/metrics"
        except BaseException:
            self._process.kill()
            self._end()
            raise

    def stop(self) -> None:
        """SIGTERM. What a client did must not have made the broker fail, nor log an error."""
        self._process.terminate()
        self._end()
        log = self._log_file.read_text()
        assert self._process.returncode == 0, log[-2000:]
        assert '"level": "error"' not in log, log[-2000:]

    def client(self, service: str = "sqs", *, key: str = KEY, secret: str = SECRET) -> Any:
        """botocore's: the judge of what a client under test did."""
        return botocore.session.Session().create_client(
            service,
            REGION,
            endpoint_url=self.endpoint,
            verify=str(CERTIFICATE) if self.endpoint.startswith("https") else None,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=25),
        )

    def counts(self, queue_name: str, *, key: str = KEY) -> Counts:
        sqs = self.client(key=key)
        url = sqs.get_queue_url(QueueName=queue_name)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))["Attributes"]
        return Counts(**{name: int(attributes[attribute]) for attribute, name in _COUNTS.items()})

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(_START_SECONDS_MAX)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError(f"the broker did not start; its log ends with: {self._log_file.read_text()[-2000:]}")
        return line

    def _end(self) -> None:
        try:
            self._process.wait(_STOP_SECONDS_MAX)
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
