"""The direction of imports, read from the source: what a layer may know, and what it must never touch.

By syntax tree and not by importing: a module that is imported for its types only is known all the same.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import errors
from broker.api.grpc.status import GRPC_STATUS
from broker.errors import BrokerError

BROKER = Path(errors.__file__).parent
EVERYWHERE = {"errors", "limits"}
MAY_KNOW = {
    "store": EVERYWHERE,
    "log": EVERYWHERE | {"store"},
    "queues": EVERYWHERE | {"store", "log"},
    "api": EVERYWHERE | {"store", "log", "queues"},
}
"""What each layer may import of the others, besides itself."""

IMPURE = {
    "time",
    "random",
    "socket",
    "trio",
    "asyncio",
    "grpc",
    "lmdb",
    "os",
    "secrets",
    "uuid",
    "threading",
    "datetime",
}
"""What planes never touch: clocks, chance, the network, threads, and the engine underneath the store."""


def modules(folder: str = "") -> list[Path]:
    found = sorted((BROKER / folder).rglob("*.py"))
    assert found, f"no modules in {folder}"
    return found


def imports(path: Path) -> Iterator[str]:
    """The full name of everything that a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides its direction"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layers_known(path: Path) -> set[str]:
    """The parts of the broker that a module imports."""
    parts = (name.split(".") for name in imports(path))
    return {part[1] for part in parts if part[0] == "broker" and len(part) > 1}


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("layer", MAY_KNOW)
def test_imports_point_down(layer: str) -> None:
    upward = {
        str(path.relative_to(BROKER)): extra
        for path in modules(layer)
        if (extra := layers_known(path) - MAY_KNOW[layer] - {layer})
    }
    assert upward == {}


@pytest.mark.parametrize("plane", ["queues", "log"])
def test_planes_are_pure(plane: str) -> None:
    impure = {path.name: touched for path in modules(plane) if (touched := roots(path) & IMPURE)}
    assert impure == {}


def test_lmdb_is_known_to_the_store_and_to_what_looks_at_data_offline() -> None:
    knowing = {path.relative_to(BROKER).parts[0] for path in modules() if "lmdb" in roots(path)}
    assert knowing <= {"store", "check.py", "bench"}


def test_asyncio_and_trio_meet_in_one_module() -> None:
    both = {str(path.relative_to(BROKER)) for path in modules() if {"asyncio", "trio"} <= roots(path)}
    assert both == {"node/handover.py"}


def test_the_node_is_asyncio_but_for_the_engine_room() -> None:
    asynchronous = {path.name: roots(path) & {"asyncio", "trio"} for path in modules("node")}
    assert {name: known for name, known in asynchronous.items() if known} == {
        "node.py": {"asyncio"},
        "engine_room.py": {"trio"},
        "handover.py": {"asyncio", "trio"},
    }
    elsewhere = {path.relative_to(BROKER).parts[0] for path in modules() if "trio" in roots(path)}
    assert elsewhere == {"node"}


def every_refusal() -> set[type[BrokerError]]:
    found: set[type[BrokerError]] = set()
    waiting = [BrokerError]
    while waiting:
        children = waiting.pop().__subclasses__()
        found.update(children)
        waiting.extend(children)
    return found


def test_every_refusal_has_a_status() -> None:
    assert every_refusal() == set(GRPC_STATUS)


def test_every_refusal_has_a_code_of_its_own() -> None:
    codes = [error.code for error in every_refusal()]
    assert sorted(codes) == sorted(set(codes))
