"""Runs one workload against one peer: its server here, its load generator in the peers' environment."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import broker
from broker.bench.measure import EXIT_COUNTS_DISAGREE, CountsDisagreeError, Measured, Plan
from broker.bench.peers.servers import PEERS, client_python, peer_server

SOURCE_ROOT = Path(next(iter(broker.__path__))).parent
CLIENT_SECONDS_MAX = 600


class PeerRunError(Exception):
    """The load generator of a peer failed; its own words are in the message."""


def run_peer(name: str, workload: str, plan: Plan) -> Measured:
    """Raises PeerNotInstalledError, ServerDidNotStartError, PeerRunError, CountsDisagreeError."""
    peer = PEERS[name]
    python = client_python(peer)
    with peer_server(peer) as server:
        module = ["-m", "broker.bench.peers.client", peer.driver, workload]
        arguments = [server.target, str(server.pid), json.dumps(asdict(plan))]
        ran = subprocess.run(
            [python, *module, *arguments],
            env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS_MAX,
            check=False,
        )
    if ran.returncode == EXIT_COUNTS_DISAGREE:
        raise CountsDisagreeError(f"{name}: {ran.stderr}")
    if ran.returncode != 0:
        raise PeerRunError(f"{name}: {ran.stderr[-2000:]}")
    return Measured(**json.loads(ran.stdout.splitlines()[-1]))
