"""Cross-validates a recipe: `python -m trainer.crossval --data_dir=D --workdir=W --folds=5`."""

import dataclasses

from cli import command, flags
from trainer.checks import without_boxes
from trainer.config import RECIPES, CrossvalConfig, TrainConfig
from trainer.loop import preemption
from trainer.loop.signals import StopSignals

_EACH_FOLDS = ("fold", "fold_seed", "dry_run", "lr_find")  # The trainer's flags that are none here.

flags.define(TrainConfig, without=_EACH_FOLDS)
flags.define(CrossvalConfig)


def main(arguments: list[str]) -> None:
    """Trains what the flags ask for on each fold's others, and says how good it is on all."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(CrossvalConfig)
    recipe = without_boxes(command.config_from_flags(TrainConfig, without=_EACH_FOLDS))
    fields = [*dataclasses.fields(TrainConfig), *dataclasses.fields(CrossvalConfig)]
    names = [field.name for field in fields if field.name not in _EACH_FOLDS]
    given = command.given_flags([*names, "verbosity"])
    with StopSignals() as stop:
        preemption.watch_for_notice()
        from trainer.cross_validation import cross_validate

        print(cross_validate(config, recipe, given, stop))


def run() -> None:
    """The console script."""
    command.run(main, recipes_folder=RECIPES)


if __name__ == "__main__":
    run()
