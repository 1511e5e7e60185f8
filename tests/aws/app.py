"""The AWS application in this process, on the store in memory: requests in, responses out, no socket."""

import json
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, Self, cast
from urllib.parse import urlencode

from broker.api.aws.app import AwsApp, Gate
from broker.api.aws.cors import Cors
from broker.api.aws.sigv4 import Trusting
from broker.api.aws.sqs import sqs
from broker.api.aws.sts import sts
from broker.api.desk import Desk
from broker.api.queue_calls import QueueCalls
from broker.api.web.messages import Request, Response
from broker.log import Batches, Sweeper
from broker.queues import Queues, Scope
from broker.store import InlineCommitter, Store
from broker.store.memory import MemoryEngine
from broker.store.schema import initialise
from tests.simulation.loop import SlowReader, VirtualLoop

NOW_MS = 1_800_000_000_000


class App:
    """``gate``: who may call; anybody, when left out."""

    def __init__(self, *, gate: Gate | None = None, base_url: str | None = None, origins: tuple[str, ...] = ()) -> None:
        self.loop = VirtualLoop()
        engine = MemoryEngine()
        initialise(engine, new_store_id=bytes(16))
        store = Store(engine, call_soon=self.loop.call_soon)
        batches = Batches(store, cache_bytes=1 << 20)
        self.queues = Queues(store, batches, Sweeper(store, batches))
        store.start(InlineCommitter(engine, store.committed, call_soon=self.loop.call_soon))
        self.desk = Desk(
            store=store,
            batches=batches,
            queues=self.queues,
            now_ms=lambda: NOW_MS + round(self.loop.time() * 1000),
            default_scope=Scope("000000000000", "us-east-1"),
            reader=cast("Executor", SlowReader(lambda: 0.0001)),
            queue_url=lambda scope, name: f"http://broker/{scope.account}/{name}",
        )
        self.calls = QueueCalls(self.desk)
        self.app = AwsApp(
            (sqs(self.calls), sts()),
            gate or Trusting("000000000000", "us-east-1"),
            cors=Cors(origins),
            base_url=base_url,
            default_region="us-east-1",
            new_request_id=lambda: "the-request",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def answer(self, request: Request) -> Response:
        async def ask() -> Response:
            return await self.app.handle(request)

        return self.loop.run_until_complete(ask())

    def json(self, operation: str, members: Mapping[str, Any], **headers: str) -> Response:
        """A call as SDKs make it today. Header names with ``_`` for ``-``."""
        body = json.dumps(members).encode()
        return self.answer(Request("POST", "/", self._headers(f"AmazonSQS.{operation}", headers), body))

    def query(self, parameters: Mapping[str, str], path: str = "/", **headers: str) -> Response:
        """A call as older SDKs make it."""
        told = {"host": "sqs.example:4566", "content-type": "application/x-www-form-urlencoded"}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.answer(Request("POST", path, told, urlencode(parameters).encode()))

    def get(self, target: str, **headers: str) -> Response:
        told = {"host": "sqs.example:4566"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.answer(Request("GET", target, told, b""))

    def create(self, name: str = "q", attributes: Mapping[str, str] | None = None) -> str:
        """The URL of a new queue."""
        response = self.json("CreateQueue", {"QueueName": name, "Attributes": attributes or {}})
        assert response.status == 200, response.body
        url: str = members(response)["QueueUrl"]
        return url

    @staticmethod
    def _headers(target: str, more: Mapping[str, str]) -> dict[str, str]:
        told = {"host": "sqs.example:4566", "content-type": "application/x-amz-json-1.0", "x-amz-target": target}
        return told | {name.replace("_", "-"): value for name, value in more.items()}


def body_of(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


def members(response: Response) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body_of(response) or b"{}")
    return found


def header(response: Response, name: str) -> str | None:
    values = [value for key, value in response.headers if key == name]
    assert len(values) <= 1, f"{name} is there {len(values)} times"
    return values[0] if values else None


def signed_as(access_key_id: str, service: str = "sqs", region: str = "us-east-1") -> str:
    """An Authorization header that claims this and whose signature is none."""
    credential = f"{access_key_id}/20270115/{region}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature={'0' * 64}"


__all__ = ["App", "body_of", "header", "members", "signed_as"]
