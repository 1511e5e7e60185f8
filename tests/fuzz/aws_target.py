"""The AWS endpoint under attack: what bytes on its port must not do, and what must still work afterwards.

Two brokers, one that trusts everybody and one that verifies signatures. Beside the attacker there are a client of boto3
that wants to be served, and a queue of a bystander whose messages must stay.
"""

import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3
import hpack
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.api.running import Broker, broker, check_clean
from tests.fuzz.aws_frames import PREFACE
from tests.fuzz.aws_inputs import AwsInput
from tests.fuzz.aws_signing import ACCESS_KEY_ID, ACCOUNT, SECRET, signed
from tests.fuzz.inputs import HANDLE, QUEUE
from tests.fuzz.target import ANSWER_SECONDS_MAX, Harmed

CPU_SECONDS_MAX: Final = 0.25
"""Of the broker for one input; more holds up everybody else by as much."""

OPEN_SECONDS_MAX: Final = 130.0
"""How long a connection can stay open when its client does nothing: a stalled body, a long poll, then idle."""

_SILENCE_SECONDS: Final = 0.02
_LINGERING_MAX: Final = 150
_CREDENTIALS: Final = f"""[[credentials]]
access_key_id = "{ACCESS_KEY_ID}"
secret_access_key = "{SECRET}"
account = "{ACCOUNT}"
"""
_BYSTANDER: Final = "999999999999"
_BYSTANDER_MESSAGES: Final = 20
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_REFUSALS_ON_PURPOSE: Final = {501, 505}
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class _Lingering:
    connection: socket.socket
    since_s: float
    attack: AwsInput


