"""The name of every file of a dataset; TFDS's own pattern for shards."""

DATASET = "coco_animals"
MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"
NEAR_DUPLICATES = "near_duplicates.jsonl"
ATTRIBUTION = "attribution.csv"
REPORT = "report.html"
DATASET_INFO = "dataset_info.json"  # This one and the next two are TFDS's names.
FEATURES = "features.json"
LICENSE = "LICENSE"
# TFDS's too: the classes of `label` and of `objects`, a line each.
CLASS_NAMES = ("label.labels.txt", "objects-label.labels.txt")
BUILD_STATE = ".build"  # What a later build needs to know about each finished shard.
FINGERPRINTS = "fingerprints.json"  # In BUILD_STATE: perceptual hashes, by content.

SHARD_GLOB = f"{DATASET}-*.tfrecord-*"


def shard_name(split: str, index: int, num_shards: int) -> str:
    """`coco_animals-train.tfrecord-00002-of-00008` for ("train", 2, 8)."""
    return f"{DATASET}-{split}.tfrecord-{index:05d}-of-{num_shards:05d}"


def split_of(shard: str) -> str:
    """Returns the split from a shard's file name: the inverse of `shard_name`."""
    return shard.removeprefix(f"{DATASET}-").partition(".tfrecord-")[0]
