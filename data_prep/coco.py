"""Reads COCO detections: annotation files beside folders of photographs.

The decoder is typed, so a missing key or a wrong type is named with its place in the file, and
segmentations, most of a file's bytes, are skipped without being built.
"""

import codecs
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from data_prep.config import ALL_CLASSES
from data_prep.photographs import Photograph, Rejection, Source, check_classes, split_name
from tfrecords.schema import Box, Object


class _Category(msgspec.Struct):
    id: int
    name: str


class _License(msgspec.Struct):
    id: int
    name: str = ""
    url: str = ""


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int
    height: int
    license: int | None = None
    flickr_url: str = ""
    coco_url: str = ""


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    licenses: list[_License] = []


def read_coco_dir(coco_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads `annotations/instances_*.json` of a COCO folder, with the photographs beside it."""
    root = Path(coco_dir)
    if not root.is_dir():
        raise ValueError(f"coco_dir is not a directory. Received: {coco_dir}.")
    files = sorted(root.glob("annotations/instances_*.json"))
    if not files:
        raise ValueError(
            "coco_dir holds no annotations/instances_*.json. Received: "
            f"{coco_dir}. Name the files with --annotations and --images_dir."
        )
    return _read(((file, _image_folders(root, file)) for file in files), classes)


def read_annotations(files: Sequence[str], images_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads annotation files whose photographs all lie below one folder."""
    if not Path(images_dir).is_dir():
        raise ValueError(f"images_dir is not a directory. Received: {images_dir}.")
    return _read(((Path(file), [Path(images_dir)]) for file in files), classes)


def _image_folders(root: Path, annotations: Path) -> list[Path]:
    """Where the photographs of `instances_NAME.json` may lie, the likeliest first."""
    name = annotations.stem.removeprefix("instances_")
    likely = [root / name, root / "images" / name, root / "images", root]
    return [folder for folder in likely if folder.is_dir()]


def _read(files: Iterable[tuple[Path, list[Path]]], classes: tuple[str, ...]) -> Source:
    decoded = [(file, folders, _decode(file)) for file, folders in files]
    known = {category.name: None for _, _, coco in decoded for category in coco.categories}
    if classes == ALL_CLASSES:
        classes = tuple(sorted(known))
    check_classes(classes, known, "COCO's annotations")
    photographs: list[Photograph] = []
    bad_boxes: list[Rejection] = []
    for file, folders, coco in decoded:
        _check_ids(file, coco)
        _check_images(file, coco.images)
        folder = _folder_in_use(folders, coco.images)
        photographs += _photographs(file, folder, coco, classes, bad_boxes)
    return Source(classes, photographs, bad_boxes)


def _decode(file: Path) -> _Instances:
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)  # Some Windows tools write it.
        return msgspec.json.decode(content, type=_Instances)
    except FileNotFoundError:
        raise ValueError(f"There is no such annotation file. Received: {file}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"Not JSON in UTF-8: {error}. Received: {file}.") from None
    except msgspec.ValidationError as error:
        raise ValueError(
            f"Not COCO detections: {error}. Received: {file}. It needs images (id, file_name, "
            "width, height), annotations (id, image_id, category_id, bbox) and categories."
        ) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"Not JSON: {error}. Received: {file}.") from None


def _check_ids(file: Path, coco: _Instances) -> None:
    """Ids must be unique within a file: annotations are joined to photographs by them."""
    for kind, items in (("image", coco.images), ("annotation", coco.annotations),
                        ("category", coco.categories)):  # fmt: skip
        [(most, count)] = Counter(item.id for item in items).most_common(1) or [(0, 0)]
        if count > 1:
            raise ValueError(f"The {kind} id {most} stands {count} times. Received: {file}.")


def _check_images(file: Path, images: list[_Image]) -> None:
    for image in images:
        path = PurePosixPath(image.file_name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in image.file_name:
            raise ValueError(
                "A file_name must stay inside the image folder. Received: "
                f"{image.file_name!r} (image {image.id} of {file})."
            )
        if not -(2**63) <= image.id < 2**63:
            raise ValueError(
                f"An image id must fit into 64 bits. Received: {image.id} (an image of {file})."
            )
        if image.width < 1 or image.height < 1:
            raise ValueError(
                "An image must be at least one pixel wide and high. Received: "
                f"{image.width}x{image.height} (image {image.id} of {file})."
            )


def _folder_in_use(folders: list[Path], images: list[_Image]) -> Path:
    """The first folder that holds one of the first photographs; else the likeliest."""
    for folder in folders:
        if any((folder / image.file_name).is_file() for image in images[:20]):
            return folder
    return folders[0]


def _photographs(
    file: Path,
    folder: Path,
    coco: _Instances,
    classes: tuple[str, ...],
    bad_boxes: list[Rejection],
) -> list[Photograph]:
    label_of = {c.id: classes.index(c.name) for c in coco.categories if c.name in classes}
    licenses = {entry.id: entry.url or entry.name for entry in coco.licenses}
    annotations: dict[int, list[_Annotation]] = defaultdict(list)
    for annotation in coco.annotations:
        if annotation.category_id in label_of:
            annotations[annotation.image_id].append(annotation)

    photographs = []
    for image in coco.images:
        objects = []
        for annotation in annotations[image.id]:
            box = _share(annotation.bbox, image)
            if box.area > 0:
                label = label_of[annotation.category_id]
                area = _area(annotation, image, box)
                objects.append(Object(box, label, bool(annotation.iscrowd), area))
            else:
                reason = f"box outside the image or of no size: {list(annotation.bbox)}"
                bad_boxes.append(Rejection(image.file_name, reason, annotation.id))
        photographs.append(
            Photograph(
                path=str(folder / image.file_name),
                name=image.file_name,
                image_id=image.id,
                source_split=split_name(file.stem.removeprefix("instances_")),
                size=(image.width, image.height),
                objects=tuple(objects),
                license=licenses.get(image.license or 0, ""),
                url=image.flickr_url or image.coco_url,
            )
        )
    return photographs


def _share(bbox: tuple[float, float, float, float], image: _Image) -> Box:
    """COCO's [x, y, width, height] in pixels as shares of the image, clipped to it."""
    x, y, width, height = bbox
    if not all(map(math.isfinite, bbox)):
        return Box(0, 0, 0, 0)
    return Box(
        ymin=_clip(y / image.height),
        xmin=_clip(x / image.width),
        ymax=_clip((y + height) / image.height),
        xmax=_clip((x + width) / image.width),
    )


def _area(annotation: _Annotation, image: _Image, box: Box) -> float:
    """Share of the image under the instance's mask; of its box where there is no mask."""
    if annotation.area is None:
        return box.area
    return _clip(annotation.area / (image.width * image.height))


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)
