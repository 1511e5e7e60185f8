"""A peer's load generator: `python -m broker.bench.peers.client DRIVER WORKLOAD ADDRESS SERVER_PID PLAN`.

PLAN is a JSON object with the fields of `measure.Plan`; prints the measured window as one JSON line.
"""

import importlib
import json
import sys

import uvloop

from broker.bench.measure import Meter, Plan
from broker.bench.peers.driver import WORKLOADS, Driver

DRIVERS = {
    "redis": ("broker.bench.peers.redis_streams", "RedisStreams"),
    "redis-packed": ("broker.bench.peers.redis_streams", "PackedRedisStreams"),
    "nats": ("broker.bench.peers.nats_jetstream", "NatsJetStream"),
    "rabbitmq-quorum": ("broker.bench.peers.rabbitmq_amqp", "QuorumQueue"),
    "rabbitmq-classic": ("broker.bench.peers.rabbitmq_amqp", "ClassicQueue"),
    "moto": ("broker.bench.peers.sqs_over_http", "MotoSqs"),
    "elasticmq": ("broker.bench.peers.sqs_over_http", "ElasticMqSqs"),
    "localstack": ("broker.bench.peers.sqs_over_http", "LocalStackSqs"),
}


def load(name: str) -> Driver:
    """Imports only the driver that is asked for: one missing client does not hide the others."""
    module, cls = DRIVERS[name]
    driver: Driver = getattr(importlib.import_module(module), cls)()
    return driver


async def run(name: str, workload: str, address: str, server_pid: int, plan: Plan) -> str:
    driver = load(name)
    await driver.open(address, plan)
    try:
        measured = await WORKLOADS[workload](driver, plan, Meter(server_pid))
    finally:
        await driver.close()
    return json.dumps(measured.to_dict())


if __name__ == "__main__":
    name, workload, address, server_pid, plan = sys.argv[1:]
    print(uvloop.run(run(name, workload, address, int(server_pid), Plan(**json.loads(plan)))))
