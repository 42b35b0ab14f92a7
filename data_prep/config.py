"""What a build is asked for: one frozen, validated record, which `build`'s flags fill."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from buckets import urls
from cli import flags
from cli.flags import BucketPath, Machine, NonNegative, Positive, Range, Rule

COCO_ANIMALS = ("bear", "bird", "cat", "dog", "giraffe", "horse", "sheep", "zebra")
ALL_CLASSES = ("all",)

COCO_URL = "http://images.cocodataset.org"
ANIMALS_URL = "http://cs231n.stanford.edu"

# Where each source's photographs are; whatever of these is given decides the source.
_PLACES_OF = {
    "coco": ("coco_dir", "annotations", "images_dir"),
    "folder": ("folder_dir",),
}
SOURCE_PATHS = tuple(name for names in _PLACES_OF.values() for name in names)

SplitBy = Literal["auto", "hash", "source"]

_DataDir = Annotated[BucketPath, Rule(bool, "must name a directory")]
_Classes = Annotated[
    tuple[str, ...],
    Rule(lambda names: len(set(names)) == len(names) > 0, "must name each class once"),
]
_ImageSize = Annotated[
    int, Range(0), Rule(lambda pixels: pixels >= 0, "must be 0 (as it is) or more")
]
_Fraction = Annotated[float, Range(0, 1, in_help=False)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Options of `python -m data_prep.build`, each above its help.

    Those that are marked `Machine` say how a dataset is built, not what comes out.

    `source` and `classes` are filled in where they are left out: the source is what the folders
    given say, the classes are all of class folders and the 8 animals of anything else.

    Raises:
        ValueError: if an option is out of range, or if two do not go together.
    """

    data_dir: Machine[_DataDir]
    """Where the dataset goes: a folder, or a URL in a bucket (gs://, s3://, az://)."""
    source: Literal["synthetic", "coco", "folder"] | None = None
    """Drawn animals, COCO detections, or one folder per class. Unset: what the folders given
    are."""
    coco_dir: BucketPath | None = None
    """Holds annotations and photographs as COCO, CVAT, Label Studio or Roboflow lay them out."""
    annotations: tuple[BucketPath, ...] = ()
    """COCO files, in place of --coco_dir."""
    images_dir: BucketPath | None = None
    """The photographs of --annotations."""
    folder_dir: BucketPath | None = None
    """Holds a folder per class, or train/ and val/ with one each."""
    download: Machine[bool] = False
    """Fetch what is missing: COCO's annotations and the photographs that the build needs into
    --coco_dir, or cs231n's coco-animals into --folder_dir. Can be stopped and started again."""
    download_url: Machine[str | None] = None
    f"""A mirror of {COCO_URL} (of {ANIMALS_URL} for --source=folder), with the same paths below
    it."""
    num_downloads: Machine[Positive] = 16
    """Photographs fetched at once."""
    synthetic_images: Positive = 400
    """How many animals to draw."""
    seed: int = 0
    """Of the drawn animals."""
    classes: _Classes | None = None
    f"""Category names, or `all`. Unset: {",".join(COCO_ANIMALS)}; of class folders: all. A name
    with a comma stands in double quotes: --classes='"cat, wild",dog'."""
    min_examples: Positive | None = None
    """Of a class. With `all` rarer ones are left out, by name, and it is 2 unless set: one to train
    and one to validate on. With classes by name it is 1, and rarer ones are refused."""
    conflicts: Literal["drop", "keep", "error"] = "drop"
    """One photograph under two labels: leave it out, keep both, or end the build."""
    label_policy: Literal["single", "largest", "crop"] = "single"
    """single: photographs with exactly one of the classes; largest: the largest instance decides;
    crop: every instance is cut out."""
    min_area: Annotated[float, Range(0, 1)] = 0.0
    """Smallest share of the image that the labelled instance (its box) must cover."""
    crop_margin: Annotated[float, Range(0, note=", and finite")] = 0.1
    """Added on each side of a crop, as a share of the box."""
    split_by: SplitBy = "auto"
    """auto: the source's splits where it has them, else hash; hash: stratified, by a salted hash of
    the image's content; source: as the source has it. A split that the source lacks is cut from its
    train by hash."""
    val_fraction: _Fraction = 0.2
    """Share of `val`, where hash decides."""
    test_fraction: _Fraction = 0.0
    """Share of `test`, where hash decides."""
    salt: str = "coco_animals"
    """Another salt gives another split and another order."""
    drop_near_duplicates: bool = False
    """Leave out photographs of `train` that look like one of another split. They are listed
    anyway."""
    image_size: _ImageSize = 256
    """Short side as stored, in pixels; 0 keeps the original bytes."""
    num_shards: Positive | None = None
    """Shards of each split; unset: chosen from --shard_mib."""
    shard_mib: Positive = 64
    """A shard's size in MiB."""
    num_workers: Machine[Positive | None] = None
    """Processes; unset: this machine's cores."""
    runner: Machine[Literal["local", "beam"]] = "local"
    """local: processes of this machine; beam: Apache Beam."""
    beam_args: Machine[tuple[str, ...]] = ()
    """Beam's own options, such as --runner=DataflowRunner,--project=P; unset: on this machine."""
    task_index: Machine[NonNegative | None] = None
    """Builds one task's share: shards task_index, task_index + num_tasks, and so on."""
    num_tasks: Machine[Positive | None] = None
    """Tasks that share the shards out."""
    commit_only: Machine[bool] = False
    """Completes the dataset from the shards of all tasks."""
    max_bad_fraction: Machine[_Fraction] = 0.01
    """Above this share of unusable images the build fails."""
    overwrite: Machine[bool] = False
    """Replace another dataset that stands in --data_dir."""
    dry_run: Machine[bool] = False
    """Say what would be built, from which photographs; write nothing."""

    def __post_init__(self) -> None:
        flags.check(self)
        self._check_source()
        if [name.lower() for name in self.wanted] == ["all"]:
            self._fill_in(classes=ALL_CLASSES)
        if self.classes is None:
            self._fill_in(classes=ALL_CLASSES if self.source == "folder" else COCO_ANIMALS)
        if not self.takes_all_classes and len(self.wanted) == 1:
            raise ValueError(
                "A classifier tells two classes or more apart. "
                f"Received: classes={self.wanted[0]}. Name another one beside it."
            )
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                "val_fraction + test_fraction must leave something to train on. Received: "
                f"{self.val_fraction} + {self.test_fraction}."
            )
        self._check_download()
        self._check_runner()

    def _check_source(self) -> None:
        """Fills the source in, and refuses places of another one."""
        for name in SOURCE_PATHS:
            if not getattr(self, name):  # `--coco_dir=` stands for none.
                self._fill_in(**{name: () if name == "annotations" else None})
        given = {
            source: [name for name in names if getattr(self, name)]
            for source, names in _PLACES_OF.items()
        }
        named = [source for source, names in given.items() if names]
        if self.source is None and len(named) == 1:
            self._fill_in(source=named[0])
        if self.source is None and not named:
            raise ValueError(
                "There is nothing to build from. Received: no source. Name your photographs: "
                "--coco_dir=DIR (COCO's layout, or an export of CVAT, Label Studio or Roboflow), "
                "--annotations=FILE with --images_dir=DIR, or --folder_dir=DIR (a folder per "
                "class). --source=synthetic draws animals to try things on."
            )
        if [source for source in named if source != self.source]:
            received = ", ".join(
                f"{n}={getattr(self, n)}" for names in given.values() for n in names
            )
            raise ValueError(
                "A dataset has one source: --coco_dir or --annotations and --images_dir, or "
                f"--folder_dir, or --source=synthetic. Received: source={self.source or 'unset'}, "
                f"{received}."
            )
        self._check_places()

    def _check_places(self) -> None:
        """Refuses a source without its photographs, and a dataset among the photographs."""
        if self.source == "coco" and not (self.coco_dir or (self.annotations and self.images_dir)):
            raise ValueError(
                "source=coco needs --coco_dir, or --annotations together with --images_dir. "
                f"Received: coco_dir={self.coco_dir}, annotations={','.join(self.annotations)}, "
                f"images_dir={self.images_dir}."
            )
        if self.coco_dir and (self.annotations or self.images_dir):
            raise ValueError(
                "--annotations and --images_dir stand in place of --coco_dir. Received both."
            )
        if self.source == "folder" and not self.folder_dir:
            raise ValueError("source=folder needs --folder_dir. Received none.")
        self._check_boxless()
        for name in ("coco_dir", "images_dir", "folder_dir"):
            folder = getattr(self, name)
            if folder and _lies_in(self.data_dir, folder):
                raise ValueError(
                    "The dataset must not go among the photographs that it is made from. "
                    f"Received: data_dir={self.data_dir}, {name}={folder}. Name a --data_dir "
                    f"outside --{name}."
                )

    def _check_boxless(self) -> None:
        """Refuses what class folders cannot heed: theirs are whole photographs."""
        for name in ("label_policy", "min_area", "crop_margin"):
            value = getattr(self, name)
            if self.source == "folder" and value != getattr(type(self), name):
                raise ValueError(
                    f"Class folders have no boxes, which --{name} is about. Received: "
                    f"{name}={value}. Leave it out."
                )

    def _check_download(self) -> None:
        if self.download and self.source == "synthetic":
            raise ValueError(
                "--download goes with --source=coco or --source=folder. Received: source=synthetic."
            )
        for name in ("coco_dir", "images_dir", "folder_dir"):
            if self.download and urls.is_remote(getattr(self, name) or ""):
                raise ValueError(
                    "--download fetches into a folder of this machine. Received: "
                    f"{name}={getattr(self, name)}. Leave --download out: photographs come from "
                    "the bucket by themselves."
                )
        if self.download_url and not self.download_url.startswith(("http://", "https://")):
            raise ValueError(
                "download_url must begin with http:// or https://. Received: "
                f"download_url={self.download_url}."
            )

    def _check_runner(self) -> None:
        if self.beam_args and self.runner != "beam":
            raise ValueError(
                f"--beam_args are for --runner=beam. Received: runner={self.runner}, "
                f"beam_args={','.join(self.beam_args)}."
            )
        if self.runner == "beam" and (self.task_index is not None or self.commit_only):
            raise ValueError(
                "Beam shares the shards out by itself: --runner=beam goes with neither "
                "--task_index nor --commit_only. Received both."
            )
        if self.task_index is not None and self.commit_only:
            raise ValueError(
                "--commit_only comes after the last task. Received: --commit_only with "
                f"task_index={self.task_index}."
            )
        if self.task_index is not None and not 0 <= self.task_index < (self.num_tasks or 0):
            raise ValueError(
                "task_index must be 0 or more and below --num_tasks. Received: "
                f"task_index={self.task_index}, num_tasks={self.num_tasks}."
            )
        if self.num_tasks is not None and self.task_index is None and not self.commit_only:
            raise ValueError(
                f"--num_tasks needs --task_index. Received: num_tasks={self.num_tasks} alone."
            )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The classes by name, or `ALL_CLASSES`."""
        return self.classes or ()

    @property
    def takes_all_classes(self) -> bool:
        """Whether the classes are whatever the source has, and not named one by one."""
        return self.wanted == ALL_CLASSES

    @property
    def fewest_examples(self) -> int:
        """Of a class: of every class that there is, one to train and one to validate on."""
        return self.min_examples or (2 if self.takes_all_classes else 1)

    def _fill_in(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)  # As dataclasses do it where they are frozen.


def _lies_in(path: str, folder: str) -> bool:
    """Whether a path is that of a folder, or of something below it; links are followed."""
    if urls.is_remote(path) or urls.is_remote(folder):
        return urls.lies_in(path, folder)
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
