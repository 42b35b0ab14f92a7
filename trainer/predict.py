"""Says what is on photographs: `python -m trainer.predict --workdir=W IMAGE...`."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cli import command, flags
from cli.flags import BucketPath, LocalPath, Positive
from cli.progress import Progress
from trainer import keras_settings

if TYPE_CHECKING:
    from trainer.results.predictions import Prediction

_MANY = 32
_MOST_DRAWN = 60  # Of more, a picture takes minutes and is too high for most viewers.


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictConfig:
    """Options of `python -m trainer.predict`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    top_k: Positive = 5
    """How many classes to name for each image."""
    format: Literal["text", "json"] = "text"
    """What to print."""
    plot: LocalPath | None = None
    """A PNG to draw: each image with its bars."""

    def __post_init__(self) -> None:
        flags.check(self)


flags.define(PredictConfig)


def main(arguments: list[str]) -> None:
    """Predicts for each image; one that cannot be read gets a line of its own."""
    config = command.config_from_flags(PredictConfig)
    if not arguments:
        raise command.FlagsError("At least one image is needed. Received: none.")
    if config.plot:
        check_plot(config.plot)
    if len(arguments) > _MANY:
        _say(f"Reading {len(arguments):,} photographs ...")
    jpegs, errors = read_photographs(arguments, config.workdir)
    for path, reason in errors:
        _say(f"Error: {path}: {reason}")
    predictions, classes = predict(jpegs, config.workdir)
    lines = _json_lines if config.format == "json" else _text_lines
    try:
        for line in lines(predictions, classes, config.top_k):
            print(line)
        sys.stdout.flush()
    finally:  # `| head`, which breaks the pipe, must not cost the picture.
        if config.plot and predictions:
            draw(predictions, classes, config.plot, config.top_k)
    if errors:
        sys.exit(command.FAILED)


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"The folder of --plot cannot be made: {error.strerror}. Received: plot={plot}. Name "
            "another one."
        ) from error


def draw(
    predictions: Sequence["Prediction"], classes: Sequence[str], plot: str, top_k: int
) -> None:
    """Draws the photographs with their bars, the first of them where they are too many."""
    from trainer.results.plots import draw_predictions

    if len(predictions) > _MOST_DRAWN:
        _say(f"The picture shows the first {_MOST_DRAWN} of {len(predictions):,}.")
    draw_predictions(predictions[:_MOST_DRAWN], classes, plot, top_k)


def read_photographs(
    photographs: Sequence[str], workdir: str
) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    """Reads photographs as a build would have stored them: (name, JPEG), (name, what is wrong).

    They come in the order in which they are given, one that is given twice also twice. The names
    are the paths as `originals.shown` shows them, so that they can be printed: two may look the
    same.
    """
    from tfrecords import originals
    from tfrecords.unusable import UnusableImageError
    from trainer.inference import photographs as inference
    from trainer.workdir.files import Workdir

    image_size = Workdir(workdir).setting("data", "image_size")
    jpegs, errors = [], []
    for path in photographs:
        name = originals.shown(path)
        try:
            jpegs.append((name, inference.read(path, image_size)))
        except UnusableImageError as error:
            errors.append((name, f"{error}. Give a photograph, such as a JPEG or a PNG."))
        except IsADirectoryError as error:
            what = f"{name.rstrip('/')}/* for the photographs in it"
            errors.append((name, f"{error.strerror}. Give {what}."))
        except OSError as error:
            errors.append((name, f"{error.strerror}. Give the path of a photograph."))
        except ValueError as error:  # Of its path.
            errors.append((name, str(error)))
    return jpegs, errors


def predict(
    jpegs: Sequence[tuple[str, bytes]], workdir: str
) -> tuple[list["Prediction"], list[str]]:
    """Returns a prediction for each photograph, and the names of the classes.

    Args:
        jpegs: (name, JPEG) of each photograph, the JPEG as an example would hold it.

    Raises:
        ValueError: if the workdir holds no trained run.
    """
    from trainer.checks import check_trained
    from trainer.workdir.files import Workdir

    run_files = Workdir(workdir)
    classes = check_trained(run_files)
    if not jpegs:
        return [], classes
    _say("Loading TensorFlow and the model ...")
    keras_settings.import_keras(find_devices=True)
    import tensorflow as tf

    from trainer.inference.classifier import Classifier
    from trainer.results.predictions import Prediction

    classifier = Classifier.load(workdir)
    squares = classifier.squares([jpeg for _, jpeg in jpegs])
    with Progress(len(squares), "photographs", lines_to=sys.stderr) as progress:
        probabilities = classifier.probabilities(squares, progress.add)
    return [
        Prediction(name, tf.io.decode_jpeg(jpeg, channels=3).numpy(), row)
        for (name, jpeg), row in zip(jpegs, probabilities, strict=True)
    ], classes


def _say(line: str) -> None:
    """Prints on stderr: stdout holds the predictions alone."""
    print(line, file=sys.stderr, flush=True)


def _text_lines(predictions: Sequence["Prediction"], classes: list[str], top_k: int) -> list[str]:
    lines = []
    for prediction in predictions:
        lines.append(prediction.name)
        lines += [f"Probability {p:.2%} of [{classes[i]}]" for i, p in prediction.top(top_k)]
    return lines


def _json_lines(predictions: Sequence["Prediction"], classes: list[str], top_k: int) -> list[str]:
    content = [
        {
            "image": prediction.name,
            "predictions": [
                {"class": classes[i], "probability": p} for i, p in prediction.top(top_k)
            ],
        }
        for prediction in predictions
    ]
    return [json.dumps(content, indent=2)]


def run() -> None:
    """The console script."""
    command.run(main, arguments="IMAGE...")


if __name__ == "__main__":
    run()
