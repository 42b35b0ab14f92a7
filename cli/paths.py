"""Paths that a person gives: `~` is their home folder, and a scheme is served or refused."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from buckets import urls

flags.disclaim_key_flags()  # A flag that is defined here is the calling module's, as --help says.

_NO_NAMES = frozenset(("", ".", ".."))
_OF_TESTS = "memory"  # A scheme that no message need name.


def define(
    name: str,
    default: str | None,
    help: str,
    *,
    schemes: tuple[str, ...] = (),
    required: bool = False,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Defines a flag that takes a path.

    Args:
        default: The path as a user would type it; `~` is expanded as in any other.
        schemes: URL schemes that the command reads, such as `gs`, besides this machine's folders.
        required: Whether the command does not start without it; an empty one is none.
        flag_values: The registry that the flag is added to.
    """
    parser = _Parser(schemes, required=name if required else None)
    flags.DEFINE(parser, name, default, help, flag_values, flags.ArgumentSerializer(),
                 required=required)  # fmt: skip


def define_list(
    name: str,
    default: list[str] | None,
    help: str,
    *,
    schemes: tuple[str, ...] = (),
    required: bool = False,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> None:
    """Defines a flag that takes paths, separated by commas; otherwise as `define`."""
    flags.DEFINE(_ListParser(schemes), name, default, help, flag_values,
                 flags.CsvListSerializer(","), required=required)  # fmt: skip


def expand(path: str, schemes: Sequence[str] = (), *, is_named: bool = False) -> str:
    """Returns the path with `~` and `~user` replaced by their folders, and otherwise as it is.

    Args:
        schemes: Those that are served.
        is_named: Whether the path itself will stand before the message, which need not repeat it.

    Raises:
        ValueError: if its scheme is not one of `schemes`, or half of one, or no such home folder is
            known.
    """
    if mended := urls.mended(path):
        raise ValueError(
            f"has one slash where a scheme has two. Received: {path}. Write {mended}, or ./{path} "
            "for a folder of that name."
        )
    scheme = urls.scheme_of(path)
    if scheme is not None and scheme not in schemes:
        raise ValueError(_refusal(path, schemes, is_named=is_named))
    if scheme is not None:
        return _remote(path, scheme)
    if not path.startswith("~"):
        return path
    user, slash, rest = path.partition("/")
    try:  # The rest stays as it was given: a slash at its end may mean something.
        return f"{Path(user).expanduser()}{slash}{rest}"
    except RuntimeError:
        raise ValueError(
            f"begins with a home folder that is not known here. Received: {path}. Give the whole "
            f"path, or ./{path} for a folder of that name."
        ) from None


def _refusal(path: str, schemes: Sequence[str], *, is_named: bool) -> str:
    """What to say of a URL whose scheme is not served."""
    names = [f"{name}://" for name in schemes if name != _OF_TESTS]
    served = " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    expected = f"must be a path of this machine{served and f', or begin with {served}'}."
    received = "" if is_named else f" Received: {path}."
    ours = urls.respelt(path)
    if ours and urls.scheme_of(ours) in (None, *schemes):
        return f"{expected}{received} Write {ours}."
    return (
        f"{expected}{received} Give such a path, and copy the files from the URL beforehand, or to "
        "it afterwards."
    )


def _remote(path: str, scheme: str) -> str:
    """Returns a remote path as it is written everywhere: its scheme in small letters.

    Raises:
        ValueError: if it names no bucket, or has a part that only a folder of this machine has.
    """
    if not urls.bucket_of(path):
        raise ValueError(f"names no bucket. Received: {path}. Write {scheme}://BUCKET/folder.")
    if not _NO_NAMES.isdisjoint(urls.normalise(path).split("/")[2:]):
        raise ValueError(
            f"has a part that is no name: '..', '.' or an empty one. Received: {path}. Write the "
            "URL without it."
        )
    return f"{scheme}{path[len(scheme) :]}"


class _Parser(flags.ArgumentParser):
    """Parses a flag that is one path."""

    def __init__(self, schemes: tuple[str, ...], required: str | None = None) -> None:
        self._schemes, self._required = schemes, required

    def parse(self, argument: str) -> str:
        if self._required and not argument:  # As `--workdir=$UNSET` gives it.
            raise ValueError(f"must name a directory. Received: {self._required}=''.")
        return _expand_text(argument, self._schemes, is_named=True)


class _ListParser(flags.ListParser):
    """Parses a flag that is several paths, separated by commas."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        super().__init__()
        self._schemes = schemes

    def parse(self, argument: str | list[str]) -> list[str]:
        given = super().parse(argument)
        return [_expand_text(path, self._schemes, is_named=len(given) == 1) for path in given]


def _expand_text(path: str, schemes: Sequence[str], *, is_named: bool) -> str:
    """Like `expand`, for a path that is written into files too: their text is UTF-8.

    Raises:
        ValueError: also if its name is not.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise ValueError(f"must be UTF-8. Received: {shown}. Rename the folder.") from None
    return expand(path, schemes, is_named=is_named)
