"""Predicting goes on, whatever one of the images does."""

import json
import os
from pathlib import Path

import pytest

from tests.coco_folder import jpeg
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
    assert jpegs == {str(whole): jpeg(1), rf"{workdir}/caf\xe9.jpg": jpeg(2)}
    hint = "Give a photograph, such as a JPEG or a PNG."
    assert errors == {
        str(cut): f"not an image. {hint}",
        str(pipe): f"cannot be read: not a regular file. {hint}",
        str(loop): f"cannot be read: Too many levels of symbolic links. {hint}",
        str(long): f"cannot be read: File name too long. {hint}",
        str(workdir): "Is a directory. Give the path of a photograph.",
        str(workdir / "no"): "No such file or directory. Give the path of a photograph.",
    }
