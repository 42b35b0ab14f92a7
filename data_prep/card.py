"""The dataset's card for TFDS: what `tfds.builder_from_directory` tells its users."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cli import startup
from data_prep.examples.labels import POLICIES
from tfrecords import naming
from tfrecords.manifest import Manifest

_COCO_HOMEPAGE = "https://cocodataset.org"
_COCO_CITATION = """@inproceedings{lin2014microsoft,
  title={Microsoft {COCO}: Common objects in context},
  author={Lin, Tsung-Yi and Maire, Michael and Belongie, Serge and Hays, James and Perona, Pietro
    and Ramanan, Deva and Doll{\\'a}r, Piotr and Zitnick, C Lawrence},
  booktitle={European Conference on Computer Vision},
  year={2014}
}"""


def write_card(data_dir: Path, manifest: Manifest, source: str) -> None:
    """Writes `dataset_info.json`, `features.json` and the names of the classes.

    Args:
        data_dir: The dataset's folder.
        manifest: What it holds.
        source: What it was made from: COCO, class folders, or the tool that labelled it.
    """
    with startup.quiet():  # Brings TensorFlow: seconds that a mistyped flag can spare.
        import tensorflow_datasets as tfds

    def label(doc: str) -> Any:
        return tfds.features.ClassLabel(names=manifest.classes, doc=doc)

    objects = {
        "bbox": tfds.features.BBoxFeature(doc="In shares of the image."),
        "label": label("Class of the instance."),
        "is_crowd": tfds.features.Scalar(
            np.bool_, doc="Whether the box covers a group that nobody told apart."
        ),
        "area": tfds.features.Scalar(
            np.float32, doc="Share of the image under the instance's mask, or box without a mask."
        ),
    }
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(None, None, 3), encoding_format="jpeg", doc="Upright."
            ),
            "image/filename": tfds.features.Text(doc="Of the photograph, as the source writes it."),
            "image/id": tfds.features.Scalar(np.int64, doc="The source's id of the photograph."),
            "label": label("Class of the image."),
            "objects": tfds.features.Sequence(
                objects, doc="Every instance of the classes in the image."
            ),
        }
    )
    template = tfds.core.ShardedFileTemplate(
        dataset_name=naming.DATASET, data_dir=data_dir, filetype_suffix="tfrecord"
    )
    splits = []
    for split in manifest.counts:
        shards = [s for s in manifest.shards if naming.split_of(s.file) == split]
        splits.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[shard.examples for shard in shards],
                num_bytes=sum(shard.bytes for shard in shards),
                filename_template=template,
            )
        )
    with _named([data_dir / manifest.shards_of(split)[0].file for split in manifest.counts]):
        tfds.folder_dataset.write_metadata(
            data_dir=data_dir,
            features=features,
            split_infos=splits,
            check_data=False,  # The manifest's digests vouch for more than one read example would.
            version=f"{manifest.version}.0.0",
            description=_describe(manifest, source),
            homepage=_COCO_HOMEPAGE if source == "COCO" else None,
            citation=_COCO_CITATION if source == "COCO" else None,
            license=f"That of each photograph: see {naming.ATTRIBUTION}.",
            supervised_keys=("image", "label"),
        )


@contextlib.contextmanager
def _named(shards: Sequence[Path]) -> Iterator[None]:
    """Lets TFDS see the names of shards, which is all that it asks for: a bucket has the bytes.

    Args:
        shards: Where one of each split would be.
    """
    missing = [path for path in shards if not path.exists()]
    try:
        for path in missing:
            path.touch()
        yield
    finally:
        for path in missing:
            path.unlink(missing_ok=True)


def _describe(manifest: Manifest, source: str) -> str:
    options = manifest.options
    splits = ", ".join(f"{split} {manifest.num_examples(split)}" for split in manifest.counts)
    policy = POLICIES[options["label_policy"]]
    if options["source"] == "folder":
        policy = "the folder of a photograph is its class"
    size = options["image_size"]
    stored = f"JPEGs whose short side has {size} pixels at most" if size else "of the original size"
    return (
        f"Images of {', '.join(manifest.classes)}, each with one label. Made from: {source}. "
        f"Labels: {policy}. Examples: {splits}. Images: {stored}. {naming.MANIFEST} holds every "
        f"option and digest, {naming.ATTRIBUTION} the licence and source of each photograph, and "
        f"{naming.REPORT} shows it all."
    )
