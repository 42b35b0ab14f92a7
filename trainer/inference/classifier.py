"""The classifier of a trained run: the one way from a photograph to probabilities."""

import contextlib
import functools
import itertools
import math
import os
from collections.abc import Callable, Generator, Sequence

import keras
import numpy as np
import tensorflow as tf

from buckets import urls
from tfrecords.unusable import UnusableImageError
from trainer.checks import check_trained, label_of
from trainer.data.source import PhotographSource
from trainer.data.split import Split
from trainer.data.view import View
from trainer.inference import photographs
from trainer.inference.explanation import Explanation
from trainer.inference.gradcam import HeatMaps, Method
from trainer.inference.overlay import bounded
from trainer.inference.photographs import Photograph
from trainer.model.temperature import temperature_of
from trainer.workdir.files import Workdir
from trainer.workdir.saved_model import load_model

_BATCH_SIZE = 32


def _ignore(_: int) -> None:
    pass


def _refuse_one(some: object) -> None:
    """A path is a sequence too, of letters, each of which would be taken for a path."""
    if isinstance(some, str | bytes | os.PathLike):
        raise TypeError("Photographs must be a list. Received: one photograph. Put it in brackets.")


class Classifier:
    """Says what is on photographs, as every command does.

        from trainer import Classifier

        classifier = Classifier.load("runs/first")
        probabilities = classifier.predict(["photo1.jpg", "photo2.jpg"])
        best = [classifier.classes[i] for i in probabilities.argmax(axis=1)]

    Attributes:
        classes: Names, in the order of the probabilities.
        model: The run's own: RGB [n, size, size, 3] in [0, 255] in, probabilities out. Test views
            and temperature are inside.
        view: How a photograph becomes the square that the model takes.
        image_size: Upper bound in pixels of the short side of the photographs that it was trained
            on, as they are stored; 0: there is none.
    """

    def __init__(
        self, model: keras.Model, classes: Sequence[str], view: View, image_size: int
    ) -> None:
        self.model = model
        self.classes = list(classes)
        self.view = view
        self.image_size = image_size
        self._square = tf.function(
            view.square, input_signature=[tf.TensorSpec([], tf.string)], autograph=False
        )
        self._compute = tf.function(
            lambda squares: model(squares, training=False),
            input_signature=[tf.TensorSpec([None, view.size, view.size, 3], tf.uint8)],
            autograph=False,
        )
        self._heat_maps = functools.cache(functools.partial(HeatMaps, model))

    @classmethod
    def load(cls, workdir: str | os.PathLike[str]) -> "Classifier":
        """Loads what a run has trained.

        Args:
            workdir: Its folder, or its URL in a bucket.

        Raises:
            ValueError: if the workdir holds no trained run, or a damaged one; or if it is a URL
                that a Path has taken a slash from.
        """
        urls.require_whole(os.fspath(workdir))
        files = Workdir.reading(os.fspath(workdir))
        classes, image_size = check_trained(files), files.setting("data", "image_size")
        fit = files.fit()
        model = load_model(files)
        return cls(model, classes, View(model.input_shape[1], fit=fit), image_size)

    @property
    def temperature(self) -> float | None:
        """What the probabilities are calibrated by, inside the model; None: they are not."""
        return temperature_of(self.model)

    def predict(self, some: Sequence[Photograph]) -> np.ndarray:
        """Returns the probabilities of photographs, float32 [n, num_classes].

        Args:
            some: Each a path or a URL, the bytes of a file, or RGB, uint8 [height, width, 3]. Those
                in buckets are read ahead.

        Raises:
            UnusableImageError: if one is no photograph, or has too many pixels: which, and why.
            OSError: if the file of one cannot be read.
            ValueError: if one is an array of another kind.
            TypeError: if it is one photograph, not a list of them.
            BucketError: if a bucket cannot be read.
        """
        _refuse_one(some)
        rows = [np.empty([0, len(self.classes)], np.float32)]
        with contextlib.closing(self._read_each(some)) as jpegs:
            # Of many, the squares would fill memory.
            while batch := list(itertools.islice(jpegs, _BATCH_SIZE)):
                rows.append(self.probabilities(self.squares(batch)))
        return np.concatenate(rows)

    def explain(
        self,
        some: Sequence[Photograph],
        classes: Sequence[str] | None = None,
        method: Method | None = None,
    ) -> list[Explanation]:
        """Returns where on photographs the model saw what speaks for a class.

        Args:
            some: As `predict` takes them.
            classes: Of which class, for each photograph; None: its most probable.
            method: `gradcam`, `gradcam++`, `hirescam`, or, for a run of that head, `places`; None:
                the suited one, `hirescam` for a run of the head `flatten`, else `gradcam`.

        Raises:
            ValueError: also if there is no such class, or no such method for this model.
            UnusableImageError, OSError, TypeError, BucketError: as `predict`.
        """
        _refuse_one(some)
        heat_maps = self.heat_maps(method)
        chosen = [label_of(name, self.classes) for name in classes or []]
        jpegs = list(self._read_each(some))
        squares = self.squares(jpegs)
        probabilities = self.probabilities(squares)
        labels = probabilities.argmax(axis=1) if classes is None else np.array(chosen, np.int64)
        if len(labels) != len(jpegs):
            raise ValueError(
                "classes must be one for each photograph. Received: "
                f"{len(labels)} for {len(jpegs)} photographs."
            )
        maps = heat_maps.of(squares, labels)
        return [
            self.explanation(jpeg, heat_map, int(label), float(row[label]))
            for jpeg, heat_map, label, row in zip(jpegs, maps, labels, probabilities, strict=True)
        ]

    def explanation(
        self, jpeg: bytes, heat_map: np.ndarray, label: int, probability: float
    ) -> Explanation:
        """Returns an explanation whose heat map is there; for `explain`, and for what batches.

        Args:
            jpeg: What `read` returned.
            heat_map: Of its square, as `HeatMaps.of` returns it.
            label: Index of the class.
            probability: What the model says of it.
        """
        photograph = bounded(tf.io.decode_jpeg(jpeg, channels=3).numpy())
        return Explanation(photograph, heat_map, label, probability, self.view)

    def heat_maps(self, method: Method | None = None) -> HeatMaps:
        """Returns what makes heat maps, made once; None: by the suited method.

        Raises:
            ValueError: if there is no such method, or none for this model.
        """
        return self._heat_maps(method)

    def _read_each(self, some: Sequence[Photograph]) -> Generator[bytes]:
        """Reads several, and says which it is where one cannot be used."""
        with contextlib.closing(photographs.fetched(some)) as fetched:
            for number, (each, photograph) in enumerate(zip(some, fetched, strict=True)):
                try:
                    yield self.read(photograph())
                except UnusableImageError as error:
                    which = f" ({each})" if isinstance(each, str | os.PathLike) else ""
                    raise UnusableImageError(f"some[{number}]{which}: {error}") from error

    def read(self, photograph: Photograph) -> bytes:
        """Returns a photograph as the dataset would have stored it, a JPEG; raises as `predict`."""
        return photographs.read(photograph, self.image_size)

    def squares(self, jpegs: Sequence[bytes]) -> np.ndarray:
        """Returns what the model sees of stored photographs, RGB uint8 [n, size, size, 3]."""
        shape = (len(jpegs), self.view.size, self.view.size, 3)
        squares = np.empty(shape, np.uint8)
        for square, jpeg in zip(squares, jpegs, strict=True):
            square[:] = self._square(tf.constant(jpeg))
        return squares

    def probabilities(
        self, squares: np.ndarray, done: Callable[[int], object] = _ignore
    ) -> np.ndarray:
        """Returns the probabilities of squares, float32 [n, num_classes].

        Args:
            squares: RGB uint8 [n, size, size, 3].
            done: Called with how many are done, batch by batch.
        """
        rows = [np.empty([0, len(self.classes)], np.float32)]
        for start in range(0, len(squares), _BATCH_SIZE):
            rows.append(self._compute(squares[start : start + _BATCH_SIZE]).numpy())
            done(len(rows[-1]))
        return np.concatenate(rows)

    def predict_split(
        self, split: Split, batch_size: int = _BATCH_SIZE, done: Callable[[int], object] = _ignore
    ) -> np.ndarray:
        """Returns probabilities, float32 [num_examples, num_classes], in the order of the shards.

        Args:
            split: Of a dataset of the same classes.
            batch_size: So many go through the model at once.
            done: Called with how many are done, batch by batch.
        """
        batches = PhotographSource(self.view).evaluation_batches(split, batch_size)
        left, rows = split.num_examples, []
        for batch in batches.take(math.ceil(left / batch_size)):
            rows.append(self._compute(batch).numpy()[:left])
            left -= len(rows[-1])
            done(len(rows[-1]))
        return np.concatenate(rows)