class AwsTarget:
    """``trusting`` and ``verifying``: the brokers."""

    def __init__(self, trusting: Broker, verifying: Broker) -> None:
        self.brokers = (trusting, verifying)
        self.running = trusting
        self._clients = [_client(trusting, ACCOUNT), _client(verifying, ACCESS_KEY_ID)]
        self._bystander = _client(trusting, _BYSTANDER)
        self._log_read = {trusting.aws: 0, verifying.aws: 0}
        self._handle = HANDLE
        self._lingering: deque[_Lingering] = deque()
        self._bystander.create_queue(QueueName="bystander")
        for number in range(_BYSTANDER_MESSAGES):
            self._bystander.send_message(QueueUrl="bystander", MessageBody=str(number))

    def close(self) -> None:
        for lingering in self._lingering:
            lingering.connection.close()
        for client in (*self._clients, self._bystander):
            client.close()

    def is_alive(self) -> bool:
        return all(running.process.poll() is None for running in self.brokers)

    def anonymous_bytes(self) -> int:
        return sum(running.anonymous_bytes() for running in self.brokers)

    def lag_seconds(self) -> str:
        """The loop's lag as the broker's histogram has it: how many probes were later than 250 ms."""
        text = self.running.get("/metrics")[1]
        within = re.search(r'heddle_loop_lag_seconds_bucket\{le="0.25"\} (\d+)', text)
        total = re.search(r"heddle_loop_lag_seconds_count (\d+)", text)
        return f"{int(total[1]) - int(within[1])} of {total[1]}" if within and total else "unknown"

    def renew(self) -> None:
        """Good clients are served, the bystander has its messages, and a fresh receipt handle is there."""
        try:
            for client in self._clients:
                for name in ("probe", QUEUE):
                    with suppress(client.exceptions.QueueNameExists):  # its attributes were fuzzed
                        client.create_queue(QueueName=name)
                client.send_message(QueueUrl="probe", MessageBody="probe")
                (received,) = client.receive_message(QueueUrl="probe", WaitTimeSeconds=2)["Messages"]
                client.delete_message(QueueUrl="probe", ReceiptHandle=received["ReceiptHandle"])
            client = self._clients[0]
            for _ in range(3):
                client.send_message(QueueUrl=QUEUE, MessageBody="x")
            for message in client.receive_message(QueueUrl=QUEUE).get("Messages", ()):
                self._handle = message["ReceiptHandle"]
            self._look_at_the_bystander()
        except (BotoCoreError, ClientError, KeyError, ValueError) as error:
            raise Harmed("a good client is not served", repr(error)) from error
        if self.running.get("/healthz")[0] != 200:
            raise Harmed("healthz does not answer", "")

    def _look_at_the_bystander(self) -> None:
        """A count, and what the first messages hold: without a timeout they are given again and again."""
        told = self._bystander.get_queue_attributes(QueueUrl="bystander", AttributeNames=["All"])["Attributes"]
        received = self._bystander.receive_message(QueueUrl="bystander", MaxNumberOfMessages=10, VisibilityTimeout=0)
        bodies = [message["Body"] for message in received["Messages"]]
        if (count := int(told["ApproximateNumberOfMessages"])) != _BYSTANDER_MESSAGES or bodies[0] != "0":
            raise Harmed("messages of a bystander are lost", f"{count} are left, the first of them {bodies}")

    def strike(self, attack: AwsInput) -> None:
        """Sends one input. Raises Harmed."""
        running = self.brokers[attack.verified]
        before = _cpu_seconds(running)
        self._send(running, attack)
        if not self.is_alive():
            raise Harmed(f"{attack.kind}: the broker ended", f"exit code {running.process.poll()}")
        self._read_log(running, attack)
        if _cpu_seconds(running) - before > CPU_SECONDS_MAX:  # its own, or of something that ended just now?
            before = _cpu_seconds(running)
            self._send(running, attack)
            if (spent := _cpu_seconds(running) - before) > CPU_SECONDS_MAX:
                raise Harmed(f"{attack.kind}: one input holds up the others", f"{spent:.2f} s of CPU for {attack!r}")
        self._look_at_the_lingering()

    def _send(self, running: Broker, attack: AwsInput) -> None:
        assert running.aws is not None
        host, _, port = running.aws.rpartition(":")
        connection = socket.create_connection((host, int(port)), ANSWER_SECONDS_MAX)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if attack.leave == "answer":
                answer = self._answered(connection, attack)
            else:
                answer = self._exchange(connection, attack)
            if attack.leave == "linger" and len(self._lingering) < _LINGERING_MAX:
                self._lingering.append(_Lingering(connection, time.monotonic(), attack))
                return
            if attack.leave == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            elif attack.leave != "answer":
                answer += _rest(connection, attack)
            _judge(attack, answer)
        finally:
            if not (self._lingering and self._lingering[-1].connection is connection):
                connection.close()

    def _bytes(self, piece: bytes) -> bytes:
        return signed(piece.replace(HANDLE.encode(), self._handle.encode()))

    def _answered(self, connection: socket.socket, attack: AwsInput) -> bytes:
        """A request that is whole has an answer that is whole. A long poll is given up soon."""
        answer = bytearray()
        polls = any(b"ReceiveMessage" in piece for piece in attack.pieces)
        connection.settimeout(_SILENCE_SECONDS if polls else ANSWER_SECONDS_MAX)
        try:
            with suppress(ConnectionError):  # it may be refused, and the connection closed, while this still sends
                for piece in attack.pieces:
                    connection.sendall(self._bytes(piece))
            while data := connection.recv(65_536):
                answer += data
        except TimeoutError as error:
            if not polls:
                raise Harmed(f"{attack.kind}: no answer", f"{bytes(answer[:200])!r} to {attack!r}") from error
        except ConnectionResetError:
            pass
        if not answer and not polls:
            raise Harmed(f"{attack.kind}: closed without an answer", repr(attack))
        return bytes(answer)

    def _exchange(self, connection: socket.socket, attack: AwsInput) -> bytes:
        """What comes until the broker is silent for a moment."""
        answer = bytearray()
        with suppress(ConnectionError, TimeoutError):
            for piece in attack.pieces:
                connection.sendall(self._bytes(piece))
            connection.settimeout(_SILENCE_SECONDS)
            while len(answer) < 2**22 and (data := connection.recv(65_536)):
                answer += data
        return bytes(answer)

    def _read_log(self, running: Broker, attack: AwsInput) -> None:
        with running.log_path.open("rb") as log:
            log.seek(self._log_read[running.aws])
            fresh = log.read().decode(errors="replace")
            self._log_read[running.aws] = log.tell()
        if "Traceback" in fresh or "internal error" in fresh or re.search(r'"level": ?"(error|critical)"', fresh):
            raised = re.findall(r"\b(?:\w+\.)*\w+(?:Error|Exception)\b", fresh)
            raise Harmed(f"{attack.kind}: an error in the log {raised[-1:]}", fresh[-1500:])

    def _look_at_the_lingering(self) -> None:
        while self._lingering and time.monotonic() - self._lingering[0].since_s > OPEN_SECONDS_MAX:
            lingering = self._lingering.popleft()
            with lingering.connection as connection:
                connection.setblocking(False)
                answer = bytearray()
                try:
                    while data := connection.recv(65_536):
                        answer += data
                except BlockingIOError:
                    raise Harmed("a connection stays open", repr(lingering.attack)) from None
                except ConnectionError:
                    pass
                _judge(lingering.attack, bytes(answer))


