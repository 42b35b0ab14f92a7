"""A build puts no other dataset in the place of one that is there, unless it is told to."""

from pathlib import Path

import pytest

from buckets.store import Store
from data_prep.build import build, build_task, dry_run
from data_prep.config import BuildConfig
from tests.support import coco_folder
from tfrecords.manifest import read_manifest


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    return coco_folder.write(tmp_path / "coco", coco_folder.instances(20))


def config(coco: Path, data_dir: Path | str, **changes: object) -> BuildConfig:
    given = {"coco_dir": str(coco), "data_dir": str(data_dir), "classes": coco_folder.CLASSES}
    return BuildConfig(**given | {"num_workers": 1} | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_size": 12}, "image_size: 256 there, 12 here"),
        ({"classes": ("dog", "cat")}, "classes: cat,dog there, dog,cat here"),
        ({"label_policy": "crop", "salt": "s"}, "label_policy: single there, crop here; salt: "),
        ({"coco_dir": "other"}, "coco_dir: "),
    ],
)
def test_other_dataset_is_refused_with_the_difference(changes, says, coco, tmp_path) -> None:
    other = coco_folder.write(tmp_path / "other", coco_folder.instances(22))
    changes = {k: str(other) if v == "other" else v for k, v in changes.items()}
    before = build(config(coco, tmp_path / "data"))
    for start in (build, dry_run):
        with pytest.raises(ValueError, match="holds another dataset") as error:
            start(config(coco, tmp_path / "data", **changes))
        assert says in str(error.value)
    with pytest.raises(ValueError, match="holds another dataset"):
        build_task(config(coco, tmp_path / "data", task_index=0, num_tasks=2, **changes))
    assert read_manifest(tmp_path / "data").digest == before.digest
    after = build(config(coco, tmp_path / "data", overwrite=True, **changes))
    fresh = build(config(coco, tmp_path / "fresh", **changes))
    assert after.digest == fresh.digest != before.digest


def test_photographs_that_moved_and_other_machines_are_the_same_dataset(coco, tmp_path) -> None:
    before = build(config(coco, tmp_path / "data"))
    moved = coco.rename(tmp_path / "moved")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    after = build(config(moved, tmp_path / "elsewhere", num_workers=2, max_bad_fraction=0.5))
    assert after.digest == before.digest


def test_changed_photographs_of_the_same_source_are_taken_in(coco, tmp_path) -> None:
    build(config(coco, tmp_path / "data"))
    coco_folder.write(coco, coco_folder.instances(22))
    assert sum(build(config(coco, tmp_path / "data")).counts["train"].values()) > 16


def test_dataset_of_an_older_version_is_built_again_as_it_was(coco, tmp_path) -> None:
    """It did not know of --conflicts and --min_examples: what it did not know is no difference."""
    from tfrecords.manifest import write_manifest

    manifest = build(config(coco, tmp_path / "data", split_by="hash"))
    for option in ("conflicts", "min_examples", "overwrite", "dry_run"):
        del manifest.options[option]
    write_manifest(tmp_path / "data", manifest)
    assert build(config(coco, tmp_path / "data", split_by="hash")).digest == manifest.digest


@pytest.mark.parametrize("name", ["dataset_info.json", "report.html", "LICENSE", "manifest.json"])
def test_files_of_others_are_not_written_over(name, coco, tmp_path) -> None:
    """TFDS's own dataset, a run's workdir, a project's folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_text("{}")
    with pytest.raises(ValueError, match=f"would write over. Received: .*with {name}"):
        build(config(coco, tmp_path / "data"))
    assert [path.name for path in (tmp_path / "data").iterdir()] == [name]


@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.parametrize(
    ("there", "data_dir", "says"),
    [
        ("run/config.json", "run", "holds a run, .*, with config.json"),
        ("run/checkpoints/step-00000010.npz", "run/", "holds a run, .*, with checkpoints"),
        ("run/.lease", "run", "holds a run, .*, with .lease"),
        ("run/crossval.json", "run", "holds a cross-validation, .*, with crossval.json"),
        ("run/tune.json", "run", "holds a search for a recipe, .*, with tune.json"),
        ("run/config.json", "run/checkpoints", "for the checkpoints of a run. .*, beside config"),
    ],
)
def test_run_is_no_place_for_a_dataset(
    is_remote, there, data_dir, says, memory_bucket, tmp_path, monkeypatch
) -> None:
    """Nothing is read before, and nothing is written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    content = b'{"recipe": {"epochs": 2}, "data": {}}'
    if is_remote:
        Store(memory_bucket).write(there, content)
    else:
        (tmp_path / there).parent.mkdir(parents=True)
        (tmp_path / there).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    place = f"{memory_bucket if is_remote else tmp_path}/{data_dir}"
    for changes in ({}, {"overwrite": True}, {"dry_run": True}):
        start = dry_run if changes.get("dry_run") else build
        with pytest.raises(ValueError, match=f"The data_dir .*{says}"):
            start(config(tmp_path / "no_such_folder", place, **changes))
    assert [p for p in sorted(tmp_path.rglob("*")) if "cache" not in p.parts] == before
    assert not is_remote or [*Store(memory_bucket).list()] == [there]


