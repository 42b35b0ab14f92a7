"""Processes that stay alive from trial to trial, so that TensorFlow is loaded once for many."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from absl import logging
from tqdm import tqdm

from cli.command import PreemptedError
from trainer import keras_settings
from trainer.config import TrainConfig
from trainer.loop.signals import StopSignals
from trainer.workdir.mirror import shown

if TYPE_CHECKING:
    from trainer.tuning.heads import Heads

_LOOK_SECONDS = 0.2
_FOLDS = 100  # That a process measures: TensorFlow keeps a little of each.
_FRESH = multiprocessing.get_context("spawn")  # A fork would have threads' locks, and no threads.


class FailedFoldError(RuntimeError):
    """A fold that could not be measured; others may."""


class Worker:
    """A process that measures folds, one after the other.

    Args:
        folder: Where what heads make of feature maps is kept.
        stop: Once a signal came, it is ended.
    """

    def __init__(self, folder: str, stop: StopSignals) -> None:
        self._stop = stop
        self._measured = 0
        self._connection, there = _FRESH.Pipe()
        self._process = _FRESH.Process(
            target=serve, args=(there, folder, logging.get_verbosity()), daemon=True
        )
        self._process.start()
        there.close()

    def measure(self, config: TrainConfig, log: str) -> None:
        """Has a fold measured, as `heads.Heads.measure` does.

        Args:
            config: The fold's.
            log: The file that takes what it says.

        Raises:
            PreemptedError: if a signal came.
            FailedFoldError: if it failed.
        """
        self._measured += 1
        try:
            self._connection.send((config, log))
            while not self._connection.poll(_LOOK_SECONDS):
                if self._stop.requested:
                    raise PreemptedError(
                        "A trial was stopped. Start the same command again to go on."
                    )
            failure = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            failure = f"Received: exit code {code}; {shown(Path(log))} says more."
        if failure:
            raise FailedFoldError(failure)

    @property
    def is_fit(self) -> bool:
        """Whether it may measure another fold."""
        return self._measured < _FOLDS and self._process.is_alive()

    def end(self) -> None:
        """Ends the process, whatever it does: what it writes is whole or not there."""
        self._process.kill()
        self._process.join()
        self._connection.close()


class Workers:
    """As many workers as are needed at once; used as a context manager.

    Args:
        folder: Where what heads make of feature maps is kept.
        stop: Once a signal came, they are ended.
    """

    def __init__(self, folder: str, stop: StopSignals) -> None:
        self._folder, self._stop = folder, stop
        self._idle: list[Worker] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        while self._idle:
            self._idle.pop().end()

    def measure(self, config: TrainConfig, log: str) -> None:
        """Has an idle worker, or a new one, measure a fold; as `Worker.measure`."""
        worker = self._take()
        try:
            worker.measure(config, log)
        except BaseException:
            worker.end()  # What it failed at may have left its mark.
            raise
        self._idle.append(worker)

    def _take(self) -> Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:  # Not looked up before: another thread may take the last one.
                return Worker(self._folder, self._stop)
            if worker.is_fit:  # One that is idle may have been ended, for its memory.
                return worker
            worker.end()


def serve(connection: Connection, folder: str, verbosity: int) -> None:
    """Measures what comes, until nothing more can: what each worker does.

    Args:
        connection: Brings the config of a fold and the name of a log; takes what went wrong, or
            None.
        folder: As `Worker` has it.
        verbosity: absl's.
    """
    os.setsid()  # A Ctrl-C of the terminal is the search's to hear, and so is any other signal.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.use_absl_handler()
    logging.set_verbosity(verbosity)
    tqdm.set_lock(threading.RLock())  # Its own is the system's, which a kill would leave behind.
    keras_settings.import_keras()
    from trainer.tuning.heads import Heads

    heads = Heads(folder)
    with contextlib.suppress(EOFError):
        while True:
            config, log = connection.recv()
            with Path(log).open("a") as file:
                _say_to(file)
                connection.send(_failure(heads, config))


def _say_to(file: IO[str]) -> None:
    """Has all that this process says go to a file, what libraries say of themselves too."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(file.fileno(), stream.fileno())


def _failure(heads: "Heads", config: TrainConfig) -> str | None:
    """Returns what went wrong, on one line; None where nothing did."""
    try:
        heads.measure(config)
    except Exception as error:  # Another trial may do better.
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        sys.stdout.flush()
    return None


def _end_with_parent() -> NoReturn:
    """Ends the process once the search is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
