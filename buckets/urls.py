"""Which paths are remote, and how they are put together: by their text alone."""

import glob
import re

SCHEMES = ("gs", "s3", "az", "memory")  # `memory` lasts as long as its process: for tests.

# Two characters at least: `C:` is a drive. And `//`: a folder's name may have a colon in it.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

# As pathlib prints them: no folder of this machine is meant.
_HALF_A_SCHEME = re.compile(r"(gs|s3|az|https?|file):/(?!/)", re.IGNORECASE)

# How other tools write the same places; what follows is the same.
_SPELLINGS = [
    (re.compile(pattern, re.IGNORECASE), ours)
    for pattern, ours in (
        (r"gcs://", "gs://"),
        (r"https?://storage\.(?:googleapis|cloud\.google)\.com/", "gs://"),
        (r"https?://console\.cloud\.google\.com/storage/browser/", "gs://"),
        (r"https?://([^/]+)\.storage\.googleapis\.com/", r"gs://\1/"),
        (r"s3[an]://", "s3://"),
        (r"https?://s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com/", "s3://"),
        (r"https?://([^/]+?)\.s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com/", r"s3://\1/"),
        (r"(?:abfs|wasb)s?://([^/@]+)(?:@[^/]*)?", r"az://\1"),
        (r"https?://[^/]+\.(?:blob|dfs)\.core\.windows\.net/", "az://"),
        (r"file://(?:localhost)?/", "/"),
    )
]


def scheme_of(path: str) -> str | None:
    """Returns `gs` of `gs://bucket/data`; None of a path of this machine."""
    match = _SCHEME.match(path)
    return match[1].lower() if match else None


def is_remote(path: str) -> bool:
    """Whether a path has a scheme, and so is no folder of this machine."""
    return scheme_of(path) is not None


def mended(path: str) -> str | None:
    """Returns `gs://bucket/data` of `gs:/bucket/data`; None where no slash is missing."""
    half = _HALF_A_SCHEME.match(path)
    if not half:
        return None
    scheme, rest = half[1].lower(), path[half.end() :]
    return f"{scheme}:///{rest}" if scheme == "file" else f"{scheme}://{rest}"


def respelt(path: str) -> str | None:
    """Returns `gs://bucket/data` of `gcs://bucket/data`; None where no such spelling is known."""
    for pattern, ours in _SPELLINGS:
        found = pattern.match(path)
        if found and not {"?", "#", "%"}.intersection(path):  # Those mean more in web pages.
            spelt = found.expand(ours) + path[found.end() :]
            return spelt if bucket_of(spelt) or not is_remote(spelt) else None
    return None


def require_whole(path: str) -> None:
    """Returns unless a slash of a URL is missing, which a Path takes away.

    Raises:
        ValueError: if one is.
    """
    if whole := mended(path):
        raise ValueError(
            f"A URL has two slashes, of which a Path keeps one. Received: {path}. Give the string "
            f'"{whole}".'
        )


def normalise(url: str) -> str:
    """Returns a URL as it is written everywhere: a scheme in small letters, no slash at the end."""
    scheme = scheme_of(url) or ""
    return f"{scheme}{url[len(scheme) :]}".rstrip("/")


def without_scheme(url: str) -> str:
    """Returns `bucket/data` of `gs://bucket/data`."""
    return url.partition("://")[2]


def bucket_of(url: str) -> str:
    """Returns `bucket` of `gs://bucket/data`."""
    return without_scheme(url).partition("/")[0]


def join(url: str, *names: str) -> str:
    """Returns the URL of what lies below another one."""
    return "/".join([url.rstrip("/"), *names])


def split(url: str) -> tuple[str, str]:
    """Returns the URL of the folder, and the last name: of `gs://b/run/model.keras`, say."""
    folder, _, name = url.rstrip("/").rpartition("/")
    return folder, name


def split_pattern(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Returns the URL below which all lies that a pattern matches, and the pattern's parts there.

    Without a `*`, `?` or `[` in it, there are none.

    Raises:
        ValueError: if it stands for several buckets.
    """
    parts = without_scheme(pattern).rstrip("/").split("/")
    magic = (at for at, part in enumerate(parts) if glob.has_magic(part))
    if not (fixed := next(magic, len(parts))):
        raise ValueError("A pattern cannot stand for a bucket's name: write it out.")
    return f"{scheme_of(pattern)}://{'/'.join(parts[:fixed])}", tuple(parts[fixed:])


def lies_in(url: str, folder: str) -> bool:
    """Whether a URL is that of a folder, or of something below it."""
    return f"{url.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
