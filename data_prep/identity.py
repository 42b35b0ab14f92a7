"""Which dataset a folder holds: a build must not put another one in its place unasked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep import shards
from data_prep.config import SOURCE_PATHS, BuildConfig
from data_prep.shards import ShardTask
from tfrecords import naming
from tfrecords.manifest import Manifest, read_manifest

# How a dataset is built, not what comes out.
_MACHINE_OPTIONS = frozenset(
    {
        "data_dir", "download", "download_url", "num_downloads", "num_workers", "runner",
        "beam_args", "task_index", "num_tasks", "commit_only", "max_bad_fraction", "overwrite",
        "dry_run",
    }
)  # fmt: skip


def check_options(config: BuildConfig) -> None:
    """Refuses a folder that holds a dataset of other options, before any photograph is read.

    Raises:
        ValueError: with the difference, or if what is there was made by something else.
    """
    data_dir = Path(config.data_dir)
    if config.overwrite:
        return
    manifest = _read(data_dir)
    if manifest is None:
        _refuse_foreign(data_dir)
    else:
        _refuse(config, _differences(manifest.options, _options(config), but=SOURCE_PATHS))


def check_source(config: BuildConfig, tasks: Sequence[ShardTask]) -> None:
    """Refuses a folder whose dataset was made from other photographs.

    A source that has only moved makes the same shards, and is no other one.

    Raises:
        ValueError: with the places of both.
    """
    manifest = None if config.overwrite else _read(Path(config.data_dir))
    if manifest is None:
        return
    moved = _differences(manifest.options, _options(config), only=SOURCE_PATHS)
    if moved and not all(map(shards.was_built_alike, tasks)):
        _refuse(config, moved)


def _read(data_dir: Path) -> Manifest | None:
    """The manifest of a complete dataset; None where there is none, or none that can be read."""
    try:
        return read_manifest(data_dir)
    except ValueError:  # Its digests vouch for nothing any more: a build mends that.
        return None


def _options(config: BuildConfig) -> dict[str, Any]:
    return dataclasses.asdict(config)


def _differences(
    there: Mapping[str, Any],
    here: Mapping[str, Any],
    *,
    only: Sequence[str] = (),
    but: Sequence[str] = (),
) -> list[str]:
    """A phrase for each option that differs; one that an older version did not know does not."""
    names = [name for name in only or here if name not in (*_MACHINE_OPTIONS, *but)]
    return [
        f"{name}: {_said(there[name])} there, {_said(here[name])} here"
        for name in names
        if name in there and _said(there[name]) != _said(here[name])
    ]


def _said(value: Any) -> str:
    """As a flag gives it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _refuse(config: BuildConfig, differences: Sequence[str]) -> None:
    if differences:
        raise ValueError(
            f"The data_dir holds another dataset. Received: data_dir={config.data_dir}; "
            f"{'; '.join(differences)}. Take another --data_dir or the same options, or replace "
            "it with --overwrite."
        )


def _refuse_foreign(data_dir: Path) -> None:
    """Refuses files of TFDS that no build of this project has left there."""
    is_own = (data_dir / naming.BUILD_STATE).exists()
    if not is_own and (data_dir / naming.DATASET_INFO).exists():
        raise ValueError(
            "The data_dir holds a dataset that this command did not make. Received: "
            f"data_dir={data_dir}, with {naming.DATASET_INFO} and no {naming.MANIFEST}. Take "
            "another --data_dir, or replace it with --overwrite."
        )
