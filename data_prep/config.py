"""What a build is asked for: one frozen, validated record."""

import dataclasses
import math
from pathlib import Path

COCO_ANIMALS = ("bear", "bird", "cat", "dog", "giraffe", "horse", "sheep", "zebra")
ALL_CLASSES = ("all",)

COCO_URL = "http://images.cocodataset.org"
ANIMALS_URL = "http://cs231n.stanford.edu"

SOURCES = ("synthetic", "coco", "folder")
LABEL_POLICIES = ("single", "largest", "crop")
SPLITS_BY = ("auto", "hash", "source")
CONFLICTS = ("drop", "keep", "error")
RUNNERS = ("local", "beam")

# Where each source's photographs are; whatever of these is given decides the source.
_PLACES_OF = {
    "coco": ("coco_dir", "annotations", "images_dir"),
    "folder": ("folder_dir",),
}
SOURCE_PATHS = tuple(name for names in _PLACES_OF.values() for name in names)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """Options of `python -m data_prep.build`; its `--help` says what each one means.

    `source` and `classes` are filled in where they are left out: the source is what the folders
    given say, the classes are all of class folders and the 8 animals of anything else.

    Raises:
        ValueError: if an option is out of range, or if two do not go together.
    """

    data_dir: str
    source: str | None = None
    coco_dir: str | None = None
    annotations: tuple[str, ...] = ()
    images_dir: str | None = None
    folder_dir: str | None = None
    download: bool = False
    download_url: str | None = None
    num_downloads: int = 16
    synthetic_images: int = 400
    seed: int = 0
    classes: tuple[str, ...] | None = None
    min_examples: int | None = None
    conflicts: str = "drop"
    label_policy: str = "single"
    min_area: float = 0.0
    crop_margin: float = 0.1
    split_by: str = "auto"
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    salt: str = "coco_animals"
    drop_near_duplicates: bool = False
    image_size: int = 256
    num_shards: int | None = None
    shard_mib: int = 64
    num_workers: int | None = None
    runner: str = "local"
    beam_args: tuple[str, ...] = ()
    task_index: int | None = None
    num_tasks: int | None = None
    commit_only: bool = False
    max_bad_fraction: float = 0.01
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        self._check("data_dir", bool(self.data_dir), "must name a directory")
        self._check_source()
        if [name.lower() for name in self.wanted] == ["all"]:
            self._fill_in(classes=ALL_CLASSES)
        if self.classes is None:
            self._fill_in(classes=ALL_CLASSES if self.source == "folder" else COCO_ANIMALS)
        self._check_choice("label_policy", LABEL_POLICIES)
        self._check_choice("split_by", SPLITS_BY)
        self._check_choice("conflicts", CONFLICTS)
        self._check_choice("runner", RUNNERS)
        for name in ("min_area", "val_fraction", "test_fraction", "max_bad_fraction"):
            self._check(name, 0 <= getattr(self, name) <= 1, "must be between 0 and 1")
        for name in ("synthetic_images", "shard_mib", "num_shards", "num_workers", "num_tasks",
                     "num_downloads", "min_examples"):  # fmt: skip
            value = getattr(self, name)
            self._check(name, value is None or value >= 1, "must be 1 or more")
        self._check(
            "crop_margin", 0 <= self.crop_margin < math.inf, "must be 0 or more, and finite"
        )
        self._check("image_size", self.image_size >= 0, "must be 0 (as it is) or more")
        self._check("classes", len(set(self.wanted)) == len(self.wanted) > 0,
                    "must name each class once")  # fmt: skip
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
        if self.source is not None:
            self._check_choice("source", SOURCES)
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
            if folder and Path(self.data_dir).resolve().is_relative_to(Path(folder).resolve()):
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

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        self._check(name, getattr(self, name) in choices, f"must be one of {', '.join(choices)}")

    def _check(self, name: str, holds: bool, expectation: str) -> None:
        if not holds:
            raise ValueError(f"{name} {expectation}. Received: {name}={getattr(self, name)!r}.")
