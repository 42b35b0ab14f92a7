"""Predicting goes on, whatever one of the images does."""

import json
import os
from pathlib import Path

import pytest

from tests.support.coco_folder import jpeg
from trainer import predict


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"data": {"image_size": 256}}))
    return tmp_path


def test_each_bad_image_gets_a_line_and_the_others_are_read(workdir: Path) -> None:
    whole, cut, odd = (workdir / name for name in ("1.jpg", "2.jpg", os.fsdecode(b"caf\xe9.jpg")))
    whole.write_bytes(jpeg(1))
    odd.write_bytes(jpeg(2))
    cut.write_bytes(jpeg(3)[:20])
    pipe, loop, long = workdir / "pipe.jpg", workdir / "loop.jpg", workdir / ("x" * 300)
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    paths = [str(path) for path in (whole, cut, pipe, loop, long, workdir, workdir / "no", odd)]
    jpegs, errors = predict.read_photographs(paths, str(workdir))
    assert jpegs == [(str(whole), jpeg(1)), (rf"{workdir}/caf\xe9.jpg", jpeg(2))]
    hint = "Give a photograph, such as a JPEG or a PNG."
    assert dict(errors) == {
        str(cut): f"not an image. {hint}",
        str(pipe): f"cannot be read: not a regular file. {hint}",
        str(loop): f"cannot be read: Too many levels of symbolic links. {hint}",
        str(long): f"cannot be read: File name too long. {hint}",
        str(workdir): f"Is a directory. Give {workdir}/* for the photographs in it.",
        str(workdir / "no"): "No such file or directory. Give the path of a photograph.",
    }


def test_photographs_whose_names_look_alike_and_one_given_twice_are_all_answered(
    workdir: Path,
) -> None:
    latin, escaped = workdir / os.fsdecode(b"caf\xe9.jpg"), workdir / r"caf\xe9.jpg"
    for number, path in enumerate((latin, escaped)):
        path.write_bytes(jpeg(number))
    gone = str(workdir / "gone.jpg")
    given = [str(escaped), gone, str(latin), str(escaped), gone]
    jpegs, errors = predict.read_photographs(given, str(workdir))
    assert jpegs == [(str(escaped), jpeg(number)) for number in (1, 0, 1)]
    assert [name for name, _ in errors] == [gone, gone]


def test_picture_shows_the_first_of_many_and_says_so(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(
        "trainer.results.plots.draw_predictions", lambda some, *_: drawn.extend(some)
    )
    for count in (60, 400):
        predict.draw(list(range(count)), ["cat", "dog"], str(workdir / "plot.png"), 5)
    assert drawn == [*range(60), *range(60)]
    assert capsys.readouterr().err == "The picture shows the first 60 of 400.\n"
