"""Finds the photographs that a person names: files, folders, patterns, URLs, a list of paths."""

import contextlib
import dataclasses
import fnmatch
import functools
import glob
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from buckets import urls
from cli import paths
from tfrecords import heif, junk, originals, walk
from trainer.inference.ahead import ahead

if TYPE_CHECKING:
    from trainer.inference.objects import Objects

LIST = "-"
"""The argument that stands for a list of paths on standard input."""

_PHOTOGRAPHS_BEGIN = (b"\xff\xd8\xff", b"\x89PNG")
_ANY_DEPTH = "**"
_HEAD = 1024  # Bytes.


@dataclasses.dataclass(frozen=True)
class Selection:
    """What arguments name.

    Attributes:
        photographs: Paths and URLs, in the order of the arguments, one that is named twice also
            twice.
        errors: (name, what is wrong) of each argument, or folder in one, that gives none.
        passed_over: Files beside photographs that are none.
    """

    photographs: list[str] = dataclasses.field(default_factory=list)
    errors: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    passed_over: list[str] = dataclasses.field(default_factory=list)

    def passed_over_in_words(self) -> str | None:
        """One line for a person; None: no file was passed over."""
        if not self.passed_over:
            return None
        count, first = len(self.passed_over), originals.shown(Path(self.passed_over[0]).name)
        if count == 1:
            return f"Passed over a file that is no photograph: {first}."
        return f"Passed over {count:,} files that are no photographs: {first} and others."


def select(
    arguments: Sequence[str], standard_input: BinaryIO, leave_out: str | None = None
) -> Selection:
    """Returns what arguments name; nothing of it is decoded, nor read of what a URL names alone.

    A file that is named is taken as it is. Of the files in a folder, or that a pattern matches,
    those are passed over that are no photographs: by their names, or by their first bytes where
    the name does not say.

    Args:
        arguments: Each a file, a folder, a pattern that no shell has replaced, the URL of one of
            these, or `-`, for a list of files and folders.
        standard_input: Where the list is, one path a line, or with a NUL behind each.
        leave_out: A folder below which nothing is looked for.

    Raises:
        BucketError: if a bucket cannot be listed; within 10 seconds, if nothing can be had there.
        RuntimeError: if the client of its scheme is not installed.
    """
    found = Selection()
    objects = functools.cache(_objects)  # One for all, made for the first URL.
    for argument in arguments:
        with _errors_of(found, argument):
            if argument == LIST:
                _add_listed(found, _listed(standard_input), leave_out, objects)
            elif urls.is_remote(argument):
                _add_url(found, _url(argument), objects())
            else:
                _add_named(found, argument, leave_out)
    return found


def _objects() -> "Objects":
    from trainer.inference.objects import Objects  # Brings what repeats requests: for buckets.

    return Objects()


