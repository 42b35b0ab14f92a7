"""The client of each kind of object store: fsspec's file systems, and what they need to be told."""

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from buckets import urls
from buckets.failures import BucketError, CredentialsError

_READ_SECONDS = 60  # Without a byte of the answer: longer than the upload of a piece takes.
_PIECE_BYTES = 16 * 2**20
_GS_PIECES_FROM = 5 * 2**20  # Of gcsfs.
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


class Client(NamedTuple):
    """How one kind of store is reached.

    Attributes:
        module: The package that fsspec needs for it; None: fsspec has it.
        extra: The extra of this project that brings it.
        options: Returns what its file system is made with.
        put: Makes an object of a file, given the file system, the file and the object's name, in
            pieces that a little memory holds.
        probe: Lists one object of a bucket, given the file system, the bucket and a prefix. Raises
            FileNotFoundError only if the bucket itself is not there.
    """

    module: str | None
    extra: str
    options: Callable[[], dict[str, Any]]
    put: Callable[[Any, Path, str], object]
    probe: Callable[[Any, str, str], object]


def _gs_options() -> dict[str, Any]:
    """Google's credentials as its own libraries find them; without any, what is public."""
    # Outside of Google's cloud its metadata server is asked for in vain: once is enough.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    import aiohttp

    # gcsfs's own limit is on a whole request, which a slow upload may well take.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_READ_SECONDS)
    return {"token": _google_token(), "requests_timeout": timeout}


def _google_token() -> Any:
    """The credentials; `anon` where there are none. gcsfs itself looks for them for 15 s.

    Raises:
        BucketError: if the variable for a key names something else.
    """
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return "anon"
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        return google.auth.default(scopes=[_GOOGLE_SCOPE])[0]
    except (DefaultCredentialsError, OSError) as error:
        key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if not key:
            return "anon"
        raise BucketError(
            "GOOGLE_APPLICATION_CREDENTIALS must name the file of a key. Received: "
            f"GOOGLE_APPLICATION_CREDENTIALS={key}, which {_what_is_wrong_with(key)} ({error}). "
            "Mend it, or leave it out for what is public."
        ) from error


def _what_is_wrong_with(key: str) -> str:
    return "is no key that can be read" if Path(key).exists() else "is not there"


def _s3_options() -> dict[str, Any]:
    """AWS's credentials as botocore finds them; without any, what is public."""
    import botocore.session

    _check_endpoint()
    for name in ("botocore", "aiobotocore"):  # They tell where they found what they looked for.
        logging.getLogger(name).setLevel(logging.WARNING)
    found = botocore.session.get_session().get_credentials()
    config = {
        "connect_timeout": 5,
        "read_timeout": _READ_SECONDS,
        "retries": {"mode": "standard", "max_attempts": 1},  # s3fs and the store repeat it.
    }
    return {"anon": found is None, "config_kwargs": config}


def _check_endpoint() -> None:
    """Refuses an address of which botocore says no more than that it is invalid.

    Raises:
        BucketError: if it is one.
    """
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        value = os.environ.get(name, "")
        if value and not value.startswith(("http://", "https://")):
            address = value.rpartition("://")[2]
            raise BucketError(
                f"An endpoint begins with http:// or https://. Received: {name}={value}. Write "
                f"{name}=http://{address}, or https:// as the store has it."
            )


def _put(fs: Any, path: Path, name: str) -> None:
    """Leaves it to the client."""
    fs.put_file(str(path), name)


def _put_gs(fs: Any, path: Path, name: str) -> None:
    """Sends a small file as it is.

    gcsfs would wrap it between lines of text, and a store that takes these for ended by carriage
    return and newline then takes a return at the file's end for theirs.
    """
    if not 0 < path.stat().st_size < _GS_PIECES_FROM:
        fs.put_file(str(path), name, chunksize=_PIECE_BYTES)
        return
    bucket, key, _ = fs.split_path(name)
    fs.call(
        "POST",
        f"{fs._location}/upload/storage/v1/b/{{}}/o",
        bucket,
        uploadType="media",
        name=key,
        headers={"Content-Type": "application/octet-stream"},
        data=path.read_bytes(),
    )


def _probe_gs(fs: Any, bucket: str, prefix: str) -> object:
    """Asks once: gcsfs repeats for half a minute what went wrong, an expired token too."""
    from fsspec.asyn import sync

    ask_once = type(fs)._request.__wrapped__
    return sync(fs.loop, ask_once, fs, "GET", "b/{}/o", bucket, prefix=prefix, maxResults=1)


CLIENTS = {
    "gs": Client(
        "gcsfs",
        "gcs",
        _gs_options,
        _put_gs,
        _probe_gs,
    ),
    "s3": Client(
        "s3fs",
        "s3",
        _s3_options,
        lambda fs, path, name: fs.put_file(
            str(path), name, chunksize=_PIECE_BYTES, max_concurrency=4
        ),
        lambda fs, bucket, prefix: fs.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1
        ),
    ),
    "az": Client("adlfs", "azure", dict, _put, lambda fs, bucket, prefix: fs.ls(bucket)),
    "memory": Client(None, "", dict, _put, lambda fs, bucket, prefix: None),
}


def require(url: str) -> None:
    """Refuses a URL whose client is not installed.

    Raises:
        ValueError: if its scheme is none that is known.
        RuntimeError: if it is known and the client is not there.
    """
    scheme = urls.scheme_of(url)
    if scheme not in CLIENTS:
        known = ", ".join(f"{name}://" for name in CLIENTS if name != "memory")
        ours = urls.respelt(url)
        advice = f" Write {ours}." if ours else ""
        raise ValueError(f"A remote path begins with {known}. Received: {url}.{advice}")
    client = CLIENTS[scheme]
    if client.module and importlib.util.find_spec(client.module) is None:
        raise RuntimeError(
            f"{scheme}:// needs the extra [{client.extra}]. Received: {url}, and an install "
            f"without {client.module}. Install it with `pip install -e '.[{client.extra}]'`."
        )


def load(scheme: str) -> None:
    """Imports the client, which takes seconds from a slow disk: no first contact counts them."""
    # As it is imported, gcsfs looks whether to ask first, by gRPC, of what kind each bucket is.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    importlib.import_module(CLIENTS[scheme].module or "fsspec")


@functools.cache
def file_system(scheme: str) -> Any:
    """The file system of a scheme, one for this process: nothing that it listed is remembered.

    Raises:
        CredentialsError: if what the environment says makes none.
        BucketError: likewise, where it is known which variable is wrong.
    """
    load(scheme)
    import fsspec

    for talker in ("botocore", "aiobotocore", "gcsfs"):  # Of where credentials were found, say.
        logging.getLogger(talker).setLevel(logging.WARNING)
    logging.getLogger("azure").setLevel(logging.ERROR)  # Its warnings are pages.
    options = CLIENTS[scheme].options()
    options |= {"use_listings_cache": False, "skip_instance_cache": True}
    try:
        return fsspec.filesystem(scheme, **options)
    except ValueError as error:  # So adlfs says that there are no credentials.
        raise CredentialsError(str(error)) from error


def is_anonymous(scheme: str) -> bool:
    """Whether no credentials were found, so that only what is public can be asked for."""
    client = file_system(scheme)
    if scheme == "gs":
        return client.credentials.credentials is None
    return bool(getattr(client, "anon", False))
