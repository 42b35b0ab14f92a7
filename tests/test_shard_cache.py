"""The copies of shards on this machine: bounded, verified, shared by threads and processes."""

import concurrent.futures
import errno
import hashlib
import itertools
import os
import pickle
import secrets
import signal
import threading
import time
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buckets import store as store_module
from buckets.failures import BucketError, ChangedError
from buckets.store import Store
from tfrecords import manifest as manifest_module
from tfrecords import naming
from tfrecords.manifest import Manifest, Shard, dataset_digest
from tfrecords.remote_shards import RemoteShards
from tfrecords.shard_cache import ShardCache

SIZE = 1000


@pytest.fixture
def store() -> Store:
    return Store(f"memory://{secrets.token_hex(4)}/data")


def put(store: Store, name: str, content: bytes | None = None) -> Shard:
    """Puts a shard into the bucket, whose records nobody looks at."""
    content = hashlib.sha256(name.encode()).digest() * SIZE if content is None else content
    content = content[:SIZE]
    store.write(name, content)
    return Shard(name, 1, len(content), hashlib.sha256(content).hexdigest())


def read(cache: ShardCache, store: Store, shard: Shard) -> bytes:
    with cache.held(store, shard) as path:
        return path.read_bytes()


def kept(cache: ShardCache, *shards: Shard) -> list[bool]:
    there = {path.name.partition(".")[0] for path in cache.folder.iterdir()}
    return [shard.sha256 in there for shard in shards]


def names_in(cache: ShardCache) -> list[str]:
    return [path.name for path in cache.folder.iterdir()]


