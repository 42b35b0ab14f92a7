"""Plans a build before any pixel is decoded: pure, but for reading each photograph's digest."""

import concurrent.futures
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from cli.progress import Progress
from data_prep.config import BuildConfig
from data_prep.examples import near_duplicates
from data_prep.examples.labels import Candidate
from data_prep.shards import ExampleSpec, ShardTask, Stamp, stamp_of
from data_prep.sources.photographs import Rejection
from tfrecords import files, heif, images, naming, originals, plan
from tfrecords.unusable import UnusableImageError

_NUM_READERS = 4  # Threads: enough to hide the waits of a disk; more wait for the GIL instead.


class Digest(NamedTuple):
    """What was read of a photograph.

    Attributes:
        content: Hex sha256 of its bytes.
        stamp: Its file's at that time.
        decoder: As `heif.extra_decoder` returns it.
    """

    content: str
    stamp: Stamp
    decoder: str


def digest_photographs(
    candidates: Sequence[Candidate],
) -> tuple[dict[str, Digest], list[Rejection]]:
    """Reads each photograph once.

    Returns:
        {path: digest}, and a rejection for each photograph that is not there, or cannot be read,
        or has a name that no dataset can hold.

    Raises:
        OSError: if no file at all can be opened.
    """
    nameless = [c.photograph.path for c in candidates if not originals.is_text(c.photograph.name)]
    file_of = {c.photograph.path: c.photograph.file for c in candidates}
    paths = list(file_of)
    # A share for each thread: handing out one photograph at a time costs as much as hashing it.
    shares = [paths[first::_NUM_READERS] for first in range(_NUM_READERS)]
    with concurrent.futures.ThreadPoolExecutor(_NUM_READERS) as pool:  # Hashing lets go of the GIL.
        found_by = list(pool.map(lambda share: [(path, _look_up(path)) for path in share], shares))
    found_of = dict(itertools.chain.from_iterable(found_by))
    found_of |= dict.fromkeys(nameless, "its name is not UTF-8: rename it")
    digests = {path: found for path, found in found_of.items() if isinstance(found, Digest)}
    reasons = {path: found for path, found in found_of.items() if isinstance(found, str)}
    return digests, [Rejection(file_of[path], reason) for path, reason in reasons.items()]


class _Fingerprints(msgspec.Struct):
    """What the cache holds: how the photographs were decoded, and {content: fingerprint}."""

    made_by: str
    of_content: dict[str, str]


def fingerprint_photographs(
    path_of: Mapping[str, str], image_size: int, cache: Path | None
) -> dict[str, str]:
    """Fingerprints photographs ahead of a build, and remembers them for the next.

    Args:
        path_of: {content: path}, a content being the hex sha256 of a photograph's bytes.
        image_size: That they are stored with, as `images.decode` takes it.
        cache: The file that remembers; None: nothing does.

    Returns:
        {content: fingerprint}, without the photographs that cannot be decoded: those are rejected
        where the shards are built.
    """
    made_by = f"{images.encoding()}, image_size {image_size}, pHash {near_duplicates.VERSION}"
    known = _read_cache(cache, made_by) if cache else {}
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
    if cache and unknown:
        files.write_atomically(cache, msgspec.json.encode(_Fingerprints(made_by, known)))
    return {content: known[content] for content in path_of if content in known}


def _look_up(path: str) -> Digest | str:
    """Returns the digest, or why there is none."""
    try:
        return _digest(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return "not on disk"
    except UnusableImageError as error:
        return str(error)


def _digest(path: str) -> Digest:
    with originals.open_original(path) as file:
        stamp = stamp_of(file)  # First: a change meanwhile then shows.
        photograph = file.read()
    content = hashlib.sha256(photograph).hexdigest()
    return Digest(content, stamp, heif.extra_decoder(photograph))


def _read_cache(cache: Path, made_by: str) -> dict[str, str]:
    try:
        fingerprints = msgspec.json.decode(cache.read_bytes(), type=_Fingerprints)
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    return fingerprints.of_content if fingerprints.made_by == made_by else {}


def plan_shards(
    config: BuildConfig,
    candidates: Sequence[Candidate],
    digests: Mapping[str, Digest],
    splits_of: Sequence[str],
    seen: Collection[str] = (),
) -> list[ShardTask]:
    """Decides which example goes into which shard, in which order.

    Args:
        config: Of the build.
        candidates: The examples to be.
        digests: {path: digest} of every photograph.
        splits_of: The split of each candidate.
        seen: Files of photographs to leave out.
    """
    of_split: dict[str, list[ExampleSpec]] = defaultdict(list)
    for candidate, split in zip(candidates, splits_of, strict=True):
        photograph = candidate.photograph
        if photograph.file in seen:
            continue
        digest = digests[photograph.path]
        of_split[split].append(
            ExampleSpec(
                path=photograph.path,
                content=digest.content,
                stamp=digest.stamp,
                file=photograph.file,
                filename=photograph.name,
                image_id=photograph.image_id,
                label=candidate.label,
                size=photograph.size,
                objects=photograph.objects,
                crop=candidate.crop,
                drawn_as_shown=photograph.drawn_as_shown,
                decoder=digest.decoder,
            )
        )
    for name, fraction in (("val", config.val_fraction), ("test", config.test_fraction)):
        if config.split_by == "hash" and fraction and name not in of_split:
            raise ValueError(
                f"No example is left for the split {name!r}. "
                f"Received: {len(candidates)} examples in all, {name}_fraction={fraction}."
            )
    return [task for split in sorted(of_split) for task in _tasks(config, split, of_split[split])]


def seen_in_training(
    config: BuildConfig,
    candidates: Sequence[Candidate],
    contents: Sequence[str],
    splits_of: Sequence[str],
) -> set[str]:
    """The files of `train` that look like one of another split: decided before any shard."""
    path_of = {
        c: candidate.photograph.path for c, candidate in zip(contents, candidates, strict=True)
    }
    state = Path(config.data_dir) / naming.BUILD_STATE
    cache = None if config.dry_run else state / naming.FINGERPRINTS
    is_cropped = any(candidate.crop is not None for candidate in candidates)
    of_content = fingerprint_photographs(path_of, 0 if is_cropped else config.image_size, cache)
    file_of = [candidate.photograph.file for candidate in candidates]
    fingerprints = {
        file: of_content[content]
        for file, content in zip(file_of, contents, strict=True)
        if content in of_content
    }
    pairs = near_duplicates.find(fingerprints, dict(zip(file_of, splits_of, strict=True)))
    return near_duplicates.seen_in_training(pairs)


def _tasks(config: BuildConfig, split: str, examples: list[ExampleSpec]) -> list[ShardTask]:
    def order(example: ExampleSpec) -> bytes:
        # The name and the crop tell copies and crops of one photograph apart.
        return plan.order_key(config.salt, f"{example.content}/{example.filename}/{example.crop}")

    examples = sorted(examples, key=order)
    stored_bytes = sum(example.stamp.size for example in examples)
    num_shards = config.num_shards or plan.choose_num_shards(
        len(examples), stored_bytes, config.shard_mib
    )
    return [
        ShardTask(
            data_dir=config.data_dir,
            file=naming.shard_name(split, index, num_shards),
            image_size=config.image_size,
            examples=members,
        )
        for index, members in enumerate(plan.deal(examples, num_shards))
    ]
