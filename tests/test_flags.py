"""An option is told once: the field of a config is its flag, its bounds, its help and its rule."""

import dataclasses
import math
import pwd
from typing import Annotated, Literal

import pytest
from absl import flags as absl_flags

from buckets.urls import SCHEMES
from cli import flags
from cli.flags import (
    BucketPath,
    LocalPath,
    Machine,
    NonNegative,
    Positive,
    Range,
    Rule,
    matching,
    options_of,
)
from data_prep.config import BuildConfig
from launch.config import LaunchConfig
from trainer.config import TrainConfig

COLOURS = "red, or green"
_Shade = Annotated[
    float, Range(0), Rule(lambda shade: 0 <= shade < 1, "must be 0 or more, below 1")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooConfig:
    """Options of a zoo."""

    place: BucketPath
    """Where it is."""
    keepers: Machine[Positive] = 2
    """Who feed
    the animals."""
    visitors: NonNegative | None = None
    f"""How many; not {COLOURS}."""
    cages: Annotated[int, Range(1, 9, " as numbered")] = 3
    """How many."""
    share: Annotated[float, Range(0, 1, in_help=False)] = 0.5
    """Of meat."""
    shade: _Shade = 0.0
    """Of the cages."""
    colour: Literal["red", "green"] | None = None
    """Of the fence."""
    code: Annotated[str, matching(r"\d+", "must be digits")] | None = None
    """Of the gate."""
    is_open: bool = False
    """For all."""
    animals: tuple[str, ...] = ("cat", "dog")
    """Who live there."""
    maps: Machine[tuple[LocalPath, ...] | None] = None
    """Of the ways."""

    def __post_init__(self) -> None:
        flags.check(self)


def parsed(*arguments: str) -> absl_flags.FlagValues:
    values = absl_flags.FlagValues()
    flags.define(ZooConfig, values)
    values(["zoo", "--place=here", *arguments])
    return values


def test_options_are_in_the_order_of_the_fields_with_all_that_these_say() -> None:
    options = options_of(ZooConfig)
    assert list(options) == [field.name for field in dataclasses.fields(ZooConfig)]
    assert {name: option.kind for name, option in options.items()} == {
        "place": str, "keepers": int, "visitors": int, "cages": int, "share": float, "shade": float,
        "colour": str, "code": str, "is_open": bool, "animals": tuple, "maps": tuple,
    }  # fmt: skip
    assert [name for name, option in options.items() if option.is_required] == ["place"]
    assert options["keepers"].help == "Who feed the animals."
    assert options["visitors"].help == "How many; not red, or green."
    assert options["colour"].choices == ("red", "green")
    assert options["cages"].bounds[:2] == (1, 9)
    assert {n: o.schemes for n, o in options.items() if o.schemes is not None} == {
        "place": SCHEMES, "maps": (),
    }  # fmt: skip


def test_option_is_of_the_identity_unless_it_is_said_to_be_of_the_machine() -> None:
    assert set(options_of(ZooConfig)) - set(flags.identity_of(ZooConfig)) == {"keepers", "maps"}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ((), "keepers", 2),
        ((), "visitors", None),
        ((), "animals", ["cat", "dog"]),
        (("--visitors=0",), "visitors", 0),
        (("--cages=9",), "cages", 9),
        (("--share=3",), "share", 3.0),  # The config says no, in our words.
        (("--colour=green",), "colour", "green"),
        (("--is_open",), "is_open", True),
        (("--animals=",), "animals", []),
        (('--animals="cat, wild",dog',), "animals", ["cat, wild", "dog"]),
        (("--place=gs://b/zoo",), "place", "gs://b/zoo"),
        (("--maps=a,/b",), "maps", ["a", "/b"]),
        (("--maps=~root/a",), "maps", [f"{pwd.getpwnam('root').pw_dir}/a"]),
    ],
)
def test_flag_takes_what_its_field_says(arguments, name, value) -> None:
    assert parsed(*arguments)[name].value == value


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("--keepers=0", "not a positive integer"),
        ("--visitors=-1", "not a non-negative integer"),
        ("--cages=10", "not an integer in the range [1, 9]"),
        ("--shade=-0.5", "not a non-negative number"),
        ("--colour=blue", "should be one of <red|green>"),
        ("--is_open=perhaps", "perhaps"),
        ("--place=", "must name a directory. Received: place=''"),
        ("--place=hdfs://b", "or begin with gs://, s3:// or az://. Give such a path"),
        ("--maps=a,gs://b", "must be a path of this machine. Received: gs://"),
    ],
)
def test_flag_refuses_what_its_field_does_not_say(argument, says) -> None:
    with pytest.raises(absl_flags.IllegalFlagValueError) as error:
        parsed(argument)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keepers": 0}, "keepers must be 1 or more. Received: keepers=0."),
        ({"visitors": -1}, "visitors must be 0 or more. Received: visitors=-1."),
        ({"cages": 10}, "cages must be between 1 and 9 as numbered. Received: cages=10."),
        ({"share": 1.5}, "share must be between 0 and 1. Received: share=1.5."),
        ({"share": math.nan}, "share must be between 0 and 1. Received: share=nan."),
        # A rule says more than the bounds beside it.
        ({"shade": -0.5}, "shade must be 0 or more, below 1. Received: shade=-0.5."),
        ({"shade": math.inf}, "shade must be 0 or more, below 1. Received: shade=inf."),
        ({"colour": "blue"}, "colour must be one of red, green. Received: colour='blue'."),
        ({"code": "12a"}, "code must be digits. Received: code='12a'."),
        ({"code": ""}, "code must be digits. Received: code=''."),
    ],
)
def test_config_made_in_code_is_held_to_the_same(options, says) -> None:
    with pytest.raises(ValueError, match="Received") as error:
        ZooConfig(place="here", **options)
    assert str(error.value) == says


