"""Where the clients are installed, and how their programs are run. Never: what a client does, nor an installation.

Each client lives in an environment of its own, made by `make test-clients`: the releases that one of them needs must
not decide which releases another is tested with. Where it is missing, its tests are skipped.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from .served import KEY, REGION, SECRET

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PROGRAMS: Final = HERE / "programs"
JAVASCRIPT: Final = HERE / "javascript"
JAVA: Final = HERE / "java" / "target"
GOLANG: Final = ROOT / ".venv-clients" / "golang" / "client"

_NOWHERE: Final = "http://127.0.0.1:9"


def _needs(installed: Path) -> pytest.MarkDecorator:
    reason = f"{installed.parent.relative_to(ROOT)} is not installed: run `make test-clients`"
    return pytest.mark.skipif(not installed.exists(), reason=reason)


def needs_python(environment: str) -> pytest.MarkDecorator:
    """Skips a test, before it starts a broker, where a Python environment is not installed."""
    return _needs(ROOT / ".venv-clients" / environment / ".installed")


needs_node = _needs(JAVASCRIPT / "node_modules" / ".installed")
needs_go = _needs(GOLANG)
needs_java = _needs(JAVA / ".installed")


def executable(environment: str, name: str = "python") -> str:
    """A command of a Python environment."""
    return str(ROOT / ".venv-clients" / environment / "bin" / name)


def node(program: str, *arguments: str) -> list[str]:
    """What runs a JavaScript program."""
    return [_interpreter("node"), str(JAVASCRIPT / program), *arguments]


def java() -> list[str]:
    """What runs a class of the Java programs."""
    return [_interpreter("java"), "-Dfile.encoding=UTF-8", "-cp", f"{JAVA / 'classes'}:{JAVA / 'dependency'}/*"]


def _interpreter(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is not on the path"
    return found


def variables(home: Path, endpoint: str | None = None, **more: str) -> dict[str, str]:
    """Environment variables of a client: nothing of whoever runs the tests but PATH, and no way to the outside.

    With an ``endpoint`` the client is told of it, the region and the account in the way that every AWS SDK knows.
    """
    told = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "AWS_EC2_METADATA_DISABLED": "true"}
    # A client that would call AWS all the same fails at once.
    told |= {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "NO_PROXY": "127.0.0.1,localhost"}
    if endpoint is not None:
        told |= {"AWS_ENDPOINT_URL_SQS": endpoint, "AWS_ENDPOINT_URL_STS": endpoint, "AWS_REGION": REGION}
        told |= {"AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return told | more


def run(
    command: Sequence[str], environment: Mapping[str, str], *, seconds_max: float
) -> subprocess.CompletedProcess[str]:
    """Runs to its end; nothing is taken from the terminal. Fails when it takes longer than ``seconds_max``."""
    return subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
    )


def output(command: Sequence[str], environment: Mapping[str, str], *, seconds_max: float) -> str:
    """What a command that must succeed prints."""
    done = run(command, environment, seconds_max=seconds_max)
    assert done.returncode == 0, f"{list(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout
