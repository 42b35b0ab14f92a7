"""What an export is asked for: one frozen, validated record, which its command's flags fill."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from cli import flags
from cli.data_cache import DataCache
from cli.flags import BucketPath, LocalPath, Range

_FORMATS = ("savedmodel", "onnx", "litert")
_TOLERANCE = 1e-4
_QUANTIZED_TOLERANCE = 0.03


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(DataCache):
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
