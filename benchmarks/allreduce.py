"""Works out on paper how long the gradients' all-reduce takes on several kinds of links.

python -m benchmarks.allreduce

A ring of n sends and receives 2 (n - 1) / n of the gradients' bytes through each link, at the rate
of one direction (Patarasuk and Yuan, 2009, doi:10.1016/j.jpdc.2008.09.002). Nothing is measured;
latencies and software, which make it slower, and sums that start before the last gradient is there,
which hide it, are left out.
"""

import dataclasses

from absl import flags

from cli import command

FLAGS = flags.FLAGS

flags.DEFINE_integer("batch_size", 32, "Images of each GPU in a step.", lower_bound=1)
flags.DEFINE_integer("members", 8, "GPUs, or hosts, of the ring.", lower_bound=2)
flags.DEFINE_float("times_p100", 1.0, "How much faster than a P100 each GPU is.", lower_bound=0.1)

# VGG16 on 8 P100 with real data, https://github.com/tensorflow/benchmarks: images a second of
# all, and the fraction of eight times one GPU's rate that they are.
_PUBLISHED_RATE, _PUBLISHED_EFFICIENCY, _PUBLISHED_BATCH = 898.0, 0.73, 64
_P100_RATE = _PUBLISHED_RATE / 8 / _PUBLISHED_EFFICIENCY  # Of all layers, forward and backward.

# Multiply-adds of one image in millions: 15,347 are VGG16's convolutions, 1,387 those of its last
# block. A backward pass is two forward passes.
_WHOLE, _LAST_BLOCK = 15_347, 1_387
_TRAINED_WHOLE = 3 * _WHOLE


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained.

    Attributes:
        name: What the row of the table is called.
        parameters: How many gradients a step has.
        work: Million multiply-adds of a step, an image.
    """

    name: str
    parameters: int
    work: int


RECIPES = (
    Recipe("reference recipe: last block, flatten head", 13_504_264, _WHOLE + 2 * _LAST_BLOCK),
    Recipe("--head=gap", 7_083_528, _WHOLE + 2 * _LAST_BLOCK),
    Recipe("--head=gap, cached features", 7_083_528, 3 * _LAST_BLOCK),
    Recipe("--head=gap --freeze_layers=19", 4_104, _WHOLE),
    Recipe("all of VGG16 with its own head, published", 138_357_544, _TRAINED_WHOLE),
)

# Bytes a second in one direction, as their makers state them.
LINKS = {
    "NVLink (A100)": 300e9,
    "PCIe 4 x16": 32e9,
    "PCIe 3 x16": 16e9,
    "100 Gb/s": 12.5e9,
    "25 Gb/s": 3.125e9,
}


def step_seconds(recipe: Recipe, batch_size: int) -> float:
    """Returns how long a P100 computes, if it is as fast at this part of VGG16 as at all of it."""
    return batch_size / _P100_RATE * recipe.work / _TRAINED_WHOLE


def allreduce_seconds(recipe: Recipe, bytes_per_second: float, members: int) -> float:
    """Returns how long a ring takes for float32 gradients."""
    return 2 * (members - 1) / members * 4 * recipe.parameters / bytes_per_second


def main(arguments: list[str]) -> None:
    """Prints the table."""
    command.refuse_arguments(arguments)
    print(f"One P100 trains all of VGG16 at {_P100_RATE:.0f} images/s.")
    print(f"{FLAGS.members} in a ring, batch {FLAGS.batch_size} each; ms, and efficiency:")
    print(f"| what trains | MB | a step | {' | '.join(LINKS)} |")
    print(f"|---|---|---|{'---|' * len(LINKS)}")
    for recipe in RECIPES:
        step = step_seconds(recipe, FLAGS.batch_size) / FLAGS.times_p100
        cells = []
        for rate in LINKS.values():
            seconds = allreduce_seconds(recipe, rate, FLAGS.members)
            cells.append(f"{_milliseconds(seconds)}, {step / (step + seconds):.0%}")
        size = f"{4 * recipe.parameters / 1e6:.3g}"
        print(f"| {recipe.name} | {size} | {_milliseconds(step)} | {' | '.join(cells)} |")


def _milliseconds(seconds: float) -> str:
    milliseconds = 1000 * seconds
    if milliseconds < 0.01:
        return "< 0.01 ms"
    return f"{milliseconds:.2g} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


if __name__ == "__main__":
    command.run(main)
