"""Puts a training run on machines: `python -m launch.run --backend=... -- TRAINER FLAGS`."""

from cli import command, flags
from launch.config import LaunchConfig
from launch.planning import plan

flags.define(LaunchConfig)


def main(arguments: list[str]) -> None:
    """Describes the job that the flags ask for, and submits it."""
    config = command.config_from_flags(LaunchConfig)
    job = plan(config, arguments)
    if not config.dry_run:
        job.submit()
        print(f"Submitted. The job's files are in {job.folder}.\n{job.advice()}")
        return
    if config.write_to:
        job.write()
    print(job.describe(), end="")


def run() -> None:
    """The console script."""
    command.run(
        main,
        hint="The trainer's flags stand behind --; pass --help to see the others.",
        arguments="-- TRAINER FLAGS",
    )


if __name__ == "__main__":
    run()
