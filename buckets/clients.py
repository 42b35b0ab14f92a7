"""The client of each kind of object store: fsspec's file systems, and what they need to be told."""

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from buckets import urls


class Client(NamedTuple):
    """How one kind of store is reached.

    Attributes:
        module: The package that fsspec needs for it; None: fsspec has it.
        extra: The extra of this project that brings it.
        options: Returns what its file system is made with.
        probe: Lists one object of a bucket, given the file system, the bucket and a prefix. Raises
            FileNotFoundError only if the bucket itself is not there.
    """

    module: str | None
    extra: str
    options: Callable[[], dict[str, Any]]
    probe: Callable[[Any, str, str], object]


def _gs_options() -> dict[str, Any]:
    """Google's credentials as its own libraries find them; without any, what is public."""
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        return {"token": "anon"}
    # Outside of Google's cloud its metadata server is asked for in vain: once is enough.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "2")
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    try:
        return {"token": google.auth.default(scopes=[scope])[0]}
    except DefaultCredentialsError:
        return {"token": "anon"}


def _s3_options() -> dict[str, Any]:
    """AWS's credentials as botocore finds them; without any, what is public."""
    import botocore.session

    for name in ("botocore", "aiobotocore"):  # They tell where they found what they looked for.
        logging.getLogger(name).setLevel(logging.WARNING)
    found = botocore.session.get_session().get_credentials()
    config = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}
    return {"anon": found is None, "config_kwargs": config}


CLIENTS = {
    "gs": Client(
        "gcsfs",
        "gcs",
        _gs_options,
        lambda fs, bucket, prefix: fs.call(
            "GET", "b/{}/o", bucket, prefix=prefix, maxResults=1, json_out=True
        ),
    ),
    "s3": Client(
        "s3fs",
        "s3",
        _s3_options,
        lambda fs, bucket, prefix: fs.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1
        ),
    ),
    "az": Client("adlfs", "azure", dict, lambda fs, bucket, prefix: fs.ls(bucket)),
    "memory": Client(None, "", dict, lambda fs, bucket, prefix: None),
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
        raise ValueError(f"A remote path begins with {known}. Received: {url}.")
    client = CLIENTS[scheme]
    if client.module and importlib.util.find_spec(client.module) is None:
        raise RuntimeError(
            f"{scheme}:// needs the extra [{client.extra}]. Received: {url}, and an install "
            f"without {client.module}. Install it with `pip install -e '.[{client.extra}]'`."
        )


@functools.cache
def file_system(scheme: str) -> Any:
    """The file system of a scheme, one for this process: nothing that it listed is remembered."""
    import fsspec

    options = CLIENTS[scheme].options()
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True, **options)
