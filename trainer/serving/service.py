"""The service: from uploads to predictions, decoded side by side and predicted in batches."""

import asyncio
import contextlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from PIL import Image

from cli import machine
from tfrecords.unusable import UnusableImageError
from trainer.results.predictions import Prediction
from trainer.serving.batching import BATCH_SIZE, Batcher
from trainer.serving.metrics import Metrics
from trainer.serving.places import Places
from trainer.serving.refusal import BadImage, RefusalError
from trainer.serving.uploads import Bounds, Upload

if TYPE_CHECKING:
    from trainer.inference.classifier import Classifier

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
        square = self._square(out.getvalue())
        for size in (1, BATCH_SIZE):
            self._classifier.probabilities(np.stack([square] * size))

    async def predict(self, uploads: Sequence[Upload]) -> list[Prediction]:
        """Returns a prediction for each photograph, in their order.

        Raises:
            RefusalError: if any of them is none: nothing is predicted then, and all such are named.
        """
        loop = asyncio.get_running_loop()
        squares = await asyncio.gather(
            *(loop.run_in_executor(self._pool, self._prepare, upload) for upload in uploads)
        )
        if bad := [square for square in squares if isinstance(square, BadImage)]:
            raise RefusalError(HTTPStatus.UNPROCESSABLE_ENTITY, images=bad)
        good = [square for square in squares if not isinstance(square, BadImage)]
        futures = [asyncio.wrap_future(self._batcher.submit(square)) for square in good]
        rows = await asyncio.gather(*futures)
        return [
            Prediction(upload.name, square, row)
            for upload, square, row in zip(uploads, good, rows, strict=True)
        ]

    def _prepare(self, upload: Upload) -> np.ndarray | BadImage:
        """Returns what the model sees of a photograph; its pixels are counted, then decoded."""
        try:
            return self._square(upload.read())
        except UnusableImageError as error:
            return BadImage(upload.name, str(error))

    def _square(self, photograph: bytes) -> np.ndarray:
        square: np.ndarray = self._classifier.squares([self._classifier.read(photograph)])[0]
        return square
