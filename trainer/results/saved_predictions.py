"""A folder of predictions: a picture of each photograph with its bars, and a table of all."""

import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from trainer.inference.formats import Answer, Csv
from trainer.results.plots import draw_predictions
from trainer.results.predictions import Prediction

TABLE = "predictions.csv"
_NOT_IN_NAMES = re.compile(r"[^\w.()+ -]")
_LONGEST_NAME = 48  # Letters: of four bytes each they still fit into a file's name.


class SavedPredictions:
    """Writes predictions into a folder as they come; used as a context manager.

    What was written stays, whatever ends the work.

    Args:
        folder: Made where there is none; what it holds under the same names is replaced.
        classes: Names, in the order of the probabilities.
        top_k: How many bars a photograph gets.
    """

    def __init__(self, folder: str, classes: Sequence[str], top_k: int) -> None:
        self._folder, self._classes, self._top_k = Path(folder), classes, top_k
        self._table, self._taken = Csv(classes), set[str]()

    def __enter__(self) -> "SavedPredictions":
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / TABLE
        path.unlink(missing_ok=True)  # A link is not followed out of the folder.
        self._file = path.open("x", encoding="utf-8", errors="backslashreplace", newline="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.write(self._table.end())
        self._file.close()

    def add(self, prediction: Prediction, answer: Answer) -> None:
        """Draws a photograph, and adds its row."""
        path = self._folder / self._new_name(prediction.name)
        draw_predictions([prediction], self._classes, path, self._top_k)
        self._file.write(self._table.write(answer))
        self._file.flush()

    def _new_name(self, name: str) -> str:
        """A name of its own, also where case does not count, and within the folder."""
        stem = picture_name(name)
        number, found = 1, f"{stem}.png"
        while found.casefold() in self._taken:
            number += 1
            found = f"{stem}-{number}.png"
        self._taken.add(found.casefold())
        return found


def picture_name(photograph: str) -> str:
    """Returns what a photograph's picture is called, without its ending: `dog.jpg`."""
    name = _NOT_IN_NAMES.sub("_", Path(photograph).name).strip(". ") or "photograph"
    return name if len(name) <= _LONGEST_NAME else f"{name[:30]}..{name[-16:]}"
