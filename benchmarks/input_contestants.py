"""Ways to read photographs, each timed in a process of its own, on as many cores as it is told.

Imports nothing of the project but for the contestant `ours`, so that another Python, with other
packages, can run it: `python benchmarks/input_contestants.py prepare|run NAME FOLDER CORES IMAGES`.
All deliver uint8 RGB batches of the centres of photographs whose short side is 256, shuffled, with
their labels. FOLDER/folder/CLASS/*.jpg holds the photographs; `prepare` writes what a contestant
reads beside it.
"""

import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

BATCH, SIDE, SHUFFLED = 32, 224, 2000


def _photographs(folder: Path) -> list[tuple[Path, int]]:
    """The photographs and their labels, the classes mixed."""
    classes = sorted(path.name for path in (folder / "folder").iterdir())
    files = sorted((folder / "folder").glob("*/*.jpg"), key=lambda path: path.name)
    return [(path, classes.index(path.parent.name)) for path in files]


def ours(folder: Path, cores: int) -> Iterable[Any]:
    """This project's stream."""
    from tfrecords.manifest import read_manifest
    from trainer.data.order import Order
    from trainer.data.source import PhotographSource
    from trainer.data.split import find_split

    split = find_split(str(folder / "shards"), read_manifest(folder / "shards"), "train")
    return PhotographSource().training_batches(split, Order(seed=0, batch_size=BATCH))


def image_folder(folder: Path, cores: int) -> Iterable[Any]:
    """Torchvision's ImageFolder and PyTorch's DataLoader."""
    from torchvision import datasets, transforms

    seen = transforms.Compose([transforms.CenterCrop(SIDE), transforms.PILToTensor()])
    return _loader(datasets.ImageFolder(str(folder / "folder"), seen), cores, shuffle=True)


def _loader(dataset: Any, cores: int, kind: Any = None, **options: Any) -> Any:
    """A DataLoader, or one of another kind; one core is used best without a second process."""
    import torch

    workers = cores if cores > 1 else 0
    return (kind or torch.utils.data.DataLoader)(
        dataset,
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        drop_last=True,
        **options,
    )


def keras_directory(folder: Path, cores: int) -> Iterable[Any]:
    """keras.utils.image_dataset_from_directory, which crops and resizes."""
    import keras
    import tensorflow as tf

    ds = keras.utils.image_dataset_from_directory(
        folder / "folder",
        image_size=(SIDE, SIDE),
        crop_to_aspect_ratio=True,
        batch_size=BATCH,
        verbose=False,
    )
    return ds.prefetch(tf.data.AUTOTUNE)


def tfds_default(folder: Path, cores: int) -> Iterable[Any]:
    """TFDS's default reading of our own shards: it decodes, then the centre is cut out."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def centre(example: Any) -> Any:
        image = example["image"]
        top, left = (tf.shape(image)[0] - SIDE) // 2, (tf.shape(image)[1] - SIDE) // 2
        return tf.image.crop_to_bounding_box(image, top, left, SIDE, SIDE), example["label"]

    ds = tfds.builder_from_directory(str(folder / "shards")).as_dataset(
        split="train", shuffle_files=True
    )
    ds = ds.map(centre, tf.data.AUTOTUNE).shuffle(SHUFFLED // 10)  # Of decoded images.
    return ds.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def webdataset(folder: Path, cores: int) -> Iterable[Any]:
    """webdataset: tar files, shuffled while still encoded."""
    import webdataset as wds
    from torchvision import transforms

    seen = transforms.Compose([transforms.CenterCrop(SIDE), transforms.PILToTensor()])
    dataset = (
        wds.WebDataset(
            [str(path) for path in sorted((folder / "webdataset").glob("*.tar"))],
            shardshuffle=8,
            empty_check=False,
        )
        .shuffle(SHUFFLED)
        .decode("pilrgb")
        .to_tuple("jpg", "cls")
        .map_tuple(seen, int)
    )
    return _loader(dataset, cores)


def _prepare_webdataset(folder: Path) -> None:
    import webdataset as wds

    (folder / "webdataset").mkdir()
    photographs = _photographs(folder)
    for shard in range(8):
        with wds.TarWriter(str(folder / "webdataset" / f"{shard}.tar")) as tar:
            for path, label in photographs[shard::8]:
                tar.write({"__key__": path.stem, "jpg": path.read_bytes(), "cls": label})


def litdata(folder: Path, cores: int) -> Iterable[Any]:
    """LitData's StreamingDataset of optimised chunks."""
    import io

    import litdata as ld
    from PIL import Image
    from torchvision import transforms

    seen = transforms.Compose([transforms.CenterCrop(SIDE), transforms.PILToTensor()])

    class Photographs(ld.StreamingDataset):
        def __getitem__(self, index: int) -> Any:
            example = super().__getitem__(index)
            image = Image.open(io.BytesIO(example["jpeg"])).convert("RGB")
            return seen(image), example["label"]

    photographs = Photographs(str(folder / "litdata"), shuffle=True, drop_last=True)
    return _loader(photographs, cores, ld.StreamingDataLoader)


