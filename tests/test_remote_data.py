"""A dataset in a bucket: what is read from it is what a folder gives, bit for bit."""

import itertools
import json
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from buckets.failures import BucketError
from buckets.store import Store
from data_prep.build import build
from data_prep.config import BuildConfig
from data_prep.verification import verify
from tests.support import miniature, warm
from tests.support.fault_proxy import Fault, FaultProxy
from tests.test_train import figures_of, weights_of
from tfrecords import naming, remote_shards
from tfrecords.manifest import read_manifest
from tfrecords.shard_cache import ShardCache
from trainer import checks
from trainer.config import TrainConfig
from trainer.data import records
from trainer.data.dataset import read_examples, read_jpegs, whole_dataset
from trainer.data.examples import index_together, labels_of, shuffle_window
from trainer.data.folds import hold_out
from trainer.data.order import Order
from trainer.data.source import PhotographSource
from trainer.data.split import Split, find_split
from trainer.distribute.workers import Workers

ALONE = Workers(None, tf.distribute.get_strategy())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 drawn animals in six shards."""
    data_dir = tmp_path_factory.mktemp("dataset")
    build(
        BuildConfig(
            data_dir=str(data_dir), source="synthetic", synthetic_images=24, split_by="hash",
            label_policy="largest", num_workers=1, num_shards=3,
        )
    )  # fmt: skip
    return data_dir


def put(folder: Path, url: str) -> str:
    """Puts a dataset into a bucket."""
    store = Store(url)
    for path in folder.iterdir():
        if path.is_file():
            store.write(path.name, path.read_bytes())
    return url


@pytest.fixture
def url(folder: Path) -> str:
    return put(folder, f"memory://{secrets.token_hex(4)}/data")


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> ShardCache:
    """Holds one shard and a half: what is read next takes the place of what was read last."""
    sizes = [shard.bytes for shard in read_manifest(folder).shards]
    return ShardCache(str(tmp_path / "cache"), gib=1.5 * max(sizes) / 2**30)


def splits(folder: Path, url: str, cache: ShardCache, name: str = "train") -> tuple[Split, Split]:
    """The same split of the folder and of the bucket."""
    manifest = read_manifest(url)
    assert manifest == read_manifest(folder)
    return find_split(str(folder), manifest, name), find_split(url, manifest, name, cache)


def batches(split: Split, order: Order, count: int = 9) -> Iterator[np.ndarray]:
    """Images and labels of more than two epochs."""
    stream = PhotographSource().training_batches(split, order, start_step=1)
    for images, labels in itertools.islice(stream, count):
        yield images.numpy()
        yield labels.numpy()


@pytest.mark.parametrize("window", [None, 7])  # Held in memory; read in parts.
def test_training_batches_are_those_of_the_folder(
    window: int | None, folder: Path, url: str, cache: ShardCache
) -> None:
    local, remote = splits(folder, url, cache)
    order = Order(0, 4, window=window)
    pairs = zip(batches(local, order), batches(remote, order), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert len([*cache.folder.iterdir()]) <= 6  # The limit gives way to what is open, no more.


def test_all_that_is_read_is_what_the_folder_holds(
    folder: Path, url: str, cache: ShardCache
) -> None:
    for name in ("train", "val"):
        local, remote = splits(folder, url, cache, name)
        np.testing.assert_array_equal(labels_of(local), labels_of(remote))
        images = [
            [batch.numpy() for batch in PhotographSource().evaluation_batches(split, 5)]
            for split in (local, remote)
        ]
        np.testing.assert_array_equal(*images)
        assert local.nbytes == remote.nbytes
        assert Order(0, 4).examples_in_batch(local, 1) == Order(0, 4).examples_in_batch(remote, 1)
    config = TrainConfig(data_dir="d", workdir="w", data_ram_mib=1, batch_size=1)
    assert shuffle_window(local, config) == shuffle_window(remote, config)


def test_examples_that_are_read_at_random_are_those_of_the_folder(
    folder: Path, url: str, cache: ShardCache
) -> None:
    local, remote = (index_together(split, ALONE) for split in splits(folder, url, cache))
    np.testing.assert_array_equal(local.index, remote.index)
    manifest = read_manifest(folder)
    local = hold_out(str(folder), manifest, 2, 3, seed=0)
    remote = hold_out(url, manifest, 2, 3, seed=0, cache=cache)
    np.testing.assert_array_equal(local.val.members, remote.val.members)
    pairs = zip(batches(local.train, Order(0, 4)), batches(remote.train, Order(0, 4)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    whole = whole_dataset(url, manifest, cache)
    assert read_examples(whole).files == read_examples(whole_dataset(str(folder), manifest)).files
    assert read_jpegs(whole, [1, 23]) == read_jpegs(whole_dataset(str(folder), manifest), [1, 23])


def test_nothing_stays_held(folder: Path, url: str, cache: ShardCache) -> None:
    _, remote = splits(folder, url, cache)
    assert len([*records.read_all(remote)]) == remote.num_examples
    read_examples(remote)
    assert cache._held == []
    assert len([*batches(remote, Order(0, 4, window=7), count=1)]) == 2  # And dropped midway.
    assert len(cache._held) <= 8


def test_shard_that_is_another_one_is_a_line(folder: Path, url: str, cache: ShardCache) -> None:
    _, remote = splits(folder, url, cache)
    shard = read_manifest(url).shards_of("train")[1]
    Store(url).write(shard.file, bytes(shard.bytes))
    expected = f"A shard in the bucket is not what the manifest says. Received: {url}/"
    with pytest.raises(BucketError, match=expected), records.naming_failures(remote):
        [*batches(remote, Order(0, 4, window=7))]


@pytest.mark.parametrize("quick", [False, True])
def test_dataset_is_verified_in_its_bucket(
    quick: bool, folder: Path, url: str, tmp_path: Path
) -> None:
    manifest, cache = read_manifest(url), ShardCache(str(tmp_path))

    def findings() -> list[str]:
        return verify(url, manifest, quick=quick, num_workers=1, cache=cache)

    assert findings() == []
    store, (a, b, c, *_) = Store(url), manifest.shards
    store.write(a.file, bytes(a.bytes))
    store.write(b.file, b"short")
    store.remove(c.file, naming.FEATURES)
    store.write("coco_animals-train.tfrecord-00007-of-00008", b"")
    assert findings() == [  # Although there is a good copy of each.
        f"{naming.FEATURES}: missing",
        "coco_animals-train.tfrecord-00007-of-00008: not in the manifest",
        f"{a.file}: its sha256 is not the manifest's",
        f"{b.file}: 5 bytes, the manifest says {b.bytes}",
        f"{c.file}: missing",
    ]


def test_missing_dataset_and_shards_are_named_by_their_urls(url: str) -> None:
    manifest, cache = read_manifest(url), ShardCache()
    checks.check_shards(url, manifest, "train", cache)
    Store(url).remove(manifest.shards_of("train")[0].file)
    with pytest.raises(ValueError, match=f"Received: {url}/coco.*, which is not there; expected"):
        checks.check_shards(url, manifest, "train", cache)
    with pytest.raises(ValueError, match=f"no manifest.json. Received: data_dir={url}x"):
        read_manifest(f"{url}x")


def test_dataset_that_changed_under_its_name_is_another_one(folder: Path, url: str) -> None:
    before = read_manifest(url)
    text = (folder / naming.MANIFEST).read_text()
    Store(url).write(naming.MANIFEST, text.replace(before.digest, "0" * 64).encode())
    assert read_manifest(url).digest == "0" * 64  # Which no workdir of the other takes.


STREAMED = ("--batch_size=4", "--epochs=2", "--learning_rate=0.05", "--deterministic",
            "--cache_features=off", "--data_ram_mib=1")  # fmt: skip


@pytest.fixture(scope="module")
def local_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reads the folder as a stream."""
    workdir = tmp_path_factory.mktemp("local") / "run"
    done = miniature.train(f"--data_dir={folder}", f"--workdir={workdir}", *STREAMED)
    assert done.returncode == 0, done.stderr
    return workdir


