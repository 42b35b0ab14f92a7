"""Which files of a run its bucket gets, which come back from there, and in what order: by name."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tfrecords import naming
from tfrecords.files import INCOMPLETE_SUFFIX

CROSSVAL_FILE = "crossval.json"
FOLDS = "folds"
CHECKPOINTS = "checkpoints"
RUN = ("config.json", "classes.json", "model.keras", "metrics.json")  # What readers need of a run.
CROSSVAL = (CROSSVAL_FILE, "metrics.json", "out_of_fold.csv")

LAST = "metrics.json"  # Where it stands, all is there.
_FETCHED = {
    *RUN, *CROSSVAL, naming.MANIFEST, "history.csv", "report.html", "predictions.csv",
    "diverged.json", "lr_find.csv", "lr_find.png", "trackers.json", "label_issues.csv",
    "tune.json", "study.db", "best.flags",
}  # fmt: skip
_FETCHED_FOLDERS = (FOLDS, "trials")
STAY_HERE = ("features", "vectors")
_NEVER_UP = (INCOMPLETE_SUFFIX, ".incomplete.keras", ".part", "-journal", "-wal", "-shm", ".lock")


def checkpoints(names: Iterable[str]) -> set[str]:
    """Those that are the run's own checkpoints."""
    return {name for name in names if PurePosixPath(name).parts[:-1] == (CHECKPOINTS,)}


def is_of_fold(name: str) -> bool:
    """Whether an object is the checkpoint of a fold, or of a trial's."""
    path = PurePosixPath(name)
    return (
        path.parts[0] in _FETCHED_FOLDERS
        and path.parent.name == CHECKPOINTS
        and path.match("step-*.npz")
    )


def step(path: str | Path) -> int:
    """The step of a checkpoint."""
    return int(PurePosixPath(path).stem.removeprefix("step-"))


def is_fetched(name: str) -> bool:
    """Whether it comes down as a command begins; checkpoints do when they are needed."""
    parts = PurePosixPath(name).parts
    return name in _FETCHED or (
        parts[0] in _FETCHED_FOLDERS and not {CHECKPOINTS, "tensorboard"}.intersection(parts)
    )


def is_put_up(name: str) -> bool:
    """Whether it goes up with the others; checkpoints do by themselves."""
    parts = PurePosixPath(name).parts
    return not (parts[0] in STAY_HERE or CHECKPOINTS in parts or name.endswith(_NEVER_UP))


def place(name: str) -> tuple[bool, bool, int, str]:
    """The order in which files go up: what says that a folder is complete goes after it."""
    path = PurePosixPath(name)
    return path.name == LAST, path.suffix == ".keras", -len(path.parts), name