def in_another_process(function: Callable[[], object]) -> int:
    """Starts a function in a fork of this process, and returns its id."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_shard_is_fetched_once_and_then_read_without_the_bucket(
    store: Store, tmp_path: Path
) -> None:
    cache, shard = ShardCache(str(tmp_path)), put(store, "a")
    content = read(cache, store, shard)
    store.remove("a")
    assert read(cache, store, shard) == content
    # Another dataset that holds the same shard finds it too.
    assert read(ShardCache(str(tmp_path)), Store(f"{store.url}/other"), shard) == content
    assert names_in(cache) == [f"{shard.sha256}.tfrecord"]  # No lock, no part.


def test_least_recently_used_goes_first(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uses, utime = itertools.count(1), os.utime  # The file system's clock is coarse.
    monkeypatch.setattr("os.utime", lambda path: utime(path, ns=(use := next(uses), use)))
    cache = ShardCache(str(tmp_path), gib=3.5 * SIZE / 2**30)
    a, b, c, d = shards = [put(store, name) for name in "abcd"]
    for shard in (a, b, c, a, d):
        read(cache, store, shard)
    assert kept(cache, *shards) == [True, False, True, True]


def test_what_is_being_read_stays_and_the_limit_gives_way(store: Store, tmp_path: Path) -> None:
    cache = ShardCache(str(tmp_path), gib=1.5 * SIZE / 2**30)
    a, b, c = shards = [put(store, name) for name in "abc"]
    cache.hold(store, a)
    other = ShardCache(str(tmp_path), gib=1.5 * SIZE / 2**30)  # As another run's.
    read(other, store, b)
    assert kept(cache, *shards) == [True, True, False]
    cache.release(a)
    cache.release(a)  # Once more is no error.
    read(other, store, c)
    assert kept(cache, *shards) == [False, False, True]


def test_readers_that_let_nothing_go_do_not_hold_for_ever(store: Store, tmp_path: Path) -> None:
    cache = ShardCache(str(tmp_path), gib=SIZE / 2**30)
    first, other = put(store, "a"), put(store, "b")
    cache.hold(store, first)
    for _ in range(64):
        cache.hold(store, other)
    read(cache, store, put(store, "c"))
    assert not kept(cache, first)[0]


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_many_that_want_one_shard_fetch_it_once(
    how: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, log = put(store, "a"), tmp_path / "log"
    download = Store.download

    def slow(*arguments: object, **options: object) -> str:
        with log.open("a") as file:
            file.write("x")
        time.sleep(0.05)
        return download(*arguments, **options)

    monkeypatch.setattr(Store, "download", slow)

    def work() -> None:
        assert len(read(ShardCache(str(tmp_path)), store, shard)) == SIZE

    if how == "threads":
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        assert [status_of(c) for c in [in_another_process(work) for _ in range(3)]] == [0, 0, 0]
    assert log.read_text() == "x"


def test_killed_fetch_is_gone_on_with(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_RANGE_BYTES", 100)
    monkeypatch.setattr(store_module, "_RANGES_AT_ONCE", 1)
    cache, shard, came = ShardCache(str(tmp_path)), put(store, "a"), []
    content = store.read("a")

    def die(count: int) -> None:
        came.append(count)
        if sum(came) >= 500:
            [part] = cache.folder.glob("*.part")
            part.write_bytes(content[:500])  # What Python has in a buffer of its own.
            os.kill(os.getpid(), signal.SIGKILL)

    child = in_another_process(lambda: cache.hold(store, shard, received=die))
    assert status_of(child) == -signal.SIGKILL
    with cache.held(store, shard, received=came.append) as path:
        assert path.read_bytes() == content
    assert came[0] == 500
    assert len(came) == 1 + 5
    assert names_in(cache) == [path.name]


def test_parts_of_killed_fetches_count_and_go(store: Store, tmp_path: Path) -> None:
    cache, shard = ShardCache(str(tmp_path), gib=2.5 * SIZE / 2**30), put(store, "a")
    cache.folder.mkdir()
    old = cache.folder / f"{'0' * 64}.tfrecord.12345678.part"
    old.write_bytes(bytes(2 * SIZE))
    read(cache, store, shard)
    assert not old.exists()


def test_copy_that_is_cut_off_is_fetched_again(store: Store, tmp_path: Path) -> None:
    cache, shard = ShardCache(str(tmp_path)), put(store, "a")
    content = read(cache, store, shard)
    path = cache.folder / f"{shard.sha256}.tfrecord"
    path.write_bytes(content[:10])
    assert read(cache, store, shard) == content
    path.write_bytes(bytes(SIZE))  # Of the right size: seen where it is asked for.
    with cache.held(store, shard, checked=True) as path:
        assert path.read_bytes() == content


def test_wrong_bytes_are_no_copy(store: Store, tmp_path: Path) -> None:
    cache, shard = ShardCache(str(tmp_path)), put(store, "a")
    put(store, "a", bytes(SIZE))
    with pytest.raises(ChangedError):
        read(cache, store, shard)
    assert kept(cache, shard) == [False]
    store.remove("a")
    with pytest.raises(FileNotFoundError):
        read(cache, store, shard)


def test_full_disk_is_said_before_a_byte_is_fetched(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 10, SIZE - 1))
    with pytest.raises(OSError, match="999 bytes free, and the next one has 1,000; --data_cache"):
        read(ShardCache(str(tmp_path)), store, put(store, "a"))


@pytest.mark.parametrize(("shards_of_room", "order"), [(1.5, "a b"), (2.5, "b a")])
def test_fetch_waits_where_the_disk_has_no_room_beside_what_others_still_need(
    shards_of_room: float, order: str, store: Store, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    cache, a, b = ShardCache(str(tmp_path)), put(store, "a"), put(store, "b")
    begun, goes_on, download = threading.Event(), threading.Event(), Store.download
    ended: list[str] = []

    def slow(self: Store, name: str, path: Path, **options: object) -> None:
        if name == "a":  # Fails before it has written a byte.
            begun.set()
            goes_on.wait(60)
            ended.append(name)
            raise BucketError("gone")
        download(self, name, path, **options)
        ended.append(name)

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, int(shards_of_room * SIZE)))
    monkeypatch.setattr(Store, "download", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read, cache, store, a)
        assert begun.wait(60)
        second = pool.submit(read, cache, store, b)
        concurrent.futures.wait([second], timeout=0.3 if order == "a b" else 60)
        goes_on.set()
        assert len(second.result()) == SIZE
        assert isinstance(first.exception(), BucketError)
    assert ended == order.split()


def test_disk_that_fills_up_is_said_with_the_flag_and_the_folder(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=f"--data_cache names another folder: '{tmp_path}/shards'"):
        read(ShardCache(str(tmp_path)), store, put(store, "a"))
    with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/b\..*part'"):
        store.download("a", tmp_path / "b")


def test_folder_that_takes_no_copies_is_refused_unless_all_are_there(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    a, b = put(store, "a"), put(store, "b")
    with pytest.raises(ValueError, match=f"Received: data_cache={tmp_path}/file .*--data_cache"):
        ShardCache(f"{tmp_path}/file").check([a])
    cache = ShardCache(str(tmp_path))
    read(cache, store, a)
    cache.folder.chmod(0o500)
    cache.check([a])
    if os.geteuid():  # Root may write anywhere.
        with pytest.raises(ValueError, match="Permission denied"):
            cache.check([a, b])
    cache.folder.chmod(0o700)


def test_cache_crosses_processes() -> None:
    cache = pickle.loads(pickle.dumps(ShardCache("/somewhere", gib=2)))
    assert (cache.folder, cache.limit) == (Path("/somewhere/shards"), 2 * 2**30)


def write_manifest(store: Store, shards: list[Shard]) -> None:
    manifest = Manifest(1, ["cat"], {"train": {"cat": len(shards)}}, shards,
                        dataset_digest(shards), {}, {}, 0)  # fmt: skip
    store.write(naming.MANIFEST, manifest_module.msgspec.json.encode(manifest))


def test_shards_come_in_order_and_those_behind_are_fetched_meanwhile(
    store: Store, tmp_path: Path
) -> None:
    shards = [put(store, name) for name in "abcdef"]
    remote = RemoteShards(store, shards, ShardCache(str(tmp_path), gib=8 * SIZE / 2**30))
    assert remote.ahead == 4
    assert remote.nbytes == 6 * SIZE
    counts: list[int] = []
    found = remote.each([4, 0, 2, 1, 3], counts.append)
    assert next(found).name.startswith(shards[4].sha256)
    until = time.monotonic() + 60
    while sum(kept(remote._cache, *shards)) < 4 and time.monotonic() < until:
        time.sleep(0.005)
    assert kept(remote._cache, *shards) == [True, True, True, False, True, False]
    assert [path.name.partition(".")[0] for path in found] == [
        shards[number].sha256 for number in (0, 2, 1, 3)
    ]
    assert sum(counts) == 5 * SIZE


def test_dataset_that_was_built_anew_meanwhile_is_noticed(store: Store, tmp_path: Path) -> None:
    before = put(store, "a")
    write_manifest(store, [before])
    remote = RemoteShards(store, [before], ShardCache(str(tmp_path)))
    put(store, "a", bytes(SIZE))  # The manifest is still the old one.
    with pytest.raises(BucketError, match=r"is not what the manifest says. Received: memory://"):
        next(remote.each([0]))
    write_manifest(store, [put(store, "a", bytes(SIZE))])
    for attempt in (lambda: next(remote.each([0])), lambda: remote.record(0, 0, 10)):
        with pytest.raises(BucketError, match=r"built anew while it was being read. Received: mem"):
            attempt()
    assert remote.failure


def test_shard_that_does_not_come_is_given_up_when_there_is_no_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = RemoteShards(store, [put(store, "a")], ShardCache(str(tmp_path)))
    comes, time_is_up, download = threading.Event(), threading.Event(), Store.download

    def late(*arguments: object, **options: object) -> str:
        time_is_up.set()
        comes.wait(60)
        return download(*arguments, **options)

    monkeypatch.setattr(Store, "download", late)
    remote.gives_up = time_is_up.is_set
    for attempt in (lambda: remote.hold(0), lambda: remote.record(0, 0, 10)):
        with pytest.raises(BucketError, match=r"no time to wait for a shard .* memory://.*/a\."):
            attempt()
    comes.set()
    assert remote.hold(0).stat().st_size == SIZE  # What was fetched all the same.
