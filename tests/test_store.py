"""The door to object stores, without a server: a file system in memory."""

import hashlib
import os
import pickle
import secrets
from pathlib import Path

import pytest

from buckets import clients, copies, replica, urls
from buckets.failures import BucketError, ChangedError, explain, is_passing
from buckets.store import Store


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{secrets.token_hex(4)}/run")


@pytest.mark.parametrize(
    ("path", "scheme"),
    [
        ("gs://b/x", "gs"), ("S3://b", "s3"), ("az://c/x", "az"), ("C:\\x", None), ("a://b", None),
        ("/data", None), ("a:b/c", None), ("~/x", None), ("https://h/x", "https"),
    ],
)  # fmt: skip
def test_scheme_is_told_by_the_text(path: str, scheme: str | None) -> None:
    assert urls.scheme_of(path) == scheme
    assert urls.is_remote(path) == (scheme is not None)


@pytest.mark.parametrize(
    ("url", "folder", "inside"),
    [
        ("gs://b/a", "gs://b/a", True), ("gs://b/a/c/", "gs://b/a", True),
        ("gs://b/ab", "gs://b/a", False),
    ],
)  # fmt: skip
def test_url_lies_in_a_folder_by_its_name(url: str, folder: str, inside: bool) -> None:
    assert urls.lies_in(url, folder) == inside


def test_objects_are_listed_by_names_below_the_url(store: Store) -> None:
    store.write("a/one", b"1")
    store.write("two", b"22")
    assert {name: entry.size for name, entry in store.list().items()} == {"a/one": 1, "two": 2}
    assert [*store.list("a")] == ["a/one"]
    assert store.list("none") == {}
    assert store.entry("none") is None
    assert store.read("two") == b"22"
    with pytest.raises(FileNotFoundError):
        store.read("none")
    store.remove("two", "none")
    assert [*store.list()] == ["a/one"]


