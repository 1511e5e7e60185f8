"""Reasons not to start: each is one line that says what to do, exit code 1, and data left as it was."""

import os
import re
import shutil
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import lmdb
import pytest
from heddle.v1 import queues_pb2 as pb

from broker.store.keys import META_SCHEMA, SCHEMA_VERSION, u64
from tests.api.running import Broker, DidNotStart, batch_of, broker, check_clean, counts
from tests.api.streams import ProduceStream

OBEYS_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
"""Root without the right to ignore permissions."""

MESSAGES = 2_000


def refusal(data_dir: Path, *flags: str, wrapper: Sequence[str] = ()) -> str:
    """The one line with which a broker refuses to start here."""
    with pytest.raises(DidNotStart) as caught, broker(data_dir, *flags, wrapper=wrapper):
        pytest.fail("it started")
    assert caught.value.exit_code == 1, str(caught.value)
    lines = [line for line in caught.value.log.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, caught.value.log
    assert "Traceback" not in caught.value.log
    assert "internal error" not in lines[0]
    return lines[0]


def fill(running: Broker) -> None:
    """A queue "q" with MESSAGES messages of a kilobyte."""
    with running.stub() as stub:
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="q"))
        with ProduceStream(stub) as produce:
            for _ in range(MESSAGES // 100):
                produce.send(pb.ProduceRequest(queue_url="q", batch=batch_of(*[b"x" * 1000] * 100)))
            assert sum(result.count for result in produce.results(MESSAGES // 100)) == MESSAGES


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a broker that has been stopped in order."""
    data_dir = tmp_path_factory.mktemp("filled") / "data"
    with broker(data_dir) as running:
        fill(running)
        assert running.terminate(10) == 0
    return data_dir


def test_a_second_process_on_the_data_directory(tmp_path: Path) -> None:
    with broker(tmp_path / "data") as first, first.stub() as stub:
        line = refusal(tmp_path / "data")
        assert "in use by another broker" in line
        assert f"process {first.process.pid}" in line
        stub.CreateQueue(pb.CreateQueueRequest(queue_name="unharmed"))


@pytest.mark.parametrize("door", ["--grpc", "--http", "--aws"])
def test_a_port_in_use(door: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        line = refusal(tmp_path / "data", door, address)
    assert f"cannot listen on {address}" in line


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    assert "cannot listen on 192.0.2.1:0" in refusal(tmp_path / "data", "--grpc", "192.0.2.1:0")


@pytest.mark.parametrize(
    "content",
    [os.urandom(100_000), b"not a database", bytes(100_000), b"SQLite format 3\0" + bytes(8176)],
    ids=["random", "short text", "zeros", "another database"],
)
def test_a_foreign_file_in_place_of_the_data(content: bytes, tmp_path: Path) -> None:
    data = tmp_path / "data" / "data.mdb"
    data.parent.mkdir()
    data.write_bytes(content)
    assert "is not a data file of Heddle" in refusal(data.parent)
    assert data.read_bytes() == content


@pytest.mark.parametrize("table", [None, b"theirs"])
def test_the_lmdb_file_of_another_program(table: bytes | None, tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "data"), max_dbs=2) as env:
        theirs = None if table is None else env.open_db(table)
        with env.begin(write=True) as txn:
            txn.put(b"key", b"value", db=theirs)
    before = (tmp_path / "data" / "data.mdb").read_bytes()
    assert "Heddle" in refusal(tmp_path / "data")
    assert (tmp_path / "data" / "data.mdb").read_bytes() == before, "somebody else's file was written to"


def test_a_newer_schema_version(filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "data")
    with lmdb.open(str(tmp_path / "data"), max_dbs=64) as env:
        meta = env.open_db(b"meta")
        with env.begin(write=True) as txn:
            txn.put(META_SCHEMA, u64(SCHEMA_VERSION + 1), db=meta)
    before = (tmp_path / "data" / "data.mdb").read_bytes()
    line = refusal(tmp_path / "data")
    assert f"schema version {SCHEMA_VERSION + 1}" in line
    assert "newer version" in line
    assert (tmp_path / "data" / "data.mdb").read_bytes() == before


def test_a_data_directory_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot use the data directory" in refusal(tmp_path / "file" / "data")


@pytest.mark.parametrize("made", [False, True], ids=["new", "with data"])
def test_a_data_directory_that_cannot_be_written(made: bool, filled: Path, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    if made:
        shutil.copytree(filled, data_dir)
        for file in data_dir.iterdir():
            file.chmod(0o444)
    else:
        data_dir.mkdir()
    data_dir.chmod(0o555)
    wrapper: list[str] = []
    if os.geteuid() == 0:
        if shutil.which(OBEYS_PERMISSIONS[0]) is None:
            pytest.skip("root may write anywhere, and there is no setpriv to change that")
        wrapper = OBEYS_PERMISSIONS
    assert "the data directory" in refusal(data_dir, wrapper=wrapper)


@pytest.mark.parametrize("size", ["1", "4096", "65536"])
def test_a_largest_size_in_which_nothing_fits(size: str, tmp_path: Path) -> None:
    """Refused in a sentence, or large enough to serve: not an internal error."""
    failure = None
    try:
        with broker(tmp_path / "data", "--map-bytes-max", size) as running:
            assert running.terminate(10) == 0
    except DidNotStart as error:
        failure = error
    if failure is not None:
        assert failure.exit_code in {1, 2}
        assert "map_bytes_max" in failure.log
        assert "internal error" not in failure.log


# --- a data file that is shorter than it was


def pages(data_dir: Path) -> tuple[int, int]:
    """The size of a page, and the number of pages of the data file."""
    with lmdb.open(str(data_dir), readonly=True, max_dbs=64, lock=False) as env:
        page_bytes = env.stat()["psize"]
    return page_bytes, (data_dir / "data.mdb").stat().st_size // page_bytes


CUTS = ["a byte", "half a page", "one page", "one page and a bit", "two pages", "a quarter", "half", "the last page"]
EVERYDAY_CUTS = {"a byte", "one page and a bit", "half"}


@pytest.mark.parametrize(
    "cut", [pytest.param(cut, marks=() if cut in EVERYDAY_CUTS else pytest.mark.full) for cut in CUTS]
)
def test_a_truncated_data_file_is_refused_or_whole(cut: str, filled: Path, tmp_path: Path) -> None:
    shutil.copytree(filled, tmp_path / "data")
    page_bytes, count = pages(filled)
    sizes = [1, page_bytes // 2, page_bytes, page_bytes + 100, 2 * page_bytes]
    sizes += [count // 4 * page_bytes, count // 2 * page_bytes, (count - 1) * page_bytes]
    os.truncate(tmp_path / "data" / "data.mdb", sizes[CUTS.index(cut)])
    failure = None
    try:
        with broker(tmp_path / "data") as running, running.stub() as stub:
            assert counts(stub, "q") == (MESSAGES, 0, 0), "it serves, but not what it had"
            assert running.terminate(10) == 0
    except DidNotStart as error:
        failure = error
    if failure is None:
        assert check_clean(tmp_path / "data")["messages visible"] == MESSAGES
    else:
        assert failure.exit_code == 1, f"killed by signal {-(failure.exit_code or 0)}, without a word"
        assert re.search(r"^Error: .*(truncated|damaged)", failure.log, re.MULTILINE), failure.log


def test_a_data_file_damaged_in_its_middle_does_not_lose_the_rest_silently(filled: Path, tmp_path: Path) -> None:
    """A meta page that says nonsense is refused; the other meta page is no reason to go back in time."""
    shutil.copytree(filled, tmp_path / "data")
    page_bytes, _ = pages(filled)
    with (tmp_path / "data" / "data.mdb").open("r+b") as file:
        for page in (0, 1):
            file.seek(page * page_bytes + 16)
            file.write(struct.pack("<I", 0xDEADBEEF))
    assert "is not a data file of Heddle" in refusal(tmp_path / "data")
