"""What can be wrong with a command's inputs, said before TensorFlow's seconds of import."""

import dataclasses
import difflib
import importlib.util
import math
import os
from collections.abc import Sequence

from buckets import urls
from cli.command import FlagsError
from tfrecords import naming
from tfrecords.data_folder import DataFolder
from tfrecords.manifest import Manifest, read_manifest
from tfrecords.shard_cache import ShardCache
from trainer.config import TrainConfig
from trainer.model.backbone import Backbone
from trainer.model.weights import check_path
from trainer.workdir.crossval_files import CrossvalFiles
from trainer.workdir.files import Workdir, read_json
from trainer.workdir.initial_model import identify
from trainer.workdir.mirror import shown
from trainer.workdir.tuning_files import TuningFiles


def check_run(config: TrainConfig, backbone: Backbone) -> Manifest:
    """Returns the dataset that a run trains on, once nothing stands in the way of a start.

    Raises:
        ValueError: if the dataset is missing, incomplete, of one class, or without what the flags
            ask for, or if the workdir holds another run or a dataset, or can be no folder, or if
            the model to start from is none.
        RuntimeError: if a tracker is not installed.
        WeightsError: if the run starts from a file that cannot be the backbone's weights.
    """
    require_trackers(config)
    manifest = read_manifest(config.data_dir)
    check_workdir(config.workdir)
    if len(manifest.classes) < 2:
        raise ValueError(
            "A classifier needs two classes or more. Received: "
            f"data_dir={config.data_dir} with {', '.join(manifest.classes) or 'none'}. Build a "
            "dataset of more with `python -m data_prep.build --classes=...`."
        )
    if "val" not in manifest.counts and not config.fold and config.early_stopping_patience:
        raise ValueError(
            "early_stopping_patience needs a split named val, whose loss decides. Received: "
            f"data_dir={config.data_dir} with {', '.join(manifest.counts)}. Build it with a "
            "--val_fraction, or train all epochs."
        )
    cache = ShardCache(config.data_cache, config.data_cache_gib)
    workdir = Workdir(config.workdir)
    if config.lr_find and workdir.config.exists():
        raise ValueError(
            "lr_find starts from the initial weights, and leaves a run alone. Received: "
            f"workdir={config.workdir}, which holds one. Name another --workdir."
        )
    workdir.check(identify(config, manifest))
    for split in manifest.counts if config.fold else ("train", "val"):
        if split == "train" or split in manifest.counts:
            check_shards(config.data_dir, manifest, split, cache)
    # A run that goes on has its weights in its checkpoints.
    if not workdir.config.exists() and not config.init_from:
        check_path(config.weights, backbone)
    return manifest