def _client(running: Broker, access_key_id: str) -> Any:
    return boto3.session.Session().client(
        "sqs",
        endpoint_url=f"http://{running.aws}",
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=SECRET,
        config=Config(
            connect_timeout=ANSWER_SECONDS_MAX, read_timeout=ANSWER_SECONDS_MAX, retries={"total_max_attempts": 1}
        ),
    )


def _rest(connection: socket.socket, attack: AwsInput) -> bytes:
    """A client that says it is done is let go."""
    answer = bytearray()
    try:
        connection.settimeout(ANSWER_SECONDS_MAX)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65_536):
            answer += data
    except TimeoutError as error:
        raise Harmed(f"{attack.kind}: a connection outlives its client", repr(attack)) from error
    except OSError:  # reset, or gone already
        pass
    return bytes(answer)


def _judge(attack: AwsInput, answer: bytes) -> None:
    statuses = _http2_statuses(answer) if attack.pieces and _is_http2(attack) else _statuses(answer)
    for status in statuses:
        if status >= 500 and status not in _REFUSALS_ON_PURPOSE:
            raise Harmed(f"{attack.kind}: status {status}", f"{answer[:500]!r} to {attack!r}")
    if b"InternalFailure" in answer:
        raise Harmed(f"{attack.kind}: an internal failure", f"{answer[:500]!r} to {attack!r}")


def _is_http2(attack: AwsInput) -> bool:
    return b"".join(attack.pieces).startswith(PREFACE)


def _statuses(answer: bytes) -> list[int]:
    return [int(status) for status in _STATUS.findall(answer)]


def _http2_statuses(answer: bytes) -> list[int]:
    """Of every header block, as far as whole frames came."""
    decoder, offset, statuses = hpack.Decoder(), 0, []
    decoder.max_allowed_table_size = 2**32  # the attacker's settings may have allowed anything
    while len(answer) - offset >= 9:
        size_bytes, kind, flags = int.from_bytes(answer[offset : offset + 3]), answer[offset + 3], answer[offset + 4]
        payload = answer[offset + 9 : offset + 9 + size_bytes]
        offset += 9 + size_bytes
        if kind == 1 and flags & 4 and len(payload) == size_bytes:
            try:
                fields = decoder.decode(payload, raw=True)
            except hpack.HPACKError as error:
                raise Harmed("headers that cannot be read", f"{payload!r}") from error
            statuses += [int(field[1]) for field in fields if field[0] == b":status"]
    return statuses


def _cpu_seconds(running: Broker) -> float:
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


@contextmanager
def aws_target(data_dir: Path) -> Iterator[AwsTarget]:
    """The brokers; at the end they stop in order, and their data is whole."""
    data_dir.mkdir()
    credentials = data_dir / "credentials.toml"
    credentials.write_text(_CREDENTIALS)
    credentials.chmod(0o600)
    flags = ["--aws", "127.0.0.1:0", "--cache-bytes", "4MiB", "--log-level", "warning"]
    verifies = ["--aws-auth", "sigv4", "--aws-credentials-file", str(credentials)]
    with broker(data_dir / "trusting", *flags) as trusting, broker(data_dir / "verifying", *flags, *verifies) as other:
        target = AwsTarget(trusting, other)
        try:
            target.renew()
            yield target
        finally:
            target.close()
        for running in target.brokers:
            if running.terminate(20):
                raise Harmed("the broker does not stop in order", running.log()[-500:])
    for name in ("trusting", "verifying"):
        check_clean(data_dir / name)
