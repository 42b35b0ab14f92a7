"""Reads COCO detections: annotation files beside folders of photographs.

The decoder is typed, so a missing key or a wrong type is named with its place in the file.
Segmentations, most of a file's bytes, are skipped without being built, and annotations of other
classes are not kept.
"""

import codecs
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from data_prep import layouts
from data_prep.config import ALL_CLASSES
from data_prep.layouts import AnnotationFile
from data_prep.photographs import Photograph, Rejection, Source, check_classes, split_name
from tfrecords.schema import Box, Object


# gc=False: a file has a million of them, and none can be part of a cycle.
class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _License(msgspec.Struct, gc=False):
    id: int
    name: str = ""
    url: str = ""


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int
    license: int | None = None
    flickr_url: str = ""
    coco_url: str = ""


class _Annotation(msgspec.Struct, gc=False):
    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0


class _File(msgspec.Struct, kw_only=True):
    images: list[_Image]
    categories: list[_Category]
    licenses: list[_License] = []


class _Instances(_File, kw_only=True):
    annotations: list[_Annotation]


class _Undecoded(_File, kw_only=True):
    annotations: list[msgspec.Raw]


def read_coco_dir(coco_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads the annotation files of a folder of COCO's layout, or of a labelling tool's export."""
    layout = layouts.recognise(coco_dir)
    return _read(layout.tool, Path(coco_dir), layout.files, classes)


def read_annotations(files: Sequence[str], images_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads annotation files whose photographs all lie below one folder."""
    root = Path(images_dir)
    if not root.is_dir():
        raise ValueError(f"images_dir is not a directory. Received: {images_dir}.")
    named = [
        AnnotationFile(path, [root], split_name(path.stem.removeprefix("instances_")))
        for path in map(Path, files)
    ]
    return _read("COCO", root, named, classes)


def _read(
    tool: str, root: Path, files: Sequence[AnnotationFile], classes: tuple[str, ...]
) -> Source:
    decoded = [(file, _decode(file.path, classes)) for file in files]
    known = {category.name: None for _, coco in decoded for category in coco.categories}
    if classes == ALL_CLASSES:
        classes = _classes_in_use(coco for _, coco in decoded)
        if not classes:
            named = ", ".join(str(file.path) for file in files)
            raise ValueError(f"No annotation is of any of the categories. Received: {named}.")
    check_classes(classes, known, "COCO's annotations")
    photographs: list[Photograph] = []
    bad_boxes: list[Rejection] = []
    dropped: Counter[str] = Counter()
    for file, coco in decoded:
        _check_ids(file.path, coco)
        _check_images(file, coco.images)
        dropped += _count_strays(coco)
        photographs += _photographs(root, file, coco, classes, bad_boxes)
    names = ", ".join(str(file.path) for file in files)
    description = f"{tool}: {len(photographs)} photographs in {names}"
    return Source(classes, photographs, bad_boxes, dropped, description, tool)


def _classes_in_use(files: Iterable[_Instances]) -> tuple[str, ...]:
    """Every class of which there is an instance: Roboflow, say, lists a group that has none."""
    names: set[str] = set()
    for coco in files:
        used = {annotation.category_id for annotation in coco.annotations}
        names |= {category.name for category in coco.categories if category.id in used}
    return tuple(sorted(names))


def _count_strays(coco: _Instances) -> Counter[str]:
    """Counts the annotations that belong to nothing in their file."""
    images = {image.id for image in coco.images}
    categories = {category.id for category in coco.categories}
    strays: Counter[str] = Counter()
    for annotation in coco.annotations:
        if annotation.image_id not in images:
            strays["annotation_of_unknown_image"] += 1
        elif annotation.category_id not in categories:
            strays["annotation_of_unknown_category"] += 1
    return strays


def _decode(file: Path, classes: tuple[str, ...]) -> _Instances:
    """Reads a file without the annotations of its other classes."""
    try:
        content = file.read_bytes().removeprefix(codecs.BOM_UTF8)  # Some Windows tools write it.
        return _select(content, classes)
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


def _select(content: bytes, classes: tuple[str, ...]) -> _Instances:
    """Decodes the annotations one by one: in COCO itself, most are of other classes."""
    decode = msgspec.json.Decoder(_Annotation).decode
    try:
        file = msgspec.json.decode(content, type=_Undecoded)
        others = {
            category.id
            for category in file.categories
            if classes != ALL_CLASSES and category.name not in classes
        }
        annotations = [a for a in map(decode, file.annotations) if a.category_id not in others]
    except msgspec.ValidationError:
        return msgspec.json.decode(content, type=_Instances)  # It fails too, and says where.
    return _Instances(
        images=file.images,
        annotations=annotations,
        categories=file.categories,
        licenses=file.licenses,
    )


def _check_ids(file: Path, coco: _Instances) -> None:
    """Ids must be unique within a file: annotations are joined to photographs by them."""
    for kind, items in (("image", coco.images), ("annotation", coco.annotations),
                        ("category", coco.categories)):  # fmt: skip
        [(most, count)] = Counter(item.id for item in items).most_common(1) or [(0, 0)]
        if count > 1:
            raise ValueError(f"The {kind} id {most} stands {count} times. Received: {file}.")


def _check_images(file: AnnotationFile, images: list[_Image]) -> None:
    for image in images:
        if not _stays_inside(file.file_name(image.file_name)):
            raise ValueError(
                "A file_name must stay inside the image folder. Received: "
                f"{image.file_name!r} (image {image.id} of {file.path})."
            )
        if not -(2**63) <= image.id < 2**63:
            raise ValueError(
                "An image id must fit into 64 bits. "
                f"Received: {image.id} (an image of {file.path})."
            )
        if image.width < 1 or image.height < 1:
            raise ValueError(
                "An image must be at least one pixel wide and high. Received: "
                f"{image.width}x{image.height} (image {image.id} of {file.path})."
            )


def _stays_inside(name: str) -> bool:
    if "/" not in name:  # As nearly always: without the cost of a path.
        return name not in ("", ".", "..") and "\0" not in name
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _folder_in_use(file: AnnotationFile, images: list[_Image]) -> Path:
    """The first folder that holds one of the first photographs; else the likeliest."""
    names = [file.file_name(image.file_name) for image in images[:20]]
    for folder in file.folders:
        if any((folder / name).is_file() for name in names):
            return folder
    # Not the root, the last, where a download would mix the photographs of several files.
    return next((folder for folder in file.folders[:-1] if folder.is_dir()), file.folders[0])


def _photographs(
    root: Path,
    file: AnnotationFile,
    coco: _Instances,
    classes: tuple[str, ...],
    bad_boxes: list[Rejection],
) -> list[Photograph]:
    folder = _folder_in_use(file, coco.images)
    below_root = folder.relative_to(root).as_posix()
    label_of = {c.id: classes.index(c.name) for c in coco.categories if c.name in classes}
    licenses = {entry.id: entry.url or entry.name for entry in coco.licenses}
    annotations: dict[int, list[_Annotation]] = defaultdict(list)
    for annotation in coco.annotations:
        if annotation.category_id in label_of:
            annotations[annotation.image_id].append(annotation)

    photographs = []
    for image in coco.images:
        name = file.file_name(image.file_name)
        if "/" in name:
            name = PurePosixPath(name).as_posix()  # `./a.jpg` is `a.jpg`.
        source_file = name if below_root == "." else f"{below_root}/{name}"
        objects = []
        for annotation in annotations.get(image.id, ()):
            box = _share(annotation.bbox, image)
            if box.area > 0:
                label = label_of[annotation.category_id]
                area = _area(annotation, image, box)
                objects.append(Object(box, label, bool(annotation.iscrowd), area))
            else:
                reason = f"box outside the image or of no size: {list(annotation.bbox)}"
                bad_boxes.append(Rejection(source_file, reason, annotation.id))
        photographs.append(
            Photograph(
                path=f"{folder}/{name}",
                name=name,
                image_id=image.id,
                source_split=file.split,
                size=(image.width, image.height),
                objects=tuple(objects),
                license=licenses.get(image.license or 0, ""),
                url=image.flickr_url or image.coco_url,
                file=source_file,
                download_url=image.coco_url,
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
