"""Answers photographs over HTTP: `python -m trainer.serve --workdir=W --port=8080`."""

import contextlib
import dataclasses
import sys
from typing import Annotated

from cli import command, flags
from cli.flags import BucketPath, Positive, Range, matching
from trainer import keras_settings

_Probability = Annotated[float, Range(0, 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Options of `python -m trainer.serve`, each above its help."""

    workdir: BucketPath
    """Holds the trained run."""
    port: Annotated[int, Range(0, 65535)] = 8080
    """Where to listen. 0: any port that is free."""
    host: Annotated[str, matching(r"[\w.:%-]+", "must be a host's name or address")] = "127.0.0.1"
    """The address to listen at. 127.0.0.1 is for this machine alone, 0.0.0.0 for all that reach it:
    there is no password and no encryption."""
    top_k: Positive = 5
    """How many classes to name for each photograph."""
    reject_below: _Probability | None = None
    """Where the best class is less probable, the answer is `none of these`. Unset: there is always
    a class."""
    max_mib: Annotated[int, Range(1, 1024)] = 20
    """Largest file of a photograph."""
    max_request_mib: Annotated[int, Range(1, 4096)] = 64
    """Largest request."""
    max_images: Annotated[int, Range(1, 1000)] = 32
    """Most photographs of a request."""
    max_waiting: Positive = 512
    """Most photographs that wait for the model, over all requests; of more, requests are answered
    with 503."""

    def __post_init__(self) -> None:
        flags.check(self)


flags.define(ServeConfig)


def main(arguments: list[str]) -> None:
    """Serves until a signal ends it; requests that were accepted by then are answered."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(ServeConfig)
    with contextlib.suppress(KeyboardInterrupt):  # While it loads: nobody waits for an answer yet.
        serve(config)


def serve(config: ServeConfig) -> None:
    """Loads the run's model, warms it, then listens; returns once it is told to stop.

    Raises:
        ValueError: if the workdir holds no trained run.
        RuntimeError: if the extra [serve] is not installed, if nothing can listen at the address,
            or if it was stopped twice.
    """
    from trainer.checks import check_trained, require_serving
    from trainer.workdir.files import Workdir

    require_serving()
    check_trained(files := Workdir.reading(config.workdir))
    from trainer.serving import server

    server.check_address(config.host, config.port)
    print("Loading TensorFlow and the model ...", file=sys.stderr, flush=True)
    keras_settings.import_keras(find_devices=True)
    from trainer.inference.classifier import Classifier
    from trainer.serving import app
    from trainer.serving.service import Limits, Service

    limits = Limits(
        file_bytes=config.max_mib * 2**20,
        request_bytes=config.max_request_mib * 2**20,
        images=config.max_images,
        waiting=config.max_waiting,
    )
    with Service(Classifier.load(files.root), limits) as service:
        service.warm()  # Whoever finds it listening finds it ready.
        shown = app.Shown(config.workdir, config.top_k, config.reject_below)
        server.run(app.create(service, shown), config.host, config.port, config.workdir)


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
