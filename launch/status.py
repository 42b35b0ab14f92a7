"""Says how far a job is: `python -m launch.status --name=NAME`."""

from cli import command, flags
from launch import submitted
from launch.submitted import WhichConfig

flags.define(WhichConfig)


def main(arguments: list[str]) -> None:
    """Runs the backend's commands for the state of a job."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(WhichConfig)
    submitted.run(submitted.read(config).status, dry_run=config.dry_run)


def run() -> None:
    """The command."""
    command.run(main)


if __name__ == "__main__":
    run()
