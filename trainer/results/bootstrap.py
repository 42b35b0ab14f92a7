"""The bootstrap: how far a figure might be off, had other photographs been drawn."""

from collections.abc import Iterator, Sequence

import numpy as np

_RESAMPLES = 2000  # The ends of a 95 % interval then vary by a tenth of its width.
_FEWEST_RESAMPLES = 200
_MOST_DRAWS = 20_000_000  # Of all resamples together: some seconds.
_SEED = 0


def resamples(photographs: np.ndarray) -> Iterator[np.ndarray]:
    """Yields for each resample how often each example is drawn, int [num_examples].

    Photographs are drawn, with all the examples that are of them (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993); the draws are the same each time.

    Args:
        photographs: Equal numbers are of the same photograph, int [num_examples].
    """
    _, photograph = np.unique(photographs, return_inverse=True)
    count = int(photograph.max()) + 1
    draws = np.random.default_rng(_SEED)
    for _ in range(min(_RESAMPLES, max(_FEWEST_RESAMPLES, _MOST_DRAWS // count))):
        yield np.bincount(draws.integers(count, size=count), minlength=count)[photograph]


def interval(drawn: Sequence[float] | np.ndarray) -> list[float]:
    """Returns the 95 % percentile interval of a figure, given its value in each resample."""
    return [float(end) for end in np.quantile(drawn, [0.025, 0.975])]
