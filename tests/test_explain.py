"""The command: a picture for each photograph, a page of them all, and nothing else touched."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import trained_run, warm
from tests.support.coco_folder import jpeg
from tests.support.miniature import environment


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_run.write(tmp_path_factory.mktemp("run"))


def explain(
    workdir: Path, output_dir: Path, *words: str, listed: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    flags = [f"--workdir={workdir}", f"--output_dir={output_dir}"]
    return subprocess.run(
        warm.up([sys.executable, "-m", "trainer.explain", *flags, *words]),
        capture_output=True, text=True, env=environment(), check=False, input=listed, cwd=cwd,
    )  # fmt: skip


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What TensorFlow logs where it is warm is left out."""
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("Error: ")]


def test_every_photograph_that_can_be_read_gets_a_picture_of_its_own(
    workdir: Path, tmp_path: Path
) -> None:
    given, out = [], tmp_path / "out" / "deeper"
    for number, name in enumerate(("a/1.jpg", "b/1.jpeg", "b/../c/1-2.jpg", "..jpg")):
        given.append(tmp_path / name)
        for folder in ("a", "b", "c"):
            (tmp_path / folder).mkdir(exist_ok=True)
        given[-1].write_bytes(jpeg(number))
    (tmp_path / "zip.jpg").write_bytes(b"PK\x03\x04" + bytes(99))
    (tmp_path / "a" / "notes.txt").write_text("no photograph")
    words = [f"{tmp_path}/a", f"{tmp_path}/b/*.jpeg", "-", f"{tmp_path}/gone.jpg"]
    listed = "\n".join([*map(str, given[2:]), f"{tmp_path}/zip.jpg"])
    done = explain(workdir, out, "--method=gradcam++", *words, listed=listed)
    assert done.returncode == 1
    pictures = [out / f"{name}.png" for name in ("1", "1-2", "1-2-2", ".")]
    lines = done.stdout.splitlines()
    for line, picture, path in zip(lines, pictures, given, strict=True):
        assert line.startswith(f"{picture}: Probability ")
        assert line.endswith(("% of [cat]", "% of [dog]", "% of [zebra]"))
        shown, photograph = (np.array(Image.open(each)) for each in (picture, path))
        assert shown.shape == photograph.shape
        assert (shown != photograph).any()
    assert errors_of(done) == [
        f"Error: {tmp_path}/zip.jpg: not an image. Give a photograph, such as a JPEG or a PNG.",
        f"Error: {tmp_path}/gone.jpg: No such file or directory. Give the path of a photograph.",
    ]
    assert sorted(out.iterdir()) == sorted([*pictures, out / "explanations.html"])
    assert "Passed over a file that is no photograph: notes.txt." in done.stderr
    page = (out / "explanations.html").read_text()
    assert "4 photographs, method gradcam++" in page
    assert page.count("data:image/jpeg") == 8

    again = explain(Path(), out, "--class=zebra", str(given[0]), cwd=workdir)
    assert again.returncode == 0
    assert again.stdout.startswith(f"{out}/1.png: Probability ")
    assert again.stdout.endswith("% of [zebra]\n")
    assert workdir.name in (out / "explanations.html").read_text()


@pytest.mark.parametrize(
    ("words", "output_dir", "message"),
    [
        (("--class=zebar", "1.jpg"), "out", "Received: class='zebar'. The nearest: zebra."),
        (("1.jpg",), "file/out", "output_dir cannot be made: Not a directory."),
        (("1.jpg",), "album", "which holds 1.png. Name another one."),
        ((), "out", "At least one image is needed. Received: none."),
        (("--method=lime", "1.jpg"), "out", "method"),
    ],
    ids=["class", "no folder", "a folder of others", "no image", "method"],
)
def test_what_cannot_be_done_is_one_line(
    words: tuple[str, ...], output_dir: str, message: str, workdir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "1.png").write_text("precious")
    done = explain(workdir, tmp_path / output_dir, *words)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = errors_of(done)
    assert message in line
    assert (tmp_path / "album" / "1.png").read_text() == "precious"


def test_method_of_another_head_writes_nothing(workdir: Path, tmp_path: Path) -> None:
    done = explain(workdir, tmp_path / "out", "--method=places", "1.jpg")
    assert done.returncode == 1
    [line] = errors_of(done)
    assert "needs a run of --head=places" in line
    assert not list((tmp_path / "out").iterdir())
