"""A worker that takes orders, works on none, and waits to be killed: `python -m broker.cli.demo.crashing_worker`.

It prints the number of each order that it holds, one a line, so that whoever kills it can tell what it held.
"""

import sys

import heddle

from broker.cli.demo.orders import order_number


def hold_orders(server: str, queue: str, count: int) -> None:
    """Takes `count` orders from a queue and holds them until this process ends."""
    with heddle.Client(server) as client, client.queue(queue).consumer(prefetch=count) as consumer:
        for held, message in enumerate(consumer, start=1):
            print(order_number(message.body), flush=True)
            if held == count:
                sys.stdin.read()  # nobody writes: this waits for the end


if __name__ == "__main__":
    hold_orders(sys.argv[1], sys.argv[2], int(sys.argv[3]))