def require_optuna() -> None:
    """Refuses to go on without Optuna.

    Raises:
        RuntimeError: if it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise RuntimeError(
            "A search needs Optuna, which comes with the extra [tune]. Received: an install "
            "without it. Install it with `pip install -e '.[tune]'`."
        )


def require_trackers(config: TrainConfig) -> None:
    """Refuses to go on without the trackers that are asked for, or a place for them.

    Raises:
        RuntimeError: if one is not installed.
        ValueError: if one would go into a workdir that is no folder of this machine.
    """
    for name, says_where in (("mlflow", "MLFLOW_TRACKING_URI"), ("wandb", "WANDB_DIR")):
        if name not in config.tracker_names:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # A folder of that name is not the package.
            raise RuntimeError(
                f"trackers={name} needs the extra [{name}]. Received: an install without it. "
                f"Install it with `pip install -e '.[{name}]'`."
            )
        if urls.is_remote(config.workdir) and not os.environ.get(says_where):
            raise ValueError(
                f"{name} keeps its files in a folder of this machine. Received: trackers="
                f"{config.trackers}, workdir={config.workdir}. Say in {says_where} where they go."
            )


def require_serving() -> None:
    """Refuses to go on without what the server is made of.

    Raises:
        RuntimeError: if any of it is not installed.
    """
    needed = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise RuntimeError(
            "A server needs FastAPI and uvicorn, which come with the extra [serve]. Received: an "
            f"install without {', '.join(missing)}. Install it with `pip install -e '.[serve]'`."
        )


def without_boxes(config: TrainConfig) -> TrainConfig:
    """Leaves out what needs boxes where the dataset has none, as class folders do; says so.

    Raises:
        ValueError: if there is no dataset.
    """
    if config.head != "places" and not config.object_crops:
        return config
    if read_manifest(config.data_dir).options["source"] != "folder":
        return config
    left_out = [
        *(["--head=places (--head=gap_gmp takes its place)"] if config.head == "places" else []),
        *(["--object_crops"] if config.object_crops else []),
    ]
    print(f"The photographs came in class folders, without boxes: {', '.join(left_out)} left out.")
    head = "gap_gmp" if config.head == "places" else config.head
    return dataclasses.replace(config, head=head, object_crops=False)


def advice_on_stored_size(config: TrainConfig, manifest: Manifest) -> str | None:
    """What to say where the photographs are stored smaller than the model sees them; else None."""
    stored = manifest.options["image_size"]
    needed = math.ceil(config.input_size * 8 / 7) if config.fit == "crop" else config.input_size
    if not stored or stored >= needed:  # 0: as they came.
        return None
    return (
        f"The photographs are stored with a short side of {stored} pixels and are enlarged to "
        f"--input_size={config.input_size}: `python -m data_prep.build --image_size={needed}` "
        "keeps what the model could see."
    )


def check_workdir(path: str | os.PathLike[str]) -> None:
    """Refuses a workdir that can be no folder, or that is a dataset's.

    Raises:
        ValueError: if so.
    """
    workdir = Workdir(path).root
    nearest = next((path for path in (workdir, *workdir.parents) if path.exists()), workdir)
    if nearest.exists() and not nearest.is_dir():
        raise ValueError(
            f"The workdir must be a folder, or not there yet. Received: workdir={path}, and "
            f"{shown(nearest)} is a file. Name another --workdir."
        )
    if (workdir / naming.MANIFEST).exists():
        raise ValueError(
            "The workdir holds a dataset, whose report the run's would replace. Received: "
            f"workdir={path}, with {naming.MANIFEST}. Name another --workdir."
        )


_Files = type[CrossvalFiles] | type[TuningFiles]
_OF_MANY_RUNS: tuple[tuple[_Files, str, str], ...] = (
    (
        CrossvalFiles,
        "a cross-validation, whose figures the run's would replace",
        "its runs lie in its folds/",
    ),
    (
        TuningFiles,
        "a search for a recipe, whose report would be replaced",
        "its trials lie in its trials/",
    ),
)


def check_no_other(path: str | os.PathLike[str], own: _Files | None = None) -> None:
    """Refuses the workdir of a cross-validation or of a search, whose report would be replaced.

    Args:
        own: What the command makes itself; None: a run.

    Raises:
        ValueError: if it is one.
    """
    for files, what, where in _OF_MANY_RUNS:
        if files is not own and files(path).identity.exists():
            raise ValueError(
                f"The workdir holds {what}. Received: workdir={path}. Name another --workdir; "
                f"{where}."
            )


def check_shards(
    data_dir: str | os.PathLike[str], manifest: Manifest, split: str, cache: ShardCache
) -> None:
    """Refuses a split of which a file is not there, or not whole by its size.

    Args:
        cache: What copies of them go to, if they are in a bucket.

    Raises:
        ValueError: if so, if the dataset has no such split, or if they cannot be copied.
    """
    folder = DataFolder(data_dir)
    if folder.store:
        cache.check(manifest.shards_of(split))
    for shard in manifest.shards_of(split):
        size = folder.size(shard.file)
        if size != shard.bytes:
            found = "which is not there" if size is None else f"of {size:,} bytes"
            raise ValueError(
                f"A shard is not what the manifest says. Received: {folder.place_of(shard.file)}, "
                f"{found}; expected: {shard.bytes:,} bytes. Copy it again, or build the dataset "
                "again."
            )


def check_trained(workdir: Workdir) -> list[str]:
    """Returns the names of the classes of a trained run.

    Raises:
        ValueError: if the workdir holds none, or if what it holds is damaged or edited.
    """
    classes = read_json(workdir.classes)
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(
            f"The file is not what a run writes: a list of the classes' names. Received: "
            f"{shown(workdir.classes)}. Put a copy of it back; config.json has them too."
        )
    workdir.require_model()
    _check_names(workdir, classes)
    return classes


def _check_names(workdir: Workdir, classes: Sequence[str]) -> None:
    """Refuses names that were edited: in another order, each answer would be of another class."""
    content = read_json(workdir.config) if workdir.config.exists() else {}
    data = content.get("data") if isinstance(content, dict) else None
    trained = data.get("classes") if isinstance(data, dict) else None
    if trained is not None and trained != classes:
        raise ValueError(
            "The names of the classes must be those that the run was trained with. Received: "
            f"{shown(workdir.classes)} with {', '.join(classes)}; {shown(workdir.config)} with "
            f"{', '.join(map(str, trained))}. Put the run's own files back."
        )


def label_of(name: str, classes: Sequence[str]) -> int:
    """Returns the index of a class.

    Raises:
        FlagsError: if there is none of this name.
    """
    if name not in classes:
        nearest = difflib.get_close_matches(name, classes, n=1, cutoff=0)
        raise FlagsError(
            f"class must be one of the run's. Received: class={name!r}. The nearest: {nearest[0]}."
        )
    return classes.index(name)


def check_classes(run_classes: Sequence[str], manifest: Manifest) -> None:
    """Refuses a dataset whose labels mean other classes than the run's, or another order of them.

    Raises:
        ValueError: if so.
    """
    if list(run_classes) != manifest.classes:
        raise ValueError(
            "The run and the dataset have different classes. Received: "
            f"{', '.join(run_classes)} (workdir); {', '.join(manifest.classes)} (data_dir). Take "
            "the dataset that the run was trained on, or build one with these --classes."
        )
