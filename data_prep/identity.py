"""Which dataset a folder holds: a build must not put another one in its place unasked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from buckets import urls
from cli.flags import identity_of
from data_prep import shards, target
from data_prep.config import SOURCE_PATHS, BuildConfig
from data_prep.shards import ShardTask
from data_prep.target import Target
from tfrecords import naming
from tfrecords.manifest import Manifest

_FILES = (
    naming.MANIFEST, naming.DATASET_INFO, naming.FEATURES, naming.REPORT, naming.ATTRIBUTION,
    naming.REJECTED, naming.NEAR_DUPLICATES, naming.LICENSE,
)  # fmt: skip

# Files of the trainer, by which it knows whose a folder is, and what such a folder holds.
_RUN_CONFIG = "config.json"
_OF_RUNS = {
    _RUN_CONFIG: "a run",
    ".lease": "a run",  # In a bucket, before anything else is there.
    "crossval.json": "a cross-validation",
    "tune.json": "a search for a recipe",
}
_CHECKPOINTS = "checkpoints"


def recorded(config: BuildConfig) -> dict[str, Any]:
    """Returns every option as the manifest keeps it: the paths of a source are absolute."""
    return {name: _resolve(name, value) for name, value in dataclasses.asdict(config).items()}


def check_no_run(config: BuildConfig) -> None:
    """Refuses the folder of a run, which could not go on beside a dataset.

    Raises:
        ValueError: also for a cross-validation's, a search's, and that of a run's checkpoints.
    """
    place = target.of(config.data_dir)
    if place.exists(naming.MANIFEST):  # It is a dataset's already.
        return
    found = _marks_of_runs(place)
    whose = _OF_RUNS[found[0]] if found else "a run"
    if place.has_any(_CHECKPOINTS, "step-*.npz"):
        found.append(_CHECKPOINTS)
    if found:
        raise ValueError(
            f"The data_dir holds {whose}, whose report the dataset's would replace. Received: "
            f"data_dir={place}, with {', '.join(found)}. Name another --data_dir."
        )
    above, name = _split(config.data_dir)
    if name == _CHECKPOINTS and (found := _marks_of_runs(target.of(above))):
        raise ValueError(
            f"The data_dir is for the checkpoints of {_OF_RUNS[found[0]]}. Received: "
            f"data_dir={place}, beside {', '.join(found)}. Name another --data_dir."
        )


def _marks_of_runs(place: Target) -> list[str]:
    there = place.map(place.exists, _OF_RUNS)
    found = [name for name, exists in zip(_OF_RUNS, there, strict=True) if exists]
    return [name for name in found if name != _RUN_CONFIG or _has_run_config(place)]


def _has_run_config(place: Target) -> bool:
    """Whether its config.json is the trainer's: many a tool writes one."""
    try:
        read = msgspec.json.decode(place.read(_RUN_CONFIG))
    except (IsADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(read, dict) and {"recipe", "data"} <= read.keys()


def _split(data_dir: str) -> tuple[str, str]:
    """Returns the folder that it lies in, and its last name."""
    if urls.is_remote(data_dir):
        return urls.split(data_dir)
    path = Path(data_dir).resolve()
    return str(path.parent), path.name


def check_options(config: BuildConfig) -> None:
    """Refuses a folder that holds a dataset of other options, before any photograph is read.

    Raises:
        ValueError: with the difference, or if what is there was made by something else.
    """
    if config.overwrite:
        return
    place = target.of(config.data_dir)
    manifest = _read(place)
    if manifest is None:
        _refuse_foreign(place)
    else:
        _refuse(config, _differences(manifest.options, recorded(config), but=SOURCE_PATHS))


def check_source(config: BuildConfig, classes: Sequence[str], tasks: Sequence[ShardTask]) -> None:
    """Refuses a folder whose dataset was made from other photographs, or with other classes.

    A source that has only moved makes the same shards and counts as the same.

    Args:
        config: The build's options, with `split_by` settled.
        classes: The classes of the dataset to be.
        tasks: Its shards.

    Raises:
        ValueError: with the paths or the classes of both, or if the manifest cannot be read.
    """
    place = target.of(config.data_dir)
    if config.overwrite or not place.exists(naming.MANIFEST):
        return
    if shards.were_built_alike(tasks):
        return
    manifest = _read(place)
    if manifest is None:
        raise ValueError(
            f"The data_dir holds a dataset whose {naming.MANIFEST} cannot be read, with other "
            f"shards than this one. Received: data_dir={config.data_dir}. Take another --data_dir, "
            "or replace it with --overwrite."
        )
    there = {**manifest.options, "classes": manifest.classes}
    here = {**recorded(config), "classes": classes}
    _refuse(config, _differences(there, here, only=("classes", *SOURCE_PATHS)))


def _read(place: Target) -> Manifest | None:
    """Returns the manifest of a complete dataset; None if it is missing or cannot be read."""
    try:
        return msgspec.json.decode(place.read(naming.MANIFEST), type=Manifest)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def _differences(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    *,
    only: Sequence[str] = (),
    but: Sequence[str] = (),
) -> list[str]:
    """Returns a phrase for each option that differs, except options unknown to older versions."""
    names = [name for name in only or identity_of(BuildConfig) if name not in but]
    pairs = {
        name: (_said(_resolve(name, there[name])), _said(here[name]))
        for name in names
        if name in there
    }
    return [f"{name}: {a} there, {b} here" for name, (a, b) in pairs.items() if a != b]


def _resolve(name: str, value: Any) -> Any:
    """Makes the path of a source absolute, with links followed; leaves all else alone."""
    if name not in SOURCE_PATHS or not value:
        return value
    if isinstance(value, list | tuple):
        return tuple(_resolve(name, path) for path in value)
    return value.rstrip("/") if urls.is_remote(value) else str(Path(value).resolve())


def _said(value: Any) -> str:
    """Returns the value as a flag would give it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _refuse(config: BuildConfig, differences: Sequence[str]) -> None:
    if differences:
        raise ValueError(
            f"The data_dir holds another dataset. Received: data_dir={config.data_dir}; "
            f"{'; '.join(differences)}. Take another --data_dir or the same options, or replace "
            "it with --overwrite."
        )


def _refuse_foreign(place: Target) -> None:
    """Refuses a folder with files that a build would overwrite but that no build has made."""
    if place.has_folder(naming.BUILD_STATE):
        return
    foreign = [name for name in _FILES if place.exists(name)]
    if foreign:
        raise ValueError(
            "The data_dir holds files that this command did not make and would write over. "
            f"Received: data_dir={place}, with {', '.join(foreign)}. Take another --data_dir, "
            "or replace them with --overwrite."
        )
