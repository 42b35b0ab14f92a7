"""What lies beside an exported model: its card, its classes' names, a script that predicts."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from cli import __version__
from tfrecords import files as whole_files
from trainer.config import TrainConfig, with_defaults
from trainer.data.split import Split
from trainer.data.view import View
from trainer.exporting.parity import Comparison
from trainer.exporting.photographs import RunData
from trainer.model import backbone
from trainer.workdir.files import Workdir, read_json, write_json

CARD, CLASSES, SCRIPT = "README.md", "classes.json", "predict.py"


class _Format(NamedTuple):
    """What a card says of a format.

    Attributes:
        title: Its name for a person.
        library: As model hubs name it.
        model: The file, or what is one.
        packages: What pip installs for the script.
    """

    title: str
    library: str
    model: str
    packages: str


_FORMATS = {
    "savedmodel": _Format("SavedModel", "tensorflow", "saved_model.pb", "tensorflow"),
    "onnx": _Format("ONNX", "onnx", "model.onnx", "numpy pillow onnxruntime"),
    "litert": _Format("LiteRT", "tflite", "model.tflite", "numpy pillow ai-edge-litert"),
}

# What a reader wants to see of a recipe, also where it is as always.
_ALWAYS_SAID = ("backbone", "input_size", "fit", "head", "epochs", "batch_size", "learning_rate")


@dataclasses.dataclass(frozen=True)
class Compared:
    """How an artefact was found to be.

    Attributes:
        comparison: With the trained model.
        split: On which photographs.
        accuracy: The trained model's on them, in [0, 1].
        is_quantized: Whether weights and activations have 8 bits.
    """

    comparison: Comparison
    split: Split
    accuracy: float
    is_quantized: bool


def write(
    folder: Path, format_name: str, *, files: Workdir, data: RunData, compared: Compared, view: View
) -> None:
    """Writes README.md, classes.json and predict.py beside a model.

    Args:
        folder: That holds the model.
        format_name: Its format.
        files: The run's.
        data: The dataset that the run was trained on.
        compared: How the artefact was found to be.
        view: How a photograph becomes the square that the model takes.
    """
    config, classes = read_json(files.config), data.manifest.classes
    recipe = with_defaults(config["recipe"])
    write_json(Path(folder / CLASSES), classes)
    script = _render(
        f"predict_{format_name}.py.jinja",
        size=view.size,
        fit=view.fit,
        image_size=config["data"]["image_size"],
    )
    whole_files.write_atomically(folder / SCRIPT, script)
    card = _render(
        "model_card.md.jinja",
        run=files.name,
        format=_FORMATS[format_name],
        is_savedmodel=format_name == "savedmodel",
        license=_license(recipe),
        network=backbone.named(recipe["backbone"]).title,
        recipe=_said(recipe),
        fit=view.fit,
        size=view.size,
        image_size=config["data"]["image_size"],
        test_views=recipe["test_views"],
        precision=recipe["precision"],
        classes=classes,
        counts=data.manifest.counts,
        digest=data.manifest.digest,
        source=data.manifest.options["source"],
        metrics=read_json(files.metrics) if files.metrics.exists() else None,
        model_digest=files.model_digest(),
        commit=config.get("git_commit"),
        versions=config.get("versions", {}),
        version=__version__,
        compared=compared,
    )
    whole_files.write_atomically(folder / CARD, card)


def _render(template: str, **content: Any) -> str:
    """Fills a template whose text is no HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trainer"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(template).render(content)


def _cell(text: object) -> str:
    """A text within a table of Markdown."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _said(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe that are told: the main ones, and those that are not as always."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return {
        name: value
        for name, value in recipe.items()
        if name in _ALWAYS_SAID or value != defaults.get(name)
    }


def _license(recipe: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Returns the licence that the pretrained weights pass on, and for others its name and page."""
    if recipe.get("init_from") or recipe["weights"] == "none":
        return "other", "not-stated", None
    if recipe["backbone"] == "vgg16":
        return "cc-by-4.0", None, None
    return "other", "of-the-pretrained-weights", "https://keras.io/api/applications/"
