"""The command `animals`: each command of the project as a verb of one."""

import importlib
import sys

from cli import command, environment, help

# Verb, the module of the command, what it does. Modules are imported when they are asked for.
_VERBS = {
    "build": ("data_prep.build", "Turn photographs with annotations into shards."),
    "verify": ("data_prep.verify", "Check that a dataset is what its manifest says."),
    "train": ("trainer.main", "Train the classifier, or go on where a run stopped."),
    "evaluate": ("trainer.evaluate", "Say how good a run is on a split."),
    "predict": ("trainer.predict", "Say what is on photographs."),
    "explain": ("trainer.explain", "Show where on photographs the model saw what it says."),
    "serve": ("trainer.serve", "Answer photographs over HTTP, with a page to drop them on."),
    "crossval": ("trainer.crossval", "Say how good a recipe is, on every photograph by folds."),
    "export": ("trainer.export", "Take a run away as SavedModel, ONNX or LiteRT, checked."),
    "tune": ("trainer.tune", "Search for the best recipe, on folds of a dataset."),
    "launch": ("launch.run", "Train on a cloud's VM, Slurm, Kubernetes or SkyPilot."),
}
_HELP = ("-h", "--help", "-help", "--helpshort", "--helpfull", "help")
_VERSION = ("--version", "-version", "version")


def run() -> None:
    """The console script: hands what stands behind the verb on to its command."""
    environment.prepare()
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb == "help" and rest and rest[0] in _VERBS:
        verb, rest = rest[0], ["--help"]
    if verb in _HELP:
        print(_overview())
    elif verb in _VERSION:
        print(help.VERSION)
    elif verb in _VERBS:
        sys.argv = [f"{help.program()} {verb}", *rest]
        importlib.import_module(_VERBS[verb][0]).run()
    else:
        command.complain(f"The verbs are {', '.join(_VERBS)}. Received: {verb}.")
        command.exit_with(command.BAD_FLAGS)
    command.exit_with(0)


def _overview() -> str:
    width = max(map(len, _VERBS))
    name = help.program()
    return "\n".join(
        [
            "From COCO photographs to a trained animal classifier.",
            "",
            f"Usage: {name} VERB [FLAGS]",
            "",
            *(f"  {verb:{width}}  {sentence}" for verb, (_, sentence) in _VERBS.items()),
            "",
            f"`{name} VERB --help` shows a verb's flags, `{name} --version` the version.",
        ]
    )


if __name__ == "__main__":
    run()
