"""The faces: a broker in a process of its own for all that go over a wire, one in memory for each test without one."""

from collections.abc import Iterator
from typing import Any

import pytest
from conformance_aws import AwsJsonFace, AwsQueryFace
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


@pytest.fixture(scope="session")
def aws_json_face(ports: dict[str, Any]) -> Iterator[AwsJsonFace]:
    face = AwsJsonFace(ports["aws"])
    yield face
    face.close()


@pytest.fixture(scope="session")
def aws_query_face(ports: dict[str, Any]) -> Iterator[AwsQueryFace]:
    face = AwsQueryFace(ports["aws"])
    yield face
    face.close()


@pytest.fixture
def direct_face() -> Iterator[DirectFace]:
    face = DirectFace()
    yield face
    face.close()


@pytest.fixture(params=["grpc", "aws-json", "aws-query", "direct"])
def face(request: pytest.FixtureRequest) -> Face:
    made: Face = request.getfixturevalue(f"{request.param.replace('-', '_')}_face")
    return made
