"""Photographs in a bucket are found, read and answered as those of a folder are."""

import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from buckets import clients
from buckets.failures import BucketError
from buckets.store import Store
from tests.support import trained_run
from tests.support.coco_folder import jpeg
from tests.support.fault_proxy import Fault, FaultProxy
from tests.support.miniature import environment
from tfrecords import originals
from trainer import explain, prediction
from trainer.inference import ahead, objects
from trainer.inference.classifier import Classifier
from trainer.inference.selection import Selection, select
from trainer.results import saved_predictions

NONE = b"no photograph"
OBJECTS = {
    "b.jpg": jpeg(0), "a/z.JPG": jpeg(1), "a/b/c.jpg": jpeg(2), "a/photograph": jpeg(3),
    "d[1].jpg": jpeg(4), "d1.jpg": jpeg(5), "bad.jpg": NONE, "Thumbs.db": NONE, "a/notes.txt": NONE,
    "a/list": NONE, "a/nothing": b"", "__MACOSX/b.jpg": NONE, "a-b.jpg": jpeg(6),
    ".trash/b.jpg": jpeg(7), "ü ö#1%41?x=2&y;+~.jpg": jpeg(8),
}  # fmt: skip
ODD = "ü ö#1%41?x=2&y;+~.jpg"
ALL = [
    "a/b/c.jpg",
    "a/photograph",
    "a/z.JPG",
    "a-b.jpg",
    "b.jpg",
    "bad.jpg",
    "d1.jpg",
    "d[1].jpg",
    ODD,
]


def put(url: str) -> str:
    for name, content in OBJECTS.items():
        Store(url).write(name, content)
    return url


@pytest.fixture
def photographs(memory_bucket: str) -> str:
    return put(f"{memory_bucket}/photographs")


def found(*arguments: str, listed: str = "") -> Selection:
    return select(arguments, io.BytesIO(listed.encode()))


NAMED = {
    "": ALL,
    "/": ALL,
    "/a": ALL[:3],
    "/a/": ALL[:3],
    "/b.jpg": ["b.jpg"],
    "/gone.jpg": ["gone.jpg"],  # Reading it says so.
    "/a/photograph": ["a/photograph"],
    "/*.jpg": ["a-b.jpg", "b.jpg", "bad.jpg", "d1.jpg", "d[1].jpg", ODD],
    "/?.jpg": ["b.jpg"],
    "/**/*.jpg": ["a/b/c.jpg", "a-b.jpg", "b.jpg", "bad.jpg", "d1.jpg", "d[1].jpg", ODD],
    "/a*": [*ALL[:4]],
    "/d[1].jpg": ["d[1].jpg"],  # An object of this name.
    "/d[[]1].jpg": ["d[1].jpg"],
    "/[d]1.jpg": ["d1.jpg"],
    f"/{ODD}": [ODD],
}


@pytest.mark.parametrize("behind", NAMED)
def test_url_names_an_object_all_below_it_or_what_a_pattern_matches(
    behind: str, photographs: str
) -> None:
    selection = found(f"{photographs}{behind}")
    assert selection.photographs == [f"{photographs}/{name}" for name in NAMED[behind]]
    assert selection.errors == []


def test_bucket_gives_what_a_folder_gives(photographs: str, tmp_path: Path) -> None:
    for name, content in OBJECTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for behind in ("", "/a", "/*.jpg", "/**/*.jpg", "/a*/*"):
        here, there = found(f"{tmp_path}{behind}"), found(f"{photographs}{behind}")
        assert there.photographs == [
            p.replace(str(tmp_path), photographs) for p in here.photographs
        ]
        assert there.passed_over_in_words() == here.passed_over_in_words()


def test_slash_too_many_names_another_object(memory_bucket: str) -> None:
    names = ["a//x.jpg", "a/x.jpg"]
    for name in names:
        Store(memory_bucket).write(name, name.encode())
    urls = found(memory_bucket).photographs
    assert urls == [f"{memory_bucket}/{name}" for name in names]
    assert [objects.Objects().read(url) for url in urls] == [name.encode() for name in names]


