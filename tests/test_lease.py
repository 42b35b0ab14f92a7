"""The lease on a bucket's folder: one writer at a time, whatever became of the one before."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from buckets import lease as lease_module
from buckets.lease import NAME, Lease, LostLeaseError
from buckets.store import Store

FAST = {"beat_s": 0.05, "watch_s": 0.3, "settle_s": 0.05}
STILL = 60  # Seconds between two numbers: none comes within a test.
_made: list[Lease] = []


@pytest.fixture
def store(memory_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Whose leases end with the test: a thread that writes late is not to write into the next."""
    monkeypatch.setattr(lease_module, "_RELEASE_SECONDS", 60.0)
    yield Store(f"{memory_bucket}/run")
    while _made:
        _made.pop().release()


def lease(
    store: Store, say: Callable[[str], object] = lambda line: None, **seconds: float
) -> Lease:
    _made.append(Lease(store, "in use by {}".format, say, **{**FAST, **seconds}))
    return _made[-1]


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
        lease(store, watch_s=STILL).take()
    first.release()
    assert store.entry(NAME) is None
    lease(store).take()


def test_process_of_this_machine_that_is_gone_is_followed_at_once(store: Store) -> None:
    lease(store, beat_s=STILL).take()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    leave(store, **{**content(store), "pid": int(gone.stdout), "token": "theirs"})
    lease(store, watch_s=STILL).take()
    assert content(store)["pid"] == os.getpid()


def test_number_of_a_process_that_came_later_is_not_the_holder(store: Store) -> None:
    lease(store, beat_s=STILL).take()
    leave(store, **{**content(store), "started": 1.0, "token": "theirs"})
    lease(store, watch_s=STILL).take()


def test_lease_that_was_copied_with_its_folder_keeps_nobody_out(store: Store) -> None:
    original, copy = lease(store), Store(f"{store.url}-copy")
    original.take()
    copy.write(NAME, store.read(NAME))
    lease(copy, watch_s=STILL).take()
    original.require()
    with pytest.raises(RuntimeError, match="in use"):
        lease(copy, watch_s=STILL).take()


def test_lease_of_an_older_version_names_no_url_and_holds(store: Store) -> None:
    lease(store, beat_s=STILL).take()
    leave(store, **{name: value for name, value in content(store).items() if name != "url"})
    with pytest.raises(RuntimeError, match=f"in use by process {os.getpid()}"):
        lease(store, watch_s=STILL).take()


def test_holder_elsewhere_is_told_by_a_number_that_moves(store: Store) -> None:
    leave(store)
    as_it_is_watched = lease(store, say=lambda line: leave(store, count=4), watch_s=STILL)
    with pytest.raises(RuntimeError, match="in use by process 7 on host far"):
        as_it_is_watched.take()


@pytest.mark.parametrize("left", [{}, {"machine": None}, None])
def test_holder_elsewhere_that_is_silent_is_followed(store: Store, left: Any) -> None:
    leave(store, **(left or {})) if left is not None else store.write(NAME, b"no JSON")
    start = time.monotonic()
    lease(store).take()
    assert time.monotonic() - start > FAST["watch_s"]
    assert content(store)["pid"] == os.getpid()


def test_of_many_that_come_at_once_one_has_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none settles before the others have written, for which there is time enough."""
    settle_s, takers, settling = 0.3, [], []

    def sleep(seconds: float) -> None:
        if seconds != settle_s:
            time.sleep(seconds)
            return
        settling.append(seconds)
        wait_until(lambda: len(settling) + sum(t.done() for t in takers) >= len(many))

    monkeypatch.setattr(
        lease_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    )
    for left in (False, True):
        if left:
            leave(store)
        many = [lease(store, settle_s=settle_s) for _ in range(6)]
        with concurrent.futures.ThreadPoolExecutor(len(many)) as pool:
            takers[:], settling[:] = [], []
            for one in many:
                takers.append(pool.submit(one.take))
        failures = [each.exception() for each in takers]
        assert failures.count(None) == 1
        many[failures.index(None)].release()


def test_number_moves_while_the_holder_does_something_else(store: Store) -> None:
    held = lease(store)
    held.take()
    wait_until(lambda: content(store)["count"] > 1)
    held.require()
    held.release()


def test_holder_finds_out_that_it_was_taken_over(store: Store) -> None:
    held = lease(store)
    held.take()
    with held._renewing:  # It does not write over what it has not seen.
        leave(store)
    wait_until(lambda: held.is_lost)
    with pytest.raises(LostLeaseError, match="in use by process 7 on host far"):
        held.require()
    held.release()
    assert content(store)["token"] == "theirs"


def test_holder_that_was_asleep_looks_before_it_goes_on(store: Store) -> None:
    held = lease(store, beat_s=STILL)
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
    """Nothing that failed meanwhile is repeated more and more rarely: it is begun anew."""
    held, renew, begun = lease(store), Lease._renew, []

    def count(self: Lease, store: Store) -> None:
        begun.append(store)
        renew(self, store)

    held.take()
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "_renew", count)
        patch.setattr(type(store._fs), "cat_file", drop)
        wait_until(lambda: len(begun) > 3)
    before = content(store)["count"]
    wait_until(lambda: content(store)["count"] > before)
    held.release()


def drop(*_: object, **__: object) -> None:
    raise ConnectionResetError


def test_lease_that_somebody_removed_is_told_so(store: Store) -> None:
    held = lease(store, beat_s=STILL)
    held.take()
    store.remove(NAME)
    with pytest.raises(LostLeaseError, match=r"removed it.*Received: memory://"):
        held.require()
