"""What a training run is asked for: one frozen, validated record. Standard library only."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HEADS = ("flatten", "gap")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "cosine")
AUGMENTATIONS = ("none", "flip", "full")
CACHE_FEATURES = ("auto", "on", "off")
CACHE_DTYPES = ("float32", "bfloat16", "float16")
ON_NAN = ("stop", "rollback")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
NUM_VGG_LAYERS = 19  # Of VGG16 without its top: 1 input, 13 convolutions, 5 poolings.
IMAGE_SIZE = 224  # Pixels; what VGG16 was trained on.
SMALLEST_INPUT, LARGEST_INPUT, INPUT_STEP = 96, 768, 32  # Pixels; VGG16 halves them five times.
FAST_CONVOLUTIONS = ("auto", "off")

# How fast and how safely a run goes, not what comes out of it: these may change on resume.
_MACHINE_OPTIONS = (
    "workdir", "data_dir", "num_gpus", "cpu_replicas", "checkpoint_every", "keep_checkpoints",
    "profile_steps", "on_nan", "dry_run", "cache_features", "cache_dir", "microbatch_size",
    "jit_compile", "rendezvous_timeout_s", "fast_convolutions",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Options of `python -m trainer.main`; its `--help` says what each one means.

    Raises:
        ValueError: if an option is out of range, or if two do not go together.
    """

    data_dir: str
    workdir: str
    num_gpus: int | None = None
    cpu_replicas: int = 1
    rendezvous_timeout_s: int = 1800
    batch_size: int = 32
    microbatch_size: str | None = None
    epochs: int = 20
    learning_rate: float = 1e-4
    learning_rate_schedule: str = "constant"
    warmup_epochs: float = 0.0
    early_stopping_patience: int | None = None
    optimizer: str = "sgd"
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    class_weights: str = "none"
    input_size: int = IMAGE_SIZE
    augment: str = "none"
    mixup: float = 0.0
    cutmix: float = 0.0
    data_ram_mib: int = 2048
    freeze_layers: int = 15
    head: str = "flatten"
    weights: str = "imagenet"
    cache_features: str = "auto"
    cache_dir: str | None = None
    cache_dtype: str | None = None
    cache_views: int | None = None
    precision: str = "float32"
    jit_compile: bool = False
    fast_convolutions: str = "auto"
    seed: int = 0
    deterministic: bool = False
    profile_steps: str | None = None
    on_nan: str = "stop"
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    dry_run: bool = False

    def __post_init__(self) -> None:
        self._check_folders()
        for name in (
            "batch_size", "epochs", "cpu_replicas", "checkpoint_every", "keep_checkpoints",
            "early_stopping_patience", "data_ram_mib", "cache_views", "rendezvous_timeout_s",
        ):  # fmt: skip
            value = getattr(self, name)
            self._check(name, value is None or value >= 1, "must be 1 or more")
        self._check(
            "microbatch_size",
            self.microbatch_size is None
            or re.fullmatch(r"auto|0*[1-9]\d*", self.microbatch_size, re.ASCII) is not None,
            "must be 1 or more, or auto",
        )
        self._check("num_gpus", self.num_gpus is None or self.num_gpus >= 0, "must be 0 or more")
        self._check("learning_rate", 0 < self.learning_rate < float("inf"), "must be above 0")
        self._check(
            "warmup_epochs",
            0 <= self.warmup_epochs < self.epochs,
            f"must be 0 or more, and less than the {self.epochs} epochs",
        )
        self._check("seed", 0 <= self.seed < 2**31, "must be between 0 and 2147483647")
        self._check(
            "input_size",
            SMALLEST_INPUT <= self.input_size <= LARGEST_INPUT
            and self.input_size % INPUT_STEP == 0,
            f"must be a multiple of {INPUT_STEP} between {SMALLEST_INPUT} and {LARGEST_INPUT}",
        )
        self._check(
            "freeze_layers",
            0 <= self.freeze_layers <= NUM_VGG_LAYERS,
            f"must be between 0 and {NUM_VGG_LAYERS}, the layers of VGG16",
        )
        for name, choices in (
            ("head", HEADS),
            ("optimizer", OPTIMIZERS),
            ("class_weights", CLASS_WEIGHTS),
            ("augment", AUGMENTATIONS),
            ("cache_features", CACHE_FEATURES),
            ("on_nan", ON_NAN),
            ("precision", PRECISIONS),
            ("learning_rate_schedule", SCHEDULES),
            ("fast_convolutions", FAST_CONVOLUTIONS),
        ):
            self._check(
                name, getattr(self, name) in choices, f"must be one of {', '.join(choices)}"
            )
        self._check(
            "weight_decay",
            self.weight_decay is None or 0 <= self.weight_decay < float("inf"),
            "must be 0 or more",
        )
        self._check(
            "cache_dtype",
            self.cache_dtype in (None, *CACHE_DTYPES),
            f"must be one of {', '.join(CACHE_DTYPES)}",
        )
        self._check_cache()
        match = re.fullmatch(r"(\d+):(\d+)", self.profile_steps or "1:1", re.ASCII)
        self._check(
            "profile_steps",
            match is not None and 1 <= int(match[1]) <= int(match[2]),
            "must be FIRST:LAST, two steps from 1 on, as in 10:20",
        )
        for name in ("mixup", "cutmix"):
            self._check(name, 0 <= getattr(self, name) < float("inf"), "must be 0 or more")
        self._check("label_smoothing", 0 <= self.label_smoothing < 1, "must be 0 or more, below 1")
        if self.jit_compile and self.deterministic:
            raise ValueError(
                "jit_compile does not go with deterministic: XLA has no gradient of max-pooling "
                "that is. Received: jit_compile=True, deterministic=True. Leave one out."
            )
        if self.cpu_replicas > 1 and self.num_gpus != 0:
            raise ValueError(
                "cpu_replicas goes with --num_gpus=0. "
                f"Received: cpu_replicas={self.cpu_replicas}, num_gpus={self.num_gpus}."
            )
        if self.num_gpus == 0:  # How many GPUs there are shows only on the machine that trains.
            self.check_replicas(self.cpu_replicas)

    def _check_folders(self) -> None:
        """A run among the files of a dataset would write over them: both have a report.html."""
        if self.data_dir and self.workdir and _lies_in(self.workdir, self.data_dir):
            raise ValueError(
                "The run must not go among the files of its dataset. Received: "
                f"workdir={self.workdir}, data_dir={self.data_dir}. Name a --workdir outside "
                "--data_dir."
            )

    def _check_cache(self) -> None:
        """Other features make another run: whether they are taken must not be left to a machine."""
        rounded = self.cache_dtype not in (None, "float32")
        if (rounded or self.cache_views) and self.cache_features != "on":
            raise ValueError(
                "cache_dtype and cache_views go with --cache_features=on. Received: "
                f"cache_dtype={self.cache_dtype}, cache_views={self.cache_views}, "
                f"cache_features={self.cache_features}."
            )
        if self.cache_views and self.augment != "full":
            raise ValueError(
                "cache_views keeps views that --augment=full draws. Received: "
                f"cache_views={self.cache_views}, augment={self.augment}."
            )

    @property
    def profiled(self) -> tuple[int, int] | None:
        """The first and the last step to profile; the run's first is 1."""
        if self.profile_steps is None:
            return None
        first, _, last = self.profile_steps.partition(":")
        return int(first), int(last)

    def check_replicas(self, num_replicas: int) -> None:
        """Refuses a number of replicas that the global batch cannot be shared among evenly."""
        if self.batch_size % num_replicas:
            fits = max(self.batch_size // num_replicas, 1) * num_replicas
            raise ValueError(
                "batch_size must divide evenly over the replicas. Received: "
                f"batch_size={self.batch_size}, num_replicas={num_replicas}. Use {fits}."
            )
        if (self.mixup or self.cutmix) and self.batch_size // num_replicas % 2:
            raise ValueError(
                "mixup and cutmix mix pairs, so that each replica needs an even share of a batch. "
                f"Received: batch_size={self.batch_size}, num_replicas={num_replicas}. "
                f"Use {self.batch_size + num_replicas}."
            )

    def recipe(self) -> dict[str, str | int | float | bool | None]:
        """The options that decide what comes out: a workdir holds one run of one recipe."""
        options = dataclasses.asdict(self)
        if self.weights != "none":
            options["weights"] = "imagenet"  # Wherever they come from: the numbers are checked.
        if self.cache_dtype == "float32":
            options["cache_dtype"] = None  # It loses nothing.
        return {name: value for name, value in options.items() if name not in _MACHINE_OPTIONS}

    def _check(self, name: str, holds: bool, expectation: str) -> None:
        if not holds:
            raise ValueError(f"{name} {expectation}. Received: {name}={getattr(self, name)!r}.")


def _lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, through whatever links; of buckets, by its name."""
    if "://" in path or "://" in folder:
        return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def with_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Completes a recipe of an older version: an option it did not know was at its default."""
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(TrainConfig)
        if field.default is not dataclasses.MISSING and field.name not in _MACHINE_OPTIONS
    }
    return defaults | dict(recipe)
