"""Reads COCO detections: annotation files beside folders of photographs."""

import codecs
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from buckets import urls
from data_prep.config import ALL_CLASSES
from data_prep.rules import Rule
from data_prep.sources import coco_file, coco_layouts
from data_prep.sources.box_checks import DrawnBox, doubt_boxes
from data_prep.sources.coco_file import (
    Annotation,
    BadImage,
    Category,
    Detections,
    Image,
    Label,
    Pixels,
    Unusable,
)
from data_prep.sources.coco_layouts import AnnotationFile
from data_prep.sources.photographs import Photograph, Rejection, Source, check_classes, split_name
from data_prep.sources.trees import Tree, annotation_file, tree_of
from tfrecords import originals
from tfrecords.schema import Box, Object

if TYPE_CHECKING:
    from tfrecords.images import Sizes

_UNKNOWN = (0, 0)  # A size.
_MOST_DOUBTED = 2000  # Boxes: a tool that writes them otherwise does so with all.
_NUM_TRIED = 20  # File names that are looked for, to find out which folder they are in.


def read_coco_dir(coco_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads the annotation files of a folder of COCO's layout, or of a labelling tool's export."""
    tree = tree_of(coco_dir)
    layout = coco_layouts.recognise(tree)
    tree.fetch([str(file.path) for file in layout.files], unit="annotation file")
    return _read(layout.tool, tree, layout.files, classes)


def read_annotations(files: Sequence[str], images_dir: str, classes: tuple[str, ...]) -> Source:
    """Reads annotation files whose photographs all lie below one folder."""
    tree = tree_of(images_dir)
    tree.check("images_dir")
    return _read("COCO", tree, [_named(file, tree) for file in files], classes)


def _named(file: str, tree: Tree) -> AnnotationFile:
    path = annotation_file(file)
    shown = file if urls.is_remote(file) else str(path)
    split = split_name(path.stem.removeprefix("instances_"))
    return AnnotationFile(path, shown, tree, [tree.root], split)


def _read(
    tool: str, tree: Tree, files: Sequence[AnnotationFile], classes: tuple[str, ...]
) -> Source:
    decoded = [(file, _without_copies(_decode(file, classes))) for file in files]
    known = {category.name: None for _, coco in decoded for category in coco.categories}
    if classes == ALL_CLASSES:
        classes = _classes_in_use(coco for _, coco in decoded)
        if not classes:
            named = ", ".join(map(str, files))
            raise ValueError(f"No annotation is of any of the categories. Received: {named}.")
    check_classes(classes, known, "COCO's annotations")
    readings = [_read_file(tree.root, file, coco, classes) for file, coco in decoded]
    photographs: list[Photograph] = []
    num_merged = 0
    for reading in readings:
        photographs, num_shared = _merge(photographs, reading.photographs)
        num_merged += num_shared
    names = ", ".join(map(str, files))
    description = f"{tool}: {len(photographs)} photographs in {names}"
    if num_merged:
        description += f"; {num_merged} stand in two of these files, whose labels are joined"
    return Source(
        classes=classes,
        photographs=photographs,
        bad_boxes=[box for reading in readings for box in reading.bad_boxes],
        dropped=sum((reading.strays for reading in readings), Counter[Rule]()),
        description=description,
        kind=tool,
        doubts=[doubt for reading in readings for doubt in reading.doubts],
        bad_images=[image for reading in readings for image in reading.bad_images],
        tree=tree,
    )


class _Reading(NamedTuple):
    """What one annotation file says; the attributes are those of `Source`, which joins them."""

    photographs: list[Photograph]
    bad_boxes: list[Rejection]
    strays: Counter[Rule]
    doubts: list[str]
    bad_images: list[Rejection]


def _read_file(
    root: Path, file: AnnotationFile, coco: Detections, classes: Sequence[str]
) -> _Reading:
    settled = file.settle([image.file_name for image in coco.images[:_NUM_TRIED]])
    _check_ids(file, coco)
    coco = _without_strangers(settled, coco)
    photographs, bad_boxes = _photographs(root, settled, coco, classes)
    of_id: dict[int | None, Photograph] = {p.image_id: p for p in photographs}
    return _Reading(
        photographs=photographs,
        bad_boxes=[*bad_boxes, *_reject(coco.unusable, of_id, file.path)],
        strays=_count_strays(coco),
        doubts=list(_doubts(file, coco, of_id)),
        bad_images=list(_reject_images(file.path, coco.bad_images)),
    )


def _merge(earlier: list[Photograph], found: Sequence[Photograph]) -> tuple[list[Photograph], int]:
    """Joins what several files of one split say of one photograph, such as a file for each class.

    Returns:
        All photographs, and how many of `found` were among the `earlier` ones.
    """
    index_of = {_key(photograph): index for index, photograph in enumerate(earlier)}
    photographs = list(earlier)
    for photograph in found:
        index = index_of.get(_key(photograph))
        if index is None:
            photographs.append(photograph)
        else:
            photographs[index] = _join(photographs[index], photograph)
    return photographs, len(earlier) + len(found) - len(photographs)


def _key(photograph: Photograph) -> tuple[str, str, bool]:
    return photograph.path, photograph.source_split, photograph.drawn_as_shown


def _join(first: Photograph, second: Photograph) -> Photograph:
    """Returns one photograph with the instances and labels of both, the same instance once."""
    objects = first.objects + tuple(o for o in second.objects if o not in first.objects)
    labels = {p.label for p in (first, second) if p.label is not None}
    if labels:  # A box of another class contradicts the label of the whole photograph.
        labels |= {instance.label for instance in objects}
    has_several = first.has_several_labels or second.has_several_labels or len(labels) > 1
    return msgspec.structs.replace(
        first,
        size=second.size if first.size == _UNKNOWN else first.size,
        objects=objects,
        label=labels.pop() if len(labels) == 1 and not has_several else None,
        has_several_labels=has_several,
    )


def _doubts(
    file: AnnotationFile, coco: Detections, of_id: Mapping[int | None, Photograph]
) -> Iterator[str]:
    if coco.labels:
        yield f"{file} has no boxes: its labels are taken for those of whole photographs."
    step = len(coco.annotations) // _MOST_DOUBTED + 1  # Evenly spread.
    boxes = [
        DrawnBox(annotation.bbox, photograph.size, photograph.file, annotation.id)
        for annotation in coco.annotations[::step]
        if min(annotation.bbox[2:]) > 0 and (photograph := of_id.get(annotation.image_id))
    ]
    if doubt := doubt_boxes(boxes, str(file)):
        yield doubt


def _classes_in_use(files: Iterable[Detections]) -> tuple[str, ...]:
    """Returns every class with an instance: Roboflow, for one, also lists a group of classes."""
    names: set[str] = set()
    for coco in files:
        used = {entry.category_id for entry in _entries(coco)}
        names |= {category.name for category in coco.categories if category.id in used}
    return tuple(sorted(names))


def _entries(coco: Detections) -> Iterable[Annotation | Label]:
    return coco.labels or coco.annotations  # A file has the one or the other.


def _count_strays(coco: Detections) -> Counter[Rule]:
    """Counts the annotations whose image or category is not in their file."""
    images = {image.id for image in coco.images} | {bad.image_id for bad in coco.bad_images}
    categories = {category.id for category in coco.categories}
    strays: Counter[Rule] = Counter()
    for entry in _entries(coco):
        if entry.image_id not in images:
            strays[Rule.UNKNOWN_IMAGE] += 1
        elif entry.category_id not in categories:
            strays[Rule.UNKNOWN_CATEGORY] += 1
    return strays


def _decode(file: AnnotationFile, classes: tuple[str, ...]) -> Detections:
    """Reads a file, without the annotations of classes that were not asked for."""
    try:
        content = file.path.read_bytes()
        content = content.removeprefix(codecs.BOM_UTF8)  # Some Windows tools write it.
        return coco_file.decode(content, classes)
    except FileNotFoundError:
        file.tree.require_kept(file.path)
        raise ValueError(f"There is no such annotation file. Received: {file}.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"Not JSON in UTF-8: {error}. Received: {file}.") from None
    except msgspec.ValidationError as error:
        raise ValueError(
            f"Not COCO detections: {error}. Received: {file}. It needs images (id, file_name), "
            "annotations (id, image_id, category_id, bbox) and categories."
        ) from None
    except RecursionError:
        raise ValueError(f"Not COCO detections: nested too deep. Received: {file}.") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"Not JSON: {error}. Received: {file}.") from None


def _check_ids(file: AnnotationFile, coco: Detections) -> None:
    """Refuses an id that stands twice: annotations are joined to photographs by it."""
    images = [(image.id, image.file_name) for image in coco.images]
    categories = [(category.id, category.name) for category in coco.categories]
    for kind, named in (("image", images), ("category", categories)):
        [(most, count)] = Counter(number for number, _ in named).most_common(1) or [(0, 0)]
        if count > 1:
            written = coco.source_ids.get(most, most) if kind == "image" else most
            names = ", ".join(name for number, name in named if number == most)
            raise ValueError(
                f"The {kind} id {written} stands {count} times: {names}. Received: {file}."
            )


_Named = TypeVar("_Named", Image, Category)


def _without_copies(coco: Detections) -> Detections:
    """Leaves out images and categories that the file repeats word for word."""
    return coco._replace(images=_distinct(coco.images), categories=_distinct(coco.categories))


def _distinct(entries: Iterable[_Named]) -> list[_Named]:
    first_of: dict[int, _Named] = {}
    kept = []
    for entry in entries:
        first = first_of.setdefault(entry.id, entry)
        if first is entry or first != entry:
            kept.append(entry)
    return kept


def _without_strangers(file: AnnotationFile, coco: Detections) -> Detections:
    """Moves images that cannot belong to this folder to the bad ones.

    Raises:
        ValueError: if no image is left.
    """
    faults = {image.id: fault for image in coco.images if (fault := _fault(file, image))}
    if not faults:
        return coco
    strangers = [image for image in coco.images if image.id in faults]
    if len(strangers) == len(coco.images):
        first = strangers[0]
        raise ValueError(
            f"{faults[first.id]}. Received: {first.file_name!r} (image {first.id} of {file})."
        )
    found = [BadImage(image.file_name, faults[image.id], image.id) for image in strangers]
    rest = [image for image in coco.images if image.id not in faults]
    return coco._replace(images=rest, bad_images=[*coco.bad_images, *found])


def _fault(file: AnnotationFile, image: Image) -> str:
    """Says why an image cannot be used; "" if it can."""
    if not _stays_inside(file.file_name(image.file_name)):
        return "A file_name must stay inside the image folder"
    if not -(2**63) <= image.id < 2**63:
        return "An image id must fit into 64 bits"
    return ""


def _reject_images(annotation_file: Path, images: Iterable[BadImage]) -> Iterator[Rejection]:
    """Names each unusable image together with the annotation file that has to be corrected."""
    for image in images:
        of_image = "" if image.image_id is None else f" (image {image.image_id})"
        file = originals.shown(f"{annotation_file.name}: {image.name}")
        yield Rejection(file, f"{image.reason}{of_image}")


def _stays_inside(name: str) -> bool:
    if "/" not in name:  # As nearly always: without the cost of a path.
        return name not in ("", ".", "..") and "\0" not in name
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _photographs(
    root: Path, file: AnnotationFile, coco: Detections, classes: Sequence[str]
) -> tuple[list[Photograph], list[Rejection]]:
    """Joins annotations to their photographs; also returns the boxes that make no sense."""
    [folder] = file.folders
    below_root = folder.relative_to(root).as_posix()
    label_of = {c.id: classes.index(c.name) for c in coco.categories if c.name in classes}
    licenses = {entry.id: entry.url or entry.name for entry in coco.licenses}
    annotations = _by_image(coco.annotations, label_of)
    labels = _by_image(coco.labels, label_of)
    sizes = _read_sizes(file, coco.images, annotations)
    drawn_as_shown = file.drawn_as_shown or coco.contributor == coco_layouts.LABEL_STUDIO
    photographs: list[Photograph] = []
    bad_boxes: list[Rejection] = []
    for image in coco.images:
        written = file.file_name(image.file_name)
        name = _plain(written)
        source_file = name if below_root == "." else f"{below_root}/{name}"
        if urls.is_remote(written) and not file.tree.is_file(folder / name):
            source_file = written  # It lies below no folder.
        size = image.width, image.height
        if not _is_sized(image):
            size = sizes.get(image.id, _UNKNOWN)
        own_labels = {label_of[x.category_id] for x in labels[image.id]} if labels else ()
        own = annotations.get(image.id)
        instances = _instances(own, source_file, size, label_of) if own else []
        bad_boxes += [i for i in instances if isinstance(i, Rejection)]
        photograph = Photograph(
            path=f"{folder}/{name}",
            name=name,
            image_id=image.id,
            source_split=file.split,
            size=size,
            objects=tuple(i for i in instances if isinstance(i, Object)),
            label=next(iter(own_labels)) if len(own_labels) == 1 else None,
            has_several_labels=len(own_labels) > 1,
            drawn_as_shown=drawn_as_shown,
            license="" if image.license is None else licenses.get(image.license, ""),
            url=image.flickr_url or image.coco_url,
            file=source_file,
            download_url=image.coco_url,
            source_id=coco.source_ids.get(image.id, ""),
        )
        photographs.append(photograph)
    return photographs, bad_boxes


_Joined = TypeVar("_Joined", Annotation, Label)


def _by_image(entries: Iterable[_Joined], label_of: Mapping[int, int]) -> dict[int, list[_Joined]]:
    """Groups the entries of the classes by image id."""
    of_image: dict[int, list[_Joined]] = defaultdict(list)
    for entry in entries:
        if entry.category_id in label_of:
            of_image[entry.image_id].append(entry)
    return of_image


def _plain(name: str) -> str:
    return PurePosixPath(name).as_posix() if "/" in name else name  # `./a.jpg` is `a.jpg`.


def _is_sized(image: Image) -> bool:
    return image.width > 0 and image.height > 0


def _read_sizes(
    file: AnnotationFile, images: Iterable[Image], annotations: Mapping[int, Sequence[Annotation]]
) -> dict[int, tuple[int, int]]:
    """Returns {image id: (width, height)} for photographs with boxes but no size in the file."""
    path_of = {
        image.id: f"{file.folders[0]}/{_plain(file.file_name(image.file_name))}"
        for image in images
        if not _is_sized(image) and image.id in annotations
    }
    if not path_of:
        return {}
    from data_prep.sources import (
        headers,  # Brings what decodes photographs; COCO's own need no look.
    )

    file.tree.fetch(path_of.values())
    sizes = headers.read_sizes(list(path_of.values()))
    for path in set(path_of.values()).difference(sizes):
        file.tree.require_kept(Path(path))
    return {
        image_id: _annotated_size(sizes[path], annotations[image_id])
        for image_id, path in path_of.items()
        if path in sizes
    }


def _annotated_size(sizes: "Sizes", annotations: Iterable[Annotation]) -> tuple[int, int]:
    """Returns the size as shown, if the boxes fit into it, else the size as stored.

    A tool that draws boxes and writes no size is a browser, which turns photographs upright.
    """
    extent = _extent(annotations)
    fits = [size for size in (sizes.shown, sizes.stored) if _fits(extent, size)]
    return fits[0] if fits else sizes.shown


def _fits(extent: tuple[float, float], size: tuple[int, int]) -> bool:
    return extent[0] <= size[0] and extent[1] <= size[1]


def _extent(annotations: Iterable[Annotation]) -> tuple[float, float]:
    """Returns how far the boxes reach to the right and down, in pixels."""
    boxes = [annotation.bbox for annotation in annotations]
    right = max(x + width for x, _, width, _ in boxes)
    bottom = max(y + height for _, y, _, height in boxes)
    return max(1.0, right), max(1.0, bottom)


def _instances(
    annotations: Sequence[Annotation],
    file: str,
    size: tuple[int, int],
    label_of: Mapping[int, int],
) -> list[Object | Rejection]:
    """Returns the instances on a photograph, and a rejection for each box that makes no sense.

    Where no size can be had, the photograph is missing or unusable and will be rejected; until then
    its boxes are shares of the area that they reach over.
    """
    width, height = size if size != _UNKNOWN else _extent(annotations)
    return [
        _instance(annotation, file, width, height, label_of[annotation.category_id])
        for annotation in annotations
    ]


def _instance(
    annotation: Annotation, file: str, width: float, height: float, label: int
) -> Object | Rejection:
    box = _to_shares(annotation.bbox, width, height)
    if box.area == 0:
        reason = f"box outside the image or of no size: {list(annotation.bbox)}"
        return Rejection(file, reason, annotation.id)
    area = box.area if annotation.area is None else annotation.area / (width * height)
    return Object(box, label, bool(annotation.iscrowd), _clip(area))


def _reject(
    unusable: Iterable[Unusable], of_id: Mapping[int | None, Photograph], annotation_file: Path
) -> Iterator[Rejection]:
    """Names each unusable annotation with its photograph, or with the file if that is unknown."""
    for entry in unusable:
        photograph = of_id.get(entry.image_id)
        file = photograph.file if photograph else annotation_file.name
        yield Rejection(file, entry.reason, entry.annotation_id)


def _to_shares(bbox: Pixels, image_width: float, image_height: float) -> Box:
    """Returns COCO's [x, y, width, height] in pixels as shares of the image, clipped to it."""
    x, y, width, height = bbox
    if not all(map(math.isfinite, bbox)):
        return Box(0, 0, 0, 0)
    return Box(
        ymin=_clip(y / image_height),
        xmin=_clip(x / image_width),
        ymax=_clip((y + height) / image_height),
        xmax=_clip((x + width) / image_width),
    )


def _clip(share: float) -> float:
    return min(max(share, 0.0), 1.0)
