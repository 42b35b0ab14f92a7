"""Takes a trained run away: `python -m trainer.export --workdir=W --format=onnx --output=PATH`."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

from cli import command, flags
from cli.flags import BucketPath, LocalPath, Range
from trainer import keras_settings

_FORMATS = ("savedmodel", "onnx", "litert")
_TOLERANCE = 1e-4
_QUANTIZED_TOLERANCE = 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Options of `python -m trainer.export`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    format: Literal["savedmodel", "onnx", "litert", "all"]
    """savedmodel: TensorFlow's, takes JPEG bytes or RGB. onnx, litert: take RGB. all: each in a
    folder of its own."""
    output: LocalPath
    """The folder to make: the model with its card, classes.json, and a script that predicts."""
    quantize: Literal["int8"] | None = None
    """int8: of onnx and litert, weights and activations in 8 bits, their ranges measured on
    training photographs. Unset: all is float32."""
    tolerance: Annotated[float, Range(0, 1)] | None = None
    f"""By how much a probability may differ from the trained model's, on each photograph that the
    run was validated on. Unset: {_TOLERANCE:g}. With --quantize: how much accuracy may be lost.
    Unset: {_QUANTIZED_TOLERANCE:g}."""
    data_dir: BucketPath | None = None
    """The run's dataset. Unset: where it was when the run was last started."""

    def __post_init__(self) -> None:
        flags.check(self)
        if self.quantize and self.format == "savedmodel":
            raise ValueError(
                "quantize is for onnx and litert. Received: format=savedmodel, "
                f"quantize={self.quantize}. Take another --format, or leave --quantize out."
            )
        if Path(self.output).suffix in (".onnx", ".tflite", ".keras", ".pb"):
            raise ValueError(
                f"output must be a folder, which holds more than the model. Received: "
                f"output={self.output}. Leave the file's ending out."
            )

    @property
    def formats(self) -> tuple[str, ...]:
        """Every format that is asked for."""
        return _FORMATS if self.format == "all" else (self.format,)

    def tolerance_of(self, format_name: str) -> float:
        """By how much a probability may differ, or the accuracy of what is quantized."""
        if self.quantizes(format_name):
            return _QUANTIZED_TOLERANCE if self.tolerance is None else self.tolerance
        # A tolerance that is given beside --quantize is of accuracy.
        return _TOLERANCE if self.quantize or self.tolerance is None else self.tolerance

    def quantizes(self, format_name: str) -> bool:
        """Whether the model of a format is quantized."""
        return self.quantize is not None and format_name != "savedmodel"


flags.define(ExportConfig)


def main(arguments: list[str]) -> None:
    """Writes the formats, compares each with the trained model, and prints a table."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(ExportConfig)
    print(export(config))


def export(config: ExportConfig) -> str:
    """Writes the formats into the new folder, and returns the table of what they are.

    Each is opened in its own runtime on every photograph that the run was validated on. Where one
    of them answers differently, nothing is left.

    Raises:
        ValueError: if there is no such run or dataset, if the output is there already, or if an
            artefact does not answer as the trained model does.
        RuntimeError: if the extra is not installed.
        OSError: if the disk is full.
    """
    from trainer import checks
    from trainer.exporting import extra
    from trainer.exporting.folder import new_folder
    from trainer.workdir.files import Workdir

    extra.require(config.formats)
    files = Workdir(config.workdir)
    checks.check_trained(files)
    with new_folder(config.output) as folder:
        _say("Loading TensorFlow and the model ...")
        keras_settings.import_keras(find_devices=True)
        from trainer.exporting import photographs
        from trainer.exporting.artefacts import Artefacts

        artefacts = Artefacts(files, photographs.find(files, config.data_dir), _say)
        for name in config.formats:
            artefacts.write(
                name,
                folder / name if config.format == "all" else folder,
                quantize=config.quantizes(name),
                tolerance=config.tolerance_of(name),
            )
    _say(f"Written to {config.output}.")
    return artefacts.table()


def _say(line: str) -> None:
    """Prints on stderr: stdout holds the table alone."""
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
