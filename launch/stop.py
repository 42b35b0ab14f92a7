"""Ends a job, with a checkpoint: `python -m launch.stop --name=NAME`."""

from cli import command, flags
from launch import submitted
from launch.submitted import WhichConfig

flags.define(WhichConfig)


def main(arguments: list[str]) -> None:
    """Runs the backend's commands that end a job; nothing of the run is removed."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(WhichConfig)
    submitted.run(submitted.read(config).stop, dry_run=config.dry_run)


def run() -> None:
    """The command."""
    command.run(main)


if __name__ == "__main__":
    run()
