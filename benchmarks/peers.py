"""What `benchmarks.data_prep` compares with, each for a process of its own.

python -m benchmarks.peers NAME COCO_DIR OUTPUT_DIR
"""

import collections
import hashlib
import io
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from tfrecords import images

SIZE, QUALITY = 256, 92
_SHARDS = 32  # The default of the Model Garden's script.


def _shrunk(width: int, height: int) -> tuple[int, int]:
    short = min(width, height, SIZE) / min(width, height)
    return round(width * short), round(height * short)


def with_simplejpeg(photograph: bytes) -> bytes:
    """Decodes and encodes with simplejpeg, shrinks with OpenCV."""
    pixels = simplejpeg.decode_jpeg(photograph, "RGB")
    size = _shrunk(pixels.shape[1], pixels.shape[0])
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return simplejpeg.encode_jpeg(pixels, QUALITY, "RGB", "420")


def with_opencv(photograph: bytes) -> bytes:
    """OpenCV alone."""
    pixels: Any = cv2.imdecode(np.frombuffer(photograph, np.uint8), cv2.IMREAD_COLOR)
    size = _shrunk(pixels.shape[1], pixels.shape[0])
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def with_pillow(photograph: bytes) -> bytes:
    """Pillow alone, with the filter that averages areas as OpenCV's does."""
    out, opened = io.BytesIO(), Image.open(io.BytesIO(photograph))
    image = opened.convert("RGB").resize(_shrunk(*opened.size), Image.Resampling.BOX)
    image.save(out, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return out.getvalue()


def bare_loop(store: Callable[[bytes], bytes], coco_dir: Path, _: Path) -> float:
    """Reads, decodes, shrinks and encodes one photograph after the other, and drops it."""
    cv2.setNumThreads(1)
    paths = sorted(coco_dir.glob("train2017/*.jpg"))
    start = time.perf_counter()
    for path in paths:
        store(path.read_bytes())
    return time.perf_counter() - start


def tfds_builder(coco_dir: Path, output_dir: Path) -> float:
    """TFDS's own way: a GeneratorBasedBuilder with the features, pixels and labels of our build."""
    import tensorflow_datasets as tfds

    cv2.setNumThreads(1)
    names, photographs = _read_coco(coco_dir)

    class CocoAnimals(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            label = tfds.features.ClassLabel(names=list(names.values()))
            objects = {"bbox": tfds.features.BBoxFeature(), "label": label,
                       "is_crowd": np.bool_, "area": np.float32}  # fmt: skip
            features = {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
                "label": label,
                "objects": tfds.features.Sequence(objects),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager: Any) -> Any:
            fifth = len(photographs) // 5
            return {"val": self._generate_examples(photographs[:fifth]),
                    "train": self._generate_examples(photographs[fifth:])}  # fmt: skip

        def _generate_examples(self, members: Any) -> Iterator[tuple[int, dict[str, Any]]]:
            for image, annotations in members:
                photograph = (coco_dir / "train2017" / image["file_name"]).read_bytes()
                yield image["id"], {
                    "image": io.BytesIO(with_simplejpeg(photograph)),
                    "image/filename": image["file_name"],
                    "image/id": image["id"],
                    "label": names[annotations[0]["category_id"]],
                    "objects": [
                        {"bbox": _bbox(tfds, annotation["bbox"], image),
                         "label": names[annotation["category_id"]],
                         "is_crowd": bool(annotation["iscrowd"]),
                         "area": annotation["area"] / (image["width"] * image["height"])}
                        for annotation in annotations
                    ],
                }  # fmt: skip

    CocoAnimals(data_dir=str(output_dir)).download_and_prepare()
    return 0.0


def _bbox(tfds: Any, bbox: list[float], image: dict[str, Any]) -> Any:
    x, y, width, height = bbox
    return tfds.features.BBox(
        ymin=y / image["height"], xmin=x / image["width"],
        ymax=(y + height) / image["height"], xmax=(x + width) / image["width"],
    )  # fmt: skip


def model_garden(coco_dir: Path, output_dir: Path) -> float:
    """What TF Model Garden's create_coco_tf_record.py does, with its defaults, without masks.

    https://github.com/tensorflow/models/blob/master/official/vision/data/create_coco_tf_record.py
    and tfrecord_lib.py beside it: raw bytes into a tf.train.Example, by the starmap of an mp.Pool,
    which holds them all until the parent writes them.
    """
    import tensorflow as tf

    names, photographs = _read_coco(coco_dir)
    writers = [
        tf.io.TFRecordWriter(str(output_dir / f"coco-{i:05d}-of-{_SHARDS:05d}.tfrecord"))
        for i in range(_SHARDS)
    ]
    work = (
        (image, str(coco_dir / "train2017"), annotations, names)
        for image, annotations in photographs
    )
    with multiprocessing.Pool() as pool:
        for index, example in enumerate(pool.starmap(_garden_example, work)):
            writers[index % _SHARDS].write(example.SerializeToString())
        pool.close()
        pool.join()
    for writer in writers:
        writer.close()
    return 0.0


def _garden_example(
    image: dict[str, Any], folder: str, annotations: list[dict[str, Any]], names: dict[int, str]
) -> Any:
    import tensorflow as tf

    with tf.io.gfile.GFile(f"{folder}/{image['file_name']}", "rb") as file:
        encoded = file.read()
    boxes = [annotation["bbox"] for annotation in annotations]
    ids = [annotation["category_id"] for annotation in annotations]

    def feature(values: list[Any]) -> Any:
        if values and isinstance(values[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        if values and isinstance(values[0], int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    features = {
        "image/height": [image["height"]],
        "image/width": [image["width"]],
        "image/filename": [image["file_name"].encode()],
        "image/source_id": [str(image["id"]).encode()],
        "image/key/sha256": [hashlib.sha256(encoded).hexdigest().encode()],
        "image/encoded": [encoded],
        "image/format": [b"jpg"],
        "image/object/bbox/xmin": [x / image["width"] for x, _, _, _ in boxes],
        "image/object/bbox/xmax": [(x + w) / image["width"] for x, _, w, _ in boxes],
        "image/object/bbox/ymin": [y / image["height"] for _, y, _, _ in boxes],
        "image/object/bbox/ymax": [(y + h) / image["height"] for _, y, _, h in boxes],
        "image/object/class/text": [names[category].encode() for category in ids],
        "image/object/class/label": ids,
        "image/object/is_crowd": [annotation["iscrowd"] for annotation in annotations],
        "image/object/area": [float(annotation["area"]) for annotation in annotations],
    }
    return tf.train.Example(
        features=tf.train.Features(feature={name: feature(v) for name, v in features.items()})
    )


def _read_coco(coco_dir: Path) -> tuple[dict[int, str], list[tuple[Any, Any]]]:
    """Returns {category id: name} and (image, its annotations) for each image."""
    content = json.loads((coco_dir / "annotations" / "instances_train2017.json").read_text())
    annotations_by_image = collections.defaultdict(list)
    for annotation in content["annotations"]:
        annotations_by_image[annotation["image_id"]].append(annotation)
    names = {category["id"]: category["name"] for category in content["categories"]}
    return names, [(image, annotations_by_image[image["id"]]) for image in content["images"]]


PEERS: dict[str, Callable[[Path, Path], float]] = {
    "simplejpeg": lambda *paths: bare_loop(with_simplejpeg, *paths),
    "OpenCV": lambda *paths: bare_loop(with_opencv, *paths),
    "Pillow": lambda *paths: bare_loop(with_pillow, *paths),
    "build's own": lambda *paths: bare_loop(lambda photo: images.store_jpeg(photo, SIZE), *paths),
    "TFDS": tfds_builder,
    "Model Garden": model_garden,
}

if __name__ == "__main__":
    from benchmarks import peers  # TFDS takes no builder of the module __main__.

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    print(peers.PEERS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3])))
