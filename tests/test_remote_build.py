"""A dataset in a bucket is the one that a folder would hold, whatever happens on the way."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from buckets import lease
from buckets.failures import BucketError
from buckets.store import Store
from data_prep import build, shards, target
from data_prep.config import BuildConfig
from data_prep.shards import ShardResult
from tests.support import coco_folder, miniature
from tests.support.fault_proxy import Fault, FaultProxy
from tfrecords import naming
from tfrecords.manifest import Manifest

TRAIN = "coco_animals-train.tfrecord-00001-of-00002"
STATE = f"{naming.BUILD_STATE}/{TRAIN}.json"


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder.write(tmp_path_factory.mktemp("coco"), coco_folder.instances(30))


@pytest.fixture(scope="session")
def local(coco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset as a folder holds it."""
    data_dir = tmp_path_factory.mktemp("local")
    run(coco, str(data_dir))
    return data_dir


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder that no other test has seen."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-0"))


@pytest.fixture
def wrote(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are built in this process from now on."""
    names: list[str] = []
    write = shards._write

    def and_tell(task: shards.ShardTask, path: Path) -> Any:
        names.append(task.file)
        return write(task, path)

    monkeypatch.setattr(shards, "_write", and_tell)
    return names


def config(coco: Path, data_dir: str, **options: Any) -> BuildConfig:
    of_all = {"coco_dir": str(coco), "classes": ("cat", "dog"), "num_shards": 2, "num_workers": 1}
    return BuildConfig(data_dir=data_dir, **of_all | options)


def run(coco: Path, data_dir: str, **options: Any) -> Manifest:
    return build.build(config(coco, data_dir, **options))


def contents(of: Store | Path) -> dict[str, Any]:
    """{name: content} of a dataset, without what only builds need, nor what tells where it is."""
    if isinstance(of, Path):
        files = {path.name: path.read_bytes() for path in of.iterdir() if path.is_file()}
    else:
        names = (name for name in of.list() if not name.startswith(naming.BUILD_STATE))
        files = {name: of.read(name) for name in names}
    manifest = msgspec.json.decode(files.pop(naming.MANIFEST), type=Manifest)
    return {**files, "manifest": msgspec.structs.replace(manifest, options={})}


def left_here() -> list[str]:
    """The shards that a machine still has, whole or in parts."""
    return [path.name for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*tfrecord*")]


@pytest.mark.parametrize(("bucket", "workers"), [("gs", 1), ("s3", 2)], indirect=["bucket"])
def test_bucket_holds_what_a_folder_would(bucket, workers, coco, local) -> None:
    manifest = run(coco, f"{bucket}/data/", num_workers=workers)
    assert manifest.options["data_dir"] == f"{bucket}/data/"
    assert contents(Store(f"{bucket}/data")) == contents(local)
    assert left_here() == []


def test_state_of_a_folders_shard_is_as_before(local: Path) -> None:
    """Shards of builds before there were buckets stay finished."""
    state = msgspec.json.decode((local / STATE).read_bytes())
    assert [*state] == [*ShardResult.__struct_fields__[:-1]]


def test_second_build_builds_nothing_and_reads_no_shard(
    memory_bucket, coco, wrote, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(coco, f"{memory_bucket}/data")
    assert len(wrote) == 4
    monkeypatch.delattr(Store, "download")
    assert run(coco, f"{memory_bucket}/data") == first
    assert len(wrote) == 4


@pytest.mark.parametrize(
    ("harm", "is_built_again"),
    [
        (lambda store, shard: store.write(TRAIN, shard[:-1] + b"?"), True),
        (lambda store, shard: store.write(TRAIN, shard[:-1]), True),
        (lambda store, shard: store.remove(TRAIN), True),
        (lambda store, shard: store.write(STATE, b"{"), True),
        (lambda store, shard: store.write(TRAIN, shard), False),  # A copy, as of another bucket.
    ],
)
def test_shard_that_is_not_the_one_that_was_put_up_is_built_again(
    harm, is_built_again, memory_bucket, coco, local, wrote
) -> None:
    store = Store(f"{memory_bucket}/data")
    run(coco, store.url)
    wrote.clear()
    harm(store, store.read(TRAIN))
    run(coco, store.url)
    assert wrote == [TRAIN] * is_built_again
    assert contents(store) == contents(local)
    version = msgspec.json.decode(store.read(STATE))["version"]
    assert version == store.entry(TRAIN).version


def test_other_options_leave_nothing_of_the_build_before(memory_bucket, coco, local) -> None:
    store = Store(f"{memory_bucket}/data")
    run(coco, store.url, num_shards=3)
    store.write("notes.txt", b"mine")
    run(coco, store.url, overwrite=True)
    assert contents(store) == {**contents(local), "notes.txt": b"mine"}
    assert sum("tfrecord" in name for name in store.list(naming.BUILD_STATE)) == 4


def test_another_dataset_is_refused_by_its_url(memory_bucket, coco) -> None:
    store = Store(f"{memory_bucket}/data")
    run(coco, store.url)
    before = store.list()
    with pytest.raises(ValueError, match=r"data_dir=memory://bucket/data; salt: coco_animals ther"):
        run(coco, store.url, salt="other")
    assert store.list() == before


def test_files_that_no_build_made_are_refused(memory_bucket, coco) -> None:
    Store(memory_bucket).write("data/report.html", b"mine")
    with pytest.raises(ValueError, match=r"data_dir=memory://bucket/data, with report.html"):
        run(coco, f"{memory_bucket}/data")


def test_build_that_found_too_much_unusable_goes_on_once_that_is_mended(
    memory_bucket, tmp_path
) -> None:
    coco = coco_folder.write(tmp_path / "coco")
    photograph = coco / "train2017" / "1.jpg"
    whole = photograph.read_bytes()
    photograph.write_bytes(whole[:40])
    with pytest.raises(ValueError, match=r"All are in memory://bucket/data/rejected.jsonl"):
        run(coco, f"{memory_bucket}/data")
    assert b"1.jpg" in Store(memory_bucket).read("data/rejected.jsonl")
    photograph.write_bytes(whole)
    assert run(coco, f"{memory_bucket}/data").rejected == 0


def test_dry_run_writes_nothing(memory_bucket, coco) -> None:
    planned = build.dry_run(config(coco, f"{memory_bucket}/data", dry_run=True))
    assert len(planned.tasks) == 4
    assert Store(memory_bucket).list() == {}
    assert not Path(os.environ["XDG_CACHE_HOME"]).exists()


def test_tasks_of_two_machines_make_one_dataset(
    memory_bucket, coco, local, tmp_path, wrote, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"{memory_bucket}/data")
    for index in (1, 0):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine-{index}"))
        build.build_task(config(coco, store.url, task_index=index, num_tasks=2))
    store.remove(TRAIN)
    with pytest.raises(ValueError, match=f"Received: {TRAIN}. .* --task_index=1 in place"):
        run(coco, store.url, commit_only=True, num_tasks=2)
    build.build_task(config(coco, store.url, task_index=1, num_tasks=2))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
    run(coco, store.url, commit_only=True)
    assert contents(store) == contents(local)
    assert sorted(wrote) == sorted([*(name for name in contents(local) if "record" in name), TRAIN])


def test_beam_puts_its_shards_up(memory_bucket, coco, local) -> None:
    pytest.importorskip("apache_beam", reason="needs the extra [beam]")
    run(coco, f"{memory_bucket}/data", runner="beam")
    assert contents(Store(f"{memory_bucket}/data")) == contents(local)


def test_drawings_stay_on_the_machine(memory_bucket) -> None:
    build.build(BuildConfig(data_dir=memory_bucket, source="synthetic", synthetic_images=16,
                            classes=("cat", "dog"), num_shards=1, num_workers=1))  # fmt: skip
    assert not any("synthetic_coco" in name for name in Store(memory_bucket).list())


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_killed_build_goes_on_elsewhere_with_what_is_finished(
    bucket, faults: FaultProxy, coco, local, tmp_path, wrote, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(f"{bucket}/data")
    faults.plan(Fault("stall", method="PUT", path=f"/data/{TRAIN}", times=None, seconds=300))
    command = [
        *(sys.executable, "-m", "data_prep.build", f"--coco_dir={coco}", "--classes=cat,dog"),
        *(f"--data_dir={store.url}", "--num_shards=2", "--num_workers=1"),
    ]
    with process(command) as started:
        while started.poll() is None and not any(faults.hits()):
            time.sleep(0.01)
        started.send_signal(signal.SIGKILL)
    faults.plan()
    finished = {name.removeprefix(".build/") for name in store.list(".build") if ".json" in name}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
    run(coco, store.url)
    assert finished
    assert not finished & {f"{name}.json" for name in wrote}
    assert contents(store) == contents(local)


@contextlib.contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, env=miniature.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    ) as started:  # fmt: skip
        yield started


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_bytes_that_were_wrong_on_their_way_are_put_up_again(
    bucket, faults: FaultProxy, coco, local
) -> None:
    faults.plan(Fault("flip_up", method="PUT", path=TRAIN))
    run(coco, f"{bucket}/data")
    assert faults.hits() == [1]
    assert contents(Store(f"{bucket}/data")) == contents(local)


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_upload_that_fails_leaves_finished_shards_and_no_manifest(
    bucket, faults: FaultProxy, coco, local, wrote
) -> None:
    store = Store(f"{bucket}/data")
    run(coco, store.url)
    store.remove(TRAIN)
    store.remove(STATE)
    wrote.clear()
    faults.plan(Fault("answer", method="PUT", path=TRAIN, status=403, code="AccessDenied"))
    with pytest.raises(BucketError, match=f"{TRAIN} may not be written"):
        run(coco, store.url)
    assert store.entry(naming.MANIFEST) is None
    faults.plan()
    run(coco, store.url)
    assert wrote == [TRAIN, TRAIN]
    assert contents(store) == contents(local)


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_bucket_that_cannot_be_written_is_refused_before_any_work(
    bucket, faults: FaultProxy, tmp_path
) -> None:
    with pytest.raises(BucketError, match="There is no bucket s3://tests-none"):
        run(tmp_path / "none", "s3://tests-none/data")
    faults.plan(Fault("answer", method="PUT", status=403, code="AccessDenied", times=None))
    with pytest.raises(BucketError, match="may not be listed or written with these credentials"):
        run(tmp_path / "none", f"{bucket}/data")


@pytest.mark.parametrize(
    ("there", "here", "elsewhere"),
    [(None, None, False), (None, None, True), (None, 0, True), (0, None, True), (0, 0, True)],
)
def test_two_builds_do_not_write_one_dataset(
    there, here, elsewhere, memory_bucket, coco, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with target.of(f"{memory_bucket}/data").hold(there):
        if elsewhere:
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-1"))
        with (
            pytest.raises(RuntimeError, match="Received: memory://bucket/data, in use by "),
            target.of(f"{memory_bucket}/data").hold(here),
        ):
            pass


def test_tasks_beside_each_other_and_those_that_were_killed_are_in_nobodys_way(
    memory_bucket,
) -> None:
    place = target.of(f"{memory_bucket}/data")
    dead = {**lease._this_process(), "pid": 2**22 + 1, "count": 3}
    Store(memory_bucket).write("data/.build/task-7/.lease", json.dumps(dead).encode())
    with place.hold(0), place.hold(1):
        pass
    with place.hold():
        assert [name for name in Store(memory_bucket).list() if name.endswith("lease")] == [
            "data/.build/build/.lease"
        ]
    assert [*Store(memory_bucket).list()] == ["data/.build/made_by.txt"]
