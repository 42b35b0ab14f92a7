"""Takes a trained run away: `python -m trainer.export --workdir=W --format=onnx --output=PATH`."""

from cli import command, flags
from trainer.exporting.config import ExportConfig

flags.define(ExportConfig)


def main(arguments: list[str]) -> None:
    """Writes the formats, compares each with the trained model, and prints a table."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(ExportConfig)
    from trainer.exporting.export import export

    print(export(config))


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
