"""A run as Weights & Biases keeps it: in the workdir, unless WANDB_MODE and WANDB_DIR say other."""

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trainer.tracking.trackers import Pictures
from trainer.workdir.mirror import shown

_NAME = "coco-animals"


class WandbRun:
    """One run of Weights & Biases'; `wandb sync` sends it, however often it was gone on with.

    Args:
        root: The workdir.
        settings: Its config.
        known: The id of the run to go on with.
        counted: The number that rows are drawn over: its own steps begin anew at each start.
    """

    def __init__(
        self, root: Path, settings: Mapping[str, Any], known: str | None, counted: str
    ) -> None:
        mode: Literal["offline"] | None = None if os.environ.get("WANDB_MODE") else "offline"
        if mode:  # Its errors are not sent either.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        folder = Path(root).resolve()
        self.id = known or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", _NAME),
            name=os.environ.get("WANDB_NAME", Path(shown(Path(root))).resolve().name),
            id=self.id,
            resume=None if os.environ.get("WANDB_MODE", "offline") == "offline" else "allow",
            mode=mode,
            dir=None if os.environ.get("WANDB_DIR") else str(folder),
            # What is printed is the trainer's alone.
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.config.update(dict(settings), allow_val_change=True)
        self._run.define_metric("*", step_metric=counted)
        self._image = wandb.Image

    def log(self, numbers: Mapping[str, float], step: int | None) -> None:
        """Adds a row; what has no step is the run's summary."""
        if step is None:
            self._run.summary.update(dict(numbers))
        else:
            self._run.log(dict(numbers))

    def keep(self, files: Sequence[Path], pictures: Pictures) -> None:
        """Copies files to the run's, and logs pictures."""
        for file in files:
            path = Path(self._run.dir) / file.name
            shutil.copyfile(file, path)
            self._run.save(str(path), base_path=self._run.dir, policy="now")
        groups: dict[str, list[Any]] = {}
        for caption, pixels in pictures.items():
            group, _, rest = caption.partition("/")
            groups.setdefault(group, []).append(self._image(pixels, caption=rest or group))
        if groups:
            self._run.log(groups)

    def close(self, is_done: bool) -> None:
        """Ends it."""
        self._run.finish(exit_code=0 if is_done else 1)
