"""The step timer: what bounds the speed of a run, its input, its computation or its host."""

import dataclasses
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import keras

# Above this fraction of the time, waiting for input is worth a word even where it is not the bound.
_NOTABLE = 0.1

_ADVICE = {
    "input": "More cores, a smaller stored --image_size or a lighter --augment would speed it up",
    "compute": "More or faster devices would speed it up",
    "host": "A larger --batch_size or a rarer --checkpoint_every would speed it up",
}


@dataclasses.dataclass
class Timing:
    """Where the time of the steps went.

    Attributes:
        images: Trained on, over all replicas.
        total: Seconds from step to step: all but what stands between epochs.
        input: Seconds of the total in which the step waited for its batch.
        compute: Seconds of the total in the step itself.
        remark: What else there is to say of the speed.
    """

    images: int = 0
    total: float = 0.0
    input: float = 0.0
    compute: float = 0.0
    remark: str = ""

    def fractions(self) -> dict[str, float]:
        """Fractions of the total: `input`, `compute`, and `host`: callbacks, checkpoints, Python.

        On a GPU a step returns once its work is queued; with the queue full it waits, so that over
        many steps the time still shows where the slowest of the three is.
        """
        total = max(self.total, 1e-9)
        waited, computed = self.input / total, self.compute / total
        return {"input": waited, "compute": computed, "host": max(0.0, 1 - waited - computed)}

    @property
    def bound(self) -> str:
        """The largest of the fractions."""
        fractions = self.fractions()
        return max(fractions, key=lambda name: fractions[name])

    def verdict(self) -> str:
        """What to say to a person."""
        if not self.images:
            return "Too few steps to measure."
        fractions, bound = self.fractions(), self.bound
        sentence = (
            f"{self.images / self.total:.1f} images/s, waiting for input "
            f"{fractions['input']:.1%} of the time: bound by {bound}. {_ADVICE[bound]}"
        )
        if bound != "input" and fractions["input"] > _NOTABLE:
            sentence += f". {_ADVICE['input']} too"
        if self.remark:
            sentence += f". {self.remark}"
        return f"{sentence}."


class StepTimer(keras.callbacks.Callback):
    """Measures the steps of `fit`, and adds the fraction `waiting_for_input` to an epoch's logs.

    Keras's step takes its batch inside a graph, where nobody sees it wait. Given a plain iterator
    in place of TensorFlow's own, it takes the batch first, in the same order.

    Args:
        timing: Counts all steps of this process but the first, in which the graph is built.
        batch_size: The global one.
        clock: Counts seconds.
    """

    def __init__(
        self, timing: Timing, batch_size: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__()
        self._timing = timing
        self._epoch = Timing()
        self._batch_size = batch_size
        self._clock = clock
        self._is_warm = False
        self._step: Callable[[Iterator[Any]], Any] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Puts the clock around the step."""
        if self.model.train_function != self._timed_step:  # As after a fit that was broken off.
            self._step = self.model.train_function
            self.model.train_function = self._timed_step

    def on_train_end(self, logs: Any = None) -> None:
        """Gives the model its own step back."""
        self.model.train_function = self._step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Leaves out what came before: the validation of the last epoch."""
        self._epoch = Timing()
        self._last_end = self._clock()

    def on_epoch_end(self, epoch: int, logs: MutableMapping[str, Any]) -> None:
        """Logs the fraction of the epoch that was spent waiting."""
        if self._epoch.images:
            logs["waiting_for_input"] = self._epoch.fractions()["input"]

    def _timed_step(self, iterator: Iterator[Any]) -> Any:
        assert self._step
        batches = _TimedIterator(iterator, self._clock)
        start = self._clock()
        outputs = self._step(batches)
        end = self._clock()
        if self._is_warm:
            for timing in (self._epoch, self._timing):
                timing.images += self._batch_size
                timing.total += end - self._last_end
                timing.input += batches.waited
                timing.compute += end - start - batches.waited
        self._last_end, self._is_warm = end, True
        return outputs


class _TimedIterator:
    """Counts the seconds that it takes to get the next element of another one."""

    def __init__(self, iterator: Iterator[Any], clock: Callable[[], float]) -> None:
        self.waited = 0.0
        self._iterator = iterator
        self._clock = clock

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        start = self._clock()
        element = next(self._iterator)
        self.waited += self._clock() - start
        return element
