"""Shows what a job has said: `python -m launch.logs --name=NAME`."""

import contextlib

from cli import command, flags
from launch import submitted
from launch.submitted import WhichConfig

flags.define(WhichConfig)


def main(arguments: list[str]) -> None:
    """Runs the backend's command for the log; Ctrl-C ends one that follows it."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(WhichConfig)
    with contextlib.suppress(KeyboardInterrupt):
        submitted.run(submitted.read(config).logs, dry_run=config.dry_run)


def run() -> None:
    """The command."""
    command.run(main)


if __name__ == "__main__":
    run()
