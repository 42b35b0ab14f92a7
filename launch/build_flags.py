"""The flags of `data_prep.build`, checked before an array of its tasks is submitted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from buckets import urls
from cli import paths
from cli.command import FlagsError
from cli.flags import options_of
from data_prep.config import BuildConfig
from launch.command_flags import CommandFlags

_LIST = flags.CsvListSerializer(",")
_SCHEMES = {  # Of the flags that are paths.
    name: option.schemes
    for name, option in options_of(BuildConfig).items()
    if option.schemes is not None
}
_SET_BY_JOB = ("num_tasks", "task_index", "commit_only")  # The job says which task is which.


def parse(arguments: Sequence[str], num_tasks: int) -> list[str]:
    """Returns the flags for nodes that see this machine's folders, under the same paths.

    Args:
        arguments: What stands behind `--`.
        num_tasks: Tasks in the array; each builds its part of the shards.

    Raises:
        FlagsError: if the build would refuse them, or if they share the shards out themselves.
    """
    read = CommandFlags("The build", "data_prep.build", BuildConfig, arguments)
    given = read.given()
    for flag in given:
        if flag.removeprefix("--").removeprefix("no").partition("=")[0] in _SET_BY_JOB:
            names = ", ".join(f"--{name}" for name in _SET_BY_JOB)
            raise FlagsError(
                "Behind -- stand flags of data_prep.build as --name=value, without "
                f"{names}. Received: {flag!r}."
            )
    options = read.options()
    absolute = {
        name: _absolute(name, options[name])
        for name in _SCHEMES
        if options[name]  # `--coco_dir=` stands for none.
    }
    try:
        BuildConfig(**options | absolute | {"num_tasks": num_tasks, "task_index": 0})
    except ValueError as error:
        raise read.refusal(error) from error
    return [*map(_flag, absolute.items()), *read.given(without=absolute)]


def _absolute(name: str, value: Any) -> Any:
    """Makes a path, or each of several, absolute: the nodes need not start in this folder."""
    if isinstance(value, tuple):
        return tuple(_absolute(name, path) for path in value)
    try:
        path = paths.expand(value, _SCHEMES[name])
        return path if urls.is_remote(path) else str(Path(path).absolute())
    except ValueError as error:
        raise FlagsError(f"The build would refuse --{name}, which {error}") from None


def _flag(option: tuple[str, Any]) -> str:
    name, value = option
    text = _LIST.serialize(list(value)) if isinstance(value, tuple) else value
    return f"--{name}={text}"