def command(module: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs a command from warm."""
    return subprocess.run(
        warm.up([sys.executable, "-m", module, *flags]),
        capture_output=True, text=True, env=miniature.environment(), check=False,
    )  # fmt: skip


@pytest.fixture
def data_flags(bucket: str, folder: Path, tmp_path: Path) -> tuple[str, ...]:
    """The dataset in a bucket, and a cache that does not hold it."""
    gib = 1.5 * max(shard.bytes for shard in read_manifest(folder).shards) / 2**30
    url = put(folder, f"{bucket}/data")
    return f"--data_dir={url}", f"--data_cache={tmp_path / 'cache'}", f"--data_cache_gib={gib}"


def assert_alike(run: Path, other: Path) -> None:
    assert figures_of(run) == figures_of(other)
    for a, b in zip(weights_of(run), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("bucket", ["gs"], indirect=True)
def test_run_on_a_bucket_ends_at_the_bits_of_one_on_a_folder(
    data_flags: tuple[str, ...], folder: Path, local_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = miniature.train(*data_flags, f"--workdir={run}", *STREAMED)
    assert done.returncode == 0, done.stderr
    assert_alike(run, local_run)
    assert f"data ({read_manifest(folder).digest[:8]})" in (run / "report.html").read_text()
    done = command("trainer.evaluate", *data_flags, f"--workdir={run}")
    assert done.returncode == 0, done.stderr
    local = json.loads((local_run / "metrics.json").read_text())
    assert json.loads(done.stdout)["accuracy"] == local["accuracy"]
    done = command("data_prep.verify", *data_flags)  # Its workers are processes of their own.
    assert done.stdout.startswith("As the manifest says: every byte"), done.stderr


def test_long_wait_says_how_much_has_come(
    folder: Path, url: str, cache: ShardCache, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    _, remote = splits(folder, url, cache)
    assert remote.remote
    said = threading.Event()
    download = Store.download

    def slow(self: Store, name: str, path: Path, **keywords: Any) -> str:
        keywords["received"](1_500_000)
        for _ in range(3000):
            if "Waiting for data from the bucket: 1.5 of " in caplog.text or said.wait(0.01):
                said.set()
                break
        return download(self, name, path, **keywords)

    monkeypatch.setattr(Store, "download", slow)
    monkeypatch.setattr(remote_shards, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(remote_shards, "_SAY_SECONDS", 0.05)
    with caplog.at_level("INFO"):
        assert remote.remote.hold(0).exists()
    assert said.is_set()


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_stop_does_not_wait_for_a_shard_that_does_not_come(
    faults: FaultProxy, data_flags: tuple[str, ...], local_run: Path, tmp_path: Path
) -> None:
    line = miniature.command(*data_flags, f"--workdir={tmp_path / 'run'}", *STREAMED)
    # Their labels have been read by then, and the cache is too small to keep them.
    faults.plan(Fault("stall", "GET", "val.tfrecord", after=3, times=None, seconds=300))
    with subprocess.Popen(
        warm.up(line), env=miniature.environment(), text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        while process.poll() is None and not sum(faults.hits()):
            time.sleep(0.1)
        time.sleep(2)
        process.terminate()
        _, stderr = process.communicate(timeout=180)
    assert process.returncode == 42, stderr
    # What ends a run that waits, 20 s later, writes none.
    [step] = re.findall(r"a checkpoint of step (\d+) is written", stderr)
    assert (tmp_path / "run" / "checkpoints" / f"step-{int(step):08d}.npz").exists()
    faults.plan()
    done = miniature.train(*data_flags, f"--workdir={tmp_path / 'run'}", *STREAMED)
    assert f"Resumed at step {step}" in done.stdout + done.stderr
    assert_alike(tmp_path / "run", local_run)
