"""Photographs and annotations in a bucket make the dataset that a folder of them makes."""

import concurrent.futures
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buckets.failures import BucketError
from buckets.removal import VanishedError
from buckets.store import Store
from data_prep import selection
from data_prep.build import build
from data_prep.config import SOURCE_PATHS, BuildConfig
from data_prep.sources import bucket_tree, coco, fetching, folder, headers
from data_prep.sources.bucket_tree import BucketTree
from tests.support import coco_folder
from tests.support.coco_folder import jpeg
from tests.support.fault_proxy import Fault, FaultProxy
from tests.test_coco_layouts import EXPORTS
from tfrecords import naming

# All that a build leaves but for its times and the place of its source.
COMPARED = (
    "*.tfrecord*",
    "rejected.jsonl",
    "attribution.csv",
    "near_duplicates.csv",
    "report.html",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the copies go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts how often each object's content was asked for, by the last part of its name."""
    names: Counter[str] = Counter()
    read = Store.read

    def counted(store: Store, name: str) -> bytes:
        names[name.rpartition("/")[2]] += 1
        return read(store, name)

    monkeypatch.setattr(Store, "read", counted)
    return names


def put(root: Path, url: str) -> str:
    """Puts a folder's files into a bucket."""
    store = Store(url)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            store.write(path.relative_to(root).as_posix(), path.read_bytes())
    return url


def made(data_dir: Path, **options: Any) -> dict[str, Any]:
    """Builds; returns what it made, but for the place of the photographs."""
    shared = {"classes": ("all",), "image_size": 16, "num_workers": 1, "max_bad_fraction": 0.2}
    build(BuildConfig(data_dir=str(data_dir), **shared | options))
    manifest = json.loads((data_dir / "manifest.json").read_text())
    for name in (*SOURCE_PATHS, "data_dir"):
        manifest["options"].pop(name)
    files = [path for pattern in COMPARED for path in data_dir.glob(pattern)]
    assert len(files) >= 3
    return {"manifest": manifest} | {path.name: path.read_bytes() for path in files}


def in_a_bucket(local: dict[str, Any]) -> dict[str, Any]:
    """What a build of a folder made, but for where it says that a photograph is missing."""
    said = {
        name: local[name].replace(b"not on disk", b"not in the bucket")
        for name in ("rejected.jsonl", "report.html")
    }
    return {**local, **said}


def one_is_missing(root: Path) -> None:
    (root / "train2017" / "3.jpg").unlink()


def one_is_empty(root: Path) -> None:
    (root / "train2017" / "3.jpg").write_bytes(b"")


def sizes_are_not_written(root: Path) -> None:
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        del image["width"], image["height"]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change", [lambda _: None, one_is_missing, one_is_empty, sizes_are_not_written]
)
def test_bucket_makes_the_dataset_that_a_folder_makes(
    change: Callable[[Path], None], memory_bucket: str, tmp_path: Path
) -> None:
    root = coco_folder.write(tmp_path / "coco")
    change(root)
    url = put(root, f"{memory_bucket}/coco")
    local = made(tmp_path / "local", coco_dir=str(root))
    assert made(tmp_path / "remote", coco_dir=f"{url}/") == in_a_bucket(local)
    options = json.loads((tmp_path / "remote" / "manifest.json").read_text())["options"]
    assert options["coco_dir"] == url  # As given, but for the slash at its end.


def test_real_clients_fetch_the_same_through_faults(
    bucket: str, faults: FaultProxy, tmp_path: Path
) -> None:
    root = coco_folder.write(tmp_path / "coco")
    url = put(root, f"{bucket}/some/coco")
    local = made(tmp_path / "local", coco_dir=str(root))
    faults.plan(Fault("cut", "GET", path="2.jpg"), Fault("answer", "GET", path="7.jpg"))
    assert made(tmp_path / "remote", coco_dir=url) == local
    assert faults.hits() == [1, 1]


@pytest.mark.parametrize("remote", [("annotations",), ("images",), ("annotations", "images")])
def test_annotations_and_photographs_may_lie_apart(
    remote: tuple[str, ...], memory_bucket: str, tmp_path: Path
) -> None:
    root = coco_folder.write(tmp_path / "coco")
    url = put(root, f"{memory_bucket}/coco")
    annotations, images = "annotations/instances_train2017.json", "train2017"
    options = {
        "annotations": (f"{url if 'annotations' in remote else root}/{annotations}",),
        "images_dir": f"{url if 'images' in remote else root}/{images}",
    }
    here = {"annotations": (f"{root}/{annotations}",), "images_dir": f"{root}/{images}"}
    assert made(tmp_path / "a", **options) == made(tmp_path / "b", **here)


