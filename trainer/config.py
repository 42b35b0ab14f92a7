"""What a training run is asked for: one frozen, validated record, which `main`'s flags fill."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from buckets import urls
from cli import flags
from cli.data_cache import DataCache
from cli.flags import BucketPath, LocalPath, Machine, NonNegative, Positive, Range, Rule, matching

RECIPES = Path(__file__).parent / "recipes"

VGG16_FROZEN = 15  # Of VGG16's layers: all up to the fourth pooling.
IMAGE_SIZE = 224  # Pixels; what VGG16 was trained on.
SMALLEST_INPUT, LARGEST_INPUT, INPUT_STEP = 96, 768, 32  # Pixels; VGG16 halves them five times.


def _is_input_size(size: int) -> bool:
    return SMALLEST_INPUT <= size <= LARGEST_INPUT and size % INPUT_STEP == 0


_UNFREEZING = r"0*[1-9]\d*:[^\s:,]+"  # As 3:block4_conv1.


def _are_steps(text: str) -> bool:
    match = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    return match is not None and 1 <= int(match[1]) <= int(match[2])


def _is_fold(text: str) -> bool:
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    return match is not None and 1 <= int(match[1]) <= int(match[2]) and int(match[2]) >= 2


_Fold = Annotated[
    str, Rule(_is_fold, "must be K/N, the K-th of N folds, 2 or more, counted from 1, as in 3/5")
]
_NOT_EMPTY = Rule(bool, "must be a path, or be left out")
_INPUT_SIZES = f"a multiple of {INPUT_STEP} between {SMALLEST_INPUT} and {LARGEST_INPUT}"
_InputSize = Annotated[int, Rule(_is_input_size, f"must be {_INPUT_SIZES}")]
_InputSizes = Annotated[
    str,
    matching(r"\d+(,\d+)*", "must be sizes with commas between, as in 224,448"),
    Rule(
        lambda text: all(map(_is_input_size, map(int, text.split(",")))),
        f"must each be {_INPUT_SIZES}",
    ),
]
_LearningRate = Annotated[float, Rule(lambda rate: 0 < rate < math.inf, "must be above 0")]
_Microbatch = Annotated[str, matching(r"auto|0*[1-9]\d*", "must be 1 or more, or auto")]
_Share = Annotated[
    float, Range(0), Rule(lambda share: 0 <= share < 1, "must be 0 or more, below 1")
]
_Momentum = Annotated[float, Rule(lambda share: 0 < share < 1, "must be above 0 and below 1")]
_Decay = Annotated[float, Rule(lambda decay: 0 < decay <= 1, "must be above 0, and 1 at most")]
_Unfreezings = Annotated[
    str,
    matching(
        rf"{_UNFREEZING}(,{_UNFREEZING})*",
        "must be EPOCH:LAYER, as in 3:block4_conv1,6:block3_conv1",
    ),
]
_TRACKERS = ("mlflow", "wandb")
_Trackers = Annotated[
    str,
    Rule(
        lambda text: sorted(names := text.split(",")) == sorted({*names} & {*_TRACKERS}),
        f"must be {' or '.join(_TRACKERS)}, or both with a comma between",
    ),
]
_Steps = Annotated[str, Rule(_are_steps, "must be FIRST:LAST, two steps from 1 on, as in 10:20")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig(DataCache):
    """Options of `python -m trainer.main`, each above its help.

    A workdir holds one run, of one recipe: the options that decide what comes out. Those that are
    marked `Machine`, how fast and how safely a run goes, may change when it is resumed.

    Raises:
        ValueError: if an option is out of range, or if two do not go together.
    """

    data_dir: Machine[BucketPath]
    """What data_prep.build made."""
    workdir: Machine[BucketPath]
    """Where the run goes; one that holds this run is resumed."""
    recipe: Machine[Literal["seed", "best"] | None] = None
    """A set of flags that ships with the trainer; flags beside it win. seed: the defaults. best:
    the most accurate that we know for few photographs."""
    num_gpus: Machine[NonNegative | None] = None
    """On each worker. Unset: every visible GPU, the CPU where there is none. 0: the CPU."""
    cpu_replicas: Machine[Positive] = 1
    """With --num_gpus=0: logical devices."""
    rendezvous_timeout_s: Machine[Positive] = 1800
    """Of several workers: seconds that each waits at the start until all are there."""
    batch_size: Positive = 32
    """Global batch: images per step over all replicas."""
    microbatch_size: Machine[_Microbatch | None] = None
    """At most so many images go through the model at once on each replica: the update stays that of
    the whole batch, and needs less memory. auto: as many as fit. Unset: a replica's share."""
    epochs: NonNegative = 20
    """Times through the data. May grow: a run that is finished or was stopped then goes on. 0: the
    head stays what --head_init=logistic makes it."""
    learning_rate: _LearningRate = 1e-4
    """Of the optimizer. --lr_find suggests one."""
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    """Multiplies the learning rate by the batch size over 32, or by the root of that."""
    learning_rate_schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on after the warm-up; cosine ends at 0 with the last epoch, and if
    --epochs grows, goes on as if it had been so long from the start."""
    warmup_epochs: float = 0.0
    """The learning rate grows linearly in these first."""
    early_stopping_patience: Positive | None = None
    """Stop after so many epochs without a lower val_loss, and take the best epoch's weights. Unset:
    train all epochs, and take the last one's."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD has momentum 0.9."""
    weight_decay: Annotated[float, Range(0)] | None = None
    """Share of each weight that a step takes off, times the learning rate. Unset: the optimizer's
    own, none for sgd and 0.004 for adamw."""
    ema: _Momentum | None = None
    """Momentum of an average over the steps' weights, as 0.99, which is validated and becomes the
    model, while the weights themselves go on training. Unset: there is none."""
    label_smoothing: _Share = 0.0
    """Share of each label that is spread over all classes, in the steps of the training."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: every class has the same share of the training loss, however few its
    photographs."""
    input_size: _InputSize = IMAGE_SIZE
    f"""Pixels of the square that the model sees: {_INPUT_SIZES}."""
    fit: Literal["crop", "squash", "pad"] = "crop"
    """What becomes of a photograph that is no square. crop: its centre is seen. squash: all of it,
    its aspect changed. pad: all of it, with the mean colour beside it."""
    augment: Literal["none", "flip", "full"] = "none"
    """flip: mirrors half of the training photographs, others in each epoch. full: random crops,
    flips, colours and RandAugment's operations."""
    object_crops: bool = False
    """Trains also on the animals: the largest of each photograph's class, cut out by its box. Needs
    features, see --cache_features."""
    test_views: Literal["1", "flip", "scales"] = "1"
    """Over what probabilities are averaged, in evaluation, prediction and the saved model. flip:
    the photograph and its mirror image. scales: both of these, and the middle of both enlarged."""
    mixup: Annotated[float, Range(0)] = 0.0
    """Alpha, of pairs blended; 0: none are. 0.2 is usual."""
    cutmix: Annotated[float, Range(0)] = 0.0
    """Alpha, of pairs that swap a box; 0: none do. 1 is usual. With --mixup: half of the pairs."""
    data_ram_mib: Positive = 2048
    """MiB for stored examples and waiting batches, on each worker. A training split of more than
    half of it is read and shuffled in parts."""
    backbone: str = "vgg16"
    """The network, trained on ImageNet, that the head is put on: any of keras.applications, its
    name in small letters, as vgg16, resnet50 or efficientnetv2b0."""
    freeze_layers: NonNegative | None = None
    f"""How many of the backbone's layers, its input among them, do not train. Unset: {VGG16_FROZEN}
    of vgg16's, all of another's, and all under --head_init=logistic."""
    freeze_until: str | None = None
    """In place of --freeze_layers: the layers before this one of the backbone do not train; it and
    those behind it do."""
    unfreeze: _Unfreezings | None = None
    """EPOCH:LAYER,...: from the start of that epoch, as history.csv counts them from 1 on, LAYER
    and the frozen layers behind it train too."""
    layer_decay: _Decay = 1.0
    """The head trains at the learning rate, and each layer of the backbone, from the last one down,
    at so large a share of the rate of the one behind it. 0.9 is usual."""
    head: Literal["flatten", "gap", "gmp", "gem", "gap_gmp", "places"] = "flatten"
    """How the last feature map becomes a vector. flatten keeps every position; over the positions,
    gap takes the mean, gmp the largest, gem the cube root of the mean cube, gap_gmp both of the
    first two. places: gap_gmp, times what the places say that look most like an animal; it needs
    --head_init=logistic, and photographs with boxes."""
    head_units: NonNegative = 256
    """Of the hidden layer. 0: there is none, the classifier is linear."""
    dropout: _Share = 0.5
    """Share of the last layer's inputs that training leaves out at random."""
    feature_norm: Literal["none", "l2", "power_l2", "standardize"] = "none"
    """Of that vector. l2: its length becomes 1. power_l2: after signed square roots. standardize:
    each number has mean 0 and variance 1 over the training photographs."""
    head_init: Literal["random", "logistic"] = "random"
    """logistic: the linear head (--head_units=0) starts as the logistic regression of the training
    features, its strength chosen by cross-validation within them; training goes on from it."""
    calibration: Literal["temperature", "none"] = "temperature"
    """temperature: once trained, the model's probabilities are made as sure as they are right, by
    one number fitted to the split val and saved inside the model."""
    weights: BucketPath = "imagenet"
    """imagenet, none (random), or the path of Keras's file."""
    init_from: Annotated[BucketPath, _NOT_EMPTY] | None = None
    """Another run's workdir, or its model.keras, to start from in place of --weights: its backbone,
    and its head where head and classes are the same."""
    cache_features: Machine[Literal["auto", "on", "off"]] = "auto"
    """Compute the frozen layers once, and train the rest from their output. auto: where it changes
    nothing and pays."""
    cache_dir: Machine[Annotated[LocalPath, _NOT_EMPTY] | None] = None
    """Where the features go, for several runs. Unset: the workdir."""
    cache_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Rounds the features to this. Unset: they are kept as the frozen layers compute them."""
    cache_maps: bool = False
    """Keep as features the backbone's last feature map, not what the head makes of it: larger, and
    the same for every --head, for runs that share a --cache_dir."""
    cache_views: Positive | None = None
    """With --augment=full: draws so many views of each photograph once, and takes them in turn."""
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the layers' arithmetic; weights, softmax and loss stay float32. bfloat16 is for CPUs and
    GPUs that have it, float16 for older GPUs."""
    jit_compile: Machine[bool] = False
    """Compile each step's way through the model and back with XLA, for GPUs: on a CPU it is slower.
    Changes last bits; not with --deterministic."""
    fast_convolutions: Machine[Literal["auto", "off"]] = "auto"
    """auto: on a CPU, wide float32 convolutions that train are computed by Winograd's algorithm,
    which changes their last bits. off: all are TensorFlow's own."""
    fold: _Fold | None = None
    """K/N, as 3/5: hold out the K-th of N folds of all splits together, by class and by photograph,
    and train on the others. trainer.crossval does it for each K. Unset: the splits as they are."""
    fold_seed: NonNegative = 0
    """Another one deals other folds."""
    seed: Annotated[int, Range(0, 2**31 - 1, in_help=False)] = 0
    """Of initial weights, order and dropout."""
    deterministic: bool = False
    """Equal bits from equal runs; slower."""
    on_nan: Machine[Literal["stop", "rollback"]] = "stop"
    """Where a step gives no number: end the run, or go back to the last checkpoint and pass over
    the batch, at most 3 times."""
    checkpoint_every: Machine[Positive | None] = None
    """Steps between checkpoints; one is also written at each epoch's end."""
    keep_checkpoints: Machine[Positive] = 2
    """How many of the newest checkpoints to keep; the best epoch's is kept besides."""
    profile_steps: Machine[_Steps | None] = None
    """FIRST:LAST, as 10:20: steps whose profile goes to WORKDIR/tensorboard; the run's first
    is 1."""
    trackers: Machine[_Trackers | None] = None
    """mlflow, wandb, or mlflow,wandb: told of the run too, in the workdir unless their own
    environment variables say where. Unset: TensorBoard alone, in WORKDIR/tensorboard."""
    lr_find: Machine[bool] = False
    """Try growing learning rates for 100 steps, draw WORKDIR/lr_find.png and suggest one, in place
    of a run; the workdir stays free."""
    dry_run: Machine[bool] = False
    """Build everything, run a step, say what would be; write nothing."""

    def __post_init__(self) -> None:
        self._check_folders()
        flags.check(self)
        if not 0 <= self.warmup_epochs < max(self.epochs, 1):
            raise ValueError(
                f"warmup_epochs must be 0 or more, and less than the {self.epochs} epochs. "
                f"Received: warmup_epochs={self.warmup_epochs}."
            )
        for epoch, _ in self.unfreezings:
            if epoch > self.epochs:
                raise ValueError(
                    f"unfreeze must name epochs up to the last one, {self.epochs}. Received: "
                    f"unfreeze={self.unfreeze}. Take an earlier epoch, or more --epochs."
                )
        self._check_cache()
        self._check_head()
        if self.fold_seed and not self.fold:
            raise ValueError(
                f"fold_seed goes with --fold. Received: fold_seed={self.fold_seed}, fold=None."
            )
        if self.freeze_until is not None and self.freeze_layers is not None:
            raise ValueError(
                "freeze_until takes the place of freeze_layers. Received: "
                f"freeze_until={self.freeze_until}, freeze_layers={self.freeze_layers}. Leave one "
                "out."
            )
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
        """Options that change the features need them `on`: `auto` would let the machine decide."""
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

    def _check_head(self) -> None:
        """A head that is fitted is linear, and is fitted to features."""
        if self.head_init == "logistic" and self.head_units:
            raise ValueError(
                "head_init=logistic fits a linear head. Received: "
                f"head_init=logistic, head_units={self.head_units}. Add --head_units=0."
            )
        if self.needs_features and self.cache_features == "off":
            raise ValueError(
                "head_init=logistic, feature_norm=standardize and object_crops need features. "
                f"Received: head_init={self.head_init}, feature_norm={self.feature_norm}, "
                f"object_crops={self.object_crops}, cache_features=off. Leave --cache_features out."
            )
        if self.head == "places" and self.head_init != "logistic":
            raise ValueError(
                "head=places is fitted to boxes before the first step. Received: head=places, "
                f"head_init={self.head_init}. Add --head_init=logistic --head_units=0."
            )
        if not self.epochs and self.head_init == "random":
            raise ValueError(
                "Without an epoch nothing trains the head. Received: epochs=0, head_init=random. "
                "Add --head_init=logistic --head_units=0, or an epoch."
            )
        if (self.object_crops or self.head == "places") and self.augment == "full":
            raise ValueError(
                "object_crops and head=places do not go with augment=full, whose crops know no "
                f"boxes. Received: object_crops={self.object_crops}, head={self.head}, "
                "augment=full. Take --augment=flip."
            )
        endless = self.augment == "full" and not self.cache_views
        if self.needs_features and (self.mixup or self.cutmix or endless):
            raise ValueError(
                "head_init=logistic, feature_norm=standardize and object_crops need features, and "
                f"no image is seen twice. Received: mixup={self.mixup}, cutmix={self.cutmix}, "
                f"augment={self.augment}. Leave them out, or take --augment=flip."
            )

    @property
    def needs_features(self) -> bool:
        """Whether the run cannot do without features."""
        return (
            self.head_init == "logistic" or self.feature_norm == "standardize" or self.object_crops
        )

    @property
    def held_fold(self) -> tuple[int, int] | None:
        """The fold that is held out, from 1 on, and of how many."""
        if self.fold is None:
            return None
        fold, _, count = self.fold.partition("/")
        return int(fold), int(count)

    @property
    def unfreezings(self) -> tuple[tuple[int, str], ...]:
        """From which epoch on, the first is 1, which frozen layer and those behind it train."""
        pairs = (entry.split(":") for entry in (self.unfreeze or "").split(",") if entry)
        return tuple((int(epoch), layer) for epoch, layer in pairs)

    @property
    def tracker_names(self) -> tuple[str, ...]:
        """The trackers that are told of the run, beside TensorBoard."""
        return tuple(self.trackers.split(",")) if self.trackers else ()

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

    def settings(self) -> dict[str, str | int | float | bool | None]:
        """The options that decide what comes out: a workdir holds one run of one recipe."""
        options = dataclasses.asdict(self)
        if self.held_fold:
            options["fold"] = "/".join(map(str, self.held_fold))  # However it was written.
        if self.backbone == TrainConfig.backbone:
            if self.weights != "none":
                options["weights"] = "imagenet"  # Wherever they come from: the numbers are checked.
            if self.freeze_layers is None and self.freeze_until is None:
                options["freeze_layers"] = None if self.head_init == "logistic" else VGG16_FROZEN
        else:
            options["weights"] = self.weights.rpartition("/")[2]  # Elsewhere it may lie elsewhere.
        if self.cache_dtype == "float32":
            options["cache_dtype"] = None  # It loses nothing.
        return {name: options[name] for name in flags.identity_of(TrainConfig)}


