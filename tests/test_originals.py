"""A photograph's file that cannot be read is a rejection, and nobody waits for it."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrecords import originals
from tfrecords.unusable import UnavailableImageError, UnusableImageError


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, originals.MAX_BYTES + 1)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "not a regular file"),
    "socket": (listen, "not a regular file"),
    "endless device": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "larger than any photograph": (sparse, "too large: 1073741825 bytes, at most 1073741824"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_photograph_s_is_not_read(name: str, tmp_path: Path) -> None:
    make, says = FILES[name]
    path = tmp_path / "1.jpg"
    make(path)
    with pytest.raises(UnusableImageError, match=says):
        originals.read_original(path)


@pytest.mark.parametrize("name", ["x" * 300, "half a character \ud800", "nul \0"])
def test_name_that_no_file_can_have_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableImageError, match=r"File name too long|no file can have this name"):
        originals.read_original(tmp_path / name)


def fail(number: int) -> Callable[..., None]:
    def read(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return read


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EPERM])
def test_trouble_with_one_file_is_that_file_s(number: int, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "1.jpg").touch()
    monkeypatch.setattr(Path, "open", fail(number))
    with pytest.raises(UnavailableImageError, match=f"cannot be read: {os.strerror(number)}"):
        originals.read_original(tmp_path / "1.jpg")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC])
def test_trouble_with_every_file_is_no_rejection(number: int, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "1.jpg").touch()
    monkeypatch.setattr(Path, "open", fail(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        originals.read_original(tmp_path / "1.jpg")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Bär 猫.jpg", "Bär 猫.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
        ("half \ud800.jpg", r"half \ud800.jpg"),
        ("two\nlines\x1b.jpg", r"two\nlines\x1b.jpg"),
    ],
)
def test_name_is_shown_on_one_line_of_text(name: str, shown: str) -> None:
    assert originals.shown(name) == shown
    assert originals.is_text(originals.shown(name))
