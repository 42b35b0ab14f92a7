"""What a build downloads: COCO's annotations and photographs, and cs231n's coco-animals.

Each file is fetched by `http`; here stands which ones, from where, and where they go.
"""

import fnmatch
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from data_prep.config import ANIMALS_URL, COCO_URL
from data_prep.sources import coco_layouts, fetching
from data_prep.sources.http import Downloader, UnavailableError
from data_prep.sources.photographs import Photograph, Rejection
from tfrecords import files, images
from tfrecords.unusable import UnusableImageError

COCO_ARCHIVE = "annotations/annotations_trainval2017.zip"
ANIMALS_ARCHIVE = "coco-animals.zip"


def fetch_annotations(downloader: Downloader, coco_dir: str, mirror: str | None) -> None:
    """Fetches COCO's own annotations, unless the folder holds annotations, of whatever tool.

    Raises:
        RuntimeError: if the archive cannot be had.
        ValueError: if it is not what it should be.
    """
    if coco_layouts.is_export(coco_dir):
        return
    folder = Path(coco_dir) / "annotations"
    url = f"{(mirror or COCO_URL).rstrip('/')}/{COCO_ARCHIVE}"

    def destination(member: str) -> Path | None:
        name = PurePosixPath(member).name
        return folder / name if fnmatch.fnmatch(name, "instances_*.json") else None

    _fetch_archive(downloader, url, folder, "instances_*.json", destination)


def fetch_animals(downloader: Downloader, folder_dir: str, mirror: str | None) -> None:
    """Fetches cs231n's coco-animals, a folder per class below train/ and val/, unless it is there.

    Raises:
        RuntimeError: if the archive cannot be had.
        ValueError: if it is not what it should be.
    """
    folder = Path(folder_dir)
    url = f"{(mirror or ANIMALS_URL).rstrip('/')}/{ANIMALS_ARCHIVE}"

    def destination(member: str) -> Path | None:
        below = PurePosixPath(member).parts[1:]  # Without `coco-animals`.
        return folder.joinpath(*below) if below and below[0] in ("train", "val") else None

    _fetch_archive(downloader, url, folder, "*/", destination)


def _fetch_archive(
    downloader: Downloader,
    url: str,
    folder: Path,
    unpacked: str,
    destination: Callable[[str], Path | None],
) -> None:
    """Fetches an archive and unpacks it, unless files that match `unpacked` are there.

    `destination` says where a member of the archive goes; None leaves it packed.
    """
    path = folder / PurePosixPath(urlsplit(url).path).name

    def is_done() -> bool:
        # The archive is removed when all is unpacked: while it is there, something is missing.
        return any(folder.glob(unpacked)) and not any(folder.glob(f"{path.name}*"))

    if is_done():
        return
    with fetching.alone_in(folder):
        if is_done():  # By the process that was waited for.
            return
        print(f"Fetching {url}", flush=True)
        try:
            downloader.fetch(url, path, _check_archive, is_shown=True)
        except UnavailableError as error:
            raise RuntimeError(
                f"Cannot fetch {url}: {error}. Start the same command again, or name a mirror with "
                "--download_url."
            ) from error
        _unpack(url, path, destination)
        path.unlink()


def _unpack(url: str, path: Path, destination: Callable[[str], Path | None]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_outside(archive, url)
            for member in archive.infolist():
                target = destination(member.filename)
                if target is not None and not member.is_dir():
                    _unpack_one(archive, member, target)
    except (zipfile.BadZipFile, zlib.error) as error:  # A CRC is wrong, say.
        path.unlink()
        raise ValueError(
            f"The archive is damaged: {error}. Received: {url}. Start the same command again to "
            "fetch it anew."
        ) from error


def _check_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise UnavailableError("not a zip archive, or not a whole one")


def _refuse_outside(archive: zipfile.ZipFile, url: str) -> None:
    for name in archive.namelist():
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(
                f"The archive holds a file outside its folder. Received: {name!r} in {url}. Do not "
                "trust this server."
            )


def _unpack_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, files.atomic_writer(path) as file:
        while chunk := source.read(2**20):
            file.write(chunk)


def fetch_photographs(
    downloader: Downloader,
    photographs: Sequence[Photograph],
    *,
    folder: Path,
    mirror: str | None,
    num_downloads: int,
    max_failures: int,
) -> list[Rejection]:
    """Fetches the photographs that are not on disk, and says why some could not be had.

    Args:
        downloader: Fetches each file.
        photographs: Those that the build needs.
        folder: The folder above all of them, which one process at a time may fetch into.
        mirror: A server to ask in place of the one that the annotations name.
        num_downloads: How many to fetch at once.
        max_failures: After more failures than this, nothing more is fetched.
    """
    if not _missing(photographs):
        return []
    with fetching.alone_in(folder):
        missing = _missing(photographs)
        _refuse_unmeasured(missing)
        print(f"Fetching {len(missing)} photographs, {num_downloads} at once", flush=True)
        return _fetch_all(downloader, missing, mirror, num_downloads, max_failures)


def _missing(photographs: Sequence[Photograph]) -> list[Photograph]:
    return [p for p in {p.path: p for p in photographs}.values() if not _may_be_there(p.path)]


def _may_be_there(path: str) -> bool:
    """Whether there is a file, or a name that no file can have, which no download will mend.

    An empty file does not count: a full disk has left it.
    """
    try:
        there = Path(path)
        return there.exists() and not (there.is_file() and there.stat().st_size == 0)
    except (OSError, ValueError):  # A name that is too long, say.
        return True


def _refuse_unmeasured(missing: Sequence[Photograph]) -> None:
    """Refuses boxes on photographs whose size neither a file on disk nor the annotations say."""
    unmeasured = [p.file for p in missing if p.objects and p.size == (0, 0)]
    if unmeasured:
        raise ValueError(
            "The annotations must say the width and height of photographs with boxes that are to "
            f"be fetched. Received: {len(unmeasured)} without, the first: {unmeasured[0]}. Add "
            "them, or fetch these photographs beforehand."
        )


def _fetch_all(
    downloader: Downloader,
    photographs: Sequence[Photograph],
    mirror: str | None,
    num_downloads: int,
    max_failures: int,
) -> list[Rejection]:
    def fetch(photograph: Photograph) -> Rejection | None:
        try:
            path = Path(photograph.path)
            downloader.fetch(_url(photograph, mirror), path, _check_photograph)
        except UnavailableError as error:
            return Rejection(photograph.file, f"not fetched: {error}")
        return None

    failures: list[Rejection] = []
    results = fetching.several_at_once(fetch, photographs, num_downloads, stop=downloader.stop)
    with closing(results):
        for rejection in filter(None, results):
            failures.append(rejection)
            if len(failures) > max_failures:
                break
    return failures


def _url(photograph: Photograph, mirror: str | None) -> str:
    if mirror and photograph.download_url:
        return mirror.rstrip("/") + urlsplit(photograph.download_url).path
    if photograph.download_url:
        return photograph.download_url
    return f"{(mirror or COCO_URL).rstrip('/')}/{quote(photograph.file)}"


def _check_photograph(path: Path) -> None:
    try:
        images.store_jpeg(path.read_bytes(), image_size=0)
    except UnusableImageError as error:
        raise UnavailableError(str(error)) from error
