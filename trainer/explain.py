"""Shows where the model saw it: `python -m trainer.explain --workdir=W --output_dir=O IMAGE...`."""

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cli import command, flags
from cli.flags import BucketPath, LocalPath
from trainer import keras_settings, prediction

if TYPE_CHECKING:
    import numpy as np

    from trainer.inference.classifier import Classifier
    from trainer.inference.explanation import Explanation

_AT_ONCE = 32
_MOST_ON_PAGE = 200  # Of more, a browser takes long to open the page.
_LONGEST_STEM = 200  # Bytes: with a number and a suffix, every file system takes it.
_PAGE = "explanations.html"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """Options of `python -m trainer.explain`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    output_dir: LocalPath
    """Gets a PNG for each image, its heat map over it, and explanations.html, a page of them all. A
    new or empty folder, or one of earlier explanations."""
    method: Literal["gradcam", "gradcam++", "hirescam", "places"] | None = None
    """gradcam: how much the channels of the last feature map raise the class. gradcam++: so that
    each of several animals counts. hirescam: channel and place. places: what each place says, for
    runs of --head=places. Unset: hirescam for runs of --head=flatten, else gradcam."""
    class_: str | None = None
    """Explains this class. Unset: each image's most probable."""

    def __post_init__(self) -> None:
        flags.check(self)


flags.define(ExplainConfig)


def main(arguments: list[str]) -> None:
    """Explains each image; one that cannot be read gets a line of its own."""
    config = command.config_from_flags(ExplainConfig)
    if not arguments:
        raise command.FlagsError("At least one image is needed. Received: none.")
    _check(config)
    folder = _make_folder(config.output_dir)
    selection = prediction.find(arguments, config.output_dir)
    complaints = prediction.Complaints(selection.errors)
    if not selection.photographs:
        sys.exit(command.FAILED)
    _say("Loading TensorFlow and the model ...")
    keras_settings.import_keras(find_devices=True)
    from trainer.inference.classifier import Classifier

    classifier = Classifier.load(config.workdir)
    explain(classifier, config, selection.photographs, folder, complaints)
    if complaints.count:
        sys.exit(command.FAILED)


def explain(
    classifier: "Classifier",
    config: ExplainConfig,
    photographs: Sequence[str],
    folder: Path,
    complaints: prediction.Complaints,
) -> None:
    """Writes the pictures and the page.

    Args:
        classifier: The run's.
        config: What is explained, and how.
        photographs: Paths.
        folder: Where pictures and page go.
        complaints: Gets those that cannot be read.

    Raises:
        ValueError: if the method is none for this model.
    """
    from trainer.results.explanations_page import Shown, write_page

    method = classifier.heat_maps(config.method).method  # Before anything is written.
    run = Path(config.workdir).resolve().name  # Also where it is `.`.
    title = {"run": run, "method": method, "fit": classifier.view.fit}
    page, shown = folder / _PAGE, []
    taken: set[str] = set()
    write_page(page, [], 0, **title)  # First: by it the folder is known for one of explanations.
    try:
        jpegs = prediction.read(photographs, classifier.image_size, complaints.add)
        for name, explanation in _explanations(classifier, config, jpegs):
            file = folder / f"{stem(name, taken)}.png"
            name_of_class = classifier.classes[explanation.label]
            picture = explanation.overlay()
            _write_png(file, picture)
            line = f"{file}: Probability {explanation.probability:.2%} of [{name_of_class}]"
            print(line, flush=True)
            if len(taken) <= _MOST_ON_PAGE:
                shown.append(Shown.of(name, explanation, picture, name_of_class))
    finally:
        write_page(page, shown, len(taken), **title)
    _say(f"Page: {page}")


def stem(name: str, taken: set[str]) -> str:
    """Returns what a photograph's picture is called, without suffix, and adds it to those taken.

    Args:
        name: The photograph's path.
        taken: Names that others have, in small letters: some file systems take no notice of case.
    """
    plain = Path(name).stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    numbered = (plain if number == 1 else f"{plain}-{number}" for number in itertools.count(1))
    free = next(each for each in numbered if each.casefold() not in taken)
    taken.add(free.casefold())
    return free


def _explanations(
    classifier: "Classifier", config: ExplainConfig, jpegs: Iterator[tuple[str, bytes]]
) -> Iterator[tuple[str, "Explanation"]]:
    """Yields the name of each photograph, and its explanation."""
    while batch := list(itertools.islice(jpegs, _AT_ONCE)):
        classes = None if config.class_ is None else [config.class_] * len(batch)
        explained = classifier.explain([jpeg for _, jpeg in batch], classes, config.method)
        yield from zip((name for name, _ in batch), explained, strict=True)


def _check(config: ExplainConfig) -> None:
    """Refuses what the run cannot do, before TensorFlow's seconds.

    Raises:
        FlagsError: if the run has no such class.
        ValueError: if the workdir holds no trained run.
    """
    from trainer.checks import check_trained, label_of
    from trainer.workdir.files import Workdir

    classes = check_trained(Workdir.reading(config.workdir))
    if config.class_ is not None:
        label_of(config.class_, classes)


def _make_folder(path: str) -> Path:
    """Returns the folder, made where it is not there.

    Raises:
        FlagsError: if it cannot be made, or holds other files, of which one might be replaced.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = [] if (folder / _PAGE).exists() else sorted(each.name for each in folder.iterdir())
    except OSError as error:
        raise command.FlagsError(
            f"output_dir cannot be made: {error.strerror}. Received: output_dir={path}. Name "
            "another one."
        ) from error
    if others:
        raise command.FlagsError(
            "output_dir must be new, empty or hold earlier explanations: nothing else is replaced. "
            f"Received: output_dir={path}, which holds {others[0]}. Name another one."
        )
    return folder


def _write_png(path: Path, picture: "np.ndarray") -> None:
    from PIL import Image

    from tfrecords import files

    with files.atomic_writer(path) as file:
        Image.fromarray(picture).save(file, "PNG")


def _say(line: str) -> None:
    """Prints on stderr: stdout has a line for each picture."""
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    """The console script."""
    command.run(main, arguments="IMAGE|FOLDER|GLOB|URL|-...")


if __name__ == "__main__":
    run()
