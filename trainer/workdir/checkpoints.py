"""Checkpoints: everything that the rest of a run depends on, in one file that is whole or absent.

The order of the data is a function of (seed, step), so a step stands for the position in it. The
learning rate is a function of the step too, and when to stop early one of the history.
"""

import concurrent.futures
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from buckets.failures import BucketError
from tfrecords import files
from trainer.model.state import variables
from trainer.workdir import identity
from trainer.workdir.mirror import Mirror, shown
from trainer.workdir.train_state import TrainState

_NAME = "step-{:08d}.npz"
_PATTERN = re.compile(r"step-(\d{8,})\.npz")
_JSON = "progress"  # The member that is no array of the model.


class Checkpoints:
    """The checkpoints of one run: the newest few, and the one of the best epoch.

    What it removes is what it found at its start, or wrote: never what another process writes
    beside it, as it can where the workdir has no lock. No more than one is being written at a time,
    by a thread, and the process does not end before it is.

    Of a run in a bucket, the thread also puts it up, and reads it back before older ones are
    removed, there and here. What counts is then what the bucket holds; the newest is fetched.

        from trainer.workdir.checkpoints import Checkpoints

        run = {"recipe": {"seed": 0}, "data": {"digest": "abc"}}
        checkpoints = Checkpoints(f"{workdir}/checkpoints", run, keep=2)
        state = checkpoints.restore(model)  # Compiled, its optimizer built. Else: at step 0.
        state.step += 1
        checkpoints.save(model, state)

    Args:
        run_identity: What makes it this run, as `identity.describe` returns it.
        keep: How many of the newest to keep.
        mirror: What puts them up; None: they are no bucket's.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        run_identity: Mapping[str, Any],
        keep: int,
        mirror: Mirror | None = None,
    ) -> None:
        self._directory = Path(directory)
        self._mirror = mirror
        self._run_identity = run_identity
        self._keep = keep
        self._known = self._files()
        self._writer = concurrent.futures.ThreadPoolExecutor(1)
        self._writing: concurrent.futures.Future[None] | None = None

    def save(self, model: keras.Model, state: TrainState) -> None:
        """Writes model, optimizer, train state and the run's identity."""
        self.begin(model, state)
        self.wait()

    def begin(
        self,
        model: keras.Model,
        state: TrainState,
        written: Callable[[], None] = lambda: None,
        in_haste: Callable[[], bool] = lambda: False,
    ) -> None:
        """Copies the same, and has a thread write it while steps go on; waits for the one before.

        Args:
            written: Called once it is, or could not be.
            in_haste: Says whether the machine is about to be taken away. What is put up is then
                not read back, which the next start does by restoring it; older ones stay.

        Raises:
            Exception: whatever went wrong in writing the one before.
        """
        self.wait()
        # NumPy's arrays may be the variables' own memory, which the next step writes to.
        arrays = {
            f"{i:04d}": np.array(keras.ops.convert_to_numpy(v))
            for i, v in enumerate(variables(model))
        }
        described = json.dumps({"run": self._run_identity, **state.stored()})
        arrays[_JSON] = np.frombuffer(described.encode(), np.uint8)
        best = self._path(int(state.best["step"])) if state.best else None
        self._writing = self._writer.submit(self._write, state.step, arrays, best, in_haste)
        if self._mirror:
            self._mirror.follow(self._writing)
        self._writing.add_done_callback(lambda _: written())

    def wait(self) -> None:
        """Returns once whatever was begun is written.

        Raises:
            Exception: whatever went wrong in writing it.
        """
        writing, self._writing = self._writing, None
        if writing:
            writing.result()

    def check(self) -> None:
        """Returns if the run is still this process's to write.

        Raises:
            LostLeaseError: if it is known that another process has taken it over.
        """
        if self._mirror and self._mirror.is_lost:
            self._mirror.require()

    def _write(
        self,
        step: int,
        arrays: dict[str, Any],
        best: Path | None,
        in_haste: Callable[[], bool] = lambda: False,
    ) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        with files.atomic_writer(self._path(step)) as file:
            np.savez(file, **arrays)
        if self._mirror:
            self._mirror.put_checkpoint(self._path(step), in_haste)
            if in_haste():
                return
        self._known.add(self._path(step))
        self._remove_old(step, best)
        if self._mirror and not in_haste():
            self._mirror.put_up()

    def newest_step(self) -> int | None:
        """The step of the newest checkpoint, damaged or not; None where there is none."""
        return next(map(_step, self._newest_first()), None)

    def restore(self, model: keras.Model) -> TrainState:
        """Sets the model to the newest checkpoint that is undamaged; without one, to step 0.

        Raises:
            ValueError: if it is of another run, or if there are checkpoints and all are damaged:
                to start from step 0 would throw the work away that a copy of one may still hold.
        """
        self._known |= self._files()
        paths = self._newest_first()
        for path in paths:
            try:
                arrays, described = self._read(path)
            except BucketError:  # An older one may be no better, and nothing is wrong with this.
                raise
            except Exception as error:  # A damaged zip can fail in many ways; an older one may do.
                logging.warning("Passed over a damaged checkpoint: %s (%s).", shown(path), error)
                continue
            state = self._restore(model, path, arrays, described)
            logging.info("Resumed at step %d from %s.", state.step, shown(path))
            return state
        if paths:
            raise ValueError(
                f"Every checkpoint is damaged. Received: {', '.join(map(shown, paths))}. Put a "
                "copy of one back, or remove them to start from step 0."
            )
        return TrainState()

    def restore_best(self, model: keras.Model, state: TrainState) -> None:
        """Sets the model to the end of the epoch of the lowest val_loss.

        Raises:
            ValueError: if that checkpoint is missing or damaged.
        """
        assert state.best  # An epoch has ended.
        path = self._path(int(state.best["step"]))
        try:
            arrays, described = self._read(path)
        except BucketError:
            raise
        except Exception as error:
            raise ValueError(
                f"The checkpoint of the best epoch is missing or damaged ({error}). Received: "
                f"{shown(path)}. Put a copy of it back, or take another --workdir to train again."
            ) from error
        self._restore(model, path, arrays, described)

    def _read(self, path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Reads a checkpoint; of a run in a bucket, its copy, which is fetched where it must be."""
        if not self._mirror:
            return _read(path)
        self._mirror.fetch(path)
        try:
            return _read(path)
        except Exception:  # It may be the copy alone that is damaged.
            self._mirror.fetch(path, anew=True)
            return _read(path)

    def _restore(
        self,
        model: keras.Model,
        path: Path,
        arrays: list[np.ndarray],
        described: dict[str, Any],
    ) -> TrainState:
        """Sets the model to what was read, all of it or nothing."""
        differences = identity.differences(described.pop("run"), self._run_identity)
        if differences:
            raise ValueError(
                f"The checkpoint is of another run. Received: {shown(path)}; "
                f"{'; '.join(differences)}. Take another --workdir, or the same settings and data."
            )
        targets = variables(model)
        if [v.shape for v in targets] != [a.shape for a in arrays]:
            raise ValueError(
                f"The checkpoint does not fit the model. Received: {shown(path)}, {len(arrays)} "
                f"arrays for {len(targets)} variables. Go on with the version that wrote it."
            )
        for variable, array in zip(targets, arrays, strict=True):
            variable.assign(array)
        return TrainState.from_stored(described)

    def _remove_old(self, step: int, best: Path | None) -> None:
        """Keeps the newest few and the best, and nothing that a kill left behind."""
        # A later one is damaged, or of a course that was given up: it must not pass for the newest.
        later = [path for path in self._newest_first() if _step(path) > step]
        so_far = self._newest_first()[len(later) :]
        old = [path for path in so_far[self._keep :] if path != best]
        left = [path for path in self._known if path.name.endswith(files.INCOMPLETE_SUFFIX)]
        for path in self._known.intersection((*later, *old, *left)):
            if self._mirror:
                self._mirror.remove(path)
            path.unlink(missing_ok=True)
            self._known.discard(path)

    def _path(self, step: int) -> Path:
        return self._directory / _NAME.format(step)

    def _newest_first(self) -> list[Path]:
        paths = [path for path in self._files() if _PATTERN.fullmatch(path.name)]
        return sorted(paths, key=_step, reverse=True)

    def _files(self) -> set[Path]:
        if self._mirror:
            return self._mirror.checkpoints()
        return set(self._directory.iterdir()) if self._directory.exists() else set()


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").removesuffix(".npz"))


def _read(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Reads every array, in order: the zip's checksums show a damaged one only then."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        described = json.loads(arrays[_JSON].tobytes())
        return [arrays[name] for name in sorted(arrays.files) if name != _JSON], described