def test_urls_are_listed_on_standard_input_among_paths(photographs: str) -> None:
    listed = ["x.jpg", f"{photographs}/d*.jpg", f"{photographs}/a", f"{photographs}/b.jpg", "y.jpg"]
    selection = found("-", listed="\n".join(listed))
    assert selection.photographs == [
        "x.jpg", f"{photographs}/d*.jpg", *(f"{photographs}/{name}" for name in ALL[:3]),
        f"{photographs}/b.jpg", "y.jpg",
    ]  # fmt: skip


def test_url_that_gives_no_photograph_gets_one_line_that_names_it_once(photographs: str) -> None:
    says = {
        f"{photographs}/gone": "No photograph is in this folder.",
        f"{photographs}/b.jpg/": "No photograph is in this folder.",
        f"{photographs}/*.png": "No object matches this pattern.",
        f"{photographs}/*.db": "No photograph is among what it matches, 1 of other kinds.",
        "memory://b*/x.jpg": "A pattern cannot stand for a bucket's name: write it out.",
        f"{photographs}//x.jpg": "has a part that is no name: '..', '.' or an empty one. Write the "
        "URL without it.",
    }
    assert found(*says, "b.jpg") == Selection(["b.jpg"], [*says.items()])
    listed = found("-", listed="http://h/x.jpg\nb.jpg")
    assert listed.photographs == ["b.jpg"]
    [(name, said)] = listed.errors
    assert name == "http://h/x.jpg"
    assert said.startswith("must be a path of this machine")
    assert "http" not in said


def test_each_bad_object_gets_a_line_and_the_others_are_read_in_order(
    photographs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "here.jpg").write_bytes(jpeg(9))
    Store(photographs).write("large.jpg", bytes(60_000))
    monkeypatch.setattr(originals, "MAX_BYTES", 50_000)
    given = [f"{photographs}/{name}" for name in ("b.jpg", "gone.jpg", "bad.jpg", "large.jpg", ODD)]
    given.insert(1, str(tmp_path / "here.jpg"))
    errors: dict[str, str] = {}
    jpegs = [*prediction.read(given, 256, errors.__setitem__)]
    assert jpegs == [(given[0], jpeg(0)), (given[1], jpeg(9)), (given[5], jpeg(8))]
    hint = "Give a photograph, such as a JPEG or a PNG."
    assert errors == {
        given[2]: "There is no such object. Give the URL of one; with a slash behind, all below it "
        "is meant.",
        given[3]: f"not an image. {hint}",
        given[4]: f"too large: 60000 bytes, at most 50000 are allowed. {hint}",
    }


def test_classifier_takes_urls_and_names_the_one_that_it_cannot_use(
    photographs: str, tmp_path: Path
) -> None:
    classifier = Classifier.load(trained_run.write(tmp_path / "run"))
    given = [f"{photographs}/{name}" for name in ("b.jpg", "a/z.JPG", ODD)] * 12
    expected = classifier.predict([jpeg(0), jpeg(1), jpeg(8)] * 12)
    np.testing.assert_array_equal(classifier.predict(given), expected)
    there, here = classifier.explain(given[:1])[0], classifier.explain([jpeg(0)])[0]
    np.testing.assert_array_equal(there.heat_map, here.heat_map)
    with pytest.raises(Exception, match=rf"some\[1\] \({photographs}/bad.jpg\): not an image"):
        classifier.predict([given[0], f"{photographs}/bad.jpg"])
    with pytest.raises(
        FileNotFoundError, match=f"There is no such object: '{photographs}/gone.jpg"
    ):
        classifier.predict([f"{photographs}/gone.jpg"])