@pytest.mark.parametrize("bound", [1, 9])
def test_bounds_are_included(bound: int) -> None:
    assert ZooConfig(place="here", cages=bound).cages == bound


def test_unchecked_flags_take_any_value_of_their_kind_and_miss_none() -> None:
    values = absl_flags.FlagValues()
    flags.define_unchecked(ZooConfig, values)
    values(["zoo", "--keepers=0", "--colour=blue", "--maps=s3://b", "--cages=10"])
    assert (values.keepers, values.colour, values.cages) == (0, "blue", 10)
    assert (values.maps, values.place) == (["s3://b"], None)
    with pytest.raises(absl_flags.IllegalFlagValueError):
        values(["zoo", "--keepers=two"])


def test_config_that_extends_another_has_the_options_of_both() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Aquarium(ZooConfig):
        litres: Positive = 1
        """Of water."""
        cages: Positive = 4
        """Of glass."""

    options = options_of(Aquarium)
    assert (options["litres"].help, options["place"].help) == ("Of water.", "Where it is.")
    assert (options["cages"].help, options["cages"].default) == ("Of glass.", 4)
    with pytest.raises(ValueError, match="litres must be 1 or more"):
        Aquarium(place="here", litres=0)


def test_field_that_python_has_a_word_for_ends_in_an_underscore() -> None:
    @dataclasses.dataclass(frozen=True)
    class Ticket:
        class_: Positive = 2
        """Where to sit."""

    values = absl_flags.FlagValues()
    flags.define(Ticket, values)
    values(["train", "--class=1"])
    assert values["class"].value == 1
    with pytest.raises(ValueError, match=r"class must be 1 or more\. Received: class=0"):
        flags.check(Ticket(class_=0))


def test_field_without_a_help_is_refused_when_the_flags_are_defined() -> None:
    @dataclasses.dataclass(frozen=True)
    class Silent:
        said: int = 1
        """How many."""
        unsaid: int = 2
        # A comment is no help.

    with pytest.raises(TypeError, match=r"Received: Silent\.unsaid without one"):
        flags.define(Silent, absl_flags.FlagValues())


@pytest.mark.parametrize("hint", [dict[str, int], int | str, bytes])
def test_type_that_no_flag_has_is_refused(hint) -> None:
    @dataclasses.dataclass(frozen=True)
    class Strange:
        option: hint = None
        """Of a kind that a command line does not know."""

    with pytest.raises(TypeError, match="A flag is one of bool, int, float, str, tuple"):
        options_of(Strange)


# Which of their options may change without making another run, or another dataset.
MACHINE = {
    TrainConfig: {
        "data_dir", "workdir", "num_gpus", "cpu_replicas", "rendezvous_timeout_s",
        "microbatch_size", "cache_features", "cache_dir", "jit_compile", "fast_convolutions",
        "on_nan", "checkpoint_every", "keep_checkpoints", "profile_steps", "dry_run",
        "lr_find", "recipe", "trackers", "data_cache", "data_cache_gib",
    },
    BuildConfig: {
        "data_dir", "download", "download_url", "num_downloads", "num_workers", "runner",
        "beam_args", "task_index", "num_tasks", "commit_only", "max_bad_fraction", "overwrite",
        "dry_run",
    },
}  # fmt: skip


@pytest.mark.parametrize("config_class", MACHINE)
def test_what_belongs_to_the_machine_is_said_and_nothing_else(config_class: type) -> None:
    options = options_of(config_class)
    assert {name for name, option in options.items() if option.is_machine} == MACHINE[config_class]


@pytest.mark.parametrize("config_class", [TrainConfig, BuildConfig, LaunchConfig])
def test_default_is_what_its_field_says(config_class: type) -> None:
    for name, option in options_of(config_class).items():
        if not option.is_required and option.default is not None:
            assert isinstance(option.default, option.kind), name
            assert option.complaint(option.default) is None, name


@pytest.mark.parametrize("size", [0, 95, 96, 100, 224, 768, 800])
def test_input_size_is_what_vgg16_can_halve_five_times(size: int) -> None:
    if size in (96, 224, 768):
        assert TrainConfig(data_dir="d", workdir="w", input_size=size).input_size == size
    else:
        with pytest.raises(ValueError, match=f"a multiple of 32 between 96 and 768. .*={size}"):
            TrainConfig(data_dir="d", workdir="w", input_size=size)
