"""The door to object stores, through real clients, servers and a line that goes wrong."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buckets import clients
from buckets import store as store_module
from buckets.failures import BucketError, ChangedError
from buckets.store import Store
from tests.support import bucket_servers
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.miniature import environment

ALL = None  # Each request of the kind, for ever.


@pytest.fixture
def store(bucket: str) -> Store:
    return Store(f"{bucket}/some folder")


def test_file_of_several_pieces_goes_up_and_comes_back(store: Store, tmp_path: Path) -> None:
    path, back = tmp_path / "up", tmp_path / "back"
    path.write_bytes(secrets.token_bytes(40 * 2**20 + 1))
    store.check(writes=True)
    entry = store.upload(path, "a/b c#%ü.bin", compared=True)
    assert (entry.size, store.list(), store.entry("a/b c#%ü.bin")) == (
        40 * 2**20 + 1, {"a/b c#%ü.bin": entry}, entry,
    )  # fmt: skip
    store.download("a/b c#%ü.bin", back)
    assert back.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"\r", b"\n", b"x\r", b"x\r\n", b"\n--==0==--", b"\n\nx\n"]
)
def test_small_file_comes_back_as_it_is(content: bytes, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "up"
    path.write_bytes(content)
    assert store.upload(path, "a/ü b#%+.bin", compared=True).size == len(content)
    assert store.read("a/ü b#%+.bin") == content


def test_version_changes_with_the_content_that_another_client_wrote(store: Store) -> None:
    store.write("x", b"one")
    before = store.entry("x")
    clients.file_system.cache_clear()
    Store(store.url).write("x", b"two")
    assert store.entry("x") != before
    assert store.read("x") == b"two"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("drop", times=2), Fault("answer", status=503, times=2),
        Fault("cut", method="GET", times=2), Fault("answer_halfway", method="PUT|POST", status=503),
        Fault("drop_after", method="PUT|POST"), Fault("flip_up", method="PUT|POST", path="big"),
        Fault("flip_down", method="GET", path="/download/|folder/big"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)  # fmt: skip
def test_what_passes_is_tried_again_until_the_bytes_are_right(
    fault: Fault, faults: FaultProxy, store: Store, tmp_path: Path
) -> None:
    content = secrets.token_bytes(2**20)
    (tmp_path / "big").write_bytes(content)
    faults.plan(fault)
    entry = store.upload(tmp_path / "big", "big", compared=True)
    digest = store.download("big", tmp_path / "back", size=entry.size)
    assert (tmp_path / "back").read_bytes() == content
    assert store.download("big", tmp_path / "again", sha256=digest) == digest
    assert faults.hits()


def test_request_that_is_made_again_for_long_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(f"memory://{secrets.token_hex(4)}")
    store.write("x", b"content")
    client, failures = clients.file_system("memory"), [ConnectionError("it is down")] * 2
    read = client.cat_file

    def falter(path: str) -> bytes:
        if failures:
            raise failures.pop()
        return read(path)

    monkeypatch.setattr(client, "cat_file", falter)
    monkeypatch.setattr("buckets.store._QUIET_SECONDS", 0)
    assert store.read("x") == b"content"
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        f"{store.url}/x could not be read yet (ConnectionError: it is down). It is tried again, for"
    )


def test_wrong_bytes_of_every_answer_are_refused(
    faults: FaultProxy, store: Store, tmp_path: Path
) -> None:
    store.write("x", bytes(1000))
    digest = store.download("x", tmp_path / "x")
    faults.plan(Fault("flip_down", method="GET", path="/download/|folder/x", times=ALL))
    with pytest.raises(ChangedError):
        store.download("x", tmp_path / "y", sha256=digest)
    assert not (tmp_path / "y").exists()


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault("expired", times=ALL), "credentials for .* have expired|not accepted"),
        (Fault("answer", status=403, code="AccessDenied", times=ALL), "refuses it|no credentials"),
        (Fault("answer", "PUT|POST", status=507, times=ALL), "could not be listed or written"),
        (Fault("answer", status=503, times=ALL), "does not answer"),
        (Fault("stall", seconds=30, times=ALL), "does not answer"),
    ],
    ids=["expired", "denied", "full", "down", "stalled"],
)
def test_first_contact_says_in_one_line_within_ten_seconds_what_is_wrong(
    fault: Fault, line: str, faults: FaultProxy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "does not answer" in line:
        monkeypatch.setattr(store_module, "_CONTACT_SECONDS", 2.0)
    faults.plan(fault)
    start = time.monotonic()
    with pytest.raises(BucketError, match=line) as told:
        store.check(writes=True)
    assert time.monotonic() - start < 10
    assert "\n" not in str(told.value)


def test_bucket_that_is_not_there_is_one_line(bucket: str) -> None:
    with pytest.raises(BucketError, match="There is no bucket"):
        Store(f"{bucket}-none/x").check()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_endpoint_that_nobody_answers_is_one_line_within_ten_seconds(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_module._CONTACT_SECONDS <= 8
    monkeypatch.setattr(store_module, "_CONTACT_SECONDS", 2.0)
    with bucket_servers.reached(scheme, "http://127.0.0.1:9", monkeypatch):
        start = time.monotonic()
        with pytest.raises(BucketError, match="does not answer"):
            Store(f"{scheme}://bucket/x").check()
        assert time.monotonic() - start < 10


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_no_credentials_are_one_line_within_ten_seconds(
    scheme: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    told = bucket_servers.variables(scheme, request.getfixturevalue(f"{scheme}_server"))
    secret = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "STORAGE_EMULATOR_HOST")
    without = {name: value for name, value in told.items() if name not in secret}
    code = (
        f"import atexit, time, {clients.CLIENTS[scheme].module}; from buckets.store import Store\n"
        "start = time.monotonic(); atexit.register(lambda: print(time.monotonic() - start))\n"
        f"Store('{scheme}://bucket/x').check()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**environment(), **without, "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode
    assert float(done.stdout) < 10
    assert "BucketError: " in done.stderr