def _lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it, through whatever links; of buckets, by its name."""
    if urls.is_remote(path) or urls.is_remote(folder):
        return urls.lies_in(path, folder)
    return Path(path).resolve().is_relative_to(Path(folder).resolve())


def with_defaults(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Completes a recipe of an older version: an option it did not know was at its default."""
    options = flags.options_of(TrainConfig)
    defaults = {name: options[name].default for name in flags.identity_of(TrainConfig)}
    return defaults | dict(recipe)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossvalConfig:
    """Options of `python -m trainer.crossval` beside the trainer's, each above its help."""

    folds: Annotated[int, Range(2)] = 5
    """All splits together are dealt into so many folds, by class and by photograph; each is judged
    by a model that was trained on the others."""
    repeats: Positive = 1
    """Do it so often, with other folds each time, and average each photograph's probabilities. May
    grow."""
    against: Annotated[BucketPath, _NOT_EMPTY] | None = None
    """The workdir of another cross-validation, of the same photographs and folds, to compare with
    in a paired test."""

    def __post_init__(self) -> None:
        flags.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Options of `python -m trainer.tune` beside the trainer's, each above its help."""

    trials: Positive = 30
    """How many recipes to try. May grow."""
    timeout_s: Positive | None = None
    """After so many seconds no other trial begins. Unset: all are made."""
    folds: Annotated[int, Range(2)] = 3
    """Each recipe is tried on so many folds of all splits together; one that is worse than most
    after the first of them is given up."""
    jobs: Positive = 1
    """So many trials side by side, which share this machine's cores, memory and GPUs."""
    input_sizes: _InputSizes | None = None
    """Values of --input_size to choose from, as 224,448; the frozen layers see all photographs once
    at each. Unset: --input_size alone."""

    def __post_init__(self) -> None:
        flags.check(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values of --input_size to choose from; none: it is not searched."""
        return tuple(map(int, self.input_sizes.split(","))) if self.input_sizes else ()
