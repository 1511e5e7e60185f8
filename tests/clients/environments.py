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


def executable(environment: str, name: str = "python") -> str:
    """A command of a Python environment; skips the test where that is not installed."""
    folder = ROOT / ".venv-clients" / environment
    _needs(folder / ".installed")
    return str(folder / "bin" / name)


def node(program: str, *arguments: str) -> list[str]:
    """What runs a JavaScript program; skips the test where its packages are not installed."""
    _needs(JAVASCRIPT / "node_modules" / ".installed")
    interpreter = shutil.which("node")
    assert interpreter is not None
    return [interpreter, str(JAVASCRIPT / program), *arguments]


def golang() -> str:
    """The Go program; skips the test where it is not built."""
    _needs(GOLANG)
    return str(GOLANG)


def java() -> list[str]:
    """What runs a class of the Java programs; skips the test where they are not built."""
    _needs(JAVA / ".installed")
    interpreter = shutil.which("java")
    assert interpreter is not None
    return [interpreter, "-Dfile.encoding=UTF-8", "-cp", f"{JAVA / 'classes'}:{JAVA / 'dependency'}/*"]


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
    command: Sequence[str], environment: Mapping[str, str], *, seconds_max: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs to its end; nothing is taken from the terminal. Fails when it takes longer than ``seconds_max``."""
    return subprocess.run(
        command,
        env=dict(environment),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds_max,
        check=False,
    )


def output(
    command: Sequence[str], environment: Mapping[str, str], *, seconds_max: float, cwd: Path | None = None
) -> str:
    """What a command that must succeed prints."""
    done = run(command, environment, seconds_max=seconds_max, cwd=cwd)
    assert done.returncode == 0, f"{list(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _needs(installed: Path) -> None:
    if not installed.exists():
        pytest.skip(f"{installed.parent.relative_to(ROOT)} is not installed: run `make test-clients`")
