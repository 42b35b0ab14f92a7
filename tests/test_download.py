"""Fetching COCO and coco-animals from a server that misbehaves."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.sources import download
from data_prep.sources.http import Downloader, Patience, UnavailableError
from data_prep.sources.photographs import Photograph
from tests.support import miniature
from tests.support.bad_server import BadServer, serving
from tests.support.coco_folder import instances, jpeg
from tfrecords.manifest import read_manifest

PHOTOGRAPH = jpeg(1, (640, 480))
PATIENT = Patience(attempts=3, connect_seconds=60, read_seconds=60)


class AsServed:
    """Patience with a server that is slow, and little with one that is about to stall."""

    def __init__(self, server: BadServer) -> None:
        self._server = server

    @property
    def read_seconds(self) -> float:
        return 0.2 if self._server.manners["/1.jpg"][:1] == ["stall"] else PATIENT.read_seconds

    def __getattr__(self, name: str) -> float:
        return getattr(PATIENT, name)


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serving({"/1.jpg": PHOTOGRAPH}) as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """The pauses that a downloader asked for, none of which is made."""
    return []


@pytest.fixture
def downloader(server: BadServer, waits: list[float]) -> Downloader:
    return Downloader(AsServed(server), waits.append)


def fetch(downloader: Downloader, server: BadServer, path: Path) -> None:
    downloader.fetch(f"{server.url}/1.jpg", path, download._check_photograph)


@pytest.mark.parametrize(
    ("manners", "ranges"),
    [
        (["drop"], ["", f"bytes={len(PHOTOGRAPH) // 2}-"]),  # Goes on where it was cut off.
        (["stall"], ["", f"bytes={len(PHOTOGRAPH) // 2}-"]),
        (["drop", "no ranges"], ["", f"bytes={len(PHOTOGRAPH) // 2}-"]),  # Sends all again.
        (["hang up"], ["", ""]),
        (["500", "503"], ["", "", ""]),
        (["429"], ["", ""]),
        (["too short"], ["", ""]),  # A damaged file is not gone on with.
        (["corrupt"], ["", ""]),
    ],
)
def test_photograph_arrives_whole(manners, ranges, server, downloader, tmp_path) -> None:
    server.manners["/1.jpg"] = manners
    fetch(downloader, server, tmp_path / "1.jpg")
    assert (tmp_path / "1.jpg").read_bytes() == PHOTOGRAPH
    assert [asked for _, asked in server.requests] == ranges
    assert [path.name for path in tmp_path.iterdir()] == ["1.jpg"]


@pytest.mark.parametrize(
    ("manners", "says", "requests"),
    [
        (["404"], "HTTP 404 Not Found", 1),  # Will not get better.
        (["403"], "HTTP 403 Forbidden", 1),
        (["500"] * 3, "HTTP 500 Internal Server Error (asked 3 times)", 3),
        (["corrupt"] * 3, "not an image", 3),
        (["stall"] * 3, "timed out", 3),
    ],
)
def test_photograph_that_cannot_be_had_says_why(
    manners, says, requests, server, downloader, tmp_path
) -> None:
    server.manners["/1.jpg"] = manners
    with pytest.raises(UnavailableError) as error:
        fetch(downloader, server, tmp_path / "1.jpg")
    assert says in str(error.value)
    assert len(server.requests) == requests
    assert not (tmp_path / "1.jpg").exists()


def test_pauses_double_and_heed_what_the_server_asks_for(
    server, downloader, waits, tmp_path
) -> None:
    server.manners["/1.jpg"] = ["500", "429"]
    fetch(downloader, server, tmp_path / "1.jpg")
    assert waits == [pytest.approx(1.125, abs=0.126), 7.0]  # Retry-After: 7.


def test_finished_part_is_not_fetched_again(server, downloader, tmp_path) -> None:
    (tmp_path / "1.jpg.part").write_bytes(PHOTOGRAPH)  # Killed before it got its name.
    fetch(downloader, server, tmp_path / "1.jpg")
    assert server.sent == 0
    assert (tmp_path / "1.jpg").read_bytes() == PHOTOGRAPH


def test_empty_file_is_fetched_again(server, downloader, tmp_path) -> None:
    """A disk that was full leaves one."""
    path = tmp_path / "1.jpg"
    path.write_bytes(b"")
    photograph = Photograph(str(path), "1.jpg", 1, "", (640, 480), (), download_url="/1.jpg")
    options = {"mirror": server.url, "num_downloads": 1, "max_failures": 0}
    for _ in range(2):
        failures = download.fetch_photographs(downloader, [photograph], folder=tmp_path, **options)
        assert failures == []
        assert path.read_bytes() == PHOTOGRAPH
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["result.json", "train/_annotations.coco.json"])
def test_annotations_are_not_fetched_into_a_tools_export(
    name, server, downloader, tmp_path
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    download.fetch_annotations(downloader, str(tmp_path), server.url)
    assert server.requests == []
    assert not (tmp_path / "annotations").exists()


def test_unreachable_server_is_named_at_once(downloader, waits, tmp_path) -> None:
    with serving({}) as gone:
        url = gone.url
    with pytest.raises(RuntimeError, match=r"Cannot reach .* Connection refused.*--download_url"):
        downloader.fetch(f"{url}/1.jpg", tmp_path / "1.jpg", download._check_photograph)
    assert not waits


def archive(members: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def coco_content(count: int = 20) -> dict[str, bytes]:
    """COCO as its server has it: an archive, and photographs at their coco_url."""
    content = instances(count)
    for image in content["images"]:
        name = image["file_name"]
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{name}"
    # Half of them show a cow.
    content["categories"].append({"id": 21, "name": "cow"})
    for annotation in content["annotations"][count // 2 :]:
        annotation["category_id"] = 21
    packed = archive({
        "annotations/instances_train2017.json": json.dumps(content),
        "annotations/captions_train2017.json": "{}",
    })  # fmt: skip
    photographs = {f"/train2017/{i}.jpg": jpeg(i) for i in range(1, count + 1)}
    return {f"/{download.COCO_ARCHIVE}": packed, **photographs}


def wait_for_half(process: subprocess.Popen, server: BadServer, root: Path, name: str) -> None:
    """Returns once the half of a photograph is there that a server sends before it stalls."""
    part = root / "coco" / f"{name}.part"
    half = len(server.content[f"/{name}"]) // 2
    while process.poll() is None and not (part.exists() and part.stat().st_size >= half):
        time.sleep(0.005)


def flags(server: BadServer, root: Path, *more: str) -> list[str]:
    return [
        "--source=coco", f"--coco_dir={root / 'coco'}", f"--data_dir={root / 'data'}", "--download",
        f"--download_url={server.url}", "--classes=cat,dog", "--num_workers=1", *more,
    ]  # fmt: skip


def test_only_what_the_build_needs_is_fetched_and_once(tmp_path) -> None:
    with serving(coco_content()) as server:
        server.manners[f"/{download.COCO_ARCHIVE}"] = ["drop"]
        done = miniature.python("data_prep.build", *flags(server, tmp_path))
        assert done.returncode == 0, done.stderr
        asked = [path for path, _ in server.requests]
        assert sorted(asked) == sorted(
            [f"/{download.COCO_ARCHIVE}"] * 2 + [f"/train2017/{i}.jpg" for i in range(1, 11)]
        )
        files = {p.name for p in (tmp_path / "coco" / "annotations").iterdir()}
        assert files == {"instances_train2017.json", ".download.lock"}
        again = miniature.python("data_prep.build", *flags(server, tmp_path))
        assert again.returncode == 0
        assert len(server.requests) == len(asked)
    manifest = read_manifest(tmp_path / "data")
    assert sum(map(manifest.num_examples, manifest.counts)) == 10


def test_photographs_that_stay_missing_are_rejections(tmp_path) -> None:
    with serving(coco_content()) as server:
        del server.content["/train2017/3.jpg"]
        done = miniature.python("data_prep.build", *flags(server, tmp_path))
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert "1 of 10 photographs are unusable" in line
        assert "train2017/3.jpg: not fetched: HTTP 404 Not Found" in line
        allowed = flags(server, tmp_path, "--max_bad_fraction=0.1")
        assert miniature.python("data_prep.build", *allowed).returncode == 0
    [line] = (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == "not fetched: HTTP 404 Not Found"


def test_killed_download_goes_on_and_fetches_nothing_twice(tmp_path) -> None:
    with serving(coco_content()) as server:
        server.manners["/train2017/5.jpg"] = ["stall"]
        command = [sys.executable, "-m", "data_prep.build", *flags(server, tmp_path)]
        command.append("--num_downloads=1")
        with subprocess.Popen(command, env=miniature.environment()) as process:
            wait_for_half(process, server, tmp_path, "train2017/5.jpg")
            os.kill(process.pid, signal.SIGKILL)
        before = len(server.requests)
        done = miniature.python("data_prep.build", *flags(server, tmp_path))
        assert done.returncode == 0, done.stderr
        half = len(server.content["/train2017/5.jpg"]) // 2
        assert ("/train2017/5.jpg", f"bytes={half}-") in server.requests[before:]
        asked = [path for path, _ in server.requests]
        assert len(asked) - len(set(asked)) == 1  # The one that was cut off.
        sizes = {path: len(content) for path, content in server.content.items()}
        assert server.sent == sum(sizes[path] for path in set(asked))


def test_archive_that_leaves_its_folder_is_refused(tmp_path) -> None:
    packed = archive({"annotations/instances_x.json": "{}", "../../evil.json": "{}"})
    says = r"outside its folder. Received: '../../evil.json'"
    content = {f"/{download.COCO_ARCHIVE}": packed}
    with serving(content) as server, pytest.raises(ValueError, match=says):
        download.fetch_annotations(Downloader(PATIENT), str(tmp_path / "coco"), server.url)
    assert not list(tmp_path.rglob("*.json"))


def test_damaged_archive_is_fetched_anew_by_the_same_command(tmp_path) -> None:
    content = coco_content()
    name = f"/{download.COCO_ARCHIVE}"
    good, damaged = content[name], bytearray(content[name])
    damaged[200] ^= 255
    with serving({name: bytes(damaged)}) as server:
        with pytest.raises(ValueError, match="damaged"):
            download.fetch_annotations(Downloader(PATIENT), str(tmp_path), server.url)
        assert not list(tmp_path.rglob("instances_*.json"))
        server.content[name] = good
        download.fetch_annotations(Downloader(PATIENT), str(tmp_path), server.url)
    assert (tmp_path / "annotations" / "instances_train2017.json").exists()


def test_class_folders_are_fetched_and_built(tmp_path) -> None:
    members = {
        f"coco-animals/{split}/{name}/{i}.jpg": jpeg(100 * len(split) + 10 * len(name[0]) + i)
        for split, count in (("train", 4), ("val", 2))
        for name in ("cat", "dog")
        for i in range(count)
    }
    for number, name in enumerate(members):
        members[name] = jpeg(number)
    content = {f"/{download.ANIMALS_ARCHIVE}": archive({**members, "coco-animals/README": "x"})}
    with serving(content) as server:
        done = miniature.python(
            "data_prep.build", "--source=folder", f"--folder_dir={tmp_path / 'animals'}",
            f"--data_dir={tmp_path / 'data'}", "--download", f"--download_url={server.url}",
            "--classes=cat,dog", "--split_by=source", "--num_workers=1",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "data").counts == {
        "train": {"cat": 4, "dog": 4},
        "val": {"cat": 2, "dog": 2},
    }


def test_real_photographs_arrive_byte_for_byte(shared: Path, tmp_path) -> None:
    source = shared / "coco_animals"
    members, content = {}, {}
    for file in (source / "annotations").glob("instances_*.json"):
        members[f"annotations/{file.name}"] = file.read_bytes()
        folder = source / file.stem.removeprefix("instances_")
        content |= {f"/{folder.name}/{p.name}": p.read_bytes() for p in folder.glob("*.jpg")}
    with serving(content | {f"/{download.COCO_ARCHIVE}": archive(members)}) as server:
        manners = ("drop", "500", "too short", "corrupt", "hang up")
        for number, path in enumerate(sorted(content)):
            server.manners[path] = [manners[number % 20]] if number % 20 < len(manners) else []
        options = [flag for flag in flags(server, tmp_path) if not flag.startswith("--classes")]
        done = miniature.python("data_prep.build", *options, "--min_area=0.02")
    assert done.returncode == 0, done.stderr
    fetched = list((tmp_path / "coco").rglob("*.jpg"))
    assert len(fetched) == 262
    for path in fetched:
        assert path.read_bytes() == (source / path.parent.name / path.name).read_bytes()
    assert not list((tmp_path / "coco").rglob("*.part"))


def test_interrupted_download_says_one_line_and_goes_on(tmp_path) -> None:
    with serving(coco_content()) as server:
        server.manners["/train2017/5.jpg"] = ["stall"]
        command = [sys.executable, "-m", "data_prep.build", *flags(server, tmp_path)]
        with subprocess.Popen(
            command, env=miniature.environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            wait_for_half(process, server, tmp_path, "train2017/5.jpg")
            os.kill(process.pid, signal.SIGINT)
            server.over.set()
            _, stderr = process.communicate(timeout=180)
        assert process.returncode == 42
        [line] = stderr.splitlines()
        assert line.startswith("Error: Interrupted.")
        assert miniature.python("data_prep.build", *flags(server, tmp_path)).returncode == 0


def test_two_downloads_into_one_folder_take_turns(tmp_path) -> None:
    with serving(coco_content()) as server:
        server.manners[f"/{download.COCO_ARCHIVE}"] = ["stall"]
        started = []
        for number in range(2):
            options = flags(server, tmp_path, f"--data_dir={tmp_path / str(number)}")
            command = [sys.executable, "-m", "data_prep.build", *options]
            started.append(subprocess.Popen(command, env=miniature.environment(),
                                            stdout=subprocess.PIPE, text=True))  # fmt: skip
        waiting = [iter(process.stdout.readline, "") for process in started]
        firsts = [next(lines) for lines in waiting]
        assert sorted(line.split()[0] for line in firsts) == ["Fetching", "Waiting"]
        server.over.set()
        for process in started:
            process.communicate(timeout=180)
            assert process.returncode == 0
        asked = [path for path, _ in server.requests if path.endswith(".jpg")]
        assert len(asked) == len(set(asked)) == 10
