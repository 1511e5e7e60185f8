"""Heddle: a self-hosted message broker with AWS semantics.

The layers, imports pointing down only (``tests/test_layers.py`` holds it):

``api`` (front desk: gRPC, HTTP) and ``node`` (wiring, clocks, loops) -> ``queues`` (plane: pure state machines) ->
``log`` (batches and entries at rest) -> ``store`` (LMDB, transactions, the committer). ``errors`` and ``limits`` are
open to all.
"""

__version__ = "0.1.0"
