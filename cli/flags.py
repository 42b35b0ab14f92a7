"""A command's flags are the fields of its config, each with its type, bounds, default and help.

    batch_size: Positive = 32
    \"\"\"Global batch: images per step over all replicas.\"\"\"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    \"\"\"SGD has momentum 0.9.\"\"\"
    num_gpus: Machine[NonNegative | None] = None
    \"\"\"On each worker. Unset: every visible GPU.\"\"\"

`Literal` lists the choices, `Range` and `Rule` say what else a value must be, `LocalPath` and
`BucketPath` are paths, `Machine` says that an option changes nothing of what comes out. `define`
makes the flags, and `check` holds a config to the same, whoever made it.
"""

import ast
import dataclasses
import functools
import inspect
import math
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from absl import flags

from buckets import urls
from cli import paths

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

flags.disclaim_key_flags()  # A flag that is defined here is the calling module's, as --help says.


class Range(NamedTuple):
    """Bounds of a number, both included; infinity and NaN lie outside of all.

    Attributes:
        low: The smallest number allowed; None: there is none.
        high: The largest; None: there is none.
        note: Words that follow the bounds in a message, such as `, the layers of VGG16`.
        in_help: Whether the flag itself refuses what lies outside, as --help then says; otherwise
            the config does.
    """

    low: float | None = None
    high: float | None = None
    note: str = ""
    in_help: bool = True

    def holds(self, number: float) -> bool:
        """Whether a number is within the bounds."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= number <= high and math.isfinite(number)

    @property
    def expectation(self) -> str:
        """What a number must be, for a person."""
        if self.high is None:
            return f"must be {self.low} or more{self.note}"
        return f"must be between {self.low} and {self.high}{self.note}"


class Rule(NamedTuple):
    """What a value must be where bounds and choices do not say it.

    Attributes:
        holds: Returns whether a value obeys it.
        expectation: The rule as a phrase, such as `must be above 0`.
    """

    holds: Callable[[Any], bool]
    expectation: str


def matching(pattern: str, expectation: str, flags: re.RegexFlag = re.ASCII) -> Rule:
    """Returns the rule that a pattern matches the whole of a text."""
    return Rule(lambda text: re.fullmatch(pattern, text, flags) is not None, expectation)


class _Schemes(NamedTuple):
    """URL schemes that a path may have; one without a scheme is always allowed."""

    served: tuple[str, ...] = ()


class _Machine:
    """Marks what is no part of a run's, or a dataset's, identity."""


_T = TypeVar("_T")

Machine = Annotated[_T, _Machine]  # How, where and how fast; not what comes out.
Positive = Annotated[int, Range(1)]
NonNegative = Annotated[int, Range(0)]
LocalPath = Annotated[str, _Schemes()]
BucketPath = Annotated[str, _Schemes(urls.SCHEMES)]

_DEFINE: Mapping[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


class Option(NamedTuple):
    """What a field says of its flag.

    Attributes:
        kind: `bool`, `int`, `float`, `str`, or `tuple` of `str`.
        default: `dataclasses.MISSING` where one must be given.
        choices: The values allowed; empty: any.
        bounds: Smallest and largest number allowed.
        rules: What else a value must be.
        schemes: URL schemes that a path may have, such as `gs`; None: it is no path.
        is_machine: Whether it is no part of a run's, or a dataset's, identity.
        help: What --help says of it, on one line.
    """

    kind: type
    default: Any
    choices: tuple[str, ...]
    bounds: Range
    rules: tuple[Rule, ...]
    schemes: tuple[str, ...] | None
    is_machine: bool
    help: str

    @property
    def is_required(self) -> bool:
        """Whether the command does not start without it."""
        return self.default is dataclasses.MISSING

    @property
    def flag_default(self) -> Any:
        """The default as absl takes it."""
        if self.is_required:
            return None
        return list(self.default) if isinstance(self.default, tuple) else self.default

    def complaint(self, value: Any) -> str | None:
        """Returns what a value must be and is not; None if it is."""
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        expected: list[Rule | Range] = [*self.rules]
        if self.bounds != Range():
            expected.append(self.bounds)  # Last: its words say the least.
        return next((each.expectation for each in expected if not each.holds(value)), None)


@functools.cache
def options_of(config_class: "type[DataclassInstance]") -> Mapping[str, Option]:
    """Returns what each field of a config says of its flag, in the order of the fields.

    Raises:
        TypeError: if a field has no help below it, or a type that no flag has.
    """
    helps = _strings_below_fields(config_class)
    hints = typing.get_type_hints(config_class, include_extras=True)
    options = {}
    for field in dataclasses.fields(config_class):
        if not helps.get(field.name):
            raise TypeError(
                f"Below each field of a config stands a string, its flag's help. Received: "
                f"{config_class.__name__}.{field.name} without one."
            )
        options[field.name] = _option(hints[field.name], field.default, helps[field.name])
    return types.MappingProxyType(options)


def identity_of(config_class: "type[DataclassInstance]") -> tuple[str, ...]:
    """Returns the names of the options that decide what comes out: all but the machine's."""
    options = options_of(config_class)
    return tuple(name for name, option in options.items() if not option.is_machine)


