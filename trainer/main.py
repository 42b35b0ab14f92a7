"""Trains the classifier: `python -m trainer.main --data_dir=... --workdir=...`."""

from absl import flags

from cli import command
from trainer.config import HEADS, NUM_VGG_LAYERS, OPTIMIZERS, TrainConfig

FLAGS = flags.FLAGS

_DEFAULT = TrainConfig  # Each default stands once, in the dataclass.

flags.DEFINE_string("data_dir", None, "What data_prep.build made.", required=True)
flags.DEFINE_string(
    "workdir", None, "Where the run goes; one that holds this run is resumed.", required=True
)
flags.DEFINE_integer(
    "num_gpus",
    _DEFAULT.num_gpus,
    "Unset: every visible GPU, the CPU where there is none. 0: the CPU.",
    lower_bound=0,
)
flags.DEFINE_integer(
    "cpu_replicas", _DEFAULT.cpu_replicas, "With --num_gpus=0: logical devices.", lower_bound=1
)
flags.DEFINE_integer(
    "batch_size",
    _DEFAULT.batch_size,
    "Global batch: images per step over all replicas.",
    lower_bound=1,
)
flags.DEFINE_integer("epochs", _DEFAULT.epochs, "Times through the data.", lower_bound=1)
flags.DEFINE_float("learning_rate", _DEFAULT.learning_rate, "Of the optimizer.")
flags.DEFINE_enum("optimizer", _DEFAULT.optimizer, OPTIMIZERS, "SGD has momentum 0.9.")
flags.DEFINE_integer(
    "freeze_layers",
    _DEFAULT.freeze_layers,
    "How many of VGG16's layers, its input among them, do not train.",
    lower_bound=0,
    upper_bound=NUM_VGG_LAYERS,
)
flags.DEFINE_enum("head", _DEFAULT.head, HEADS, "How the last feature map becomes a vector.")
flags.DEFINE_string(
    "weights", _DEFAULT.weights, "imagenet, none (random), or the path of Keras's file."
)
flags.DEFINE_integer("seed", _DEFAULT.seed, "Of initial weights, order and dropout.")
flags.DEFINE_bool("deterministic", _DEFAULT.deterministic, "Equal bits from equal runs; slower.")
flags.DEFINE_integer(
    "checkpoint_every",
    _DEFAULT.checkpoint_every,
    "Steps between checkpoints; one is also written at each epoch's end.",
    lower_bound=1,
)


def main(arguments: list[str]) -> None:
    """Trains what the flags ask for and says how good it is."""
    command.refuse_arguments(arguments)
    config = command.config_from_flags(TrainConfig)

    from trainer.train import train  # TensorFlow takes seconds, which --help must not.

    figures = train(config)
    low, high = figures["accuracy_ci95"]
    print(
        f"Accuracy {figures['accuracy']:.1%} on {figures['num_examples']} photographs of "
        f"{figures['split']} (95 % interval {low:.1%} to {high:.1%}), loss {figures['loss']:.4f}."
    )
    print(f"Report: {config.workdir}/report.html")


def run() -> None:
    """The console script."""
    command.run(main)


if __name__ == "__main__":
    run()
