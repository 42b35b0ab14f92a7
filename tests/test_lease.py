"""The lease on a bucket's folder: one writer at a time, whatever became of the one before."""

import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from buckets.lease import NAME, Lease, LostLeaseError
from buckets.store import Store

FAST = {"beat_s": 0.05, "watch_s": 0.3, "settle_s": 0.05}


@pytest.fixture
def store(memory_bucket: str) -> Store:
    return Store(f"{memory_bucket}/run")


def lease(store: Store, **seconds: float) -> Lease:
    return Lease(store, "in use by {}".format, lambda line: None, **{**FAST, **seconds})


def content(store: Store) -> dict[str, Any]:
    return json.loads(store.read(NAME))


def leave(store: Store, **fields: Any) -> None:
    """A lease of a process on another machine."""
    holder = {"token": "theirs", "count": 3, "host": "far", "pid": 7, "machine": "?", "started": 1}
    store.write(NAME, json.dumps({**holder, **fields}).encode())


def test_second_process_of_this_machine_is_refused_at_once(store: Store) -> None:
    first = lease(store)
    first.take()
    with pytest.raises(RuntimeError, match=f"in use by process {os.getpid()} on host"):
        lease(store, watch_s=60).take()
    first.release()
    assert store.entry(NAME) is None
    lease(store).take()


def test_process_of_this_machine_that_is_gone_is_followed_at_once(store: Store) -> None:
    lease(store).take()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    leave(store, **{**content(store), "pid": int(gone.stdout), "token": "theirs"})
    lease(store, watch_s=60).take()
    assert content(store)["pid"] == os.getpid()


def test_number_of_a_process_that_came_later_is_not_the_holder(store: Store) -> None:
    lease(store).take()
    leave(store, **{**content(store), "started": 1.0, "token": "theirs"})
    lease(store, watch_s=60).take()


def test_lease_that_was_copied_with_its_folder_keeps_nobody_out(store: Store) -> None:
    original, copy = lease(store), Store(f"{store.url}-copy")
    original.take()
    copy.write(NAME, store.read(NAME))
    lease(copy, watch_s=60).take()
    original.require()
    with pytest.raises(RuntimeError, match="in use"):
        lease(copy, watch_s=60).take()


def test_lease_of_an_older_version_names_no_url_and_holds(store: Store) -> None:
    lease(store).take()
    leave(store, **{name: value for name, value in content(store).items() if name != "url"})
    with pytest.raises(RuntimeError, match=f"in use by process {os.getpid()}"):
        lease(store, watch_s=60).take()


def test_holder_elsewhere_is_told_by_a_number_that_moves(store: Store) -> None:
    leave(store)
    threading.Timer(0.1, leave, [store], {"count": 4}).start()
    with pytest.raises(RuntimeError, match="in use by process 7 on host far"):
        lease(store, watch_s=20).take()


@pytest.mark.parametrize("left", [{}, {"machine": None}, None])
def test_holder_elsewhere_that_is_silent_is_followed(store: Store, left: Any) -> None:
    leave(store, **(left or {})) if left is not None else store.write(NAME, b"no JSON")
    start = time.monotonic()
    lease(store).take()
    assert time.monotonic() - start > FAST["watch_s"]
    assert content(store)["pid"] == os.getpid()


def test_of_many_that_come_at_once_one_has_it(store: Store) -> None:
    for left in (False, True):
        if left:
            leave(store)
        many = [lease(store, settle_s=0.3) for _ in range(6)]
        with concurrent.futures.ThreadPoolExecutor(len(many)) as pool:
            failures = [each.exception() for each in [pool.submit(one.take) for one in many]]
        assert failures.count(None) == 1
        many[failures.index(None)].release()


def test_number_moves_while_the_holder_does_something_else(store: Store) -> None:
    held = lease(store)
    held.take()
    time.sleep(0.3)
    assert content(store)["count"] > 1
    held.require()
    held.release()


def test_holder_finds_out_that_it_was_taken_over(store: Store) -> None:
    held = lease(store)
    held.take()
    leave(store)
    time.sleep(0.2)
    assert held.is_lost
    with pytest.raises(LostLeaseError, match="in use by process 7 on host far"):
        held.require()
    held.release()
    assert content(store)["token"] == "theirs"


def test_holder_that_was_asleep_looks_before_it_goes_on(store: Store) -> None:
    held = lease(store, beat_s=60)
    held.take()
    held._confirmed -= 200
    leave(store)
    with pytest.raises(LostLeaseError):
        held.require()


def test_answer_that_took_long_is_no_proof_of_now(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "_keep", lambda self: None)
    held, write = lease(store), Store.write

    def write_slowly(self: Store, name: str, content: bytes) -> None:
        write(self, name, content)
        time.sleep(3 * FAST["beat_s"])

    held.take()
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", write_slowly)
        held.require()
    leave(store)
    with pytest.raises(LostLeaseError):
        held.require()


def test_number_moves_as_soon_as_the_store_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, read = lease(store), type(store._fs).cat_file
    held.take()
    with monkeypatch.context() as patch:
        patch.setattr(type(store._fs), "cat_file", drop)
        time.sleep(1.5)
    before = json.loads(read(store._fs, store._path(NAME)))["count"]
    time.sleep(0.7)
    assert content(store)["count"] > before
    held.release()


def drop(*_: object, **__: object) -> None:
    raise ConnectionResetError


def test_lease_that_somebody_removed_is_told_so(store: Store) -> None:
    held = lease(store, beat_s=60)
    held.take()
    store.remove(NAME)
    with pytest.raises(LostLeaseError, match=r"removed it.*Received: memory://"):
        held.require()