def define(
    config_class: "type[DataclassInstance]",
    values: flags.FlagValues = flags.FLAGS,
    *,
    without: Collection[str] = (),
) -> None:
    """Defines a flag for each field of a config, but for these; they are the calling module's."""
    for name, option in options_of(config_class).items():
        if name in without:
            continue
        extra = {"flag_values": values, "required": option.is_required}
        _define(flag_name(name), option, extra)


def define_unchecked(config_class: "type[DataclassInstance]", values: flags.FlagValues) -> None:
    """Like `define`, but the flags take any value of their kind, and none is required.

    For flags that go on to another machine as they are, where a path may be another one: the config
    that is made of them says what is wrong.
    """
    for name, option in options_of(config_class).items():
        _DEFINE[option.kind](name, option.flag_default, option.help, flag_values=values)


def flag_name(field: str) -> str:
    """Returns the name of a field's flag: `class_` is --class, a word that Python keeps."""
    return field.rstrip("_")


def check(config: "DataclassInstance") -> None:
    """Raises ValueError for the first option whose value is not what its field says."""
    for name, option in options_of(type(config)).items():
        value = getattr(config, name)
        complaint = None if value is None else option.complaint(value)
        if complaint:
            raise ValueError(
                f"{flag_name(name)} {complaint}. Received: {flag_name(name)}={value!r}."
            )


def _define(name: str, option: Option, extra: dict[str, Any]) -> None:
    default, bounds = option.flag_default, option.bounds
    if option.schemes is not None:
        define_path = paths.define_list if option.kind is tuple else paths.define
        define_path(name, default, option.help, schemes=option.schemes, **extra)
    elif option.choices:
        flags.DEFINE_enum(name, default, option.choices, option.help, **extra)
    else:
        if bounds != Range() and bounds.in_help:
            low, high = (b if b is None else option.kind(b) for b in (bounds.low, bounds.high))
            extra = {**extra, "lower_bound": low, "upper_bound": high}
        _DEFINE[option.kind](name, default, option.help, **extra)


def _option(hint: Any, default: Any, help: str) -> Option:
    """Reads a type such as `Machine[Positive | None]` or `tuple[LocalPath, ...]`."""
    kind, marks = _unwrapped(hint)
    choices: tuple[str, ...] = ()
    if typing.get_origin(kind) is Literal:
        kind, choices = str, typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        _, element_marks = _unwrapped(typing.get_args(kind)[0])
        kind, marks = tuple, (*marks, *element_marks)
    if kind not in _DEFINE:
        kinds = ", ".join(kind.__name__ for kind in _DEFINE)
        raise TypeError(f"A flag is one of {kinds}, or a Literal. Received: {hint}.")
    return Option(
        kind=kind,
        default=default,
        choices=choices,
        bounds=next((mark for mark in marks if isinstance(mark, Range)), Range()),
        rules=tuple(mark for mark in marks if isinstance(mark, Rule)),
        schemes=next((mark.served for mark in marks if isinstance(mark, _Schemes)), None),
        is_machine=_Machine in marks,
        help=help,
    )


def _unwrapped(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns a type without `Annotated` and `None`, and all that it is annotated with."""
    if typing.get_origin(hint) is Annotated:
        inner, *marks = typing.get_args(hint)
        kind, more = _unwrapped(inner)
        return kind, (*marks, *more)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        if len(kinds) == 1:
            return _unwrapped(kinds[0])
    return hint, ()


def _strings_below_fields(config_class: type) -> dict[str, str]:
    """Returns the help of each field, on one line; those of the classes that it extends too."""
    return {
        name: " ".join(text.split())
        for base in reversed(config_class.__mro__)
        if dataclasses.is_dataclass(base)
        for name, text in _strings_of(base)
    }


def _strings_of(config_class: type) -> Iterator[tuple[str, str]]:
    """Python keeps no string that stands below a field: its source does."""
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(config_class))).body
    assert isinstance(definition, ast.ClassDef)
    names = vars(sys.modules[config_class.__module__])
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(
                value=ast.Constant() | ast.JoinedStr() as text
            ):  # Evaluated as Python itself has done: an f-string has names of its module.
                code = compile(ast.Expression(text), config_class.__name__, "eval")
                yield name, str(eval(code, names))
