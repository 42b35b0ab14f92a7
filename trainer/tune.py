"""Searches for a recipe: `python -m trainer.tune --data_dir=D --workdir=W --trials=30`."""

import dataclasses

from cli import command, flags
from trainer.checks import require_optuna, without_boxes
from trainer.config import RECIPES, TrainConfig, TuneConfig
from trainer.loop import preemption
from trainer.loop.signals import StopSignals

# The trainer's flags that are none here.
_EACH_TRIALS = ("fold", "fold_seed", "cache_maps", "lr_find", "dry_run")

flags.define(TuneConfig)
flags.define(TrainConfig, without=_EACH_TRIALS)


def main(arguments: list[str]) -> None:
    """Tries recipes that the flags leave open, and writes the flags of the best one."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(TuneConfig)
    recipe = without_boxes(command.config_from_flags(TrainConfig, without=_EACH_TRIALS))
    require_optuna()
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    given = command.given_flags([*(n for n in names if n not in _EACH_TRIALS), "verbosity"])
    with StopSignals() as stop:
        preemption.watch_for_notice()
        from trainer.tuning.search import tune

        print(tune(config, recipe, given, stop))


def run() -> None:
    """The console script."""
    command.run(main, recipes_folder=RECIPES)


if __name__ == "__main__":
    run()
