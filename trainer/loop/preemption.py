"""Hears from Google's cloud that this machine is about to be taken away.

https://cloud.google.com/compute/docs/instances/create-use-spot#detect-preemption
"""

import http.client
import os
import threading
import time
import urllib.request
from pathlib import Path

from absl import logging

from trainer.loop.signals import NOTICE

_PRODUCT_NAME = Path("/sys/class/dmi/id/product_name")
_HOST = "metadata.google.internal"
_RETRY_SECONDS = 5.0
_WAIT_SECONDS = 300  # The server answers then at the latest, so that a lost connection shows.
_Opener = urllib.request.OpenerDirector


def watch_for_notice() -> threading.Thread | None:
    """On Google's cloud, starts a thread that turns its notice into a signal to this process."""
    if not is_on_gcp():
        return None
    thread = threading.Thread(target=_watch, args=(_metadata_host(),), daemon=True)
    thread.start()
    return thread


def is_on_gcp() -> bool:
    """Whether this is a machine of Google's: told as google-auth tells it, without the network."""
    if "GCE_METADATA_HOST" in os.environ:
        return True
    try:
        return _PRODUCT_NAME.read_text().strip().startswith("Google")
    except OSError:
        return False


def _metadata_host() -> str:
    return os.environ.get("GCE_METADATA_HOST", _HOST)


def _watch(host: str) -> None:
    url = f"http://{host}/computeMetadata/v1/instance/preempted"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # Never by a proxy.
    tag = None
    while True:
        try:
            notice, tag = _ask(opener, url, tag)
        except (OSError, http.client.HTTPException) as error:
            logging.log_every_n_seconds(logging.WARNING, "No word from %s: %s.", 600, url, error)
            time.sleep(_RETRY_SECONDS)
            continue
        if notice:
            logging.warning("Google's cloud takes this machine away: %s says so.", url)
            os.kill(os.getpid(), NOTICE)
            return
        if tag is None:  # Then the next answer will not wait for a change.
            time.sleep(_RETRY_SECONDS)


def _ask(opener: _Opener, url: str, tag: str | None) -> tuple[bool, str | None]:
    """Returns whether the notice is there, and the answer's tag; with a tag, waits for a change.

    Without the tag of the answer before, a change between two questions would be missed.
    """
    if tag:
        url += f"?wait_for_change=true&last_etag={tag}&timeout_sec={_WAIT_SECONDS}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    with opener.open(request, timeout=2 * _WAIT_SECONDS) as answer:
        return answer.read().strip() == b"TRUE", answer.headers.get("ETag")