def test_urls_are_what_is_printed_and_saved(
    photographs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"workdir": str(trained_run.write(tmp_path / "run")), "top_k": 1, "format": "json"}
    saved = tmp_path / "saved"
    config = prediction.PredictConfig(**options, save_dir=str(saved), plot=f"{tmp_path}/all.png")
    wrong = prediction.answer(
        config, [f"{photographs}/a", f"{photographs}/b.jpg", f"{photographs}/no.jpg"]
    )
    printed = capsys.readouterr()
    names = [f"{photographs}/{name}" for name in (*ALL[:3], "b.jpg")]
    assert [each["image"] for each in json.loads(printed.out)] == names
    assert wrong == 1
    assert f"Error: {photographs}/no.jpg: There is no such object." in printed.err
    rows = (saved / "predictions.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == names
    pictures = ["b.jpg.png", "c.jpg.png", "photograph.png", "z.JPG.png"]
    assert sorted(path.name for path in saved.glob("*.png")) == pictures
    assert (tmp_path / "all.png").exists()


def test_nothing_of_buckets_is_imported_for_files(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(jpeg(0))
    code = (
        "import io, sys; from trainer import prediction; from trainer.inference import selection; "
        "found = selection.select(['b.jpg', '-', '.', '*.jpg'], io.BytesIO(b'b.jpg')); "
        "print(len([*prediction.read(found.photographs, 16, print)])); "
        "print({'fsspec', 'tenacity', 'buckets.store'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
        env=environment(),
    )  # fmt: skip
    assert done.stdout == "4\nset()\n"


def test_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RuntimeError, match=r"gs:// needs the extra \[gcs\]"):
        found("gs://bucket/x.jpg")


def test_some_are_read_ahead_in_order_and_memory_holds_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_BYTES", 10)
    made: list[int] = []
    first = threading.Event()

    def work(item: int, room: ahead.Room) -> int:
        assert item or first.wait(10)  # The first takes longest.
        room(100 if item == 20 else 3)  # One has no room beside any other.
        made.append(item)
        return item

    results = ahead.ahead(work, range(100))
    get = next(results)
    first.set()
    assert get() == 0
    for number, get in zip(range(1, 40), results, strict=False):
        assert get() == number
        assert len(made) <= number + 5  # Three have room, and the one that is waited for.
    results.close()
    assert len(made) <= 40 + 5 + ahead._AT_ONCE


def test_pictures_of_objects_have_names_of_their_own(photographs: str) -> None:
    taken: set[str] = set()
    names = [f"{photographs}/{name}" for name in ("x/b.jpg", "y/b.jpg", ODD)]
    assert [explain.stem(name, taken) for name in names] == ["b", "b-2", ODD.removesuffix(".jpg")]
    assert saved_predictions.picture_name(names[2]) == "ü ö_1_41_x_2_y_+_.jpg"


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_real_client_reads_them_and_one_that_is_refused_costs_itself(
    bucket: str, faults: FaultProxy
) -> None:
    url = put(f"{bucket}/some photographs")
    marker = {"Bucket": bucket.removeprefix("s3://"), "Key": "some photographs/a/empty/"}
    clients.file_system("s3").call_s3("put_object", **marker)  # As a console shows a new folder.
    selection = found(url, f"{url}/d[1].jpg", f"{url}/*.JPG", f"{url}/*/*.JPG", f"{url}/a/empty")
    names = [f"{url}/{name}" for name in ALL]
    assert selection.photographs == [*names, f"{url}/d[1].jpg", f"{url}/a/z.JPG"]
    assert [name for name, _ in selection.errors] == [f"{url}/*.JPG", f"{url}/a/empty"]
    refused = Fault("answer", "GET", path="b/c.jpg", status=403, times=99)
    faults.plan(Fault("cut", "GET", path="a-b.jpg"), refused)
    errors: dict[str, str] = {}
    read = [*prediction.read(names, 0, errors.__setitem__)]
    assert [name for name, _ in read] == [n for n in names if n not in (names[0], f"{url}/bad.jpg")]
    assert [content for _, content in read][:2] == [jpeg(3), jpeg(1)]
    assert errors[names[0]].startswith("cannot be read: ")
    assert url not in errors[names[0]]


@pytest.mark.parametrize("bucket", ["s3"], indirect=True)
def test_bucket_that_cannot_be_read_is_one_line(bucket: str, faults: FaultProxy) -> None:
    for gone in ("s3://no-such-bucket/x.jpg", "s3://no-such-bucket/x", "s3://no-such-bucket/*.jpg"):
        with pytest.raises(BucketError, match="There is no bucket s3://no-such-bucket"):
            found(gone)
        with pytest.raises(BucketError, match="There is no bucket s3://no-such-bucket"):
            found("-", listed=f"b.jpg\n{gone}")
    url = put(bucket)
    selection = found(url)
    faults.plan(Fault("answer", status=403, times=99))
    with pytest.raises(BucketError, match="The bucket refuses it"):
        [*prediction.read(selection.photographs, 0, pytest.fail)]
