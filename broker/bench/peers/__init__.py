"""Peers: what people use today, under the same payload, on the same machine, in the same run.

Servers are started privately on the loopback with a temporary directory. Their load generators run in an environment
of their own (`.venv-peers`, made by `make bench-peers`), so that the broker's has nothing of theirs; therefore the
modules here import only the standard library, each other, one peer's client, and of `broker.bench` the three modules
that need no more: `proc`, `measure`, `loops`.
"""