@pytest.mark.parametrize("content", ["{}", "[1]", "// Of an editor.", None])
def test_what_another_tool_calls_as_a_run_does_stays_beside_a_dataset(
    content, coco, memory_bucket, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root, store = tmp_path / "data", Store(f"{memory_bucket}/data")
    (root / "checkpoints").mkdir(parents=True)
    (root / "checkpoints" / "best.pt").touch()
    store.write("checkpoints/best.pt", b"")
    if content is None:
        (root / "config.json").mkdir()
    else:
        (root / "config.json").write_text(content)
        store.write("config.json", content.encode())
    for place in (root, root / "checkpoints", store.url):
        assert dry_run(config(coco, place)).tasks


def test_same_relative_path_elsewhere_is_another_source(coco, tmp_path, monkeypatch) -> None:
    coco_folder.write(tmp_path / "other" / "coco", coco_folder.instances(22))
    monkeypatch.chdir(tmp_path)
    before = build(config(Path("coco"), tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(ValueError, match=r"coco_dir: .*/coco there, .*/other/coco here"):
        build(config(Path("coco"), tmp_path / "data"))
    monkeypatch.chdir(tmp_path / "other" / "coco")
    assert build(config(Path("../../coco"), tmp_path / "data")).digest == before.digest


def test_other_classes_in_the_same_place_are_another_dataset(tmp_path) -> None:
    animals, data_dir = tmp_path / "animals", tmp_path / "data"
    for number in range(12):
        (animals / ("cat", "dog")[number % 2]).mkdir(parents=True, exist_ok=True)
        path = animals / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.write_bytes(coco_folder.jpeg(number))
    build(BuildConfig(folder_dir=str(animals), data_dir=str(data_dir), num_workers=1))
    (animals / "dog").rename(animals / "ape")
    with pytest.raises(ValueError, match="classes: cat,dog there, ape,cat here"):
        build(BuildConfig(folder_dir=str(animals), data_dir=str(data_dir), num_workers=1))


def test_damaged_manifest_does_not_give_the_dataset_away(coco, tmp_path) -> None:
    before = build(config(coco, tmp_path / "data"))
    (tmp_path / "data" / "manifest.json").write_text('{"version')
    other = coco_folder.write(tmp_path / "other", coco_folder.instances(22))
    with pytest.raises(ValueError, match="cannot be read, with other shards"):
        build(config(other, tmp_path / "data"))
    assert build(config(coco, tmp_path / "data")).digest == before.digest  # It is mended.


def test_task_that_comes_again_leaves_a_finished_dataset_finished(coco, tmp_path) -> None:
    for index in range(2):
        build_task(config(coco, tmp_path / "data", task_index=index, num_tasks=2))
    before = build(config(coco, tmp_path / "data", commit_only=True))
    build_task(config(coco, tmp_path / "data", task_index=0, num_tasks=2))
    assert read_manifest(tmp_path / "data").digest == before.digest


def test_nothing_is_created_before_the_source_is_read(tmp_path) -> None:
    for given in ({"coco_dir": str(tmp_path / "no")}, {"folder_dir": str(tmp_path / "no")}):
        with pytest.raises(ValueError, match="not a directory"):
            build(BuildConfig(data_dir=str(tmp_path / "data"), **given))
    assert list(tmp_path.iterdir()) == []
