"""Says what is on photographs: `python -m trainer.predict --workdir=W IMAGE...`."""

import sys

from cli import command, flags
from trainer import prediction
from trainer.prediction import PredictConfig

flags.define(PredictConfig)


def main(arguments: list[str]) -> None:
    """Predicts for each photograph; one that cannot be read gets a line of its own."""
    config = command.config_from_flags(PredictConfig)
    if not arguments:
        raise command.FlagsError("At least one image is needed. Received: none.")
    if prediction.answer(config, arguments):
        sys.exit(command.FAILED)


def run() -> None:
    """The console script."""
    command.run(main, arguments="IMAGE|FOLDER|GLOB|URL|-...")


if __name__ == "__main__":
    run()
