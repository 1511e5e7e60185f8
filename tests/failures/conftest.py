"""A small disk of one's own, where mounting is permitted."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system in memory of so many mebibytes; skips the test where that is not permitted."""
    mounted: list[Path] = []

    def mount(mebibytes: int) -> Path:
        point = tmp_path / "disk"
        point.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "heddle-test", str(point)]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        except OSError as error:
            pytest.skip(f"cannot mount: {error}")
        if result.returncode:
            pytest.skip(f"cannot mount: {result.stderr.strip()}")
        mounted.append(point)
        return point

    yield mount
    for point in mounted:
        subprocess.run(["umount", "--lazy", str(point)], timeout=10, check=True)
