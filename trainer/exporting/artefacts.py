"""The artefacts of a run: each written, opened in its runtime, compared, and described."""

import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cli.progress import Progress
from trainer.exporting import card, graph, parity, photographs
from trainer.exporting.graph import Graph
from trainer.exporting.parity import Answers, Comparison
from trainer.exporting.photographs import Batch, RunData
from trainer.exporting.quiet import quiet
from trainer.inference.classifier import Classifier
from trainer.workdir.files import Workdir

_REPRESENTATIVE = 100  # Training photographs that show which numbers activations take.


class Artefacts:
    """What is made of one run, one format after the other.

    Attributes:
        comparisons: The lines of the table, the trained model's first.
    """

    def __init__(self, files: Workdir, data: RunData, say: Callable[[str], None]) -> None:
        self._files, self._data, self._say = files, data, say
        self._train, self._val = data.splits()
        self._classifier = Classifier.load(files.root)
        self.comparisons: list[Comparison] = []
        self._compare_model()

    @functools.cached_property
    def _graph(self) -> Graph:
        return graph.of_model(self._classifier.model, self._classifier.classes)

    def _compare_model(self) -> None:
        """Has the trained model answer, in the arithmetic of the artefacts, which is float32."""
        is_float32 = graph.is_float32(self._classifier.model)
        split = self._val
        self._say(f"Comparing on {split.num_examples:,} photographs of {split.name}.")
        own = self._answers(lambda _, squares: self._classifier.probabilities(squares))
        self._expected = own
        if not is_float32:
            exact = Classifier(
                graph.in_float32(self._classifier.model),
                self._classifier.classes,
                self._classifier.view,
                self._classifier.image_size,
            )
            self._expected = self._answers(lambda _, squares: exact.probabilities(squares))
            self._say(
                "The run computes in less than float32, and what is exported in float32: that is "
                "what it is compared with."
            )
        size = self._files.model.stat().st_size
        compared = parity.compare("model.keras", size, own, self._expected)
        if is_float32:
            compared = dataclasses.replace(compared, difference=None)
        self.comparisons.append(compared)

    def write(self, format_name: str, folder: Path, *, quantize: bool, tolerance: float) -> None:
        """Writes the artefact of a format, with all that goes with it, once it answers rightly.

        Args:
            format_name: `savedmodel`, `onnx` or `litert`.
            folder: Where to; made where it is not there.
            quantize: Whether weights and activations have 8 bits.
            tolerance: By how much a probability may differ, or the accuracy of a quantized one.

        Raises:
            ValueError: if it does not answer as the trained model does.
            OSError: if the disk is full.
        """
        self._say(f"Writing {format_name} ...")
        folder.mkdir(exist_ok=True)
        with quiet():
            module = importlib.import_module(f"trainer.exporting.{format_name}")
            if format_name == "savedmodel":
                view, image_size = self._classifier.view, self._classifier.image_size
                module.write(folder, self._graph, view, image_size)
            else:
                module.write(folder, self._graph, self._representative() if quantize else None)
            opened = module.Opened(folder)
        found = self._answers(self._asking(opened))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        comparison = parity.compare(format_name, size, found, self._expected)
        if quantize:
            parity.check_accuracy(comparison, self._expected, tolerance)
        else:
            parity.check_same(comparison, tolerance)
        self.comparisons.append(comparison)
        card.write(
            folder,
            format_name,
            files=self._files,
            data=self._data,
            compared=card.Compared(comparison, self._val, self.comparisons[0].accuracy, quantize),
            view=self._classifier.view,
        )

    def table(self) -> str:
        """Returns what all of them are, for a person."""
        return parity.table(self.comparisons)

    def _answers(self, of_batch: Callable[[Batch, np.ndarray], np.ndarray]) -> Answers:
        with Progress(self._val.num_examples, "photographs", lines_to=sys.stderr) as progress:
            return parity.answers(self._classifier, self._val, of_batch, progress.add)

    def _asking(self, opened: Any) -> Callable[[Batch, np.ndarray], np.ndarray]:
        """A SavedModel is asked about JPEGs, so that what it makes of them is compared too."""
        if hasattr(opened, "of_jpegs"):
            return lambda batch, _: opened.of_jpegs(batch.jpegs)
        return lambda _, squares: opened.of_rgb(squares.astype(np.float32))

    def _representative(self) -> Iterator[np.ndarray]:
        for jpeg in photographs.spread(self._train, _REPRESENTATIVE):
            yield self._classifier.squares([jpeg]).astype(np.float32)