def test_class_folders_are_those_of_the_listing(
    memory_bucket: str, tmp_path: Path, fetched: Counter[str]
) -> None:
    root = tmp_path / "photographs"
    for number in range(24):
        split, label = ("train", "val")[number % 4 == 3], ("cat", "dog", "owl")[number % 3]
        path = root / split / label / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    (root / "train" / "cat" / "Thumbs.db").write_bytes(b"of a system")
    url = put(root, f"{memory_bucket}/photographs")
    options = {"classes": ("cat", "dog")}
    local = made(tmp_path / "local", folder_dir=str(root), **options)
    assert made(tmp_path / "remote", folder_dir=url, **options) == local
    assert fetched.keys() == {f"{n}.jpg" for n in range(24) if n % 3 < 2}


def test_only_what_the_build_needs_is_fetched_and_once(
    memory_bucket: str, tmp_path: Path, fetched: Counter[str]
) -> None:
    content = coco_folder.instances(12)
    content["categories"].append({"id": 19, "name": "horse"})
    content["annotations"][0]["category_id"] = 19
    url = put(coco_folder.write(tmp_path / "coco", content), f"{memory_bucket}/coco")
    options = {"coco_dir": url, "classes": ("cat", "dog")}
    made(tmp_path / "first", **options)
    wanted = {f"{number}.jpg" for number in range(2, 13)} | {"instances_train2017.json"}
    assert fetched == dict.fromkeys(wanted, 1)
    fetched.clear()
    made(tmp_path / "second", **options)
    assert not fetched


def test_replaced_and_removed_photographs_are_noticed(
    memory_bucket: str, tmp_path: Path, fetched: Counter[str]
) -> None:
    """A replacement of the same size too, and a file of the copy that was changed since."""
    root = coco_folder.write(tmp_path / "coco")
    url = put(root, f"{memory_bucket}/coco")
    made(tmp_path / "first", coco_dir=url)
    fetched.clear()
    photographs = root / "train2017"
    other = (photographs / "1.jpg").read_bytes()[::-1]  # No photograph, but of the same size.
    Store(url).write("train2017/1.jpg", other)
    (photographs / "1.jpg").write_bytes(other)
    Store(url).remove("train2017/2.jpg")
    (photographs / "2.jpg").unlink()
    [copy] = (tmp_path / "cache").rglob("train2017/3.jpg")
    copy.write_bytes(b"")
    local = made(tmp_path / "local", coco_dir=str(root))
    assert made(tmp_path / "second", coco_dir=url) == in_a_bucket(local)
    assert b"not in the bucket" in in_a_bucket(local)["rejected.jsonl"]
    assert fetched == {"1.jpg": 1, "3.jpg": 1}


def test_fetch_that_was_killed_goes_on(
    memory_bucket: str, tmp_path: Path, fetched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(coco_folder.write(tmp_path / "coco"), f"{memory_bucket}/coco")
    read = Store.read

    def fail_late(store: Store, name: str) -> bytes:
        if fetched.total() == 6:
            raise BucketError("gone")
        return read(store, name)

    with monkeypatch.context() as failing:
        failing.setattr(Store, "read", fail_late)
        with pytest.raises(BucketError, match="gone"):
            made(tmp_path / "data", coco_dir=url, num_downloads=1)
    with next((tmp_path / "cache").rglob("fetched.jsonl")).open("ab") as record:
        record.write(b'["train2017/9.jpg","a torn li')
    assert fetched.total() == 6
    made(tmp_path / "data", coco_dir=url)
    assert set(fetched.values()) == {1}
    assert fetched.total() == 11


def test_end_of_a_build_does_not_wait_for_what_does_not_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "_LEAVE_SECONDS", 0.05)
    comes, asked = threading.Event(), []

    def fetch(item: int) -> int:
        asked.append(item)
        return item if item < 4 else comes.wait(60)

    results = fetching.several_at_once(fetch, range(9), at_once=2)
    assert {next(results) for _ in range(4)} == {0, 1, 2, 3}
    results.close()  # As an interrupt does.
    assert set(asked) <= {0, 1, 2, 3, 4, 5}
    comes.set()


