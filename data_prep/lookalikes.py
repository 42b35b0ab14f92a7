"""Finds the photographs of train that look like one of another split, before any shard is built.

A step of `build` for --drop_near_duplicates. It decodes photographs; what it finds out about them
is kept in the folder of the dataset for the next build.
"""

import concurrent.futures
from collections.abc import Mapping, Sequence

import msgspec

from cli.progress import Progress
from data_prep import target
from data_prep.config import BuildConfig
from data_prep.examples import near_duplicates
from data_prep.plan import Example
from tfrecords import images, naming, originals
from tfrecords.unusable import UnusableImageError

_CACHE = f"{naming.BUILD_STATE}/{naming.FINGERPRINTS}"


class _Fingerprints(msgspec.Struct):
    """The cache file: how the photographs were decoded, and {content: fingerprint}."""

    made_by: str
    of_content: dict[str, str]


def find_lookalikes(config: BuildConfig, examples: Sequence[Example]) -> set[str]:
    """Returns the files of `train` that look like one of another split."""
    path_of = {example.digest.content: example.photograph.path for example in examples}
    place = None if config.dry_run else target.of(config.data_dir)
    is_cropped = any(example.candidate.crop is not None for example in examples)
    of_content = _fingerprint(path_of, 0 if is_cropped else config.image_size, place)
    fingerprints = {
        example.photograph.file: of_content[example.digest.content]
        for example in examples
        if example.digest.content in of_content
    }
    split_of = {example.photograph.file: example.split for example in examples}
    return near_duplicates.seen_in_training(near_duplicates.find(fingerprints, split_of))


def _fingerprint(
    path_of: Mapping[str, str], image_size: int, place: target.Target | None
) -> dict[str, str]:
    """Fingerprints photographs, unless the cache knows them, and remembers them there.

    Args:
        path_of: {content: path}; a content is the hex sha256 of a photograph's bytes.
        image_size: The size to decode to, as the shards store it.
        place: Where fingerprints are kept; None keeps none.

    Returns:
        {content: fingerprint}, without the photographs that cannot be decoded: they are rejected
        when the shards are built.
    """
    made_by = f"{images.encoding()}, image_size {image_size}, pHash {near_duplicates.VERSION}"
    known = _read_cache(place, made_by) if place else {}
    unknown = [content for content in path_of if content not in known]

    def look(content: str) -> str | None:
        try:
            photograph = originals.read_original(path_of[content])
            return near_duplicates.fingerprint(images.decode(photograph, image_size))
        except UnusableImageError:
            return None

    with (
        concurrent.futures.ThreadPoolExecutor() as pool,  # Decoding lets go of the GIL.
        Progress(len(unknown), "photographs compared") as progress,
    ):
        for content, found in zip(unknown, pool.map(look, unknown), strict=True):
            progress.add(1)
            if found is not None:
                known[content] = found
    if place and unknown:
        place.write(_CACHE, msgspec.json.encode(_Fingerprints(made_by, known)))
    return {content: known[content] for content in path_of if content in known}


def _read_cache(place: target.Target, made_by: str) -> dict[str, str]:
    try:
        fingerprints = msgspec.json.decode(place.read(_CACHE), type=_Fingerprints)
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    return fingerprints.of_content if fingerprints.made_by == made_by else {}
