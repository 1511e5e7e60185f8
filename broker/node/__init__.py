"""The node: one broker process. Wires the layers together; decides nothing about messages."""

from broker.node.node import serve

__all__ = ["serve"]