def test_two_builds_share_what_one_of_them_fetches(
    memory_bucket: str, fetched: Counter[str]
) -> None:
    names = [f"cat/{number}.jpg" for number in range(20)]
    for name in names:
        Store(memory_bucket).write(name, b"x")
    trees = [bucket_tree.read(memory_bucket) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor() as builds:
        list(builds.map(lambda tree: tree.fetch(f"{tree.root}/{name}" for name in names), trees))
    assert set(fetched.values()) == {1}
    assert fetched.total() == len(names)


def test_what_is_replaced_while_it_is_fetched_is_fetched_whole(
    memory_bucket: str, tmp_path: Path
) -> None:
    store = Store(f"{memory_bucket}/cats")
    store.write("1.jpg", b"first")
    store.write("2.jpg", b"gone by then")
    tree = bucket_tree.read(store.url)
    store.write("1.jpg", b"a longer one")
    store.remove("2.jpg")
    tree.fetch([f"{tree.root}/1.jpg", f"{tree.root}/2.jpg"])
    assert [path.read_bytes() for path in tree.files(tree.root) if path.exists()] == [
        b"a longer one"
    ]


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_recognised_by_the_listing(name: str, memory_bucket: str, tmp_path: Path) -> None:
    write, _ = EXPORTS[name]
    root = tmp_path / "export"
    write(root)
    url = put(root, f"{memory_bucket}/export")
    here = coco.read_coco_dir(str(root), ("all",))
    there = coco.read_coco_dir(url, ("all",))
    assert there.description == here.description.replace(str(root), url)
    assert [(p.file, p.size, p.source_split, p.objects) for p in there.photographs] == [
        (p.file, p.size, p.source_split, p.objects) for p in here.photographs
    ]
    there.tree.fetch(p.path for p in there.photographs)
    assert all(Path(p.path).is_file() for p in there.photographs)


def test_file_names_may_be_urls(memory_bucket: str, tmp_path: Path) -> None:
    content = coco_folder.instances()
    root = coco_folder.write(tmp_path / "coco", content)
    url = f"{memory_bucket}/coco"
    for image in content["images"]:
        image["file_name"] = f"{url}/train2017/{image['file_name']}"
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    source = coco.read_coco_dir(put(root, url), ("all",))
    assert [p.name for p in source.photographs] == [f"{number}.jpg" for number in range(1, 11)]


@pytest.mark.parametrize("is_remote", [False, True])
def test_file_name_that_is_the_url_of_another_place_is_said_to_be_one(
    is_remote: bool, memory_bucket: str, tmp_path: Path
) -> None:
    content = coco_folder.instances(12)
    root = coco_folder.write(tmp_path / "coco", content)
    names = ["s3://other/x.jpg", f"https://h/{'x' * 300}.jpg", "https://h/3.jpg"]
    (root / "train2017/https:/h").mkdir(parents=True)
    (root / "train2017/3.jpg").rename(root / "train2017/https:/h/3.jpg")  # By another tool.
    for image, name in zip(content["images"], names, strict=False):
        image["file_name"] = name
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    place = put(root, f"{memory_bucket}/coco") if is_remote else str(root)
    lines = made(tmp_path / "data", coco_dir=place)["rejected.jsonl"].splitlines()
    said = [line for line in lines if b"is a URL: it must be a name below" in line]
    assert sorted(json.loads(line)["file"] for line in said) == sorted(names[:2])
    source = coco.read_coco_dir(place, ("all",))
    assert {p.file for p in source.photographs} >= {*names[:2], "train2017/https:/h/3.jpg"}


def test_object_is_copied_into_its_own_folder_or_not_at_all(
    memory_bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No name leads out of the copy: whoever may write into a bucket may not write here."""
    store = Store(f"{memory_bucket}/x")
    store.write("cat/1.jpg", b"x")
    [entry] = store.list().values()
    strange = ("../../out.jpg", "/etc/out", "cat/../../out", "cat//2.jpg", "n" * 256, "nul\0",
               "cat")  # fmt: skip
    names = ["cat/1.jpg", *strange, "cat/"]  # The last is the mark of a folder.
    tree = bucket_tree.BucketTree(store, dict.fromkeys(names, entry))
    outside = tree.root.parent / "out.jpg"
    outside.parent.mkdir(parents=True)
    outside.write_bytes(b"mine")
    tree.fetch([f"{tree.root}/{name}" for name in strange] + [str(outside)])
    assert outside.read_bytes() == b"mine"
    assert [path.name for path in tree.files(tree.root)] == ["1.jpg"]
    assert f"the names of {len(strange)} objects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "names", "says"),
    [
        ("coco_dir", [], "coco_dir is empty: there are no objects"),
        ("coco_dir", ["cat/1.jpg"], "coco_dir holds no annotations/instances"),
        ("folder_dir", [], "folder_dir is empty"),
        ("folder_dir", ["1.jpg"], "folder_dir holds no folder per class"),
        ("folder_dir", ["data/cat/1.jpg", "data/dog/2.jpg"], "Use --folder_dir={url}/data."),
        ("images_dir", ["1.jpg"], "There is no such annotation file"),
    ],
)
def test_refusal_names_the_url(
    option: str, names: list[str], says: str, memory_bucket: str, tmp_path: Path
) -> None:
    url = f"{memory_bucket}/photographs"
    for name in names:
        Store(url).write(name, b"x")
    options: dict[str, Any] = {option: url}
    if option == "images_dir":
        options["annotations"] = (f"{url}/none.json",)
    with pytest.raises(ValueError, match="Received") as error:
        made(tmp_path / "data", **options)
    assert says.format(url=url) in str(error.value)
    assert url in str(error.value)
    assert "cache" not in str(error.value)


def test_missing_bucket_is_a_line(s3_bucket: str, tmp_path: Path) -> None:
    with pytest.raises(BucketError, match=r"There is no bucket s3://.*-none"):
        made(tmp_path / "data", coco_dir=f"{s3_bucket}-none/coco")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"coco_dir": "s3://b/coco", "download": True}, "Leave --download out"),
        ({"folder_dir": "gs://b/x", "download": True}, "Leave --download out"),
    ],
)
def test_download_into_a_bucket_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match="Received") as error:
        BuildConfig(data_dir="data", **options)
    assert says in str(error.value)


def test_disk_must_have_room(
    memory_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(memory_bucket).write("cat/1.jpg", b"x" * 1000)
    source = folder.read_folders(memory_bucket, ("cat",))
    usage = shutil.disk_usage(tmp_path)._replace(free=999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match="The disk has no room"):
        source.tree.fetch(p.path for p in source.photographs)


def vanishes(pattern: str, monkeypatch: pytest.MonkeyPatch, cache: Path, after: str) -> None:
    """Lets what matches vanish from the cache folder once a step of the build has ended."""
    module, name = {
        "photographs are fetched": (BucketTree, "fetch"),
        "the first is read": (Store, "read"),
        "photographs are digested": (selection, "digest_photographs"),
    }[after]
    step = getattr(module, name)

    def step_and_clear(*given: Any, **options: Any) -> Any:
        done = step(*given, **options)
        for path in cache.rglob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return done

    monkeypatch.setattr(module, name, step_and_clear)


@pytest.mark.parametrize(
    ("pattern", "after", "options"),
    [
        ("3.jpg", "photographs are fetched", {}),
        ("3.jpg", "photographs are digested", {}),
        ("3.jpg", "photographs are digested", {"num_workers": 2, "num_shards": 2}),
        ("3.jpg", "photographs are digested", {"drop_near_duplicates": True}),
        ("coco-*", "the first is read", {}),
        ("incoming", "the first is read", {}),
        ("instances_*.json", "photographs are fetched", {}),
    ],
)
def test_copy_that_vanishes_is_no_photograph_that_the_bucket_lacks(
    pattern: str,
    after: str,
    options: dict[str, Any],
    memory_bucket: str,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = coco_folder.write(tmp_path / "coco")
    url = put(root, f"{memory_bucket}/coco")
    with monkeypatch.context() as clearing:
        vanishes(pattern, clearing, cache, after)
        with pytest.raises(VanishedError) as error:
            made(tmp_path / "data", coco_dir=url, **options)
    assert re.search(rf"Received: {cache}/.*, from {url}.*start the same command", str(error.value))
    assert not (tmp_path / "data" / naming.MANIFEST).exists()
    local = made(tmp_path / "local", coco_dir=str(root), **options)
    assert made(tmp_path / "data", coco_dir=url, **options) == local


def test_size_that_vanished_with_its_copy_is_not_one_that_nobody_knows(
    memory_bucket: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = coco_folder.write(tmp_path / "coco")
    sizes_are_not_written(root)
    url = put(root, f"{memory_bucket}/coco")
    made(tmp_path / "first", coco_dir=url)
    read_sizes = headers.read_sizes

    def clear_and_read(paths: list[str]) -> Any:
        next(cache.rglob("3.jpg")).unlink()
        return read_sizes(paths)

    monkeypatch.setattr(headers, "read_sizes", clear_and_read)
    with pytest.raises(VanishedError, match=f"from {url}/train2017/3.jpg"):
        made(tmp_path / "second", coco_dir=url)
