"""Buckets on this machine: moto for s3fs, gcp-storage-emulator for gcsfs.

`python -m tests.support.bucket_servers s3` tells in one line of JSON which variables make clients
use it, the same for `gs`, and serves until its standard input ends. `--latency=0.02 --rate=50e6`
put a slow line in between: seconds before each answer, and bytes a second over all connections.
"""

import argparse
import contextlib
import itertools
import logging
import os
import secrets
import sys
from collections.abc import Iterator

import fsspec
import pytest
import requests

from buckets import clients
from tests.support import fault_proxy, own_process

# Variables for which a client asks nobody else, whatever the machine has of its own.
_ALONE = {
    "s3": {
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    },
    "gs": {
        "FSSPEC_GS_TOKEN": "anon",
        "NO_GCE_CHECK": "true",
        # Else gcsfs asks Google over gRPC what kind of a bucket it is.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    },
}
_ENDPOINT = {"s3": "AWS_ENDPOINT_URL", "gs": "STORAGE_EMULATOR_HOST"}
_names = itertools.count()


def variables(scheme: str, endpoint: str) -> dict[str, str]:
    """The environment variables that lead clients of `scheme` to an endpoint."""
    return {_ENDPOINT[scheme]: endpoint, **_ALONE[scheme]}


@contextlib.contextmanager
def serving(scheme: str) -> Iterator[str]:
    """A server of `s3` or `gs` for as long as the block; yields its endpoint."""
    with own_process.started(__name__, scheme) as told:
        yield told[_ENDPOINT[scheme]]


def make_bucket(scheme: str, endpoint: str) -> str:
    """Makes an empty bucket with a name of its own; returns its URL."""
    name = f"tests-{next(_names)}-{secrets.token_hex(4)}"
    if scheme == "s3":
        answer = requests.put(f"{endpoint}/{name}", timeout=300)
    else:
        answer = requests.post(f"{endpoint}/storage/v1/b", json={"name": name}, timeout=300)
    answer.raise_for_status()
    return f"{scheme}://{name}"


@contextlib.contextmanager
def reached(scheme: str, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leads this process's clients and those of processes it starts to an endpoint."""
    for name, value in variables(scheme, endpoint).items():
        monkeypatch.setenv(name, value)
    # It heeds some of them.
    clients.load(scheme)
    if scheme == "gs":  # fsspec reads the variable when it is imported.
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    forget_clients()
    yield
    forget_clients()


def forget_clients() -> None:
    """Drops the clients that are kept: each remembers its endpoint and what it has listed."""
    for name, client in (("s3fs", "S3FileSystem"), ("gcsfs", "GCSFileSystem")):
        if name in sys.modules:
            getattr(sys.modules[name], client).clear_instance_cache()
    clients.file_system.cache_clear()


def _serve_s3() -> str:
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    return "http://{}:{}".format(*server.get_host_and_port())


def _serve_gs() -> str:
    from tests.support import gs_emulator

    return gs_emulator.serve()


def main() -> None:
    """Serves, with a slow line before it if one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scheme", choices=("s3", "gs"))
    parser.add_argument("--latency", type=float, default=0, help="Seconds before each answer.")
    parser.add_argument("--rate", type=float, help="Bytes a second, in each direction.")
    parser.add_argument("--bucket", action="store_true", help="Make one, and tell its URL too.")
    asked = parser.parse_args()
    logging.disable()  # moto and the emulator tell of each request.
    endpoint = {"s3": _serve_s3, "gs": _serve_gs}[asked.scheme]()
    with contextlib.ExitStack() as stack:
        if asked.latency or asked.rate:
            proxy = stack.enter_context(fault_proxy.before(asked.scheme, endpoint))
            proxy.slow(latency=asked.latency, rate=asked.rate)
            endpoint = proxy.endpoint
        told = variables(asked.scheme, endpoint)
        if asked.bucket:
            told["BUCKET"] = make_bucket(asked.scheme, endpoint)
        own_process.tell_and_wait(told)


if __name__ == "__main__":
    main()
