"""Features computed once: the same run as without them, never stale, whole after any kill."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from cli import machine
from tests.support import miniature, miniature_backbone
from tests.support.doomed import Kill, survive
from tests.test_many_workers import ends, started
from tests.test_train import figures_of, weights_of
from tfrecords.manifest import Manifest, read_manifest
from trainer.config import TrainConfig
from trainer.data.split import find_split
from trainer.features import choose
from trainer.features.source import FeatureSource
from trainer.features.store import FeatureStore
from trainer.model.division import cut

# 41 examples, batches of 8 and of 4 for each of two: a multiple of nothing.
RECIPE = ("--batch_size=8", "--epochs=3", "--learning_rate=0.05", "--deterministic",
          "--augment=flip", "--cache_features=on")  # fmt: skip


def train(dataset: Path, workdir: Path, *flags: str) -> str:
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={workdir}", *RECIPE, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shards_of(folder: Path) -> dict[str, bytes]:
    """Every shard of features below a folder; there is one set of them."""
    paths = list(folder.rglob("*.tfrecord-*"))
    assert len({path.parent for path in paths}) == 1
    return {path.name: path.read_bytes() for path in paths}


def assert_same_end(one: Path, other: Path) -> None:
    for a, b in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert figures_of(one) == figures_of(other)
    assert json.loads((one / "metrics.json").read_text()) == json.loads(
        (other / "metrics.json").read_text()
    )


@pytest.fixture(scope="module")
def cached(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("cached")
    assert "computed once, to features of" in train(dataset, workdir)
    return workdir


def test_features_of_every_shard_are_kept(cached: Path, dataset: Path) -> None:
    shards = {path.name for path in dataset.glob("*.tfrecord-*")}
    assert shards_of(cached / "features").keys() == shards


@pytest.mark.parametrize("flags", [["--cache_features=off"], ["--cpu_replicas=2"]])
def test_run_ends_at_the_same_bits_with_features_and_without(
    flags: list[str], cached: Path, dataset: Path, tmp_path: Path
) -> None:
    train(dataset, tmp_path, *flags)
    assert_same_end(cached, tmp_path)
    if "--cpu_replicas=2" in flags:
        assert shards_of(tmp_path / "features") == shards_of(cached / "features")


def test_two_workers_share_the_shards_out(cached: Path, dataset: Path, tmp_path: Path) -> None:
    with started(2, f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE) as workers:
        assert [(code, err) for code, _, err in ends(workers) if code] == []
    assert shards_of(tmp_path / "features") == shards_of(cached / "features")
    assert_same_end(cached, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_run_killed_amid_the_features_goes_on_to_the_same_bits(
    number: signal.Signals, cached: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE)
    # The first files are config.json, classes.json and features.json; then come the shards.
    kills = [Kill("features", nth, 0.0, number) for nth in (5, 7)]
    assert len(list(survive(flags, kills))) == 2
    assert shards_of(tmp_path / "features") == shards_of(cached / "features")
    assert not list(tmp_path.rglob("*.incomplete"))
    assert_same_end(cached, tmp_path)


def test_run_may_go_on_with_or_without_features(
    cached: Path, dataset: Path, tmp_path: Path
) -> None:
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE)
    [_] = survive((*flags, "--cache_features=off"), [Kill("train", 9, 0.0, signal.SIGTERM)])
    train(dataset, tmp_path)
    assert_same_end(cached, tmp_path)


def test_damaged_shard_is_computed_again_and_only_that_one(
    cached: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(cached / "features", tmp_path / "features")
    flipped, cut, *whole = sorted((tmp_path / "features").rglob("*.tfrecord-*"))
    written = {path: path.stat().st_mtime_ns for path in whole}
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[:-1])
    train(dataset, tmp_path / "run", f"--cache_dir={tmp_path / 'features'}")
    assert shards_of(tmp_path / "features") == shards_of(cached / "features")
    assert {path: path.stat().st_mtime_ns for path in whole} == written


def test_rounded_features_are_half_the_size_and_another_run(
    cached: Path, dataset: Path, tmp_path: Path
) -> None:
    train(dataset, tmp_path, "--cache_dtype=bfloat16")
    sizes = [
        sum(map(len, shards_of(workdir / "features").values())) for workdir in (tmp_path, cached)
    ]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    done = miniature.train(f"--data_dir={dataset}", f"--workdir={tmp_path}", *RECIPE)
    assert done.returncode == 1
    assert "cache_dtype: bfloat16 there, None here" in done.stderr


def test_drawn_views_are_the_same_ones_after_a_kill(dataset: Path, tmp_path: Path) -> None:
    views = ("--augment=full", "--cache_views=3")
    train(dataset, tmp_path / "whole", *views)
    flags = (f"--data_dir={dataset}", f"--workdir={tmp_path}/killed", *RECIPE, *views)
    [_] = survive(flags, [Kill("features", 7, 0.0, signal.SIGKILL)])
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
    record = 3 * 8 * 8 * 3 * 4 + 16  # Three views of each training example; they differ.
    shards = shards_of(tmp_path / "killed" / "features")
    [first, *_] = [shard for name, shard in shards.items() if "-train." in name]
    assert len(first) % record == 0
    drawn = np.frombuffer(first[12 : record - 4], np.float32).reshape(3, -1)
    assert len({view.tobytes() for view in drawn}) == 3


def config_of(dataset: Path, **changes: object) -> TrainConfig:
    options = {"data_dir": str(dataset), "workdir": "run", "num_gpus": 0}
    return TrainConfig(**{**options, **changes})


def test_whatever_changes_the_features_takes_another_folder(dataset: Path) -> None:
    from trainer.model.classifier import build_model

    manifest = read_manifest(dataset)
    model, mixed, larger = (
        build_model(8, backbone=miniature_backbone.MINIATURE, **options)
        for options in ({}, {"precision": "mixed_bfloat16"}, {"input_size": 256})
    )

    def folder(model=model, manifest: Manifest = manifest, **changes: object) -> Path:
        frozen, _ = cut(model)
        return FeatureStore(config_of(dataset, **changes), frozen, manifest).folder

    import msgspec

    others = [
        folder(manifest=msgspec.structs.replace(manifest, digest="other")),
        folder(model=mixed),
        folder(model=larger, input_size=256),
        folder(augment="flip"),
        folder(fit="pad"),
        folder(test_views="flip"),
        folder(object_crops=True),
        folder(feature_norm="power_l2"),
        folder(fold="1/2"),
        folder(cache_features="on", cache_dtype="bfloat16"),
        folder(cache_features="on", augment="full", cache_views=2),
        folder(cache_features="on", augment="full", cache_views=2, seed=1),
    ]
    assert folder() == folder(epochs=3, learning_rate=0.5, batch_size=8, seed=7)
    assert len({folder(), *others}) == 1 + len(others)


@pytest.mark.parametrize(
    ("freeze_layers", "head", "shape", "operations"),
    [
        (1, "flatten", (224, 224, 3), 0),
        (2, "flatten", (224, 224, 64), 2 * 9 * 3 * 64 * 224**2),
        (3, "flatten", (112, 112, 64), 2 * 9 * (3 * 64 + 64 * 64) * 224**2),
        (15, "flatten", (14, 14, 512), None),
        (18, "gap", (512,), None),
        (19, "flatten", (25088,), None),
    ],
)
def test_features_are_what_the_first_layer_that_trains_takes(
    freeze_layers: int, head: str, shape: tuple[int, ...], operations: int | None, dataset: Path
) -> None:
    from trainer.model.classifier import build_model
    from trainer.model.head import Head

    model = build_model(8, freeze_layers=freeze_layers, head=Head(head))
    config = config_of(dataset, freeze_layers=freeze_layers, head=head)
    features = FeatureSource.from_config(config, model, read_manifest(dataset))
    assert features.rest.inputs[0].shape[1:] == shape
    assert {id(v) for v in features.rest.trainable_variables} == {
        id(v) for v in model.trainable_variables
    }
    if operations is not None:
        assert choose.spared_operations(features) * 4 * np.prod(shape) == operations


@pytest.mark.parametrize(
    ("changes", "on_cpu", "reason"),
    [
        ({}, True, ""),
        ({}, False, ""),
        ({"epochs": 1}, True, "1 epochs need each view of an image no more than once"),
        ({"epochs": 2, "augment": "flip"}, True, "2 epochs need each view"),
        ({"freeze_layers": 7}, True, ""),
        ({"freeze_layers": 7}, False, "Reading a byte back takes longer"),
        ({"freeze_layers": 2}, True, "Reading a byte back takes longer"),
    ],
)
def test_auto_takes_features_where_they_pay(
    changes: dict[str, object], on_cpu: bool, reason: str, dataset: Path
) -> None:
    from trainer.model.classifier import build_model

    config = config_of(dataset, **changes)
    model = build_model(8, freeze_layers=config.freeze_layers)
    features = FeatureSource.from_config(config, model, read_manifest(dataset))
    said = choose.why_not_worth(config, features, on_cpu)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


def test_full_disk_leaves_features_out_or_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    import tensorflow as tf

    from trainer.model.classifier import build_model

    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    config = config_of(dataset, workdir=str(tmp_path))
    manifest = read_manifest(dataset)
    splits = [find_split(str(dataset), manifest, name) for name in ("train", "val")]
    model = build_model(8, backbone=miniature_backbone.MINIATURE)
    arguments = (model, manifest, splits, tf.distribute.get_strategy())
    assert choose.choose_features(config, *arguments) is None
    needed = machine.readable(50 * (8 * 8 * 3 * 4 + 16))
    assert f"needed: {needed}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=f"needed: {needed}.*cache_features=on"):
        choose.choose_features(dataclasses.replace(config, cache_features="on"), *arguments)
