"""Measures what a server adds to its model: one photograph at a time, and 32 clients at once.

python -m benchmarks.serving --workdir=W IMAGE...
"""

import contextlib
import itertools
import logging
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import numpy as np
from absl import flags

from cli import command, paths
from trainer import keras_settings

if TYPE_CHECKING:
    from trainer.inference.classifier import Classifier

FLAGS = flags.FLAGS

paths.define("workdir", None, "Holds the trained run.", required=True)
flags.DEFINE_integer("runs", 3, "Of which the medians are printed.", lower_bound=1)
flags.DEFINE_integer("single", 30, "Photographs of a run that are asked one at a time.")
flags.DEFINE_integer("many", 96, "Photographs of a run that clients ask at once.")

_CLIENTS = 32


class _Ratios(NamedTuple):
    """The server's time over the model's; its throughput over batched predict's."""

    time: float
    throughput: float


def main(arguments: list[str]) -> None:
    """Prints each run's ratios, and their medians."""
    if not arguments:
        raise command.FlagsError("Photographs are needed. Received: none.")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # It tells of each request.
    photographs = [Path(path).read_bytes() for path in arguments]
    keras_settings.import_keras(find_devices=True)
    from trainer.inference.classifier import Classifier

    classifier = Classifier.load(FLAGS.workdir)
    classifier.predict(photographs[:_CLIENTS])
    squares = classifier.squares([classifier.read(each) for each in photographs[: FLAGS.single]])
    with _server(FLAGS.workdir) as url, httpx.Client(timeout=600) as client:

        def ask(photograph: bytes) -> None:
            client.post(f"{url}predict", files={"image": photograph}).raise_for_status()

        ratios = [_compare(classifier, photographs, squares, ask) for _ in range(FLAGS.runs)]
    time_ratio = statistics.median(each.time for each in ratios)
    throughput_ratio = statistics.median(each.throughput for each in ratios)
    print(
        f"medians of {len(ratios)}: one photograph takes {time_ratio:.2f} of the model's time; "
        f"{_CLIENTS} clients get {throughput_ratio:.2f} of batched predict's throughput"
    )


def _compare(
    classifier: "Classifier",
    photographs: Sequence[bytes],
    squares: np.ndarray,
    ask: Callable[[bytes], None],
) -> _Ratios:
    owns, askeds = [], []
    for square, photograph in zip(squares, photographs, strict=False):
        # In turn, as the machine's speed drifts.
        owns.append(_seconds(classifier.probabilities, square[np.newaxis]))
        askeds.append(_seconds(ask, photograph))
    own, asked = statistics.median(owns), statistics.median(askeds)
    many = list(itertools.islice(itertools.cycle(photographs), FLAGS.many))
    batched = _seconds(classifier.predict, many)
    with ThreadPoolExecutor(_CLIENTS) as clients:
        served = _seconds(lambda: list(clients.map(ask, many)))
    print(
        f"one photograph: model {own * 1e3:.0f} ms, server {asked * 1e3:.0f} ms; {len(many)} "
        f"photographs: predict {len(many) / batched:.1f}/s, {_CLIENTS} clients "
        f"{len(many) / served:.1f}/s",
        flush=True,
    )
    return _Ratios(asked / own, batched / served)


def _seconds(work: Callable[..., object], *arguments: Any) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


@contextlib.contextmanager
def _server(workdir: str) -> Iterator[str]:
    """Yields the address of a server, which ends with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.serve", f"--workdir={workdir}", "--port=0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+/", process.stdout.readline())
        if not found:
            raise RuntimeError("The server did not start; its error is above.")
        yield found[0]
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    command.run(main, arguments="IMAGE...")
