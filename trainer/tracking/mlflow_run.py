"""A run as MLflow keeps it; MLFLOW_TRACKING_URI says where, else a database in the workdir."""

import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from trainer.tracking.trackers import Pictures
from trainer.workdir.mirror import shown

_NAME = "coco-animals"
_NOT_IN_NAMES = re.compile(r"[^\w.()% /-]")
# What holds unless the user has set it: their own server is asked, and nobody else.
_UNLESS_SET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # A server that is gone holds training up so long.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MlflowRun:
    """One run of MLflow's.

    Args:
        root: The workdir.
        settings: Its parameters.
        known: The id of the run to go on with, unless it is gone.
    """

    def __init__(self, root: Path, settings: Mapping[str, Any], known: str | None) -> None:
        for name, value in _UNLESS_SET.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        folder = Path(root).resolve()
        own = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=own or f"sqlite:///{folder / 'mlflow.db'}")
        if known and self._is_there(known):
            self.id = known
            self._client.update_run(known, status="RUNNING")
            return
        location = None if own else (folder / "mlruns").as_uri()
        name = Path(shown(Path(root))).resolve().name
        run = self._client.create_run(self._experiment(location), run_name=name)
        self.id = run.info.run_id
        params = [Param(name, str(value)) for name, value in settings.items()]
        self._client.log_batch(self.id, params=params)

    def log(self, numbers: Mapping[str, float], step: int | None) -> None:
        """Adds metrics."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step or 0) for name, value in numbers.items()]
        self._client.log_batch(self.id, metrics=metrics)

    def keep(self, files: Sequence[Path], pictures: Pictures) -> None:
        """Adds artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            for file in files:
                (Path(folder) / file.name).write_bytes(file.read_bytes())
            for caption, pixels in pictures.items():
                path = Path(folder) / f"{_NOT_IN_NAMES.sub('_', caption)[:100]}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels).save(path)
            self._client.log_artifacts(self.id, folder)

    def close(self, is_done: bool) -> None:
        """Says how it ended."""
        self._client.set_terminated(self.id, "FINISHED" if is_done else "KILLED")

    def _is_there(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _experiment(self, location: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _NAME)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name, location)