def test_names_that_can_be_no_file_are_not_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a folder would be hidden by a file, and a file written wherever another one says."""
    names = ("a/b", "a/", "a/../..", "a..b")
    found = {f"{store._path('')}/{name}": {"type": "file", "size": 0} for name in names}
    monkeypatch.setattr(store._fs, "find", lambda path, detail: found)
    assert [*store.list()] == ["a/b", "a..b"]


def test_scheme_in_capitals_is_the_same_place(store: Store) -> None:
    store.write("x", b"1")
    assert Store(store.url.replace("memory", "Memory") + "/").list().keys() == {"x"}


def test_bucket_that_is_gone_is_no_missing_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError("The specified bucket does not exist")

    for name in ("put_file", "pipe_file"):
        monkeypatch.setattr(store._fs, name, gone)
    (tmp_path / "x").touch()
    writes = (
        lambda: store.upload(tmp_path / "x", "x"), lambda: store.write("x", b""),
        lambda: store.create("x", b""),
    )  # fmt: skip
    for write in writes:
        with pytest.raises(BucketError, match="There is no bucket"):
            write()
    with pytest.raises(FileNotFoundError):
        store.upload(tmp_path / "y", "y")


def test_only_the_first_creates_an_object(store: Store) -> None:
    assert store.create("lease", b"1")
    assert not store.create("lease", b"2")
    assert store.read("lease") == b"1"


def test_download_goes_on_where_it_was_cut_off(store: Store, tmp_path: Path) -> None:
    content = secrets.token_bytes(20 * 2**20)
    store.write("big", content)
    whole, came = tmp_path / "whole", []
    digest = store.download("big", whole, received=came.append)
    assert (whole.read_bytes(), digest) == (content, hashlib.sha256(content).hexdigest())
    assert came == [0, 8 << 20, 8 << 20, 4 << 20]

    [tag] = {hashlib.sha256(store.entry("big").version.encode()).hexdigest()[:8]}
    part = tmp_path / f"again.{tag}.part"
    part.write_bytes(content[: 5 * 2**20])
    came.clear()
    assert store.download("big", tmp_path / "again", received=came.append, sha256=digest) == digest
    assert (tmp_path / "again").read_bytes() == content
    assert came == [5 << 20, 8 << 20, 7 << 20]
    assert not part.exists()


def test_damaged_part_is_fetched_again_and_another_object_refused(
    store: Store, tmp_path: Path
) -> None:
    store.write("x", b"what is there")
    right = hashlib.sha256(b"what is there").hexdigest()
    tag = hashlib.sha256(store.entry("x").version.encode()).hexdigest()[:8]
    (tmp_path / f"x.{tag}.part").write_bytes(b"WHAT")
    store.download("x", tmp_path / "x", sha256=right)
    assert (tmp_path / "x").read_bytes() == b"what is there"
    with pytest.raises(ChangedError, match="is not the one that was expected"):
        store.download("x", tmp_path / "y", sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(ChangedError, match="13 bytes; expected: 14"):
        store.download("x", tmp_path / "y", size=14)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("size", [0, 1, 8 * 2**20, 8 * 2**20 + 1])
def test_upload_is_read_back_and_compared(store: Store, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(secrets.token_bytes(size))
    assert store.upload(path, "file", compared=True).size == size
    assert store.read("file") == path.read_bytes()


def test_upload_that_comes_back_otherwise_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"right")
    memory = clients.file_system("memory")
    monkeypatch.setattr(memory, "put_file", lambda _, name: memory.pipe_file(name, b"wrong"))
    with pytest.raises(BucketError, match="is not what came back"):
        store.upload(path, "file", compared=True)


def test_store_goes_to_another_process_by_its_url(store: Store) -> None:
    assert pickle.loads(pickle.dumps(store)).url == store.url


def test_missing_client_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"needs the extra \[s3\]. Received: s3://b/x"):
        Store("s3://b/x")


def test_unknown_scheme_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"begins with gs://, s3://, az://. Received: hdfs://x"):
        Store("hdfs://x")


def test_each_url_has_a_copy_of_its_own(tmp_path: Path) -> None:
    one, two = (copies.copy_of(f"gs://{name}/run", "runs", tmp_path) for name in "ab")
    assert one != two
    assert one.parent == tmp_path / "runs"
    assert one.name.startswith("run-")
    assert copies.copy_of("GS://a/run/", "runs", tmp_path) == one


def test_cache_folder_that_cannot_be_made_is_one_line_before_the_bucket_is_asked(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    monkeypatch.setattr(Store, "check", lambda _, writes: pytest.fail("It was asked."))
    with pytest.raises(ValueError, match=r"Received: XDG_CACHE_HOME=/proc/none \(No such file"):
        replica.fetched(store.url, ["x"])


class _AnswerError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(f"answer {status}")
        self.status = status


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (_AnswerError(429), True), (_AnswerError(500), True), (_AnswerError(503), True),
        (_AnswerError(400), False), (_AnswerError(403), False), (_AnswerError(507), False),
        (ConnectionResetError(), True), (TimeoutError(), True), (FileNotFoundError(), False),
        (PermissionError("denied"), False), (ValueError("wrong"), False),
    ],
)  # fmt: skip
def test_what_may_pass_is_told_from_what_does_not(error: Exception, passes: bool) -> None:
    assert is_passing(error) == passes


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError("The provided token has expired."), "have expired"),
        (_AnswerError(401), "no credentials for s3://b"),
        (PermissionError("Access Denied"), "refuses it: s3://b/x may not be written"),
        (_AnswerError(503), "does not answer as it should"),
        (_AnswerError(507), "s3://b/x could not be written. Received: _AnswerError: answer 507"),
    ],
)
def test_failure_is_one_line_for_a_person(error: Exception, line: str) -> None:
    said = str(explain(error, "s3://b/x", "written"))
    assert line in said
    assert "\n" not in said


_NOT_ACCEPTED = "There are no credentials for {0}, or they are not accepted. Received: {0}/x ("


@pytest.mark.parametrize(
    ("url", "name", "value", "line"),
    [
        ("s3://b", "AWS_PROFILE", "nonsense", _NOT_ACCEPTED),
        ("s3://b", "AWS_ACCESS_KEY_ID", "half", _NOT_ACCEPTED),
        ("s3://b", "AWS_CONFIG_FILE", "{file}", _NOT_ACCEPTED),
        ("az://b", "AZURE_STORAGE_CONNECTION_STRING", "", _NOT_ACCEPTED),
        ("az://b", "AZURE_STORAGE_CONNECTION_STRING", "nonsense", _NOT_ACCEPTED),
        ("s3://b", "AWS_ENDPOINT_URL", "127.0.0.1:9", "Write AWS_ENDPOINT_URL=http://127.0.0.1:9"),
        ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS", "{file}", "{file}, which is no key"),
        ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS", "{file}x", "{file}x, which is not there"),
    ],
)  # fmt: skip
def test_settings_that_make_no_client_are_one_line_that_names_them(
    url: str, name: str, value: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for known in [n for n in os.environ if n.startswith(("AWS_", "AZURE_", "STORAGE_EMULATOR"))]:
        monkeypatch.delenv(known)
    file = tmp_path / "file"
    file.write_text("no [ settings")
    monkeypatch.setenv(name, value.format(file=file))
    clients.file_system.cache_clear()
    with pytest.raises(BucketError) as told:
        Store(f"{url}/x").check()
    clients.file_system.cache_clear()
    assert line.format(url, file=file) in str(told.value)
    assert "\n" not in str(told.value)
