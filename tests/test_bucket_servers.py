"""The buckets that tests run on do what clients of real ones rest on, and fail as planned."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
import requests

from tests.support import bucket_servers, miniature
from tests.support.fault_proxy import Fault, FaultProxy

BODY = random.Random(0).randbytes(300_000)
ODD_NAMES = ("a b", "a#b", "a%b", "a%20b", "aüb", "a+b", "a?b", "a&b=c", "d/e f/ü#%+.x")


def client(bucket: str) -> Any:
    """A client that shares nothing with another one, nor remembers what it listed."""
    scheme = bucket.partition(":")[0]
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


def test_range_reads_are_as_long_as_there_is_something_to_read(
    bucket: str, faults: FaultProxy
) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    fs.pipe_file(path, BODY)
    for start, end in ((0, 1), (0, 10), (1000, 200_000), (299_990, 300_000), (299_990, 400_000)):
        assert fs.cat_file(path, start=start, end=end) == BODY[start:end]
    parts = fs.cat_ranges([path] * 3, [0, 5, 299_999], [5, 10, 400_000], on_error="raise")
    assert parts == [BODY[:5], BODY[5:10], BODY[-1:]]


def test_range_after_the_end_is_refused(bucket: str) -> None:
    fs = client(bucket)
    fs.pipe_file(f"{bucket}/x", b"0123456789")
    with pytest.raises(Exception, match=r"not satisfiable|416"):
        fs.cat_file(f"{bucket}/x", start=10, end=20)


@pytest.mark.parametrize("size", [0, 6 << 20])
def test_uploads_of_every_size_come_back(
    bucket: str, faults: FaultProxy, size: int, tmp_path: Path
) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    content = random.Random(size).randbytes(size)
    (tmp_path / "x").write_bytes(content)
    fs.put_file(str(tmp_path / "x"), path)
    assert fs.info(path)["size"] == size
    assert fs.cat_file(path) == content


def test_uploads_in_parts_come_back(bucket: str, faults: FaultProxy, tmp_path: Path) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    content = random.Random(0).randbytes(12 << 20)
    (tmp_path / "x").write_bytes(content)
    faults.plan()
    fs.put_file(str(tmp_path / "x"), path, chunksize=5 << 20)
    counts = faults.counts()
    assert counts["PUT"] + counts["POST"] == (5 if bucket.startswith("s3:") else 4)
    assert fs.cat_file(path) == content


def test_exclusive_create_leaves_what_is_there(bucket: str, tmp_path: Path) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    (tmp_path / "x").write_bytes(bytes(6 << 20))  # Google's resumable upload has its own refusal.
    fs.pipe_file(path, b"first", mode="create")
    with pytest.raises(FileExistsError):
        client(bucket).pipe_file(path, b"second", mode="create")
    with pytest.raises(FileExistsError):
        client(bucket).put_file(str(tmp_path / "x"), path, mode="create")
    assert fs.cat_file(path) == b"first"


def test_listing_shows_what_another_client_wrote(bucket: str) -> None:
    fs, other, root = client(bucket), client(bucket), bucket.partition("//")[2]
    assert fs.find(bucket) == []
    other.pipe_file(f"{bucket}/a/x", b"1")
    assert fs.find(bucket) == [f"{root}/a/x"]
    other.pipe_file(f"{bucket}/a/x", b"22")
    assert fs.find(bucket, detail=True)[f"{root}/a/x"]["size"] == 2
    assert fs.info(f"{bucket}/a/x")["size"] == 2


def test_odd_names_lead_to_their_objects(bucket: str) -> None:
    fs, root = client(bucket), bucket.partition("//")[2]
    for name in ODD_NAMES:
        fs.pipe_file(f"{bucket}/{name}", name.encode())
    assert fs.find(bucket) == sorted(f"{root}/{name}" for name in ODD_NAMES)
    for name in ODD_NAMES:
        assert fs.cat_file(f"{bucket}/{name}", start=0, end=99) == name.encode()
        fs.rm_file(f"{bucket}/{name}")
    assert fs.find(bucket) == []


def test_what_is_not_there_is_a_file_not_found(bucket: str) -> None:
    fs = client(bucket)
    for path in (f"{bucket}/x", f"{bucket}-no/x"):
        for ask in (fs.cat_file, fs.info):
            with pytest.raises(FileNotFoundError):
                ask(path)
    with pytest.raises(FileNotFoundError):
        fs.find(f"{bucket}-no")
    with pytest.raises(FileNotFoundError):
        fs.pipe_file(f"{bucket}-no/x", b"1")
    assert fs.find(f"{bucket}/x") == []


# A fault that clients get over by themselves, and the requests of the method that it takes.
HEALED = [
    (Fault("drop", "GET"), 2), (Fault("drop_after", "GET"), 2), (Fault("cut", "GET"), 2),
    (Fault("answer", "GET", status=503), 2),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "requests"), HEALED, ids=lambda x: getattr(x, "kind", ""))
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)  # gcsfs waits seconds before it retries.
def test_fault_hits_once(bucket: str, faults: FaultProxy, fault: Fault, requests: int) -> None:
    fs = client(bucket)
    fs.pipe_file(f"{bucket}/x", BODY)
    faults.plan(fault)
    assert fs.cat_file(f"{bucket}/x", start=0, end=200_000) == BODY[:200_000]
    assert faults.counts()["GET"] == requests
    assert faults.hits() == [1]


def test_answer_in_the_midst_of_an_upload_stores_nothing(bucket: str, faults: FaultProxy) -> None:
    fs = client(bucket)
    faults.plan(Fault("answer_halfway", "PUT|POST", status=403))
    with pytest.raises(OSError, match="A fault that was planned"):
        fs.pipe_file(f"{bucket}/x", BODY)
    assert fs.find(bucket) == []


def test_wrong_bytes_differ_in_one(bucket: str, faults: FaultProxy) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    fs.pipe_file(path, BODY)

    def wrong() -> int:
        read = fs.cat_file(path, start=1, end=len(BODY))  # Of a whole one, s3fs knows a checksum.
        return sum(a != b for a, b in zip(read, BODY[1:], strict=True))

    faults.plan(Fault("flip_down", "GET", path="x"))
    assert [wrong(), wrong()] == [1, 0]
    faults.plan(Fault("flip_up", "PUT|POST"))
    fs.pipe_file(path, BODY)
    assert wrong() == 1


def test_old_token_is_told_as_the_store_tells_it(bucket: str, faults: FaultProxy) -> None:
    faults.plan(Fault("expired", times=None))
    path = "/storage/v1/b/x/o" if bucket.startswith("gs:") else "/x?list-type=2"
    answer = requests.get(faults.endpoint + path, timeout=60)
    expected = (401, "Invalid Credentials") if bucket.startswith("gs:") else (400, "ExpiredToken")
    assert answer.status_code == expected[0]
    assert expected[1] in answer.text


def test_faults_are_drawn_from_their_seed_and_spare_the_first(faults: FaultProxy) -> None:
    def pattern(**of: Any) -> str:
        faults.plan(Fault("answer", path="drawn", **of))
        url = f"{faults.endpoint}/drawn"
        codes = [requests.get(url, timeout=60).status_code for _ in range(12)]
        return "".join("x" if code == 503 else "." for code in codes)

    drawn = pattern(times=None, probability=0.5, seed=1)
    assert drawn == pattern(times=None, probability=0.5, seed=1)
    assert drawn != pattern(times=None, probability=0.5, seed=2)
    assert pattern(after=3, times=2) == "...xx......."


def test_line_is_as_slow_as_it_is_told(bucket: str, faults: FaultProxy) -> None:
    fs, path = client(bucket), f"{bucket}/x"
    fs.pipe_file(path, BODY)
    faults.slow(latency=0.05, rate=1e6)
    seconds = [2.0]
    while seconds[-1] >= 2 and len(seconds) < 9:  # The first time, but where the machine is slow.
        begin = time.monotonic()
        fs.cat_ranges([path] * 2, [0, 100_000], [100_000, 200_000], on_error="raise")
        seconds.append(time.monotonic() - begin)
    assert 0.2 <= seconds[-1] < 2  # 0.05 s, and 200 kB at 1 MB/s together.
    faults.plan(Fault("stall", "GET", seconds=0.4))
    begin = time.monotonic()
    fs.cat_file(path, start=0, end=1)
    assert time.monotonic() - begin >= 0.4


def test_server_ends_with_a_killed_starter() -> None:
    code = (
        "import time; from tests.support import bucket_servers\n"
        "with bucket_servers.serving('gs') as endpoint: print(endpoint, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=miniature.environment()
    ) as starter:
        port = int(starter.stdout.readline().rpartition(":")[2])
        assert listens(port)
        os.kill(starter.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not listens(port)


def listens(port: int) -> bool:
    """Whether there is somebody at a port of the loopback device."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_command_serves_a_bucket_behind_a_slow_line(scheme: str) -> None:
    """As benchmarks start it."""
    with bucket_servers.own_process.started(
        bucket_servers.__name__, scheme, "--latency=0.001", "--rate=1e9", "--bucket"
    ) as told:
        assert told["BUCKET"].startswith(f"{scheme}://")
        endpoint = told["AWS_ENDPOINT_URL" if scheme == "s3" else "STORAGE_EMULATOR_HOST"]
        fs = fsspec.filesystem(
            scheme, endpoint_url=endpoint, skip_instance_cache=True,
            **({"key": "x", "secret": "x"} if scheme == "s3" else {"token": "anon"}),
        )  # fmt: skip
        fs.pipe_file(f"{told['BUCKET']}/x", b"1")
        assert fs.cat_file(f"{told['BUCKET']}/x") == b"1"
