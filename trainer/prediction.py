"""What is on photographs, from arguments to what is printed and drawn: the story on one page."""

import contextlib
import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tqdm import tqdm

from cli import command, flags, streams
from cli.flags import BucketPath, LocalPath, Positive, Rule
from cli.progress import Progress
from trainer import keras_settings

if TYPE_CHECKING:
    import numpy as np

    from trainer.inference.formats import Answer, Format
    from trainer.inference.selection import Selection
    from trainer.results.predictions import Prediction
    from trainer.results.saved_predictions import SavedPredictions
    from trainer.workdir.files import Workdir

_BATCH_SIZE = 32  # So many are read, predicted and printed, then the next.
_MANY = 32
_MOST_DRAWN = 60  # Of more, a picture takes minutes and is too high for most viewers.
_DRAWN_SIDE = 1024  # Pixels: larger photographs are drawn no better.

_Probability = Annotated[float, Rule(lambda p: 0 < p <= 1, "must be above 0, and 1 at most")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Options of `python -m trainer.predict`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    top_k: Positive = 5
    """How many classes to name for each image; csv has them all."""
    format: Literal["text", "json", "csv"] = "text"
    """What to print."""
    reject_below: _Probability | None = None
    """Where the most probable class is less probable than this, the answer is none of these."""
    plot: LocalPath | None = None
    """A PNG to draw: each image with its bars."""
    save_dir: LocalPath | None = None
    """A new folder for a picture of each image with its bars, and a predictions.csv."""
    overwrite: bool = False
    """Write into a --save_dir that is not empty; files of the same names are replaced."""

    def __post_init__(self) -> None:
        flags.check(self)


def answer(config: PredictConfig, arguments: Sequence[str]) -> int:
    """Predicts for each photograph, and returns how many arguments and photographs were wrong.

    Raises:
        ValueError: if the workdir holds no trained run, or if nothing can be drawn where it shall.
    """
    if config.plot:
        check_plot(config.plot)
    if config.save_dir:
        check_save_dir(config.save_dir, config.overwrite)
    files, classes, image_size = check_workdir(config.workdir)
    selection = find(arguments, config.save_dir)
    if config.reject_below and (meaning := meaning_of(config.reject_below, files)):
        _say(meaning)
    complaints = Complaints(selection.errors)
    jpegs = read(selection.photographs, image_size, complaints.add)
    answers = predict(jpegs, files.root, config.reject_below)
    write(answers, classes, config, len(selection.photographs))
    return complaints.count


class Complaints:
    """Says what is wrong with photographs, and counts."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        self.count = 0
        for name, reason in errors:
            self.add(name, reason)

    def add(self, name: str, reason: str) -> None:
        """Says what is wrong with one."""
        self.count += 1
        _say(f"Error: {name}: {reason}")


def check_plot(plot: str) -> None:
    """Makes the folder of the picture before the work, so that a failure costs nothing.

    Raises:
        FlagsError: if its name is not that of a PNG, or if it is a folder.
        ValueError: if its folder cannot be made.
    """
    path = Path(plot)
    if path.suffix.lower() != ".png" or path.is_dir():
        raise command.FlagsError(
            f"plot must be the name of a PNG, as in photographs.png. Received: plot={plot!r}"
            f"{', a folder' if path.is_dir() else ''}."
        )
    _make_folder(path.parent, f"The folder of --plot cannot be made: %s. Received: plot={plot}.")


def check_save_dir(save_dir: str, overwrite: bool) -> None:
    """Makes the folder before the work, so that a failure costs nothing.

    Raises:
        ValueError: if it cannot be made, or holds files that nobody said may be replaced.
    """
    path = Path(save_dir)
    _make_folder(path, f"The folder of --save_dir cannot be made: %s. Received: {save_dir}.")
    if not overwrite and next(path.iterdir(), None):
        raise ValueError(
            f"save_dir must be a new or an empty folder. Received: save_dir={save_dir}, which "
            "holds files. Name another one, or add --overwrite to replace those of equal names."
        )


def _make_folder(path: Path, says: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{says % error.strerror} Name another one.") from error


def check_workdir(workdir: str) -> tuple["Workdir", list[str], int]:
    """Returns a run's files, its classes, and the short side of its stored photographs.

    Raises:
        ValueError: if the workdir holds no trained run.
    """
    from trainer.checks import check_trained
    from trainer.workdir.files import Workdir

    files = Workdir.reading(workdir)
    image_size = files.setting("data", "image_size")
    return files, check_trained(files), image_size


def find(arguments: Sequence[str], save_dir: str | None) -> "Selection":
    """Returns the photographs that arguments name; says that there are many, and what is none."""
    from trainer.inference import selection

    if selection.LIST in arguments and sys.stdin.isatty():
        _say("Reading paths from the keyboard, one a line; Ctrl-D ends the list ...")
    found = selection.select(arguments, sys.stdin.buffer, leave_out=save_dir)
    if words := found.passed_over_in_words():
        _say(words)
    if len(found.photographs) > _MANY:
        _say(f"Reading {len(found.photographs):,} photographs ...")
    return found


def meaning_of(threshold: float, files: "Workdir") -> str | None:
    """What a threshold meant for the run's validation; None where its figures do not say."""
    from trainer.inference import rejection
    from trainer.workdir.files import read_json

    figures = read_json(files.metrics) if files.metrics.exists() else {}
    return rejection.in_words(figures, threshold) if isinstance(figures, dict) else None


def read(
    photographs: Sequence[str], image_size: int, complain: Callable[[str, str], object]
) -> Iterator[tuple[str, bytes]]:
    """Yields photographs as a build would have stored them: (name, JPEG).

    They come in the order in which they are given, one that is given twice also twice. The names
    are the paths as `originals.shown` shows them, so that they can be printed: two may look the
    same.

    Args:
        photographs: Paths and URLs; those in buckets are read ahead.
        image_size: Upper bound of the short side in pixels; 0: there is none.
        complain: Called with the name of one that cannot be read, and what is wrong.

    Raises:
        BucketError: if none of a bucket can be read.
    """
    from tfrecords import originals
    from tfrecords.unusable import UnusableImageError
    from trainer.inference import photographs as inference

    with contextlib.closing(inference.fetched(photographs)) as fetched:
        for path, photograph in zip(photographs, fetched, strict=True):
            name = originals.shown(path)
            try:
                yield name, inference.read(photograph(), image_size)
            except (UnusableImageError, OSError, ValueError) as error:
                complain(name, inference.complaint(name, error))


def predict(
    jpegs: Iterator[tuple[str, bytes]], workdir: str | Path, reject_below: float | None = None
) -> Iterator[tuple["Answer", bytes]]:
    """Yields an answer for each photograph, and its JPEG, batch after batch.

    TensorFlow is loaded once there is a first photograph.

    Args:
        jpegs: (name, JPEG) of each photograph, the JPEG as an example would hold it.
        workdir: Of a trained run.
        reject_below: An answer whose most probable class is less probable is rejected.
    """
    from trainer.inference.formats import Answer

    if not (batch := list(itertools.islice(jpegs, _BATCH_SIZE))):
        return
    _say("Loading TensorFlow and the model ...")
    keras_settings.import_keras(find_devices=True)
    from trainer.inference.classifier import Classifier

    classifier = Classifier.load(workdir)

    def is_rejected(row: "np.ndarray") -> bool | None:
        return None if reject_below is None else float(row.max()) < reject_below

    while batch:
        rows = classifier.probabilities(classifier.squares([jpeg for _, jpeg in batch]))
        for (name, jpeg), row in zip(batch, rows, strict=True):
            yield Answer(name, row, is_rejected(row)), jpeg
        batch = list(itertools.islice(jpegs, _BATCH_SIZE))


def write(
    answers: Iterator[tuple["Answer", bytes]],
    classes: Sequence[str],
    config: PredictConfig,
    count: int,
) -> None:
    """Prints answers as they come, saves them, and draws the first of them at the end.

    It ends early where nobody reads on, and there is nothing more to draw.

    Args:
        answers: Each with its JPEG.
        classes: Names, in the order of the probabilities.
        config: Where they go.
        count: How many there are, but for those that cannot be read.
    """
    shown: list[Prediction] = []
    printed = _format(config, classes)
    first = list(itertools.islice(answers, 1))  # The clock starts once the model is loaded.
    with _saving(config, classes) as saved, _counting(count) as progress:
        try:
            for answer, jpeg in itertools.chain(first, answers):
                print(printed.write(answer), end="", flush=True)
                if saved or _is_wanted(shown, config):
                    shown.append(_to_draw(answer, jpeg))
                if saved:
                    saved.add(shown[-1], answer)
                if progress:
                    progress.add(1)
                del shown[_MOST_DRAWN if config.plot else 0 :]
                if not (saved or _is_wanted(shown, config) or streams.takes_more(sys.stdout)):
                    break
        finally:  # What was printed of a list is a list.
            print(printed.end(), end="", flush=True)
    if config.plot and shown:
        draw(shown, classes, config.plot, config.top_k, count)


def draw(
    predictions: Sequence["Prediction"],
    classes: Sequence[str],
    plot: str,
    top_k: int,
    count: int,
) -> None:
    """Draws photographs with their bars, and says so where they are the first of more."""
    from trainer.results.plots import draw_predictions

    if count > len(predictions) == _MOST_DRAWN:
        _say(f"The picture shows the first {_MOST_DRAWN} of {count:,}.")
    draw_predictions(predictions, classes, plot, top_k)


def _format(config: PredictConfig, classes: Sequence[str]) -> "Format":
    from trainer.inference.formats import Csv, Json, Text

    if config.format == "text":
        return Text(classes, config.top_k)
    return Json(classes, config.top_k) if config.format == "json" else Csv(classes)


def _saving(
    config: PredictConfig, classes: Sequence[str]
) -> contextlib.AbstractContextManager["SavedPredictions | None"]:
    if not config.save_dir:
        return contextlib.nullcontext()
    from trainer.results.saved_predictions import SavedPredictions

    return SavedPredictions(config.save_dir, classes, config.top_k)


def _counting(count: int) -> contextlib.AbstractContextManager[Progress | None]:
    """A bar, unless the predictions themselves appear on the terminal."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        return contextlib.nullcontext()
    return Progress(count, "photographs", lines_to=sys.stderr)


def _is_wanted(shown: Sequence["Prediction"], config: PredictConfig) -> bool:
    """Whether one more photograph is to be drawn."""
    return config.plot is not None and len(shown) < _MOST_DRAWN


def _to_draw(answer: "Answer", jpeg: bytes) -> "Prediction":
    from tfrecords import images
    from trainer.results.predictions import Prediction

    return Prediction(
        answer.name,
        images.decode(jpeg, _DRAWN_SIDE),
        answer.probabilities,
        is_rejected=bool(answer.rejected),
    )


def _say(line: str) -> None:
    """Prints on stderr, above a bar: stdout holds the predictions alone."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
