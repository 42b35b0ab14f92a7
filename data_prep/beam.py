"""Maps `build_shard` over the tasks with Apache Beam: on this machine, or where --beam_args says.

The plan is made before the pipeline starts, so a task's name, inputs and bytes do not depend on
Beam; only tasks go in, and what came of each lies beside its shard. Workers need this project
installed, and the photographs and --data_dir under the same paths. A --data_dir in a bucket is such
a path; photographs of a bucket are fetched where the plan is made, so that workers on other
machines need its cache folder.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from data_prep.shards import ShardTask, build_shard


def build_shards(tasks: Sequence[ShardTask], beam_args: Sequence[str]) -> None:
    """Builds every task's shard.

    Args:
        tasks: The shards to build.
        beam_args: Beam's own options, each as `--name=value`. Without a `--runner` among them,
            Beam's runner for one machine is used.

    Raises:
        ValueError: if Beam is not installed, or does not know the runner. Of other options that it
            does not know, Beam itself warns.
        RuntimeError: if the pipeline fails.
    """
    try:
        with _quiet():
            import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    except ImportError as error:
        raise ValueError(
            f"--runner=beam needs Apache Beam. Received: {error}. Install it together with this "
            "project, so that their needs are met in one: `pip install -e '.[beam]'`."
        ) from error
    logging.getLogger("apache_beam").setLevel(logging.WARNING)  # It tells of every channel.
    options = PipelineOptions(["--default_sdk_harness_log_level=WARNING", *beam_args])
    named = options.view_as(StandardOptions).runner
    # Beam's default would first try to download a runner written in Go.
    runner = named if named not in (None, "DirectRunner") else FnApiRunner()
    pipeline = apache_beam.Pipeline(runner, options)
    (
        pipeline
        | "Plan" >> apache_beam.Create([msgspec.json.encode(task) for task in tasks])
        | "Spread" >> apache_beam.Reshuffle()  # Else one worker would do all that follows.
        | "Build" >> apache_beam.Map(_build)
    )
    try:
        pipeline.run().wait_until_finish()
    except Exception as error:  # What runners raise has the worker's traceback for its text.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if reason[-1].startswith(KeyboardInterrupt.__name__):  # Beam wraps it like any other.
            raise KeyboardInterrupt from error
        raise RuntimeError(
            f"Beam's pipeline failed. Received: {reason[-1]}. Start the same command again to go "
            "on: finished shards are kept."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Beam's import, which warns of each cloud whose libraries are missing."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _build(encoded: bytes) -> None:
    build_shard(msgspec.json.decode(encoded, type=ShardTask))
