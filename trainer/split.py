"""A split of a dataset, as the trainer reads it."""

from typing import NamedTuple

from etils import epath

from tfrecords.manifest import Manifest


class Split(NamedTuple):
    """A split of a dataset: its name, its shards' paths, its number of examples, the classes."""

    name: str
    paths: list[str]
    num_examples: int
    classes: list[str]


def find_split(data_dir: str, manifest: Manifest, name: str) -> Split:
    """Returns a split.

    Raises:
        ValueError: if the dataset has none of this name.
    """
    paths = [str(epath.Path(data_dir) / file) for file in manifest.files(name)]
    return Split(name, paths, manifest.num_examples(name), manifest.classes)