@contextlib.contextmanager
def _errors_of(found: Selection, argument: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        # The argument stands before it: once is enough of a URL.
        is_url = urls.is_remote(argument) or urls.mended(argument)
        repeated = f" Received: {argument}." if is_url else ""
        found.errors.append((originals.shown(argument), str(error).replace(repeated, "")))


def _add_listed(
    found: Selection,
    listed: Sequence[str],
    leave_out: str | None,
    objects: "Callable[[], Objects]",
) -> None:
    with contextlib.closing(_are_folders(listed, objects)) as are_folders:
        for path in listed:
            with _errors_of(found, path):
                if not urls.is_remote(path):
                    _add(found, _literal(path), _literal(path), leave_out)
                elif next(are_folders)():
                    _add_folder_of(found, _url(path), objects())
                else:
                    found.photographs.append(_url(path))


def _are_folders(
    listed: Sequence[str], objects: "Callable[[], Objects]"
) -> Generator[Callable[[], bool]]:
    """Yields for each URL of a list what says whether it is that of a folder; several are asked."""
    if remote := [path for path in listed if urls.is_remote(path)]:
        shared = objects()
        yield from ahead(lambda url, _: shared.is_folder(_url(url)), remote)


def _url(argument: str) -> str:
    """Returns a URL as it is written everywhere.

    Raises:
        ValueError: if its scheme is not known, or if it can be the name of nothing.
    """
    if not originals.is_text(argument):
        raise ValueError("An object's name is UTF-8.")
    return paths.expand(argument, urls.SCHEMES, is_named=True)


def _add_url(found: Selection, url: str, objects: "Objects") -> None:
    folder, pattern = urls.split_pattern(url)
    if pattern and not objects.is_there(url):
        _add_matching_objects(found, url, folder, pattern, objects)
    elif objects.is_folder(url):
        _add_folder_of(found, url, objects)
    else:
        found.photographs.append(url)


def _add_folder_of(found: Selection, url: str, objects: "Objects") -> None:
    below = [urls.join(url, *parts) for parts in objects.below(url)]
    _add_photographs(found, url, below, objects.are_photographs(below), "in this folder")


def _add_matching_objects(
    found: Selection, name: str, folder: str, pattern: Sequence[str], objects: "Objects"
) -> None:
    matched = [
        urls.join(folder, *parts) for parts in objects.below(folder) if _matches(parts, pattern)
    ]
    if not matched:
        raise ValueError("No object matches this pattern.")
    are = objects.are_photographs(matched)
    _add_photographs(found, name, matched, are, "among what it matches")


def _add_named(found: Selection, argument: str, leave_out: str | None) -> None:
    path = paths.expand(argument)
    if glob.has_magic(argument) and not os.path.lexists(path):
        _add_matches(found, argument, path, leave_out)
    else:
        _add(found, argument, path, leave_out)


def _add(found: Selection, name: str, path: str, leave_out: str | None) -> None:
    if _is_folder(path):
        files = list(_below(found, Path(path), leave_out))
        _add_photographs(found, name, files, _are_photographs(files), "in this folder")
    else:
        found.photographs.append(name)  # As it was given: `~/photo.jpg` is shown so.


def _add_matches(found: Selection, name: str, pattern: str, leave_out: str | None) -> None:
    parts = Path(pattern).parts
    deep = parts.index(_ANY_DEPTH) if _ANY_DEPTH in parts else len(parts)
    matched = glob.glob(str(Path(*parts[:deep])))  # noqa: PTH207  Path's takes no absolute pattern.
    files: list[str] = []
    for match in sorted(matched):
        if not _is_folder(match):
            files += [match] if deep == len(parts) else []
            continue
        for file in _below(found, Path(match), leave_out):
            if _matches(Path(file).relative_to(match).parts, parts[deep:]):
                files.append(file)
    if not files:
        raise ValueError("No file matches this pattern.")
    _add_photographs(found, name, files, _are_photographs(files), "among what it matches")


def _matches(file: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a pattern's parts match those of a file, or of a folder that it is in.

    Python's own search below `**` follows links that lead up, again and again.
    """
    if not pattern:
        return True
    if pattern[0] == _ANY_DEPTH and _matches(file, pattern[1:]):
        return True
    if not file or (pattern[0] != _ANY_DEPTH and not fnmatch.fnmatchcase(file[0], pattern[0])):
        return False
    return _matches(file[1:], pattern if pattern[0] == _ANY_DEPTH else pattern[1:])


def _add_photographs(
    found: Selection, name: str, files: Sequence[str], are: Sequence[bool], where: str
) -> None:
    """Adds those of some files that are photographs; where there is none, that is an error."""
    if not any(are):
        beside = f", {len(files):,} of other kinds" if files else ""
        found.errors.append((originals.shown(name), f"No photograph is {where}{beside}."))
        return
    photographs = (file for file, is_one in zip(files, are, strict=True) if is_one)
    found.photographs.extend(map(_literal, photographs))
    found.passed_over.extend(file for file, is_one in zip(files, are, strict=True) if not is_one)


def _below(found: Selection, folder: Path, leave_out: str | None) -> Iterator[str]:
    """The files below a folder, sorted; what cannot be listed becomes an error."""

    def failed(error: OSError) -> None:
        name = originals.shown(str(error.filename))
        found.errors.append((name, f"{error.strerror}: its photographs are not among these."))

    without = Path(leave_out).resolve() if leave_out else None
    for path in sorted(walk.files(folder, failed)):
        if without is None or not path.resolve().is_relative_to(without):
            yield str(path)


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # Reading it will say why.
        return False


def _are_photographs(files: Sequence[str]) -> list[bool]:
    """Whether files that nobody named are photographs, which may then be damaged ones."""
    return [
        _begins_as_photograph(Path(file)) if is_one is None else is_one
        for file, is_one in zip(files, map(junk.by_name, map(Path, files)), strict=True)
    ]


def _begins_as_photograph(path: Path) -> bool:
    try:
        with originals.open_original(path) as file:
            if heif.is_heic(file.read(_HEAD)):
                return True
        with Image.open(path):
            return True
    except Exception:  # Plug-ins raise anything.
        return False


def _listed(standard_input: BinaryIO) -> list[str]:
    """Returns the paths of a list.

    Raises:
        ValueError: if there is none.
    """
    content = standard_input.read().removeprefix(b"\xef\xbb\xbf")
    if content.startswith(_PHOTOGRAPHS_BEGIN):
        raise ValueError("Standard input holds a photograph. Give its path, or a list of paths.")
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    listed = [os.fsdecode(line) for line in lines if line.strip()]
    if not listed:
        raise ValueError("Standard input lists no path. Give one a line, as `find` prints them.")
    return listed


def _literal(path: str) -> str:
    """A path that was found, so that no `~` at its beginning is taken for a home folder."""
    return f"./{path}" if path.startswith("~") else path
