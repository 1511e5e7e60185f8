"""The node: one broker process. Wires the layers together; decides nothing about messages."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.node.config import Config

__all__ = ["serve"]


def serve(config: "Config", *, print_ports: bool, ephemeral: bool = False) -> int:
    """Runs a broker until SIGTERM or SIGINT; see ``broker.node.node.serve``."""
    # Imported when it is needed: the command line reads the configuration without loading gRPC and the store.
    from broker.node.node import serve as serve_node

    return serve_node(config, print_ports=print_ports, ephemeral=ephemeral)