def _stored(photograph: tuple[Path, int]) -> dict[str, Any]:
    path, label = photograph
    return {"jpeg": path.read_bytes(), "label": label}


def _prepare_litdata(folder: Path) -> None:
    import litdata as ld

    ld.optimize(
        fn=_stored,
        inputs=_photographs(folder),
        output_dir=str(folder / "litdata"),
        chunk_bytes="64MB",
        num_workers=1,
    )


def ffcv(folder: Path, cores: int) -> Iterable[Any]:
    """FFCV, which re-encodes the photographs into a file of its own."""
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    return Loader(
        str(folder / "ffcv.beton"),
        batch_size=BATCH,
        num_workers=cores,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        pipelines={
            "image": [CenterCropRGBImageDecoder((SIDE, SIDE), ratio=SIDE / 256), ToTensor()],
            "label": [IntDecoder(), ToTensor()],
        },
    )


def _prepare_ffcv(folder: Path) -> None:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    class Photographs:
        photographs = _photographs(folder)

        def __len__(self) -> int:
            return len(self.photographs)

        def __getitem__(self, index: int) -> tuple[Any, int]:
            path, label = self.photographs[index]
            return Image.open(path).convert("RGB"), label

    fields = {"image": RGBImageField(write_mode="jpg", jpeg_quality=92), "label": IntField()}
    # Several processes: with one, FFCV 1.0.2 did not end.
    writer = DatasetWriter(str(folder / "ffcv.beton"), fields, num_workers=16)
    writer.from_indexed_dataset(Photographs())


CONTESTANTS: dict[str, Callable[[Path, int], Iterable[Any]]] = {
    "ours": ours,
    "image_folder": image_folder,
    "keras_directory": keras_directory,
    "tfds_default": tfds_default,
    "webdataset": webdataset,
    "litdata": litdata,
    "ffcv": ffcv,
}
PREPARE = {"webdataset": _prepare_webdataset, "litdata": _prepare_litdata, "ffcv": _prepare_ffcv}


def _forever(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches


def _images_per_second(batches: Iterable[Any], images: int) -> float:
    """Returns the rate, after half as many images to warm up."""
    sizes = (len(labels) for _, labels in _forever(batches))  # An epoch's last may be smaller.
    _take(sizes, images // 2)
    start = time.perf_counter()
    count = _take(sizes, images)
    return count / (time.perf_counter() - start)


def _take(sizes: Iterator[int], images: int) -> int:
    count = 0
    while count < images:
        count += next(sizes)
    return count


def _decode_alone(folder: Path, images: int, core: int, barrier: Any, out: Any) -> None:
    """A loop over photographs in memory that does nothing but decode and crop them."""
    os.sched_setaffinity(0, {core})
    import tensorflow as tf

    work = []
    for path, _ in _photographs(folder):
        jpeg = tf.constant(path.read_bytes())
        height, width, _ = tf.io.extract_jpeg_shape(jpeg).numpy()
        window = tf.constant([(height - SIDE) // 2, (width - SIDE) // 2, SIDE, SIDE])
        work.append((jpeg, window))
    for warm in (True, False):
        barrier.wait()
        start = time.perf_counter()
        for jpeg, window in itertools.islice(itertools.cycle(work), images // (1 + warm)):
            tf.io.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")
    barrier.wait()
    out.put(time.perf_counter() - start)


def _bare(folder: Path, cores: int, images: int) -> float:
    """The rate of that loop, in a process on each core."""
    spawn = multiprocessing.get_context("spawn")
    barrier, out = spawn.Barrier(cores), spawn.Queue()
    processes = [
        spawn.Process(target=_decode_alone, args=(folder, images // cores, core, barrier, out))
        for core in sorted(os.sched_getaffinity(0))[:cores]
    ]
    for process in processes:
        process.start()
    seconds = max(out.get() for _ in processes)
    for process in processes:
        process.join()
    return images // cores * cores / seconds


def _main() -> None:
    action, name, folder, cores, images = sys.argv[1:]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    if action == "prepare":
        PREPARE[name](Path(folder))
    elif name == "bare":
        print(_bare(Path(folder), int(cores), int(images)))
    else:
        batches = CONTESTANTS[name](Path(folder), int(cores))
        print(_images_per_second(batches, int(images)), flush=True)
        os._exit(0)  # Some contestants' processes do not end by themselves.


if __name__ == "__main__":
    _main()
