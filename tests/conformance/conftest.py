"""The faces: a broker in a process of its own for all that go through gRPC, one in memory for each test without it."""

from collections.abc import Iterator
from typing import Any

import pytest
from conformance_broker import running_broker
from conformance_direct import DirectFace
from conformance_faces import Face, GrpcFace


@pytest.fixture(scope="session")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_broker(tmp_path_factory.mktemp("conformance")) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def grpc_face(ports: dict[str, Any]) -> Iterator[GrpcFace]:
    face = GrpcFace(ports["grpc"])
    yield face
    face.close()


@pytest.fixture
def direct_face() -> Iterator[DirectFace]:
    face = DirectFace()
    yield face
    face.close()


@pytest.fixture(params=["grpc", "direct"])
def face(request: pytest.FixtureRequest) -> Face:
    made: Face = request.getfixturevalue(f"{request.param}_face")
    return made
