"""The service: from uploads to predictions, decoded side by side and predicted in batches."""

import asyncio
import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np
from PIL import Image

from cli import machine
from tfrecords.unusable import UnusableImageError
from trainer.results.predictions import Prediction
from trainer.serving.batching import BATCH_SIZE, Batcher
from trainer.serving.metrics import Metrics
from trainer.serving.places import Places
from trainer.serving.refusal import BadImage, RefusalError
from trainer.serving.uploads import Bounds, Upload, shown

if TYPE_CHECKING:
    from trainer.inference.classifier import Classifier

_T = TypeVar("_T")

_MOST_DECODERS = 8  # Each may need a GiB, for the largest of photographs.
_REQUESTS_IN_MEMORY = 16  # So many of the largest may be inside at once.


class Limits(NamedTuple):
    """What one request may hold, and all of them.

    Attributes:
        file_bytes: Size of a photograph's file.
        request_bytes: Size of a request.
        images: How many photographs a request may hold.
        waiting: How many photographs may be inside, over all requests.
    """

    file_bytes: int
    request_bytes: int
    images: int
    waiting: int


class Explained(NamedTuple):
    """A photograph with its heat map.

    Attributes:
        png: Both together; no side is longer than 2048 pixels.
        class_name: What it is explained for.
        is_cold: Whether nothing on it speaks for that class.
    """

    png: bytes
    class_name: str
    is_cold: bool


class Service:
    """A model with its threads, while entered: one that runs it, and those that decode."""

    def __init__(self, classifier: "Classifier", limits: Limits) -> None:
        self.classes = classifier.classes
        self.metrics = Metrics()
        self.bounds = Bounds(limits.file_bytes, limits.request_bytes, limits.images)
        self.places = Places(limits.waiting, _REQUESTS_IN_MEMORY * limits.request_bytes)
        self._classifier = classifier
        self._batcher = Batcher(classifier.probabilities, self.metrics.batch)
        self._pool = ThreadPoolExecutor(
            min(machine.cores(), _MOST_DECODERS), thread_name_prefix="decode"
        )
        self._threads = contextlib.ExitStack()
        self.metrics.watch(
            "photographs_inside", "Photographs of requests that are not answered yet.",
            lambda: self.places.photographs,
        )  # fmt: skip
        self.metrics.watch(
            "photographs_queued", "Decoded photographs that wait for the model.",
            lambda: self._batcher.waiting,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._threads.enter_context(self._batcher)
        self._threads.enter_context(self._pool)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.close()

    def warm(self) -> None:
        """Computes once all that a request needs, so that the first one waits no longer."""
        out = io.BytesIO()
        Image.new("RGB", (640, 480)).save(out, "JPEG")
        square = self._square(self._classifier.read(out.getvalue()))
        for size in (1, BATCH_SIZE):
            self._classifier.probabilities(np.stack([square] * size))

    async def predict(self, uploads: Sequence[Upload]) -> list[Prediction]:
        """Returns a prediction for each photograph, in their order.

        Raises:
            RefusalError: if any of them is none: nothing is predicted then, and all such are named.
        """
        squares = await asyncio.gather(*(self._decode(self._prepare, each) for each in uploads))
        if bad := [square for square in squares if isinstance(square, BadImage)]:
            raise RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, images=bad)
        good = [square for square in squares if not isinstance(square, BadImage)]
        futures = [asyncio.wrap_future(self._batcher.submit(square)) for square in good]
        rows = await asyncio.gather(*futures)
        return [
            Prediction(upload.name, square, row)
            for upload, square, row in zip(uploads, good, rows, strict=True)
        ]

    async def explain(self, upload: Upload, class_name: str | None) -> Explained:
        """Returns a photograph with its heat map, which the model's thread makes in its turn.

        Args:
            upload: The photograph.
            class_name: What it is explained for; None: its most probable class.

        Raises:
            RefusalError: if there is no such class, or if it is no photograph.
        """
        label = None if class_name is None else self._label_of(class_name)
        jpeg = await self._decode(self._read, upload)
        if isinstance(jpeg, BadImage):
            raise RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, images=[jpeg])
        squares = await self._decode(self._classifier.squares, [jpeg])
        row = await asyncio.wrap_future(self._batcher.submit(squares[0]))
        label = int(row.argmax()) if label is None else label
        of_class = functools.partial(self._heat_map, squares, label)
        heat_map = await asyncio.wrap_future(self._batcher.do(of_class))
        png = await self._decode(self._picture, jpeg, heat_map, label, float(row[label]))
        return Explained(png, self.classes[label], is_cold=not heat_map.any())

    def _label_of(self, class_name: str) -> int:
        if class_name not in self.classes:
            raise RefusalError(
                HTTPStatus.BAD_REQUEST,
                f"The class must be one of {', '.join(self.classes)}. Received: "
                f"{shown(class_name) or 'none'}.",
            )
        return self.classes.index(class_name)

    def _heat_map(self, squares: np.ndarray, label: int) -> np.ndarray:
        """Returns that of one square; the first time it takes longer: what makes them is made."""
        heat_map: np.ndarray = self._classifier.heat_maps().of(squares, np.array([label]))[0]
        return heat_map

    async def _decode(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Does what needs a core, and much memory where a photograph is large."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, work, *arguments)

    def _prepare(self, upload: Upload) -> np.ndarray | BadImage:
        """Returns what the model sees of a photograph."""
        jpeg = self._read(upload)
        return jpeg if isinstance(jpeg, BadImage) else self._square(jpeg)

    def _read(self, upload: Upload) -> bytes | BadImage:
        """Returns a photograph as a JPEG; its pixels are counted, then decoded."""
        try:
            return self._classifier.read(upload.read())
        except UnusableImageError as error:
            return BadImage(upload.name, str(error))

    def _square(self, jpeg: bytes) -> np.ndarray:
        square: np.ndarray = self._classifier.squares([jpeg])[0]
        return square

    def _picture(self, *explained: Any) -> bytes:
        """Returns an explanation as a PNG; a better compression of photographs takes long."""
        picture, out = self._classifier.explanation(*explained).overlay(), io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", compress_level=1)
        return out.getvalue()
