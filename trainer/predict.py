"""Says what is on photographs: `python -m trainer.predict --workdir=W IMAGE...`."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from cli import command

if TYPE_CHECKING:
    from trainer.predictions import Prediction

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Holds the trained run.", required=True)
flags.DEFINE_integer("top_k", 5, "How many classes to name for each image.", lower_bound=1)
flags.DEFINE_enum("format", "text", ("text", "json"), "What to print.")
flags.DEFINE_string("plot", None, "A PNG to draw: each image with its bars.")


def main(arguments: list[str]) -> None:
    """Predicts for each image; one that cannot be read gets a line of its own."""
    if not arguments:
        raise command.FlagsError("At least one image is needed. Received: none.")
    jpegs, errors = read_photographs(arguments, FLAGS.workdir)
    predictions, classes = predict(jpegs, FLAGS.workdir)
    if FLAGS.plot and predictions:  # Before printing: `| head` must not cost the picture.
        from trainer.plots import draw_predictions

        draw_predictions(predictions, classes, FLAGS.plot, FLAGS.top_k)
    lines = _json_lines if FLAGS.format == "json" else _text_lines
    print("\n".join(lines(predictions, classes, FLAGS.top_k)))
    for path, reason in errors.items():
        print(f"Error: {path}: {reason}", file=sys.stderr)
    if errors:
        sys.exit(command.FAILED)


def read_photographs(paths: Sequence[str], workdir: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """Reads photographs as a build would have stored them: {path: JPEG}, {path: what is wrong}.

    The paths are as `originals.shown` shows them, so that they can be printed.
    """
    from tfrecords import images, originals
    from tfrecords.unusable import UnusableImageError
    from trainer.workdir import Workdir, read_json

    image_size = read_json(Workdir(workdir).config)["data"]["image_size"]
    jpegs, errors = {}, {}
    for path in paths:
        try:
            photograph = originals.read_original(path)
            jpegs[originals.shown(path)] = images.store_jpeg(photograph, image_size)
        except UnusableImageError as error:
            errors[originals.shown(path)] = f"{error}. Give a photograph, such as a JPEG or a PNG."
        except OSError as error:
            errors[originals.shown(path)] = f"{error.strerror}. Give the path of a photograph."
    return jpegs, errors


def predict(jpegs: dict[str, bytes], workdir: str) -> tuple[list["Prediction"], list[str]]:
    """Returns a prediction for each photograph, and the names of the classes.

    Args:
        jpegs: {name: the JPEG that an example would hold}.
        workdir: Of the trained run.

    Raises:
        ValueError: if the workdir holds no trained run.
    """
    import numpy as np
    import tensorflow as tf

    from trainer.input_pipeline import decode_square
    from trainer.model import load_model
    from trainer.predictions import Prediction
    from trainer.workdir import Workdir, read_json

    run_files = Workdir(workdir)
    classes = read_json(run_files.classes)
    model = load_model(run_files)
    if not jpegs:
        return [], classes
    squares = np.stack([decode_square(jpeg).numpy() for jpeg in jpegs.values()])
    return [
        Prediction(name, tf.io.decode_jpeg(jpeg, channels=3).numpy(), probabilities)
        for (name, jpeg), probabilities in zip(
            jpegs.items(), model.predict(squares, batch_size=32, verbose=0), strict=True
        )
    ], classes


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
    command.run(main)


if __name__ == "__main__":
    run()
