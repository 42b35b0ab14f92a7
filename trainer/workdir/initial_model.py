"""The model that a run starts from with --init_from: another run's, in place of published weights.

It is known by its content: a run that goes on needs the file no more, which may then be gone.
"""

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buckets import urls
from buckets.failures import BucketError
from tfrecords.manifest import Manifest
from trainer.config import TrainConfig
from trainer.model.temperature import CALIBRATING
from trainer.workdir import identity, mirror
from trainer.workdir.files import Workdir, read_json
from trainer.workdir.mirror import shown

_DIGITS = 16  # Of the digest: enough that no two models share it.


def digest(config: TrainConfig) -> str | None:
    """Hex digits of a digest of the model that a run starts from; None where it starts from none.

    Raises:
        ValueError: if the model is not there, unless the run in the workdir has begun with it.
    """
    if config.init_from is None:
        return None
    try:
        path = _path(config.init_from)
    except BucketError:
        if recorded := _recorded(config):
            return recorded
        raise
    if not path.exists() and (recorded := _recorded(config)):
        return recorded
    check(config)
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256")
    content.update(json.dumps(_classes(path)).encode())
    return content.hexdigest()[:_DIGITS]


def _recorded(config: TrainConfig) -> str | None:
    """The digest of the model that the run in the workdir has begun with; None: there is none."""
    workdir = Workdir(config.workdir)
    return workdir.setting("recipe", "init_from") if workdir.config.exists() else None


def identify(config: TrainConfig, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Returns the identity of a run, that of the model it starts from included.

    Raises:
        ValueError: as `digest`.
    """
    return identity.describe(config, manifest, digest(config))


def check(config: TrainConfig) -> None:
    """Refuses what can be no model to start from, before TensorFlow is imported.

    Raises:
        ValueError: if there is no file, or if it is none of Keras's.
    """
    assert config.init_from
    path = _path(config.init_from)
    if path.suffix == ".keras" and path.parent.is_file():
        raise ValueError(
            "init_from must be the workdir of a trained run, or its model.keras. Received: "
            f"init_from={config.init_from}, a file of another kind. Name another one."
        )
    if not path.exists():
        raise ValueError(
            f"init_from must be the workdir of a trained run, or its model.keras. Received: "
            f"init_from={config.init_from}, and there is no {shown(path)}. Name another one."
        )
    with path.open("rb") as file:
        names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    if "model.weights.h5" not in names:
        raise ValueError(
            f"init_from must name a model as Keras saves it. Received: init_from="
            f"{config.init_from}, and {shown(path)} is damaged, or another kind of file."
        )


def dataset_of(init_from: str) -> str | None:
    """The digest of the dataset that the model of --init_from learned from; None: not known."""
    config = Workdir(_path(init_from).parent).config
    return read_json(config).get("data", {}).get("digest") if config.exists() else None


def start_from(model: Any, config: TrainConfig, classes: Sequence[str]) -> str:
    """Sets a model's backbone, and its head if it can, to those of --init_from.

    Args:
        model: As `build_model` returns it.
        classes: Names, in the order of its probabilities.

    Returns:
        What was taken and what is new, for a person.

    Raises:
        ValueError: if the model to start from has another backbone, or cannot be read.
    """
    assert config.init_from
    check(config)
    path = _path(config.init_from)
    source = _load(path, config)
    _check_backbone(model, source, config)
    layers = [model.get_layer(name) for name in model.backbone_layers]
    new = _why_fitted(config) or _why_new(model, source, _classes(path), classes)
    if not new:
        layers += _head(model, model.backbone_layers)
    for layer in layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())
    head = f"The head is new: {new}" if new else "So does the head"
    return f"The backbone starts from {shown(path)}. {head}."


def _path(init_from: str) -> Path:
    """The file of a model, or of the run in a workdir; of one in a bucket, a copy as it is now."""
    if Path(init_from).suffix != ".keras":
        return Workdir.reading(init_from).model
    if not urls.is_remote(init_from):
        return Path(init_from)
    folder, name = urls.split(init_from)
    return mirror.read(folder, [name, "config.json", "classes.json"]) / name


def _classes(path: Path) -> list[str] | None:
    """The names that a run puts beside its model; None where there are none."""
    classes = Workdir(path.parent).classes
    return read_json(classes) if classes.exists() else None


def _load(path: Path, config: TrainConfig) -> Any:
    import keras

    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # Of a damaged file, or of layers that are not Keras's, many kinds.
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"The model to start from cannot be read: {said}. Received: "
            f"init_from={config.init_from}. Put a copy of it back, or name another one."
        ) from error
    # The model of one view stands in one that averages over several.
    return next((each for each in model.layers if isinstance(each, keras.Model)), model)


def _check_backbone(model: Any, source: Any, config: TrainConfig) -> None:
    theirs = {layer.name: _shapes(layer) for layer in source.layers}
    own = {name: _shapes(model.get_layer(name)) for name in model.backbone_layers}
    unlike = [name for name, shapes in own.items() if shapes and theirs.get(name) != shapes]
    if unlike or not own.keys() <= theirs.keys():
        first = next(iter(unlike or own.keys() - theirs.keys()))
        raise ValueError(
            f"init_from must be a model of the same backbone. Received: "
            f"init_from={config.init_from}, a {source.name}, without the layer {first} of "
            f"{model.name}. Name another run, or take its --backbone."
        )


def _why_fitted(config: TrainConfig) -> str:
    """Why the head is fitted to this run's photographs; "" where it is not."""
    if config.head_init == "logistic":
        return "it is the logistic regression of these photographs"
    if config.feature_norm == "standardize":
        return "its features are standardized over these photographs"
    return ""


def _why_new(
    model: Any, source: Any, their_classes: Sequence[str] | None, classes: Sequence[str]
) -> str:
    """Why the head cannot be taken; "" where it can."""
    if their_classes is None:
        return "no classes.json beside the model says what its classes are"
    if list(their_classes) != list(classes):
        return f"its classes are {', '.join(their_classes)}"
    own, theirs = (
        [(layer.name, _shapes(layer)) for layer in _head(each, model.backbone_layers)]
        for each in (model, source)
    )
    return "" if own == theirs else "the other one is of another kind or size"


def _head(model: Any, backbone_layers: Sequence[str]) -> list[Any]:
    """The layers behind the backbone's."""
    names = [layer.name for layer in model.layers]
    last = max(names.index(name) for name in backbone_layers)
    # What calibrates a saved model is of no use to one that goes on training.
    return [each for each in model.layers[last + 1 :] if each.name not in CALIBRATING]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
