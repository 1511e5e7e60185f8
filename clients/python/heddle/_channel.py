"""How the client reaches a broker: channel, TLS, metadata, and which calls gRPC may repeat by itself."""

import json
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

MESSAGE_BYTES_MAX: Final = 64 * 2**20  # a receive may bring 10 messages of 1 MiB, a delivery several batches of 2 MiB
KEEPALIVE_MS: Final = 300_000  # the shortest that a gRPC server takes unless it is told to take more
KEEPALIVE_TIMEOUT_MS: Final = 20_000
RECONNECT_MS_MAX: Final = 5_000  # gRPC's own is two minutes: too long for a broker that was only restarted

# Calls that may be made twice without harm. A send is not among them: a connection that breaks after the request has
# left does not tell whether the message was taken. (gRPC itself repeats, always, what surely never left.) Neither are
# a purge, a queue's deletion, a permission's coming and going, and the start and cancellation of a move task: their
# second attempt fails because of the first.
_REPEATABLE: Final = (
    "CreateQueue",
    "GetQueueUrl",
    "ListQueues",
    "GetQueueAttributes",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
    "ListQueueTags",
    "ListDeadLetterSourceQueues",
    "ListMessageMoveTasks",
    "ReceiveMessage",
    "DeleteMessage",
    "DeleteMessageBatch",
    "ChangeMessageVisibility",
    "ChangeMessageVisibilityBatch",
    "PeekMessages",
)
_SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": "heddle.v1.Queues", "method": method} for method in _REPEATABLE],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS: Final[list[tuple[str, Any]]] = [
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
]


@dataclass(frozen=True, slots=True)
class Tls:
    """Encrypts the connection. All members are PEM.

    `ca`: the roots that may vouch for the broker; None takes gRPC's own. `cert` and `key`: the client's certificate
    chain and its key, both or neither. `server_name`: the name in the broker's certificate, if not the target's.
    """

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    server_name: str | None = None


def open_channel(target: str, tls: Tls | None) -> grpc.aio.Channel:
    """A channel to host:port. It connects when it is first used, and again whenever it must."""
    if tls is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    options = [*_OPTIONS]
    if tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(target, credentials, options=options)


def call_metadata(account: str | None, region: str | None) -> tuple[tuple[str, str], ...]:
    """Account (12 digits) and region of every call; the broker's own where None."""
    pairs = (("heddle-account", account), ("heddle-region", region))
    return tuple((key, value) for key, value in pairs if value is not None)
